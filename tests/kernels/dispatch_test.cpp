#include "kernels/dispatch.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <vector>

#include "kernels/numeric.h"

namespace ponder::kernels {
namespace {

TEST(Dispatch, EveryRowIsCompleteAndScalarComesFirst) {
  const auto tables = runnable_tables();
  ASSERT_FALSE(tables.empty());
  EXPECT_EQ(tables.front(), &scalar_table());
  for (const KernelTable* table : tables) {
    const void* words[sizeof(KernelTable) / sizeof(void*)];
    std::memcpy(words, table, sizeof words);
    for (const void* word : words) EXPECT_NE(word, nullptr) << table->name;
  }
}

TEST(Dispatch, SelectTakesTheBestRowUnlessOneIsNamed) {
  const auto tables = runnable_tables();
  EXPECT_EQ(select(nullptr), tables.back());
  for (const KernelTable* table : tables) {
    EXPECT_EQ(select(table->name), table);
    EXPECT_EQ(&active(), table);
  }
  EXPECT_EQ(select(""), tables.back());
  EXPECT_EQ(&active(), tables.back());
}

TEST(Dispatch, AnUnknownNameIsRefusedAndChangesNothing) {
  ASSERT_NE(select("scalar"), nullptr);
  EXPECT_EQ(select("sse9"), nullptr);
  EXPECT_EQ(&active(), &scalar_table());
}

TEST(Numeric, Fp8CodesDecodeToTheirValues) {
  EXPECT_EQ(fp8_e4m3_to_f32(0x00), 0.0f);
  EXPECT_EQ(fp8_e4m3_to_f32(0x38), 1.0f);
  EXPECT_EQ(fp8_e4m3_to_f32(0xb9), -1.125f);
  EXPECT_EQ(fp8_e4m3_to_f32(0x7e), 448.0f);
  EXPECT_EQ(fp8_e4m3_to_f32(0x01), 1.0f / 512);
  EXPECT_EQ(fp8_e4m3_to_f32(0x08), 1.0f / 64);
  EXPECT_TRUE(std::isnan(fp8_e4m3_to_f32(0x7f)));
  EXPECT_TRUE(std::isnan(fp8_e4m3_to_f32(0xff)));
}

TEST(Numeric, Bf16RoundsToNearestEven) {
  EXPECT_EQ(f32_to_bf16(1.0f), 0x3f80);
  EXPECT_EQ(f32_to_bf16(1.00390625f), 0x3f80);  // a tie: down to even
  EXPECT_EQ(f32_to_bf16(1.01171875f), 0x3f82);  // a tie: up to even
  EXPECT_EQ(f32_to_bf16(3.4e38f), 0x7f80);
  EXPECT_EQ(bf16_to_f32(0xc040), -3.0f);
}

TEST(Numeric, DequantizeUsesTheScaleOfEachBlock) {
  const std::size_t n = 129;
  const std::size_t k = 130;
  const std::vector<fp8_e4m3> w(n * k, 0x38);
  const float scales[] = {1.0f, 2.0f, 3.0f, 4.0f};
  std::vector<float> y(n * k);
  dequantize_fp8(y.data(), w.data(), scales, n, k);
  EXPECT_EQ(y[0], 1.0f);
  EXPECT_EQ(y[128], 2.0f);
  EXPECT_EQ(y[128 * k + 127], 3.0f);
  EXPECT_EQ(y[128 * k + 128], 4.0f);
}

}  // namespace
}  // namespace ponder::kernels
