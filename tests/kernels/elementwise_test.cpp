#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "kernels/ops.h"
#include "tests/kernels/cases.h"
#include "tests/kernels/compare.h"

namespace ponder::kernels {
namespace {

constexpr std::size_t kDims[] = {1, 2, 7, 8, 15, 16, 17, 63, 64, 65, 512, 1001};
constexpr std::size_t kRows = 3;

class Elementwise : public EveryIsa {};

// A chain of dim/8 + 8 roundings under the root halves its relative error; then three more.
Tolerance norm_tolerance(std::size_t dim) {
  const double chain = static_cast<double>(dim) / 8 + 8;
  return {.abs = 1e-7, .rel = kUnitRoundoff * (chain / 2 + 4)};
}

TEST_P(Elementwise, RmsNormMatchesScalar) {
  for (const std::size_t dim : kDims) {
    const auto x = random_floats(kRows * dim, rng);
    const auto weight = random_floats(dim, rng);
    const auto run = [&](const KernelTable& row) {
      std::vector<float> y(kRows * dim, kNan);
      const RmsNormArgs args{y.data(), dim, x.data(), dim, weight.data(), kRows, dim, 1e-6f};
      row.rms_norm(args, 0, kRows);
      return y;
    };
    EXPECT_TRUE(all_close(run(table()), run(scalar_table()), norm_tolerance(dim))) << dim;
  }
}

TEST_P(Elementwise, RmsNormOfZerosIsZeroAndWorksInPlace) {
  std::vector<float> x(65, 0.0f);
  const std::vector<float> weight(65, 3.0f);
  const RmsNormArgs args{x.data(), 65, x.data(), 65, weight.data(), 1, 65, 1e-6f};
  table().rms_norm(args, 0, 1);
  EXPECT_EQ(x, std::vector<float>(65, 0.0f));
}

TEST_P(Elementwise, LayerNormMatchesScalarAwayFromZeroMean) {
  for (const std::size_t dim : kDims) {
    auto x = random_floats(kRows * dim, rng);
    for (float& value : x) value += 3.0f;
    const auto weight = random_floats(dim, rng);
    const auto bias = random_floats(dim, rng);
    const auto run = [&](const KernelTable& row) {
      std::vector<float> y(kRows * dim, kNan);
      row.layer_norm({y.data(), dim, x.data(), dim, weight.data(), bias.data(), kRows, dim, 1e-6f},
                     0, kRows);
      return y;
    };
    // The mean, about 3, carries the error of a chain of dim/8 + 8 sums. Subtracting it leaves
    // that error absolute in values of the size 0.6; a single value (dim 1) has no spread at all.
    const double chain = static_cast<double>(dim) / 8 + 8;
    const double spread = dim == 1 ? 1e-3 : dim == 2 ? 1e-2 : 0.3;
    const Tolerance tolerance{.abs = 3 * kUnitRoundoff * chain / spread, .rel = 1e-6};
    EXPECT_TRUE(all_close(run(table()), run(scalar_table()), tolerance)) << dim;
  }
}

TEST_P(Elementwise, RopeMatchesScalarInBothLayouts) {
  for (const std::size_t dim : {2u, 6u, 16u, 30u, 32u, 64u, 70u}) {
    for (const auto layout : {RopeLayout::interleaved, RopeLayout::half_split}) {
      for (const bool is_identity : {true, false}) {
        const std::size_t heads = 3;
        const std::size_t head_stride = dim + 5;
        const auto x = random_floats(kRows * heads * head_stride, rng);
        const auto cos = random_floats(10 * dim / 2, rng);
        const auto sin = random_floats(10 * dim / 2, rng);
        const std::int32_t positions[kRows] = {9, 0, 4};
        const auto run = [&](const KernelTable& row) {
          std::vector<float> y = x;
          RopeArgs args{y.data(),    heads * head_stride,
                        head_stride, cos.data(),
                        sin.data(),  nullptr,
                        kRows,       heads,
                        dim,         layout};
          if (!is_identity) args.positions = positions;
          row.rope(args, 0, kRows);
          return y;
        };
        // Two products below 1 and their sum: three roundings. Values between heads stay.
        EXPECT_TRUE(all_close(run(table()), run(scalar_table()), {.abs = 3 * kUnitRoundoff}))
            << "dim=" << dim << " layout=" << int(layout);
      }
    }
  }
}

TEST_P(Elementwise, RopeTurnsTheFirstPairOfEachLayout) {
  const float cos[] = {0.0f, 1.0f};
  const float sin[] = {1.0f, 0.0f};
  std::vector<float> x = {1, 2, 3, 4};
  table().rope({x.data(), 4, 4, cos, sin, nullptr, 1, 1, 4, RopeLayout::interleaved}, 0, 1);
  EXPECT_EQ(x, (std::vector<float>{-2, 1, 3, 4}));
  x = {1, 2, 3, 4};
  table().rope({x.data(), 4, 4, cos, sin, nullptr, 1, 1, 4, RopeLayout::half_split}, 0, 1);
  EXPECT_EQ(x, (std::vector<float>{-3, 2, 1, 4}));
}

// The exponential is tested through silu: 1 / (1 + e^-z) = silu(z) / z, over all z that matter.
TEST_P(Elementwise, SiluIsAccurateOverTheWholeRange) {
  std::vector<float> z;
  for (double value = -100.0; value < 100.0; value += 0.00317) {
    z.push_back(static_cast<float>(value));
  }
  for (const float value : {-88.73f, -88.72f, -87.34f, 87.33f, 88.72f, 1e30f, -1e30f, 0.0f, kNan}) {
    z.push_back(value);
  }
  const std::vector<float> ones(z.size(), 1.0f);
  std::vector<float> got(z.size(), kNan);
  table().silu_mul({got.data(), 1, z.data(), 1, ones.data(), 1, 1, z.size()}, 0, 1);
  std::vector<float> want;
  for (const float value : z) {
    const double x = value;
    want.push_back(static_cast<float>(x / (1.0 + std::exp(-x))));
  }
  // e^-z within 2 ulp (4 roundings), the sum, the quotient, the result: 7. Below the smallest
  // normal number times 100 results may be flushed to zero.
  EXPECT_TRUE(all_close(got, want, {.abs = 1.2e-36, .rel = 7 * kUnitRoundoff}));
}

TEST_P(Elementwise, SiluMulMatchesScalarOnOddShapes) {
  for (const std::size_t dim : kDims) {
    const auto gate = random_floats(kRows * (dim + 3), rng);
    const auto up = random_floats(kRows * dim, rng);
    const auto run = [&](const KernelTable& row) {
      std::vector<float> y(kRows * dim, kNan);
      row.silu_mul({y.data(), dim, gate.data(), dim + 3, up.data(), dim, kRows, dim}, 0, kRows);
      return y;
    };
    EXPECT_TRUE(all_close(run(table()), run(scalar_table()), {.rel = 8 * kUnitRoundoff})) << dim;
  }
}

TEST_P(Elementwise, WeightedSumAddsSlotsInOrderAndSkipsMissingOnes) {
  for (const std::size_t dim : kDims) {
    const auto x = random_floats(6 * dim, rng);
    const auto y0 = random_floats(2 * dim, rng);
    const std::int32_t indices[] = {5, -1, 0, 2, 3, -1};
    const float weights[] = {0.5f, kNan, -0.25f, 1.0f, 0.125f, kNan};
    const auto run = [&](const KernelTable& row) {
      std::vector<float> y = y0;
      row.weighted_sum({y.data(), dim, x.data(), dim, indices, weights, 2, 3, dim}, 0, 2);
      return y;
    };
    // Sums below 2 after at most two multiply-adds.
    EXPECT_TRUE(all_close(run(table()), run(scalar_table()), {.abs = 4 * kUnitRoundoff})) << dim;
  }
}

TEST_P(Elementwise, SoftmaxMatchesScalarAndSumsToOne) {
  for (const std::size_t dim : kDims) {
    auto x = random_floats(kRows * dim, rng);
    for (float& value : x) value *= 30.0f;
    const auto run = [&](const KernelTable& row) {
      std::vector<float> y = x;
      row.softmax({y.data(), dim, kRows, dim, 0.7f}, 0, kRows);
      return y;
    };
    const auto got = run(table());
    // The exponent, up to 42, is rounded to 2^-19: that is the relative error of the result.
    EXPECT_TRUE(all_close(got, run(scalar_table()), {.abs = 1e-12, .rel = 6e-6})) << dim;
    EXPECT_NEAR(std::accumulate(&got[0], &got[dim], 0.0), 1.0, 1e-5) << dim;
  }
}

TEST_P(Elementwise, SoftmaxTakesMinusInfinityAndNanLikeScalar) {
  std::vector<float> x(40, 1.0f);
  x[3] = x[38] = -kInf;
  table().softmax({x.data(), 40, 1, 40, 1.0f}, 0, 1);
  EXPECT_EQ(x[3], 0.0f);
  EXPECT_EQ(x[38], 0.0f);
  EXPECT_NEAR(x[0], 1.0f / 38, 1e-7);
  for (const float bad : {kNan, kInf, -kInf}) {
    std::vector<float> y(40, bad);
    table().softmax({y.data(), 40, 1, 40, 1.0f}, 0, 1);
    for (const float value : y) EXPECT_TRUE(std::isnan(value)) << bad;
  }
}

TEST_P(Elementwise, AddMatchesScalar) {
  for (const std::size_t n : kDims) {
    const auto x = random_floats(n, rng);
    auto got = random_floats(n, rng);
    auto want = got;
    table().add(got.data(), x.data(), n);
    scalar_table().add(want.data(), x.data(), n);
    EXPECT_TRUE(same_bits(got, want)) << n;
  }
}

TEST_P(Elementwise, ArgmaxTakesTheLowestOfEqualsAndPassesOverNan) {
  for (const std::size_t n : kDims) {
    auto x = random_floats(n, rng);
    EXPECT_EQ(table().argmax(x.data(), n), scalar_table().argmax(x.data(), n)) << n;
    x[n / 2] = x[n - 1] = 2.0f;
    EXPECT_EQ(table().argmax(x.data(), n), n / 2) << n;
    std::fill(x.begin(), x.end(), kNan);
    EXPECT_EQ(table().argmax(x.data(), n), 0u) << n;
    x[n - 1] = -1.0f;
    EXPECT_EQ(table().argmax(x.data(), n), n - 1) << n;
    std::fill(x.begin(), x.end(), -kInf);
    EXPECT_EQ(table().argmax(x.data(), n), 0u) << n;
  }
  const float zeros[] = {-0.0f, 0.0f, -0.0f};
  EXPECT_EQ(table().argmax(zeros, 3), 0u);
  EXPECT_EQ(table().argmax(nullptr, 0), 0u);
}

TEST_P(Elementwise, Bf16ConversionsHaveTheBitsOfScalar) {
  std::vector<float> x = {
      0.0f,  -0.0f,   1.0f,   kInf,        -kInf,       kNan,
      -kNan, 3.4e38f, 1e-40f, 1.00390625f, 1.01171875f, -1.00390625f};  // the last three are ties
  for (int i = 0; i < 1000; ++i) {
    const std::uint32_t bits = static_cast<std::uint32_t>(rng());
    float value;
    std::memcpy(&value, &bits, sizeof value);
    x.push_back(value);
  }
  std::vector<bf16> got(x.size());
  std::vector<bf16> want(x.size());
  table().f32_to_bf16(got.data(), x.data(), x.size());
  scalar_table().f32_to_bf16(want.data(), x.data(), x.size());
  EXPECT_EQ(got, want);
  std::vector<float> got_wide(x.size());
  std::vector<float> want_wide(x.size());
  table().bf16_to_f32(got_wide.data(), got.data(), x.size());
  scalar_table().bf16_to_f32(want_wide.data(), got.data(), x.size());
  EXPECT_TRUE(same_bits(got_wide, want_wide));
  std::vector<float> rounded = x;
  table().round_to_bf16(rounded.data(), x.size());
  EXPECT_TRUE(same_bits(rounded, want_wide));
}

TEST_P(Elementwise, ThreadsDoNotChangeBits) {
  const std::size_t rows = 97;
  const std::size_t dim = 700;
  const auto x = random_floats(rows * dim, rng);
  const auto weight = random_floats(dim, rng);
  std::vector<float> want(rows * dim, kNan);
  RmsNormArgs args{want.data(), dim, x.data(), dim, weight.data(), rows, dim, 1e-6f};
  table().rms_norm(args, 0, rows);
  for (const unsigned threads : {1u, 3u}) {
    ThreadPool pool({.num_threads = threads});
    std::vector<float> got(rows * dim, kNan);
    args.y = got.data();
    rms_norm({&table(), &pool}, args);
    EXPECT_TRUE(same_bits(got, want)) << threads;
  }
}

INSTANTIATE_TEST_SUITE_P(Kernels, Elementwise, ::testing::ValuesIn(runnable_tables()), isa_name);

}  // namespace
}  // namespace ponder::kernels
