// Attention over expanded keys and values on a device, against plain arithmetic in double
// precision; and the latents that the keys are made of.

#include "engine/fp8_latent.h"
#include "engine/numeric_formats.h"
#include "tests/kernels/device/device_pages.h"
#include "tests/kernels/device/expanded_cases.h"

namespace ponder::kernels {
namespace {

using Shape = ExpandedShape;

/// Two bf16 lose up to 2^-18 of a number, and the product of two lower terms is left out, at most
/// 2^-18 of a product: three parts of 2^-18 = 4e-6 in a logit's every product, of values up to 1
/// and some 200 of them with signs at random, and as much in the sums.
constexpr Tolerance kTolerance{.abs = 2e-5, .rel = 2e-5};

TEST_F(DeviceExpanded, AgreesAtOddShapes) {
  for (const Shape& s :
       {Shape{1, 8, 8, 8}, Shape{3, 24, 16, 40}, Shape{2, 40, 24, 32}, Shape{2, 16, 0, 72},
        Shape{1, 0, 24, 16}, Shape{2, 64, 32, 136}, Shape{1, 200, 8, 24}}) {
    ExpandedCase c(s, {{0, 5}, {60, 9}, {130, 1}}, rng);
    EXPECT_TRUE(all_close(run(c), reference(c), kTolerance)) << s.text();
  }
}

TEST_F(DeviceExpanded, AgreesAtEveryBorderOfTilesAndPages) {
  const Shape s{2, 24, 8, 24};
  for (const std::size_t rows : {1, 15, 16, 17, 63, 64, 65, 130}) {
    for (const std::size_t first : {0, 1, 62, 63, 64, 65, 127}) {
      ExpandedCase c(s, {{first, rows}}, rng);
      EXPECT_TRUE(all_close(run(c), reference(c), kTolerance)) << rows << " rows from " << first;
    }
  }
}

TEST_F(DeviceExpanded, AgreesAtTheShapesOfLargeModels) {
  // DeepSeek-V3.2 and GLM-5.
  for (const Shape& s : {Shape{2, 128, 64, 128, 512}, Shape{2, 192, 64, 256, 512}}) {
    ExpandedCase c(s, {{0, 70}, {200, 20}}, rng);
    EXPECT_TRUE(all_close(run(c), reference(c), kTolerance)) << s.text();
  }
}

/// What the two terms leave, said in docs/cuda.md: three bf16 would err by less than 1e-6 here.
TEST_F(DeviceExpanded, TwoTermsLeaveFewMillionths) {
  const Shape s{2, 128, 64, 128, 512};
  ExpandedCase c(s, {{640, 8}}, rng);
  const auto got = run(c);
  const auto want = reference(c);
  double worst = 0.0;
  for (std::size_t i = 0; i < got.size(); ++i) {
    worst = std::fmax(worst, std::fabs(double{got[i]} - want[i]));
  }
  RecordProperty("worst", std::to_string(worst));
  EXPECT_LT(worst, 4e-6);
}

TEST_F(DeviceExpanded, LogitsOfAnySizeAreWeighed) {
  const Shape s{1, 16, 8, 16};
  for (const float size : {1e-20F, 30.0F, 1e4F}) {
    ExpandedCase c(s, {{100, 40}}, rng);
    for (float& x : c.q) x = std::copysign(size, x);
    for (float& x : c.keys) x = std::copysign(1.0F, x);
    const auto want = reference(c);
    // Equal but for the last columns; beyond them one key has all the weight, or several the same.
    EXPECT_TRUE(all_close(run(c), want, {.abs = 1e-3, .rel = 1e-3})) << size;
  }
}

TEST_F(DeviceExpanded, ARowsBitsDependOnNeitherItsTileNorItsCompany) {
  for (const Shape& s : {Shape{2, 24, 8, 40}, Shape{1, 192, 64, 160}}) {
    const ExpandedCase c(s, {{40, 100}, {7, 3}, {190, 70}}, rng);
    const auto want = run(c);
    const bool is_narrow = s.nope == 24;
    for (const std::size_t rows_max :
         is_narrow ? std::vector<std::size_t>{1, 16, 33} : std::vector<std::size_t>{33}) {
      EXPECT_TRUE(same_bits(run(c, c.tiles(rows_max)), want)) << rows_max << ", " << s.text();
    }
    const std::size_t row_size = s.heads * s.v;
    for (const auto& [first, n] : {std::pair<std::size_t, std::size_t>{0, 30}, {30, 1}, {87, 13}}) {
      const auto begin = want.begin() + static_cast<std::ptrdiff_t>(first * row_size);
      EXPECT_TRUE(same_bits(run(c.part(first, n, rng)),
                            {begin, begin + static_cast<std::ptrdiff_t>(n * row_size)}))
          << n << " rows from " << first << ", " << s.text();
    }
  }
}

TEST_F(DeviceExpanded, AHeadsBitsDependOnNoOtherHead) {
  const Shape s{3, 16, 8, 24};
  const ExpandedCase c(s, {{3, 70}}, rng);
  const auto want = run(c);
  ExpandedCase one(Shape{1, 16, 8, 24}, c.pieces, rng);
  one.latents = c.latents;
  const auto second = [](const std::vector<float>& all, std::size_t size) {
    const auto begin = all.begin() + static_cast<std::ptrdiff_t>(size);
    return std::vector<float>(begin, begin + static_cast<std::ptrdiff_t>(size));
  };
  one.keys = second(c.keys, c.num_keys() * s.nope);
  one.values = second(c.values, c.num_keys() * s.v);
  for (std::size_t row = 0; row < c.num_rows(); ++row) {
    for (std::size_t d = 0; d < s.key(); ++d) {
      one.q[row * s.key() + d] = c.q[(row * s.heads + 1) * s.key() + d];
    }
  }
  const auto got = run(one);
  for (std::size_t row = 0; row < c.num_rows(); ++row) {
    for (std::size_t d = 0; d < s.v; ++d) {
      ASSERT_EQ(got[row * s.v + d], want[(row * s.heads + 1) * s.v + d]) << row;
    }
  }
}

/// A key or a value that is not finite, the first in a page, in the middle and the last.
TEST_F(DeviceExpanded, WhatIsNotFiniteStaysWithTheRowsThatSeeIt) {
  const Shape s{2, 24, 8, 40};
  for (const std::size_t bad : {0, 63, 64, 70, 101}) {
    for (const float what : {kNan, kInf, -kInf, 3.4e38F}) {
      for (const bool is_value : {false, true}) {
        ExpandedCase c(s, {{30, 80}}, rng);
        const auto clean = run(c);
        (is_value ? c.value_at(1, bad) : c.key_at(1, bad))[3] = what;
        const auto got = run(c);
        for (std::size_t row = 0; row < 80; ++row) {
          const bool sees = 30 + row >= bad;
          for (std::size_t d = 0; d < 2 * s.v; ++d) {
            const std::size_t i = row * 2 * s.v + d;
            if (sees && d >= s.v) {
              ASSERT_TRUE(std::isnan(got[i])) << bad << " is " << what << ", row " << row;
            } else {
              ASSERT_EQ(got[i], clean[i]) << bad << " is " << what << ", row " << row;
            }
          }
        }
      }
    }
  }
}

TEST_F(DeviceExpanded, AQueryThatIsNotFiniteMakesNanOfItsRowAndHeadAlone) {
  const Shape s{2, 24, 8, 40};
  for (const float what : {kNan, kInf}) {
    ExpandedCase c(s, {{30, 40}}, rng);
    const auto clean = run(c);
    c.q[(7 * s.heads + 1) * s.key() + 5] = what;
    const auto got = run(c);
    for (std::size_t i = 0; i < got.size(); ++i) {
      if (i / s.v == 7 * s.heads + 1) {
        ASSERT_TRUE(std::isnan(got[i]));
      } else {
        ASSERT_EQ(got[i], clean[i]) << i;
      }
    }
  }
}

TEST_F(DeviceExpanded, KeysBehindTheLastRowAreNotLookedAt) {
  const Shape s{1, 24, 8, 40};
  ExpandedCase c(s, {{3, 20}, {0, 70}}, rng);
  const auto want = run(c);
  for (const std::size_t key : {23, 40, 63, 64 + 70, 64 + 127}) {
    c.key_at(0, key)[0] = kNan;
    c.value_at(0, key)[1] = kInf;
    c.latents[key * (s.rank + s.rope) + s.rank] = kNan;
  }
  EXPECT_TRUE(same_bits(run(c), want));
}

TEST(ExpandedShapes, AreThoseThatUnitsOfEightColumnsMake) {
  EXPECT_TRUE(fits_expanded(512, 128, 64, 128));  // DeepSeek-V3.2
  EXPECT_TRUE(fits_expanded(512, 192, 64, 256));  // GLM-5
  EXPECT_FALSE(fits_expanded(510, 128, 64, 128));
  EXPECT_FALSE(fits_expanded(512, 128, 64, 132));
  EXPECT_FALSE(fits_expanded(512, 20, 8, 16));
  EXPECT_FALSE(fits_expanded(512, 16, 4, 16));
  EXPECT_FALSE(fits_expanded(512, 200, 64, 128));
  EXPECT_FALSE(fits_expanded(512, 128, 64, 264));
}

class DeviceReadLatents : public DeviceTest, public ::testing::WithParamInterface<DType> {
 protected:
  static constexpr std::size_t kRank = 136;
  static constexpr std::size_t kRope = 10;
  static constexpr std::size_t kDim = kRank + kRope;
  const Fp8LatentLayout fp8 = engine::fp8_latent_layout(kRank, kRope);

