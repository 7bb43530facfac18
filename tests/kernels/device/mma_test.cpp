// The emulated tensor-core instructions, against plain products of matrices that are laid out in
// registers element by element, as the PTX manual's formulas say.

#include "kernels/cuda/mma.cuh"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <cstring>
#include <random>
#include <vector>

namespace ponder::kernels {
namespace {

/// Where element i of a lane's fragment lies: "Matrix Fragments for mma.m16n8k16" and "..m16n8k32".
struct Place {
  unsigned row;
  unsigned column;
};
Place place_a_bf16(unsigned lane, unsigned i) {
  const bool is_upper = i < 2 || (i >= 4 && i < 6);
  return {lane / 4 + (is_upper ? 0 : 8), lane % 4 * 2 + (i & 1) + (i < 4 ? 0 : 8)};
}
Place place_b_bf16(unsigned lane, unsigned i) {
  return {lane % 4 * 2 + (i & 1) + (i < 2 ? 0 : 8), lane / 4};
}
Place place_a_int8(unsigned lane, unsigned i) {
  const bool is_upper = i < 4 || (i >= 8 && i < 12);
  return {lane / 4 + (is_upper ? 0 : 8), lane % 4 * 4 + (i & 3) + (i < 8 ? 0 : 16)};
}
Place place_b_int8(unsigned lane, unsigned i) {
  return {lane % 4 * 4 + (i & 3) + (i < 4 ? 0 : 16), lane / 4};
}
Place place_d(unsigned lane, unsigned i) {
  return {lane / 4 + (i < 2 ? 0 : 8), lane % 4 * 2 + (i & 1)};
}

/// A lane's registers out of a row-major matrix of `Element`.
template <class Element, class Fragment, class PlaceOf>
Fragment fragment(const std::vector<Element>& matrix, unsigned columns, PlaceOf place_of) {
  Fragment result{};
  constexpr std::size_t kElements = sizeof(Fragment) / sizeof(Element);
  Element elements[kElements];
  for (unsigned i = 0; i < kElements; ++i) {
    const Place place = place_of(lane(), i);
    elements[i] = matrix[place.row * columns + place.column];
  }
  std::memcpy(result.r, elements, sizeof elements);
  return result;
}

/// d + a @ b of two warps, which are given different sums to add to.
template <class Element, class Sum, class Multiply>
std::vector<Sum> product(const std::vector<Element>& a, const std::vector<Element>& b, unsigned k,
                         Multiply multiply) {
  std::vector<Sum> d(2 * 16 * 8);
  emulator::run_grid({}, 64, [&] {
    const unsigned warp = threadIdx.x / 32;
    Sum own[4];
    for (auto& value : own) value = static_cast<Sum>(warp * 1000);
    multiply(own, a, b, k);
    for (unsigned i = 0; i < 4; ++i) {
      const Place place = place_d(lane(), i);
      d[warp * 128 + place.row * 8 + place.column] = own[i];
    }
  });
  return d;
}

TEST(Mma, Bf16TilesAreMultipliedInTheManualsLayout) {
  std::mt19937 rng(1);
  std::vector<std::uint16_t> a(16 * 16);
  std::vector<std::uint16_t> b(16 * 8);
  // Whole numbers to 15, of which every sum here is exact.
  const auto bits_of = [](int value) {
    const auto number = static_cast<float>(value);
    return static_cast<std::uint16_t>(std::bit_cast<std::uint32_t>(number) >> 16);
  };
  const auto value_of = [](std::uint16_t bits) {
    return static_cast<int>(std::bit_cast<float>(static_cast<std::uint32_t>(bits) << 16));
  };
  for (auto& x : a) x = bits_of(static_cast<int>(rng() % 31) - 15);
  for (auto& x : b) x = bits_of(static_cast<int>(rng() % 31) - 15);
  const auto d = product<std::uint16_t, float>(
      a, b, 16, [](float(&own)[4], const auto& x, const auto& y, unsigned) {
        mma_bf16(own, fragment<std::uint16_t, FragmentA>(x, 16, place_a_bf16),
                 fragment<std::uint16_t, FragmentB>(y, 8, place_b_bf16));
      });
  for (unsigned i = 0; i < d.size(); ++i) {
    int sum = static_cast<int>(i / 128 * 1000);
    for (unsigned k = 0; k < 16; ++k) {
      sum += value_of(a[i % 128 / 8 * 16 + k]) * value_of(b[k * 8 + i % 8]);
    }
    EXPECT_EQ(d[i], static_cast<float>(sum)) << i;
  }
}

TEST(Mma, Int8TilesAreMultipliedInTheManualsLayout) {
  std::mt19937 rng(2);
  std::vector<std::int8_t> a(16 * 32);
  std::vector<std::int8_t> b(32 * 8);
  for (auto& x : a) x = static_cast<std::int8_t>(rng());
  for (auto& x : b) x = static_cast<std::int8_t>(rng());
  const auto d =
      product<std::int8_t, int>(a, b, 32, [](int(&own)[4], const auto& x, const auto& y, unsigned) {
        mma_int8(own, fragment<std::int8_t, FragmentA>(x, 32, place_a_int8),
                 fragment<std::int8_t, FragmentB>(y, 8, place_b_int8));
      });
  for (unsigned i = 0; i < d.size(); ++i) {
    int sum = static_cast<int>(i / 128 * 1000);
    for (unsigned k = 0; k < 32; ++k) sum += a[i % 128 / 8 * 32 + k] * b[k * 8 + i % 8];
    EXPECT_EQ(d[i], sum) << i;
  }
}

TEST(Mma, RaisingAPairShiftsTheExponentOfNormalAndSubnormalNumbers) {
  // 1.75 * 2^-112 and the smallest bf16, 2^-133: E4M3 codes 0x7e and 0x08 of which only exponent
  // and mantissa were moved give numbers of this kind.
  const std::uint32_t raised = raise_bf16_pair(0x07e00000U | 0x8001U);
  EXPECT_EQ(raised >> 16, 0x43e0U);      // 448
  EXPECT_EQ(raised & 0xffffU, 0xb900U);  // -2^-13
}

TEST(Mma, PairsAreMultipliedByHalves) {
  // 1.0078125^2 = 1.01568..., which bf16 rounds to 1.015625; and a NaN stays one.
  EXPECT_EQ(multiply_bf16_pair(0x3f81c000U, 0x3f813e80U), 0x3f82bf00U);  // -2 * 0.25
  EXPECT_GT(multiply_bf16_pair(0x7fc03f80U, 0x3f803f80U) >> 16 & 0x7fffU, 0x7f80U);
  EXPECT_EQ(multiply_bf16_pair(0x00010000U, 0x40000000U), 0x00020000U);  // a subnormal
}

TEST(Mma, PairsOfFloatsAreRoundedToTheNearest) {
  EXPECT_EQ(round_bf16_pair(1.0F, -2.0F), 0xc0003f80U);
  EXPECT_EQ(round_bf16_pair(1.00390625F, 1.01171875F), 0x3f823f80U);  // halfway: to the even one
  EXPECT_EQ(round_bf16_pair(1.004F, 3.4e38F), 0x7f803f81U);           // beyond the largest
  EXPECT_GT(round_bf16_pair(std::nanf(""), 0.0F) & 0x7fffU, 0x7f80U);
}

}  // namespace
}  // namespace ponder::kernels
