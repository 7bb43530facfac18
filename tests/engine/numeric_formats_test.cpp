#include "engine/numeric_formats.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <random>

#include "tests/engine/support.h"

namespace ponder::engine {
namespace {

constexpr float kInf = std::numeric_limits<float>::infinity();
const float kNan = std::numeric_limits<float>::quiet_NaN();

/// The definition: sign, 4 exponent bits of bias 7, 3 mantissa bits.
double e4m3_by_definition(int code) {
  const int exponent = code >> 3 & 15;
  const int mantissa = code & 7;
  const double magnitude = exponent == 0 ? mantissa * std::pow(2.0, -9)
                                         : (1 + mantissa / 8.0) * std::pow(2.0, exponent - 7);
  return (code & 0x80) != 0 ? -magnitude : magnitude;
}

TEST(E4m3, DecodesEveryCodeByTheDefinition) {
  for (int code = 0; code < 256; ++code) {
    const float value = e4m3_to_float(static_cast<std::uint8_t>(code));
    if ((code & 0x7F) == 0x7F) {
      EXPECT_TRUE(std::isnan(value)) << code;
    } else {
      EXPECT_EQ(value, e4m3_by_definition(code)) << code;
      EXPECT_EQ(std::signbit(value), code >= 0x80) << code;
    }
  }
}

TEST(E4m3, EncodesEveryValueBackToItsCode) {
  for (int code = 0; code < 256; ++code) {
    EXPECT_EQ(float_to_e4m3(e4m3_to_float(static_cast<std::uint8_t>(code))), code);
  }
}

TEST(E4m3, RoundsTiesToEvenAndSaturates) {
  EXPECT_EQ(float_to_e4m3(1.0625F), 0x38);
  EXPECT_EQ(float_to_e4m3(1.1875F), 0x3A);
  EXPECT_EQ(float_to_e4m3(464.0F), 0x7E);
  EXPECT_EQ(float_to_e4m3(0x1p-10F), 0x00);
  EXPECT_EQ(float_to_e4m3(0x3p-10F), 0x02);
  EXPECT_EQ(float_to_e4m3(kInf), 0x7E);
  EXPECT_EQ(float_to_e4m3(-1e30F), 0xFE);
  EXPECT_EQ(float_to_e4m3(-0.0F), 0x80);
  EXPECT_EQ(float_to_e4m3(kNan) & 0x7F, 0x7F);
}

TEST(E4m3, RandomValuesGoToTheNearestCode) {
  std::mt19937_64 rng(testing::test_seed());
  std::uniform_real_distribution<float> exponents(-12.0F, 9.0F);
  for (int i = 0; i < 20'000; ++i) {
    const float value = std::exp2(exponents(rng)) * (i % 2 == 0 ? 1.0F : -1.0F);
    int nearest = 0;
    for (int code = 0; code < 0x7F; ++code) {
      const double distance = std::fabs(e4m3_by_definition(code) - std::fabs(value));
      const double best = std::fabs(e4m3_by_definition(nearest) - std::fabs(value));
      if (distance < best || (distance == best && code % 2 == 0)) nearest = code;
    }
    ASSERT_EQ(float_to_e4m3(value), nearest | (value < 0 ? 0x80 : 0)) << value;
  }
}

TEST(Bf16, KeepsEveryRepresentableValue) {
  for (std::uint32_t bits = 0; bits < 0x10000; ++bits) {
    const float value = bf16_to_float(static_cast<std::uint16_t>(bits));
    if (std::isnan(value)) {
      EXPECT_TRUE(std::isnan(bf16_to_float(float_to_bf16(value))));
    } else {
      ASSERT_EQ(float_to_bf16(value), bits);
    }
  }
}

TEST(Bf16, RoundsTiesToEvenAndOverflowsToInfinity) {
  EXPECT_EQ(float_to_bf16(0x1.01p0F), 0x3F80);    // halfway, lower neighbour even
  EXPECT_EQ(float_to_bf16(0x1.03p0F), 0x3F82);    // halfway, upper neighbour even
  EXPECT_EQ(float_to_bf16(0x1.0102p0F), 0x3F81);  // just above halfway
  EXPECT_EQ(float_to_bf16(std::numeric_limits<float>::max()), 0x7F80);
  EXPECT_TRUE(std::isnan(bf16_to_float(float_to_bf16(std::bit_cast<float>(0x7F800001U)))));
}

TEST(Fp16, DecodesNormalSubnormalAndInfiniteValues) {
  EXPECT_EQ(fp16_to_float(0x3C00), 1.0F);
  EXPECT_EQ(fp16_to_float(0xC500), -5.0F);
  EXPECT_EQ(fp16_to_float(0x0001), 0x1p-24F);
  EXPECT_EQ(fp16_to_float(0x83FF), -0x3FFp-24F);
  EXPECT_EQ(fp16_to_float(0x7BFF), 65504.0F);
  EXPECT_EQ(fp16_to_float(0xFC00), -kInf);
  EXPECT_TRUE(std::isnan(fp16_to_float(0x7E00)));
}

TEST(Ue8m0, IsTheSmallestPowerOfTwoThatFits) {
  EXPECT_EQ(ue8m0_scale(448.0F), 1.0F);
  EXPECT_EQ(ue8m0_scale(std::nextafter(448.0F, kInf)), 2.0F);
  EXPECT_EQ(ue8m0_scale(2.984375F), 0x1p-7F);
  EXPECT_EQ(ue8m0_scale(0.0F), 1.0F);
  for (int exponent = -100; exponent < 100; ++exponent) {
    EXPECT_EQ(ue8m0_scale(std::ldexp(448.0F, exponent)), std::ldexp(1.0F, exponent));
  }
  std::mt19937_64 rng(testing::test_seed());
  std::uniform_real_distribution<float> exponents(-60.0F, 60.0F);
  for (int i = 0; i < 10'000; ++i) {
    const float amax = std::exp2(exponents(rng));
    const float scale = ue8m0_scale(amax);
    ASSERT_LE(amax / scale, 448.0F) << amax;
    ASSERT_GT(amax / scale, 224.0F) << amax;
  }
}

}  // namespace
}  // namespace ponder::engine
