#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <memory>

#include "kernels/ops.h"
#include "kernels/packed_bf16.h"
#include "tests/kernels/cases.h"
#include "tests/kernels/compare.h"
#include "tests/kernels/emulated.h"

namespace ponder::kernels {
namespace {

struct Free {
  void operator()(std::uint8_t* p) const { std::free(p); }
};

struct Packed {
  std::unique_ptr<std::uint8_t, Free> bytes;
  PackedBf16Plan plan;
};

Packed pack(const std::vector<bf16>& rows, std::size_t n, std::size_t k) {
  PackedBf16Plan plan(n, k);
  choose_windows(plan, rows.data(), 0, plan.shape.bands);
  const std::size_t size = place_bands(plan);
  const std::size_t whole = (size + kPackedAlignment) / kPackedAlignment * kPackedAlignment;
  auto* bytes = static_cast<std::uint8_t*>(std::aligned_alloc(kPackedAlignment, whole));
  std::fill_n(bytes, whole, std::uint8_t{0xa5});
  // In pieces and out of order, as threads may.
  const std::size_t middle = plan.shape.bands / 2;
  pack_bands(plan, rows.data(), middle, plan.shape.bands, bytes);
  pack_bands(plan, rows.data(), 0, middle, bytes);
  return {std::unique_ptr<std::uint8_t, Free>(bytes), std::move(plan)};
}

std::size_t count_windows(const Packed& packed, auto is_wanted) {
  const auto& windows = packed.plan.windows;
  return static_cast<std::size_t>(std::count_if(windows.begin(), windows.end(), is_wanted));
}
std::size_t count_raw(const Packed& packed) {
  return count_windows(packed, [](std::uint8_t window) { return window == kPackedRaw; });
}

struct Case {
  std::size_t m;
  std::size_t n;
  std::size_t k;
  std::vector<float> x;
  std::vector<bf16> w;
};

std::vector<bf16> normal_weights(std::size_t count, std::mt19937_64& rng) {
  std::normal_distribution<float> normal(0.0f, 0.02f);
  std::vector<bf16> weights(count);
  for (bf16& weight : weights) weight = f32_to_bf16(normal(rng));
  return weights;
}

Case make_case(std::size_t m, std::size_t n, std::size_t k, std::mt19937_64& rng) {
  return {m, n, k, random_floats(m * k, rng), normal_weights(n * k, rng)};
}

MatmulArgs args_of(const Case& c, std::vector<float>& y) {
  MatmulArgs args{};
  args.y = y.data();
  args.y_stride = c.n;
  args.x = c.x.data();
  args.x_stride = c.k;
  args.w = c.w.data();
  args.w_stride = c.k;
  args.w_dtype = DType::bf16;
  args.m = c.m;
  args.n = c.n;
  args.k = c.k;
  return args;
}

MatmulArgs packed_args_of(const Case& c, const Packed& packed, std::vector<float>& y) {
  MatmulArgs args = args_of(c, y);
  args.w = packed.bytes.get();
  args.w_stride = 0;
  args.w_is_packed = true;
  return args;
}

std::vector<float> run(const KernelTable& table, const Case& c) {
  std::vector<float> y(c.m * c.n, kNan);
  table.matmul(args_of(c, y), 0, c.m, 0, c.n);
  return y;
}

std::vector<float> run_packed(const KernelTable& table, const Case& c) {
  const Packed packed = pack(c.w, c.n, c.k);
  std::vector<float> y(c.m * c.n, -7.0f);
  table.matmul(packed_args_of(c, packed, y), 0, c.m, 0, c.n);
  return y;
}

// NaN is NaN, whichever of several operands it came from; all else to the bit.
::testing::AssertionResult same_numbers(std::vector<float> got, std::vector<float> want) {
  for (std::vector<float>* values : {&got, &want}) {
    for (float& value : *values) value = std::isnan(value) ? kNan : value;
  }
  return same_bits(got, want);
}

class PackedBf16Matmul : public EveryIsa {
 protected:
  void expect_same(const Case& c) const {
    ASSERT_TRUE(same_numbers(run_packed(table(), c), run(table(), c)))
        << "m=" << c.m << " n=" << c.n << " k=" << c.k;
  }
};

TEST_P(PackedBf16Matmul, HasTheBitsOfUnpackedWeightsInOddShapes) {
  for (const std::size_t k :
       {0u, 1u, 15u, 63u, 64u, 65u, 200u, 1023u, 1024u, 1025u, 1090u, 2112u}) {
    for (const std::size_t m : {1u, 2u, 3u, 4u, 5u, 6u, 7u, 13u}) {
      for (const std::size_t n : {1u, 3u, 4u, 15u, 16u, 17u, 37u}) {
        expect_same(make_case(m, n, k, rng));
      }
    }
  }
}

TEST_P(PackedBf16Matmul, HasTheBitsOfUnpackedWeightsForPrompts) {
  expect_same(make_case(97, 70, 1300, rng));
  expect_same(make_case(130, 33, 64, rng));
}

// Several bands are unpacked together where k, or its last section, is narrow.
TEST_P(PackedBf16Matmul, HasTheBitsOfUnpackedWeightsWhereRowsAreNarrow) {
  for (const std::size_t k : {1u, 32u, 64u, 100u, 128u, 192u, 512u, 513u, 1088u}) {
    const Case c = make_case(13, 307, k, rng);
    const Packed packed = pack(c.w, c.n, c.k);
    const std::vector<float> want = run(table(), c);
    for (const std::size_t columns : {37u, 100u, 307u}) {
      std::vector<float> y(c.m * c.n, -7.0f);
      for (std::size_t n = 0; n < c.n; n += columns) {
        table().matmul(packed_args_of(c, packed, y), 0, c.m, n, std::min(c.n, n + columns));
      }
      ASSERT_TRUE(same_bits(y, want)) << "k=" << k << ", " << columns << " columns";
    }
  }
}

TEST_P(PackedBf16Matmul, KeepsEveryBf16InEveryPlace) {
  // One weight of each row is any of the 65536 words, the others are zeros or in its window; the
  // product with one shows it.
  for (const std::size_t m : {1u, 7u}) {
    Case c = make_case(m, 65536, 64, rng);
    std::fill(c.w.begin(), c.w.end(), bf16{0});
    std::fill(c.x.begin(), c.x.end(), 1.0f);
    for (std::size_t row = 0; row < c.n; ++row) {
      c.w[row * c.k + (row * 7 + row / 64) % 64] = static_cast<bf16>(row);
    }
    const std::vector<float> y = run_packed(table(), c);
    std::vector<float> want(c.m * c.n);
    for (std::size_t i = 0; i < want.size(); ++i) {
      want[i] = bf16_to_f32(static_cast<bf16>(i % c.n));
      if (want[i] == 0.0f) want[i] = 0.0f;  // -0 and +0 make +0
    }
    ASSERT_TRUE(same_numbers(y, want)) << m;
  }
}

// Changes some weights to what `values` has, at random places.
void scatter(Case& c, const std::vector<bf16>& values, std::size_t every, std::mt19937_64& rng) {
  for (std::size_t i = rng() % every; i < c.w.size(); i += 1 + rng() % (2 * every)) {
    c.w[i] = values[rng() % values.size()];
  }
}

TEST_P(PackedBf16Matmul, HasTheBitsOfUnpackedWeightsWithOddValues) {
  const std::vector<std::vector<bf16>> oddities = {
      {0x0000},                          // zero
      {0x0000, 0x8000},                  // and minus zero
      {0x0001, 0x807f, 0x0080, 0x00ff},  // denormals and the smallest numbers
      {0x7f80},                          // infinity
      {0xff80, 0x7fc0, 0xff81},          // and NaN
      {0x4270, 0xc270},                  // outliers
      {0x7f7f, 0x0001},                  // the largest and the smallest
  };
  for (const auto& values : oddities) {
    for (const std::size_t every : {3u, 100u, 3000u}) {
      for (const std::size_t m : {1u, 2u, 6u, 9u}) {
        Case c = make_case(m, 39, 1234, rng);
        scatter(c, values, every, rng);
        ASSERT_NO_FATAL_FAILURE(expect_same(c)) << std::hex << values[0] << " every " << every;
      }
    }
  }
}

TEST_P(PackedBf16Matmul, KeepsTheSignsOfZeros) {
  // Products that vanish leave -0 behind; adding a column that is not there would make it +0.
  for (const std::size_t k : {1u, 16u, 64u, 80u, 1024u, 1040u}) {
    for (const std::size_t m : {1u, 7u}) {
      Case c = make_case(m, 5, k, rng);
      std::fill(c.w.begin(), c.w.end(), bf16{0x0080});
      std::fill(c.x.begin(), c.x.end(), -1e-30f);
      expect_same(c);
    }
  }
}

TEST_P(PackedBf16Matmul, RangesGiveTheBitsOfTheWholeAndLeaveTheRestAlone) {
  const Case c = make_case(9, 53, 1200, rng);
  const Packed packed = pack(c.w, c.n, c.k);
  const std::vector<float> want = run(table(), c);
  for (const std::size_t rows : {1u, 3u, 9u}) {
    for (const std::size_t columns : {1u, 5u, 18u}) {
      std::vector<float> y(c.m * c.n, -7.0f);
      for (std::size_t m = 0; m < c.m; m += rows) {
        for (std::size_t n = 0; n < c.n; n += columns) {
          const std::size_t m_end = std::min(c.m, m + rows);
          const std::size_t n_end = std::min(c.n, n + columns);
          std::vector<float> part(c.m * c.n, -7.0f);
          table().matmul(packed_args_of(c, packed, part), m, m_end, n, n_end);
          for (std::size_t i = 0; i < part.size(); ++i) {
            const std::size_t row = i / c.n;
            const std::size_t column = i % c.n;
            const bool is_in = row >= m && row < m_end && column >= n && column < n_end;
            if (is_in) {
              y[i] = part[i];
            } else {
              ASSERT_EQ(part[i], -7.0f) << row << " " << column;
            }
          }
        }
      }
      ASSERT_TRUE(same_bits(y, want)) << rows << " by " << columns;
    }
  }
}

TEST_P(PackedBf16Matmul, ThreadsDoNotChangeBits) {
  for (const std::size_t m : {1u, 4u, 100u}) {
    const Case c = make_case(m, 203, 1500, rng);
    const Packed packed = pack(c.w, c.n, c.k);
    for (const unsigned threads : {1u, 3u}) {
      ThreadPool pool({.num_threads = threads});
      std::vector<float> y(c.m * c.n, kNan);
      matmul({&table(), &pool}, packed_args_of(c, packed, y));
      EXPECT_TRUE(same_bits(y, run(table(), c))) << m << " rows, " << threads << " threads";
    }
  }
}

TEST_P(PackedBf16Matmul, MayRoundXDoesNotRoundForPackedWeights) {
  const Case c = make_case(5, 40, 300, rng);
  const Packed packed = pack(c.w, c.n, c.k);
  std::vector<float> y(c.m * c.n, kNan);
  MatmulArgs args = packed_args_of(c, packed, y);
  args.may_round_x = true;
  table().matmul(args, 0, c.m, 0, c.n);
  EXPECT_TRUE(same_bits(y, run(table(), c)));
}

INSTANTIATE_TEST_SUITE_P(Kernels, PackedBf16Matmul, ::testing::ValuesIn(tables_and_emulation()),
                         isa_name);

// All weights of a matrix that fits one band.
std::vector<bf16> unpack(const Packed& packed, std::size_t n, std::size_t k) {
  std::vector<bf16> rows(n * k);
  const std::uint8_t* window = packed.plan.windows.data();
  const std::uint8_t* at = packed.bytes.get() + packed.plan.offsets[0];
  for (std::size_t section = 0; section < k; section += kPackedSection) {
    for (std::size_t row = 0; row < n; row += kPackedRows) {
      const std::size_t end = std::min(k, section + kPackedSection);
      for (std::size_t column = section; column < end; column += kPackedColumns) {
        const std::size_t columns = std::min(kPackedColumns, end - column);
        std::vector<bf16> weights(kPackedRows * columns);
        at += unpack_bf16(at, columns < kPackedColumns ? kPackedRaw : *window++, columns,
                          weights.data());
        for (std::size_t r = row; r < std::min(n, row + kPackedRows); ++r) {
          std::copy_n(&weights[(r - row) * columns], columns, &rows[r * k + column]);
        }
      }
    }
  }
  return rows;
}

TEST(PackedBf16, EveryWordComesBack) {
  std::mt19937_64 rng(test_seed());
  for (const std::size_t spread : {1u, 0x300u, 0x7ffu, 0x1000u, 0x10000u}) {
    for (int round = 0; round < 20; ++round) {
      const std::size_t n = 1 + rng() % kPackedBandRows;
      const std::size_t k = 1 + rng() % 1300;
      std::vector<bf16> rows(n * k);
      const std::size_t first = rng();
      for (bf16& weight : rows) weight = static_cast<bf16>(first + rng() % spread);
      ASSERT_EQ(unpack(pack(rows, n, k), n, k), rows) << n << " by " << k;
    }
  }
}

TEST(PackedBf16, NormalWeightsTakeLessThanAnEighthMoreThanTwelveBits) {
  std::mt19937_64 rng(test_seed());
  const Packed packed = pack(normal_weights(256 * 1024, rng), 256, 1024);
  EXPECT_LT(packed.plan.offsets.back(), 256 * 1024 * 12 / 8 * 9 / 8);
  EXPECT_LT(count_raw(packed) * 10, packed.plan.windows.size());
}

TEST(PackedBf16, ZerosAmongNormalWeightsNeedNoRawBlock) {
  std::vector<bf16> rows(16 * 64);
  for (std::size_t i = 0; i < rows.size(); ++i) {
    rows[i] = i % 3 == 0 ? bf16{0} : static_cast<bf16>(0x3c00 + i % 100);
  }
  const Packed packed = pack(rows, 16, 64);
  EXPECT_EQ(count_raw(packed), 0u);
  EXPECT_EQ(count_windows(packed, [](std::uint8_t w) { return (w & kPackedZeros) != 0; }), 4u);
  EXPECT_EQ(unpack(packed, 16, 64), rows);
}

TEST(PackedBf16, OneOutlierMakesOneBlockRaw) {
  std::vector<bf16> rows(16 * 128, bf16{0x3c00});
  rows[5 * 128 + 70] = 0x7f00;
  const Packed packed = pack(rows, 16, 128);
  EXPECT_EQ(count_raw(packed), 1u);
  EXPECT_EQ(unpack(packed, 16, 128), rows);
}

}  // namespace
}  // namespace ponder::kernels