  std::size_t stride() const { return GetParam() == DType::fp8_e4m3 ? fp8.bytes : kDim; }

  /// Writes a latent where it lies in a block, and makes of it what is read back.
  void store(std::byte* block, std::size_t token, float* latent) const {
    std::byte* at = block + token * stride();
    if (GetParam() == DType::f32) {
      std::memcpy(reinterpret_cast<float*>(block) + token * kDim, latent, kDim * sizeof(float));
    } else if (GetParam() == DType::bf16) {
      auto* to = reinterpret_cast<bf16*>(block) + token * kDim;
      scalar_table().f32_to_bf16(to, latent, kDim);
      scalar_table().bf16_to_f32(latent, to, kDim);
    } else {
      engine::write_fp8_latent(at, latent, kRank, kRope);
      const auto* rope = reinterpret_cast<const bf16*>(at + fp8.rope_at);
      const auto* scales = reinterpret_cast<const float*>(at + fp8.scales_at);
      for (std::size_t d = 0; d < kRank; ++d) {
        latent[d] =
            engine::e4m3_to_float(static_cast<std::uint8_t>(at[d])) * scales[d / kFp8LatentGroup];
      }
      scalar_table().bf16_to_f32(latent + kRank, rope, kRope);
    }
  }
};

TEST_P(DeviceReadLatents, AreReadAsTheCacheHasThem) {
  constexpr std::size_t kLength = 100;
  PagedSequences pages(device(), 64 * 4 * (kDim + 20) + 32, 32, {kLength}, rng);
  auto want = random_floats(kLength * kDim, rng);
  want[5 * kDim + 7] = kNan;
  for (std::size_t i = 0; i < kLength; ++i) {
    const auto page = static_cast<std::size_t>(pages.slot(0, i)) / kPageSize;
    store(pages.block(page), i % kPageSize, want.data() + i * kDim);
  }
  want.resize(128 * kDim, 0.0F);
  pages.upload(device());
  const DeviceArray<std::int32_t> page_ids(device(),
                                           {pages.slot(0, 0) / 64, pages.slot(0, 64) / 64});
  const DeviceArray<std::int32_t> page_keys(device(), {64, 36});
  const DeviceArray<float> read(device(), 128 * kDim);
  device().read_latents({.cache = pages.pages(GetParam(), stride()),
                         .fp8 = fp8,
                         .pages = page_ids.data(),
                         .page_keys = page_keys.data(),
                         .latents = read.data(),
                         .pages_read = 2,
                         .kv_lora_rank = kRank,
                         .qk_rope_head_dim = kRope});
  EXPECT_TRUE(all_close(read.download(), want, {.abs = 0, .rel = 0}));
}

INSTANTIATE_TEST_SUITE_P(Types, DeviceReadLatents,
                         ::testing::Values(DType::f32, DType::bf16, DType::fp8_e4m3));

}  // namespace
}  // namespace ponder::kernels
