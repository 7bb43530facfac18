// Latents in FP8 against a slow implementation of the format, written from its definition.

#include "engine/fp8_latent.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>
#include <random>
#include <vector>

#include "engine/numeric_formats.h"
#include "tests/engine/golden_model.h"
#include "tests/engine/reference_comparison.h"

namespace ponder::engine {
namespace {

constexpr std::size_t kRank = 512;
constexpr std::size_t kRope = 64;

std::vector<float> random_latent(std::mt19937_64& rng, float size) {
  std::normal_distribution<float> normal(0.0F, size);
  std::vector<float> values(kRank + kRope);
  for (float& value : values) value = normal(rng);
  return values;
}

struct Row {
  explicit Row(const std::vector<float>& latent, std::size_t rank = kRank, std::size_t rope = kRope)
      : layout(fp8_latent_layout(rank, rope)), bytes(layout.bytes) {
    write_fp8_latent(bytes.data(), latent.data(), rank, rope);
  }
  float scale(std::size_t group) const {
    float value;
    std::memcpy(&value, bytes.data() + layout.scales_at + 4 * group, sizeof value);
    return value;
  }
  float latent(std::size_t i) const {
    return e4m3_to_float(static_cast<std::uint8_t>(bytes[i])) * scale(i / 128);
  }
  float rope(std::size_t i) const {
    std::uint16_t value;
    std::memcpy(&value, bytes.data() + layout.rope_at + 2 * i, sizeof value);
    return bf16_to_float(value);
  }
  kernels::Fp8LatentLayout layout;
  std::vector<std::byte> bytes;
};

TEST(Fp8Latent, DeepSeeksRowHasThePublishedLayout) {
  const kernels::Fp8LatentLayout layout = fp8_latent_layout(512, 64);
  EXPECT_EQ(layout.scales_at, 512U);
  EXPECT_EQ(layout.rope_at, 528U);
  EXPECT_EQ(layout.bytes, 656U);
}

TEST(Fp8Latent, IsWhatTheDefinitionSaysToTheBit) {
  std::mt19937_64 rng(testing::test_seed());
  for (const float size : {1e-7F, 1e-3F, 1.0F, 300.0F}) {
    const auto latent = random_latent(rng, size);
    const Row row(latent);
    for (std::size_t group = 0; group < 4; ++group) {
      double absmax = 1e-4F;
      for (std::size_t i = 0; i < 128; ++i) {
        absmax = std::max(absmax, std::fabs(double{latent[group * 128 + i]}));
      }
      EXPECT_EQ(row.scale(group), std::exp2(std::ceil(std::log2(absmax / 448.0))));
    }
    for (std::size_t i = 0; i < kRank; ++i) {
      EXPECT_EQ(row.latent(i), testing::round_to_e4m3(latent[i], row.scale(i / 128))) << i;
    }
    for (std::size_t i = 0; i < kRope; ++i) {
      EXPECT_EQ(row.rope(i), bf16_to_float(float_to_bf16(latent[kRank + i])));
    }
  }
}

TEST(Fp8Latent, ItsValuesAreExactInBf16) {
  std::mt19937_64 rng(testing::test_seed());
  const Row row(random_latent(rng, 3.0F));
  for (std::size_t i = 0; i < kRank; ++i) {
    EXPECT_EQ(bf16_to_float(float_to_bf16(row.latent(i))), row.latent(i));
  }
}

TEST(Fp8Latent, WhatIsNotFiniteShowsInItsGroupAndNowhereElse) {
  for (const float bad :
       {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()}) {
    std::vector<float> latent(kRank + kRope, 0.5F);
    latent[200] = bad;
    const Row row(latent);
    for (std::size_t i = 0; i < kRank; ++i) {
      EXPECT_EQ(std::isnan(row.latent(i)), i / 128 == 1) << i;
    }
  }
}

TEST(Fp8Latent, ALastGroupMayBeCutOff) {
  std::vector<float> latent(137, 1.0F);
  for (std::size_t i = 128; i < 130; ++i) latent[i] = 1e4F;
  const Row row(latent, 130, 7);
  EXPECT_EQ(row.layout.scales_at, 132U);
  EXPECT_EQ(row.layout.bytes, 132U + 8 + 14);
  EXPECT_EQ(row.latent(127), 1.0F);
  EXPECT_EQ(row.latent(129), testing::round_to_e4m3(1e4, row.scale(1)));
  EXPECT_EQ(row.rope(6), 1.0F);
}

/// The engine sums in fp32 and the reference in float64, so a few of the 74,000 values fall on the
/// other side of a rounding and differ by a sixteenth; measured 2e-4 of the largest logit.
constexpr double kTolerance = 2e-3;

TEST(Fp8Cache, AgreesWithASlowImplementationOfTheWholeModel) {
  testing::expect_reference(golden_dir(), golden_prompt(), kTolerance, CacheDType::fp8);
}

TEST(Fp8Cache, IsNotWhatAnExactCacheGives) {
  ModelOptions options;
  options.cache_dtype = CacheDType::fp8;
  const auto fp8 = LogitsRunner::open(golden_dir(), options);
  const auto exact = LogitsRunner::open(golden_dir(), {});
  ASSERT_TRUE(fp8.has_value() && exact.has_value());
  const auto got = (*fp8)->run(golden_prompt(40), false)->logits;
  const auto want = (*exact)->run(golden_prompt(40), false)->logits;
  double most = 0.0;
  double largest = 0.0;
  for (std::size_t i = 0; i < want.size(); ++i) {
    most = std::max(most, std::fabs(double{got[i]} - want[i]));
    largest = std::max(largest, std::fabs(double{want[i]}));
  }
  EXPECT_GT(most, 1e-3 * largest);
  EXPECT_LT(most, 0.2 * largest);
}

}  // namespace
}  // namespace ponder::engine
