#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "kernels/ops.h"
#include "tests/kernels/cases.h"
#include "tests/kernels/compare.h"
#include "tests/kernels/emulated.h"

namespace ponder::kernels {
namespace {

struct Case {
  std::size_t m;
  std::size_t n;
  std::size_t k;
  DType dtype;
  std::vector<float> x;
  std::vector<float> w_f32;
  std::vector<bf16> w_bf16;
  std::vector<fp8_e4m3> w_fp8;
  std::vector<float> scales;
};

Case make_case(std::size_t m, std::size_t n, std::size_t k, DType dtype, std::mt19937_64& rng) {
  Case c{m, n, k, dtype, random_floats(m * k, rng), random_floats(n * k, rng), {}, {}, {}};
  c.w_bf16 = to_bf16(c.w_f32);
  std::uniform_int_distribution<int> byte(0, 255);
  for (std::size_t i = 0; i < n * k; ++i) {
    const int code = byte(rng);
    // Exponents up to 2^0 only, so that weights are of the size that the error model assumes.
    c.w_fp8.push_back(static_cast<fp8_e4m3>(code & 0xbf));
  }
  c.scales = random_floats((n + 127) / 128 * ((k + 127) / 128), rng);
  return c;
}

MatmulArgs args_of(const Case& c, std::vector<float>& y) {
  MatmulArgs args{};
  args.y = y.data();
  args.y_stride = c.n;
  args.x = c.x.data();
  args.x_stride = c.k;
  args.w_stride = c.k;
  args.w_scales = c.scales.data();
  args.w_scales_stride = (c.k + 127) / 128;
  args.w_dtype = c.dtype;
  args.m = c.m;
  args.n = c.n;
  args.k = c.k;
  if (c.dtype == DType::f32) args.w = c.w_f32.data();
  if (c.dtype == DType::bf16) args.w = c.w_bf16.data();
  if (c.dtype == DType::fp8_e4m3) args.w = c.w_fp8.data();
  return args;
}

std::vector<float> run(const KernelTable& table, const Case& c) {
  std::vector<float> y(c.m * c.n, kNan);
  table.matmul(args_of(c, y), 0, c.m, 0, c.n);
  return y;
}

// Partial sums of k products are of the size sqrt(k) (factors within 1, fp8 weights within 2); a
// chain of k/8 + 8 roundings walks away from the exact sum by the root of its length. Times four.
Tolerance tolerance_for(std::size_t k) {
  const auto length = static_cast<double>(k);
  return {.abs = 8 * kUnitRoundoff * std::sqrt(length) * std::sqrt(length / 8 + 8)};
}

constexpr DType kDTypes[] = {DType::f32, DType::bf16, DType::fp8_e4m3};

class Matmul : public EveryIsa {};

TEST_P(Matmul, MatchesScalarOnOddShapes) {
  for (const DType dtype : kDTypes) {
    for (const std::size_t k : {1u, 7u, 8u, 15u, 63u, 64u, 65u, 129u, 512u, 1025u}) {
      for (const auto& [m, n] : {std::pair<std::size_t, std::size_t>{1, 1},
                                 {1, 13},
                                 {2, 9},
                                 {3, 4},
                                 {5, 7},
                                 {6, 8},
                                 {7, 33},
                                 {2, 130},
                                 {13, 3}}) {
        SCOPED_TRACE(::testing::Message()
                     << "dtype=" << int(dtype) << " m=" << m << " n=" << n << " k=" << k);
        const Case c = make_case(m, n, k, dtype, rng);
        ASSERT_TRUE(all_close(run(table(), c), run(scalar_table(), c), tolerance_for(k)));
      }
    }
  }
}

TEST_P(Matmul, OneRowAloneHasTheBitsThatItHasAmongOthers) {
  for (const DType dtype : kDTypes) {
    for (const std::size_t k : {31u, 257u, 1100u}) {
      const Case c = make_case(23, 29, k, dtype, rng);
      const std::vector<float> together = run(table(), c);
      std::vector<float> alone(c.m * c.n, kNan);
      for (std::size_t m = 0; m < c.m; ++m) {
        for (std::size_t n = 0; n < c.n; n += 5) {
          table().matmul(args_of(c, alone), m, m + 1, n, std::min(c.n, n + 5));
        }
      }
      EXPECT_TRUE(same_bits(alone, together)) << "dtype=" << int(dtype) << " k=" << k;
    }
  }
}

TEST_P(Matmul, ThreadsAndJobListsDoNotChangeBits) {
  const Case a = make_case(37, 201, 300, DType::bf16, rng);
  const Case b = make_case(130, 67, 160, DType::f32, rng);
  const Case c = make_case(1, 1500, 256, DType::fp8_e4m3, rng);
  for (const unsigned threads : {1u, 2u, 5u}) {
    ThreadPool pool({.num_threads = threads});
    std::vector<float> ya(a.m * a.n, kNan);
    std::vector<float> yb(b.m * b.n, kNan);
    std::vector<float> yc(c.m * c.n, kNan);
    const MatmulArgs jobs[] = {args_of(a, ya), args_of(b, yb), args_of(c, yc)};
    matmul({&table(), &pool}, jobs, 3);
    EXPECT_TRUE(same_bits(ya, run(table(), a))) << threads;
    EXPECT_TRUE(same_bits(yb, run(table(), b))) << threads;
    EXPECT_TRUE(same_bits(yc, run(table(), c))) << threads;
  }
}

TEST_P(Matmul, ManyTinyJobsAreAllDoneOnce) {
  ThreadPool pool({.num_threads = 3});
  std::vector<Case> cases;
  for (std::size_t i = 0; i < 40; ++i) {
    cases.push_back(make_case(i % 4, 1 + i % 7, 64 + i, DType::bf16, rng));  // some without rows
  }
  std::vector<std::vector<float>> outputs;
  for (const Case& c : cases) outputs.emplace_back(c.m * c.n, kNan);
  std::vector<MatmulArgs> jobs;
  for (std::size_t i = 0; i < cases.size(); ++i) jobs.push_back(args_of(cases[i], outputs[i]));
  matmul({&table(), &pool}, jobs.data(), jobs.size());
  for (std::size_t i = 0; i < cases.size(); ++i) {
    EXPECT_TRUE(same_bits(outputs[i], run(table(), cases[i]))) << i;
  }
}

TEST_P(Matmul, ReadsAndWritesOnlyWithinItsStrides) {
  Case c = make_case(5, 6, 19, DType::f32, rng);
  std::vector<float> x(5 * 23, kNan);  // NaN between the rows: a read past the end shows
  std::vector<float> w(6 * 21, kNan);
  for (std::size_t r = 0; r < 5; ++r) std::copy_n(&c.x[r * 19], 19, &x[r * 23]);
  for (std::size_t r = 0; r < 6; ++r) std::copy_n(&c.w_f32[r * 19], 19, &w[r * 21]);
  std::vector<float> y(5 * 9, -7.0f);
  MatmulArgs args = args_of(c, y);
  args.x = x.data();
  args.x_stride = 23;
  args.w = w.data();
  args.w_stride = 21;
  args.y_stride = 9;
  table().matmul(args, 0, 5, 0, 6);
  const std::vector<float> want = run(table(), c);
  for (std::size_t r = 0; r < 5; ++r) {
    const std::vector<float> got(&y[r * 9], &y[r * 9 + 6]);
    EXPECT_TRUE(same_bits(got, std::vector<float>(&want[r * 6], &want[r * 6 + 6])));
    for (std::size_t i = 6; i < 9; ++i) EXPECT_EQ(y[r * 9 + i], -7.0f);
  }
}

TEST_P(Matmul, NanAndInfinityReachExactlyTheirOutputs) {
  Case c = make_case(4, 9, 70, DType::bf16, rng);
  c.x[1 * 70 + 69] = kNan;
  c.w_bf16[3 * 70 + 64] = f32_to_bf16(kInf);
  const std::vector<float> want = run(scalar_table(), c);
  EXPECT_TRUE(std::isnan(want[1 * 9 + 0]));
  EXPECT_TRUE(std::isinf(want[0 * 9 + 3]));
  EXPECT_TRUE(all_close(run(table(), c), want, tolerance_for(70)));
}

TEST_P(Matmul, EveryFp8CodeMeansWhatTheFormatSaysInEveryLane) {
  // Each output meets one code, at a place of its own among zeros; 9 rows are decoded in advance.
  for (const std::size_t m : {1u, 9u}) {
    for (const std::size_t k : {1u, 75u}) {
      for (std::size_t offset = 0; offset < k; ++offset) {
        Case c = make_case(m, 256, k, DType::fp8_e4m3, rng);
        std::fill(c.x.begin(), c.x.end(), 1.0f);
        std::fill(c.w_fp8.begin(), c.w_fp8.end(), fp8_e4m3{0});
        c.scales = {0.5f, 3.0f};
        std::vector<float> want(m * 256);
        for (std::size_t code = 0; code < 256; ++code) {
          const auto value = static_cast<fp8_e4m3>(code);
          c.w_fp8[code * k + (code + offset) % k] = value;
          for (std::size_t row = 0; row < m; ++row) {
            want[row * 256 + code] = fp8_e4m3_to_f32(value) * c.scales[code / 128];
          }
        }
        ASSERT_TRUE(all_close(run(table(), c), want, {})) << "m=" << m << " offset=" << offset;
      }
    }
  }
}

TEST_P(Matmul, NoInputsGiveZeros) {
  Case c = make_case(2, 5, 0, DType::f32, rng);
  EXPECT_EQ(run(table(), c), std::vector<float>(10, 0.0f));
}

// With x rounded: products of factors within 1 and 2 whose inputs are off by 2^-9, as are fp8
// weights after scaling. The error of k random ones walks to the root of k times that; times four.
Tolerance rounded_tolerance_for(std::size_t k) {
  return {.abs = 4 * 2.0 * 2 * 0x1p-9 * std::sqrt(static_cast<double>(k))};
}

MatmulArgs rounded_args_of(const Case& c, std::vector<float>& y) {
  MatmulArgs args = args_of(c, y);
  args.may_round_x = true;
  return args;
}

TEST_P(Matmul, RoundedInputsStayNearTheExactProduct) {
  for (const DType dtype : kDTypes) {
    for (const std::size_t k : {1u, 17u, 129u, 1025u}) {
      for (const auto& [m, n] : {std::pair<std::size_t, std::size_t>{1, 1},
                                 {1, 13},
                                 {2, 130},
                                 {5, 7},
                                 {33, 19},
                                 {99, 6}}) {
        SCOPED_TRACE(::testing::Message()
                     << "dtype=" << int(dtype) << " m=" << m << " n=" << n << " k=" << k);
        const Case c = make_case(m, n, k, dtype, rng);
        std::vector<float> got(m * n, kNan);
        table().matmul(rounded_args_of(c, got), 0, m, 0, n);
        ASSERT_TRUE(all_close(got, run(scalar_table(), c), rounded_tolerance_for(k)));
      }
    }
  }
}

TEST_P(Matmul, RoundedInputsThatAreRoundAlreadyLoseNothing) {
  // Whole numbers up to 8 are exact in bf16 and in fp8, and so are their sums in fp32.
  Case c = make_case(7, 21, 200, DType::bf16, rng);
  std::uniform_int_distribution<int> digit(-8, 8);
  for (float& x : c.x) x = static_cast<float>(digit(rng));
  for (float& w : c.w_f32) w = static_cast<float>(digit(rng));
  c.w_bf16 = to_bf16(c.w_f32);
  std::vector<float> got(c.m * c.n, kNan);
  table().matmul(rounded_args_of(c, got), 0, c.m, 0, c.n);
  EXPECT_TRUE(same_bits(got, run(scalar_table(), c)));
}

TEST_P(Matmul, RoundedRowsAloneHaveTheBitsThatTheyHaveAmongOthers) {
  for (const DType dtype : {DType::bf16, DType::fp8_e4m3}) {
    for (const std::size_t k : {31u, 257u, 1100u}) {
      const Case c = make_case(100, 29, k, dtype, rng);
      std::vector<float> together(c.m * c.n, kNan);
      table().matmul(rounded_args_of(c, together), 0, c.m, 0, c.n);
      for (const std::size_t m : {0u, 5u, 17u, 95u, 96u, 99u}) {
        std::vector<float> alone(c.m * c.n, kNan);
        for (std::size_t n = 0; n < c.n; n += 5) {
          table().matmul(rounded_args_of(c, alone), m, m + 1, n, std::min(c.n, n + 5));
        }
        const auto row = [&](const std::vector<float>& y) {
          return std::vector<float>(&y[m * c.n], &y[m * c.n] + c.n);
        };
        EXPECT_TRUE(same_bits(row(alone), row(together))) << int(dtype) << " k=" << k << " m=" << m;
      }
    }
  }
}

TEST_P(Matmul, RoundedInputsKeepNanAndInfinityInTheirPlaces) {
  Case c = make_case(9, 12, 70, DType::bf16, rng);
  c.x[1 * 70 + 69] = kNan;
  c.x[2 * 70 + 3] = -kInf;
  c.w_bf16[3 * 70 + 64] = f32_to_bf16(kInf);
  std::vector<float> got(c.m * c.n, -7.0f);
  table().matmul(rounded_args_of(c, got), 0, c.m, 0, c.n);
  EXPECT_TRUE(all_close(got, run(scalar_table(), c), rounded_tolerance_for(70)));
}

INSTANTIATE_TEST_SUITE_P(Kernels, Matmul, ::testing::ValuesIn(tables_and_emulation()), isa_name);

}  // namespace
}  // namespace ponder::kernels
