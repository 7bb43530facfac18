// Index keys in mode I8: rotation, rounding, page layout and scores.

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "kernels/index_select.h"
#include "tests/kernels/cases.h"
#include "tests/kernels/compare.h"
#include "tests/kernels/emulated.h"

namespace ponder::kernels {
namespace {

struct Quantized {
  std::vector<std::int8_t> codes;
  std::vector<float> scales;
};

// Rows of x lie `stride` apart.
Quantized quantize(const KernelTable& table, const std::vector<float>& x, std::size_t rows,
                   std::size_t dim, std::size_t stride) {
  Quantized result{std::vector<std::int8_t>(rows * dim + 1, -128),
                   std::vector<float>(rows + 1, -7.0f)};
  table.index_quantize({.x = x.data(),
                        .x_stride = stride,
                        .codes = result.codes.data(),
                        .scales = result.scales.data(),
                        .rows = rows,
                        .dim = dim},
                       0, rows);
  EXPECT_EQ(result.codes.back(), -128) << "written past the end";
  EXPECT_EQ(result.scales.back(), -7.0f) << "written past the end";
  result.codes.pop_back();
  result.scales.pop_back();
  return result;
}

class IndexQuantize : public EveryIsa {};

TEST_P(IndexQuantize, EqualsScalarToTheBit) {
  for (const std::size_t dim : {4u, 8u, 16u, 32u, 64u, 128u, 256u}) {
    std::vector<float> x = random_floats(19 * (dim + 3), rng);
    for (std::size_t i = 0; i < dim; ++i) x[3 * (dim + 3) + i] = 0.0f;
    for (std::size_t i = 0; i < dim; ++i) x[4 * (dim + 3) + i] *= 1e-33f;
    x[5 * (dim + 3) + 1] = 1e30f;
    x[6 * (dim + 3) + 2] = kNan;
    x[7 * (dim + 3) + 3] = kInf;
    const Quantized want = quantize(scalar_table(), x, 19, dim, dim + 3);
    const Quantized got = quantize(table(), x, 19, dim, dim + 3);
    EXPECT_EQ(got.codes, want.codes) << dim;
    EXPECT_TRUE(same_bits(got.scales, want.scales)) << dim;
  }
}

TEST_P(IndexQuantize, KeepsDotsWithinTheRoundingOfTheCodes) {
  constexpr std::size_t kDim = 128;
  const std::vector<float> x = random_floats(40 * kDim, rng);
  const Quantized rows = quantize(table(), x, 40, kDim, kDim);
  for (std::size_t a = 0; a < 20; ++a) {
    const std::size_t b = a + 20;
    double want = 0.0;
    double got = 0.0;
    for (std::size_t d = 0; d < kDim; ++d) {
      want += static_cast<double>(x[a * kDim + d]) * x[b * kDim + d];
      got += rows.codes[a * kDim + d] * rows.codes[b * kDim + d];
    }
    got *= static_cast<double>(rows.scales[a]) * rows.scales[b];
    // Each code is off by at most half a scale; the norm of a row is sqrt(dim / 3). Cauchy-Schwarz.
    const double norm = std::sqrt(kDim / 3.0) * 1.5;
    const double bound = (rows.scales[a] + rows.scales[b]) / 2 * std::sqrt(kDim) * norm;
    EXPECT_NEAR(got, want, bound) << a;
  }
}

TEST_P(IndexQuantize, TheLargestCodeIs127AndMinus128NeverOccurs) {
  const std::vector<float> x = random_floats(200 * 64, rng);
  const Quantized rows = quantize(table(), x, 200, 64, 64);
  for (std::size_t row = 0; row < 200; ++row) {
    int largest = 0;
    for (std::size_t d = 0; d < 64; ++d) {
      largest = std::max(largest, std::abs(int{rows.codes[row * 64 + d]}));
    }
    EXPECT_EQ(largest, 127) << row;
  }
}

TEST_P(IndexQuantize, ARowThatIsNotFiniteGetsANanScaleAndZeros) {
  for (const float fault : {kNan, kInf, -kInf}) {
    std::vector<float> x = random_floats(3 * 64, rng);
    x[64 + 9] = fault;
    const Quantized rows = quantize(table(), x, 3, 64, 64);
    EXPECT_FALSE(std::isnan(rows.scales[0]));
    EXPECT_TRUE(std::isnan(rows.scales[1]));
    EXPECT_FALSE(std::isnan(rows.scales[2]));
    for (std::size_t d = 0; d < 64; ++d) EXPECT_EQ(rows.codes[64 + d], 0);
  }
}

INSTANTIATE_TEST_SUITE_P(Kernels, IndexQuantize, ::testing::ValuesIn(runnable_tables()), isa_name);

// Keys of random codes in pages of permuted order; what no key covers is poison.
struct Case {
  Case(std::size_t heads_in, std::size_t dim_in, std::vector<std::int32_t> num_keys_in,
       std::mt19937_64& rng)
      : heads(heads_in), dim(dim_in), num_keys(std::move(num_keys_in)) {
    max_keys = static_cast<std::size_t>(*std::max_element(num_keys.begin(), num_keys.end()));
    const std::size_t num_pages = (max_keys + kPageSize - 1) / kPageSize;
    std::vector<std::size_t> order(num_pages);
    std::iota(order.begin(), order.end(), std::size_t{0});
    std::shuffle(order.begin(), order.end(), rng);
    memory.assign(num_pages * index_page_bytes(dim), std::byte{0xff});  // scales: NaN
    for (const std::size_t page : order) pages.push_back(&memory[page * index_page_bytes(dim)]);
    std::vector<std::int8_t> key(dim);
    for (std::size_t s = 0; s < max_keys; ++s) {
      for (std::int8_t& code : key) code = random_code(rng);
      std::uniform_real_distribution<float> scale(0.001f, 0.1f);
      write_index_key(pages[s / kPageSize], s % kPageSize, key.data(), scale(rng), dim);
    }
    q.resize(num_keys.size() * heads * dim);
    for (std::int8_t& code : q) code = random_code(rng);
    weights = random_floats(num_keys.size() * heads, rng);
  }

