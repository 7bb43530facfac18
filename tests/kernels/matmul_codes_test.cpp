// Matrix products with int8 and int4 weights: exact in integers, so every row of the table must
// have the scalar row's bits.

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "kernels/ops.h"
#include "kernels/packed_weights.h"
#include "tests/kernels/cases.h"
#include "tests/kernels/compare.h"
#include "tests/kernels/emulated.h"

namespace ponder::kernels {
namespace {

struct Format {
  DType dtype;
  std::size_t group;
  bool is_packed = false;
};
constexpr Format kFormats[] = {
    {DType::int8, 32},       {DType::int8, 128},       {DType::int4, 32},
    {DType::int4, 64},       {DType::int4, 128},       {DType::int8, 32, true},
    {DType::int8, 64, true}, {DType::int8, 128, true}, {DType::int4, 32, true},
    {DType::int4, 64, true}, {DType::int4, 128, true}};

struct Case {
  Format format;
  std::size_t m;
  std::size_t n;
  std::size_t k;
  std::vector<float> x;
  std::vector<int> codes;  // [n, k]
  std::vector<std::uint8_t> w;
  std::vector<bf16> scales;  // [ceil(n/16), k/group, 16]

  float scale_at(std::size_t row, std::size_t col) const {
    const std::size_t block = row / 16 * (k / format.group) + col / format.group;
    return bf16_to_f32(scales[block * 16 + row % 16]);
  }
};

/// Stores the codes as the format wants them.
void pack(Case& c) {
  c.w.assign(c.format.dtype == DType::int8 ? c.codes.size() : c.codes.size() / 2, 0);
  for (std::size_t i = 0; i < c.codes.size(); ++i) {
    if (c.format.dtype == DType::int8) {
      c.w[i] = static_cast<std::uint8_t>(c.codes[i]);
    } else {
      c.w[i / 2] |= static_cast<std::uint8_t>((c.codes[i] + 8) << (i % 2 * 4));
    }
  }
  if (!c.format.is_packed) return;
  const std::size_t row_bytes = c.w.size() / c.n;
  std::vector<std::uint8_t> packed(packed_bytes(c.n, row_bytes), 0xee);
  pack_weights(c.w.data(), c.n, row_bytes, packed.data());
  c.w = std::move(packed);
}

Case make_case(Format format, std::size_t m, std::size_t n, std::size_t k, std::mt19937_64& rng) {
  Case c{format, m, n, k, random_floats(m * k, rng), {}, {}, {}};
  const int most = format.dtype == DType::int8 ? 128 : 8;
  std::uniform_int_distribution<int> code(-most, most - 1);  // every code that can be stored
  for (std::size_t i = 0; i < n * k; ++i) c.codes.push_back(code(rng));
  c.scales = to_bf16(random_floats((n + 15) / 16 * 16 * (k / format.group), rng));
  pack(c);
  return c;
}

MatmulArgs args_of(const Case& c, std::vector<float>& y) {
  MatmulArgs args{};
  args.y = y.data();
  args.y_stride = c.n;
  args.x = c.x.data();
  args.x_stride = c.k;
  args.w = c.w.data();
  args.w_stride = c.format.is_packed ? 0 : c.k;
  args.w_is_packed = c.format.is_packed;
  args.w_dtype = c.format.dtype;
  args.m = c.m;
  args.n = c.n;
  args.k = c.k;
  args.w_group_scales = c.scales.data();
  args.w_group = c.format.group;
  return args;
}

std::vector<float> run(const KernelTable& table, const Case& c) {
  std::vector<float> y(c.m * c.n, kNan);
  table.matmul(args_of(c, y), 0, c.m, 0, c.n);
  return y;
}

class MatmulCodes : public EveryIsa {};

TEST_P(MatmulCodes, HasTheScalarRowsBitsOnOddShapes) {
  for (const Format format : kFormats) {
    for (const auto& [m, n] : {std::pair<std::size_t, std::size_t>{1, 1},
                               {1, 100},
                               {2, 17},
                               {3, 8},
                               {4, 31},
                               {5, 33},
                               {7, 16},
                               {15, 40},
                               {33, 48},
                               {99, 19}}) {
      for (const std::size_t k : {128u, 640u}) {
        SCOPED_TRACE(::testing::Message()
                     << "dtype=" << int(format.dtype) << " group=" << format.group
                     << " packed=" << format.is_packed << " m=" << m << " n=" << n << " k=" << k);
        const Case c = make_case(format, m, n, k, rng);
        ASSERT_TRUE(same_bits(run(table(), c), run(scalar_table(), c)));
      }
    }
  }
}

TEST_P(MatmulCodes, PackedWeightsGiveTheBitsOfPlainOnes) {
  for (const Format format : kFormats) {
    Case c = make_case(format, 6, 37, 384, rng);
    const std::vector<float> got = run(table(), c);
    c.format.is_packed = !format.is_packed;
    pack(c);
    EXPECT_TRUE(same_bits(run(table(), c), got)) << int(format.dtype) << " " << format.group;
  }
}

TEST_P(MatmulCodes, DiffersFromTheExactProductByTheRoundingOfXAlone) {
  for (const Format format : kFormats) {
    const Case c = make_case(format, 3, 21, 512, rng);
    const std::vector<float> got = run(table(), c);
    for (std::size_t m = 0; m < c.m; ++m) {
      for (std::size_t n = 0; n < c.n; ++n) {
        double exact = 0.0;
        double bound = 0.0;
        for (std::size_t k = 0; k < c.k; ++k) {
          const double w = static_cast<double>(c.codes[n * c.k + k]) * c.scale_at(n, k);
          exact += w * c.x[m * c.k + k];
          // |x| < 1, so half a step of x is below 1/254; fp32 roundings are far smaller.
          bound += std::abs(w) * 0.501 / 127;
        }
        ASSERT_NEAR(got[m * c.n + n], exact, bound) << m << "," << n;
      }
    }
  }
}

TEST_P(MatmulCodes, TheLargestCodesDoNotOverflow) {
  for (const Format format : kFormats) {
    Case c = make_case(format, 2, 16, 256, rng);
    std::fill(c.x.begin(), c.x.end(), -1.0f);
    const int lowest = format.dtype == DType::int8 ? -128 : -8;
    std::fill(c.codes.begin(), c.codes.end(), lowest);
    std::fill(c.scales.begin(), c.scales.end(), f32_to_bf16(1.0f));
    pack(c);
    for (const float y : run(table(), c)) EXPECT_FLOAT_EQ(y, static_cast<float>(-lowest) * 256);
  }
}

TEST_P(MatmulCodes, OneRowAloneHasTheBitsThatItHasAmongOthers) {
  for (const Format format : kFormats) {
    const Case c = make_case(format, 101, 45, 1152, rng);  // more rows and inputs than at once
    const std::vector<float> together = run(table(), c);
    std::vector<float> alone(c.m * c.n, kNan);
    for (std::size_t m = 0; m < c.m; ++m) {
      for (std::size_t n = 0; n < c.n; n += 7) {
        table().matmul(args_of(c, alone), m, m + 1, n, std::min(c.n, n + 7));
      }
    }
    EXPECT_TRUE(same_bits(alone, together)) << int(format.dtype) << " " << format.group;
  }
}

TEST_P(MatmulCodes, ThreadsAndJobListsDoNotChangeBits) {
  const Case a = make_case({DType::int4, 64}, 37, 701, 256, rng);
  const Case b = make_case({DType::int8, 128}, 1, 1500, 384, rng);
  const Case c = make_case({DType::int8, 128, true}, 230, 701, 256, rng);
  const Case d = make_case({DType::int4, 32, true}, 2, 1500, 384, rng);
  for (const unsigned threads : {1u, 3u}) {
    ThreadPool pool({.num_threads = threads});
    std::vector<std::vector<float>> y;
    std::vector<MatmulArgs> jobs;
    for (const Case* one : {&a, &b, &c, &d}) y.emplace_back(one->m * one->n, kNan);
    jobs = {args_of(a, y[0]), args_of(b, y[1]), args_of(c, y[2]), args_of(d, y[3])};
    matmul({&table(), &pool}, jobs.data(), jobs.size());
    EXPECT_TRUE(same_bits(y[0], run(table(), a))) << threads;
    EXPECT_TRUE(same_bits(y[1], run(table(), b))) << threads;
    EXPECT_TRUE(same_bits(y[2], run(table(), c))) << threads;
    EXPECT_TRUE(same_bits(y[3], run(table(), d))) << threads;
  }
}

TEST_P(MatmulCodes, ReadsAndWritesOnlyWithinItsStrides) {
  const Case c = make_case({DType::int4, 32}, 3, 6, 128, rng);
  std::vector<float> x(3 * 131, kNan);
  std::vector<std::uint8_t> w(6 * 80, 0xff);
  for (std::size_t r = 0; r < 3; ++r) std::copy_n(&c.x[r * 128], 128, &x[r * 131]);
  for (std::size_t r = 0; r < 6; ++r) std::copy_n(&c.w[r * 64], 64, &w[r * 80]);
  std::vector<float> y(3 * 9, -7.0f);
  MatmulArgs args = args_of(c, y);
  args.x = x.data();
  args.x_stride = 131;
  args.w = w.data();
  args.w_stride = 160;
  args.y_stride = 9;
  table().matmul(args, 0, 3, 0, 6);
  const std::vector<float> want = run(table(), c);
  for (std::size_t r = 0; r < 3; ++r) {
    const std::vector<float> got(&y[r * 9], &y[r * 9 + 6]);
    EXPECT_TRUE(same_bits(got, std::vector<float>(&want[r * 6], &want[r * 6 + 6])));
    for (std::size_t i = 6; i < 9; ++i) EXPECT_EQ(y[r * 9 + i], -7.0f);
  }
}

TEST_P(MatmulCodes, InputsThatAreNotFiniteMakeTheirRowNanAndNoOther) {
  for (const Format format : kFormats) {
    for (const float bad : {kNan, kInf, -kInf}) {
      for (const std::size_t m : {3u, 21u}) {
        Case c = make_case(format, m, 18, 256, rng);
        c.x[1 * 256 + 200] = bad;
        const std::vector<float> got = run(table(), c);
        for (std::size_t i = 0; i < got.size(); ++i) {
          EXPECT_EQ(std::isnan(got[i]), i / 18 == 1) << i;
        }
      }
    }
  }
}

TEST_P(MatmulCodes, PackedWeightsWriteTheirRangeAndNothingElse) {
  for (const std::size_t m : {1u, 4u, 9u}) {
    const Case c = make_case({DType::int4, 32, true}, m, 50, 256, rng);
    const std::vector<float> whole = run(table(), c);
    std::vector<float> y(m * 50, -7.0f);
    table().matmul(args_of(c, y), 0, m, 13, 39);
    for (std::size_t i = 0; i < y.size(); ++i) {
      const bool is_in_range = i % 50 >= 13 && i % 50 < 39;
      EXPECT_EQ(y[i], is_in_range ? whole[i] : -7.0f) << i;
    }
  }
}

TEST_P(MatmulCodes, InputsTooSmallToScaleCountAsZeros) {
  Case c = make_case({DType::int4, 128}, 2, 5, 256, rng);
  for (std::size_t i = 0; i < 128; ++i) c.x[i] = 1e-38f;
  const std::vector<float> got = run(table(), c);
  EXPECT_TRUE(same_bits(got, run(scalar_table(), c)));
  std::fill_n(c.x.begin(), 128, 0.0f);
  EXPECT_TRUE(same_bits(got, run(scalar_table(), c)));
}

TEST(PackedWeights, InterleaveTheWordsOfSixteenRows) {
  constexpr std::size_t kRows = 21;  // a block and five rows
  constexpr std::size_t kRowBytes = 12;
  std::vector<std::uint8_t> rows(kRows * kRowBytes);
  for (std::size_t i = 0; i < rows.size(); ++i) rows[i] = static_cast<std::uint8_t>(i + 1);
  ASSERT_EQ(packed_bytes(kRows, kRowBytes), 32 * kRowBytes);
  std::vector<std::uint8_t> packed(32 * kRowBytes, 0xee);
  pack_weights(rows.data(), kRows, kRowBytes, packed.data());
  for (std::size_t row = 0; row < 32; ++row) {
    for (std::size_t byte = 0; byte < kRowBytes; ++byte) {
      const std::size_t at = row / 16 * 16 * kRowBytes + byte / 4 * 64 + row % 16 * 4 + byte % 4;
      EXPECT_EQ(packed[at], row < kRows ? rows[row * kRowBytes + byte] : 0) << row << "," << byte;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Kernels, MatmulCodes, ::testing::ValuesIn(tables_and_emulation()),
                         isa_name);

}  // namespace
}  // namespace ponder::kernels