  // Often at the ends of the range, where sums of pairs could overflow.
  static std::int8_t random_code(std::mt19937_64& rng) {
    const int value = static_cast<int>(rng() % 301) - 150;
    return static_cast<std::int8_t>(std::clamp(value, -127, 127));
  }
  float* scale(std::size_t key) {
    return reinterpret_cast<float*>(pages[key / kPageSize] + kPageSize * dim) + key % kPageSize;
  }

  std::size_t heads;
  std::size_t dim;
  std::vector<std::int32_t> num_keys;
  std::size_t max_keys = 0;
  std::vector<std::byte> memory;
  std::vector<std::byte*> pages;
  std::vector<std::int8_t> q;
  std::vector<float> weights;
};

std::vector<float> score(const KernelTable& table, const Case& c, std::size_t keys_per_call) {
  const std::size_t stride = c.max_keys + 3;
  std::vector<float> scores(c.num_keys.size() * stride, -7.0f);
  std::vector<const void*> pages;
  for (const std::byte* block : c.pages) pages.push_back(page_of(block));
  pages.push_back(nullptr);  // whoever reads past the last page crashes
  for (std::size_t key = 0; key < c.max_keys; key += keys_per_call) {
    table.index_scores_i8({.scores = scores.data(),
                           .scores_stride = stride,
                           .q = c.q.data(),
                           .head_weights = c.weights.data(),
                           .pages = pages.data(),
                           .num_keys = c.num_keys.data(),
                           .rows = c.num_keys.size(),
                           .heads = c.heads,
                           .dim = c.dim,
                           .block_offset = kBlockOffset},
                          0, c.num_keys.size(), key, std::min(c.max_keys, key + keys_per_call));
  }
  return scores;
}

class IndexScoresI8 : public EveryIsa {};

TEST_P(IndexScoresI8, EqualScalarToTheBitOnOddShapes) {
  for (const auto& [heads, dim] : {std::pair<std::size_t, std::size_t>{1, 4},
                                   {3, 8},
                                   {4, 64},
                                   {5, 16},
                                   {17, 128},
                                   {64, 128},
                                   {16, 64},
                                   {33, 256}}) {
    const Case c(heads, dim, {1, 7, 8, 15, 16, 17, 63, 64, 65, 130, 200}, rng);
    EXPECT_TRUE(same_bits(score(table(), c, c.max_keys), score(scalar_table(), c, c.max_keys)))
        << "heads=" << heads << " dim=" << dim;
  }
}

TEST_P(IndexScoresI8, AreTheFormulaOnExtremeCodes) {
  Case c(2, 128, {3}, rng);
  std::vector<std::int8_t> key(128, 127);
  write_index_key(c.pages[0], 0, key.data(), 0.5f, 128);
  std::fill(key.begin(), key.end(), std::int8_t{-127});
  write_index_key(c.pages[0], 1, key.data(), 0.5f, 128);
  std::fill(c.q.begin(), c.q.begin() + 128, std::int8_t{127});
  std::fill(c.q.begin() + 128, c.q.end(), std::int8_t{-127});
  c.weights = {2.0f, -1.0f};
  const std::vector<float> scores = score(table(), c, 64);
  EXPECT_EQ(scores[0], 127.0f * 127 * 128 * 2 * 0.5f);
  EXPECT_EQ(scores[1], 127.0f * 127 * 128 * -1 * 0.5f);
}

TEST_P(IndexScoresI8, RangesDoNotChangeBits) {
  const Case c(6, 64, {700, 1, 699, 64, 65}, rng);
  EXPECT_TRUE(same_bits(score(table(), c, 64), score(table(), c, 640)));
}

TEST_P(IndexScoresI8, ANanScaleOfAKeyOrAWeightMakesItsScoresNan) {
  Case c(4, 64, {100, 100}, rng);
  *c.scale(69) = kNan;
  c.weights[4 + 2] = kNan;
  const std::vector<float> scores = score(table(), c, c.max_keys);
  for (std::size_t s = 0; s < 100; ++s) {
    EXPECT_EQ(std::isnan(scores[s]), s == 69) << s;
    EXPECT_TRUE(std::isnan(scores[103 + s])) << s;
  }
}

INSTANTIATE_TEST_SUITE_P(Kernels, IndexScoresI8, ::testing::ValuesIn(tables_and_emulation()),
                         isa_name);

TEST(IndexPage, ATokensCodesLieWhereTheLayoutSays) {
  constexpr std::size_t kDim = 32;
  std::vector<std::byte> page(index_page_bytes(kDim));
  std::vector<std::int8_t> key(kDim);
  for (std::size_t t = 0; t < kPageSize; ++t) {
    for (std::size_t d = 0; d < kDim; ++d) key[d] = static_cast<std::int8_t>(t * 3 + d);
    write_index_key(page.data(), t, key.data(), static_cast<float>(t), kDim);
  }
  for (std::size_t t = 0; t < kPageSize; ++t) {
    for (std::size_t d = 0; d < kDim; ++d) {
      const std::size_t at = t / 16 * 16 * kDim + 64 * (d / 4) + 4 * (t % 16) + d % 4;
      EXPECT_EQ(static_cast<std::int8_t>(page[at]), static_cast<std::int8_t>(t * 3 + d));
    }
    float scale = 0.0f;
    std::memcpy(&scale, &page[kPageSize * kDim + 4 * t], 4);
    EXPECT_EQ(scale, static_cast<float>(t));
  }
}

}  // namespace
}  // namespace ponder::kernels
