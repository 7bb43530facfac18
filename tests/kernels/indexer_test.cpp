#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <numeric>

#include "kernels/ops.h"
#include "tests/kernels/cases.h"
#include "tests/kernels/compare.h"

namespace ponder::kernels {
namespace {

struct Case {
  Case(std::size_t heads_in, std::size_t dim_in, std::vector<std::int32_t> num_keys_in,
       DType dtype_in, std::mt19937_64& rng)
      : heads(heads_in),
        dim(dim_in),
        num_keys(std::move(num_keys_in)),
        dtype(dtype_in),
        q(random_floats(num_keys.size() * heads * dim, rng)),
        weights(random_floats(num_keys.size() * heads, rng)) {
    max_keys = static_cast<std::size_t>(*std::max_element(num_keys.begin(), num_keys.end()));
    const std::size_t num_pages = (max_keys + kPageSize - 1) / kPageSize;
    keys = random_floats(num_pages * kPageSize * stride(), rng);
    keys_bf16 = to_bf16(keys);
    keys_fp8.resize(num_pages * fp8_page_bytes());
    for (std::size_t page = 0; page < num_pages; ++page) {
      fp8_e4m3* at = keys_fp8.data() + page * fp8_page_bytes();
      for (std::size_t i = 0; i < kPageSize * fp8_stride(); ++i) {
        const auto code = static_cast<fp8_e4m3>(rng());
        at[i] = (code & 0x7F) == 0x7F ? fp8_e4m3{0x7E} : code;  // the other one is NaN
      }
      for (std::size_t token = 0; token < kPageSize; ++token) {
        const float scale = std::ldexp(1.0f, -static_cast<int>(8 + rng() % 3));
        std::memcpy(at + kPageSize * fp8_stride() + token * sizeof scale, &scale, sizeof scale);
      }
    }
    page_order.resize(num_pages);
    std::iota(page_order.begin(), page_order.end(), std::size_t{0});
    std::shuffle(page_order.begin(), page_order.end(), rng);
  }
  std::size_t stride() const { return dim + 2; }
  std::size_t fp8_stride() const { return (dim + 3) / 4 * 4; }
  std::size_t fp8_page_bytes() const { return kPageSize * (fp8_stride() + sizeof(float)); }

  std::size_t heads;
  std::size_t dim;
  std::vector<std::int32_t> num_keys;
  DType dtype;
  std::vector<float> q;
  std::vector<float> weights;
  std::size_t max_keys = 0;
  std::vector<float> keys;
  std::vector<bf16> keys_bf16;
  std::vector<fp8_e4m3> keys_fp8;
  std::vector<std::size_t> page_order;
};

template <class Score>
std::vector<float> with_args(const Case& c, Score score) {
  const std::size_t scores_stride = c.max_keys + 3;
  std::vector<float> scores(c.num_keys.size() * scores_stride, -7.0f);
  std::vector<const void*> pages;
  for (const std::size_t page : c.page_order) {
    const std::size_t at = page * kPageSize * c.stride();
    const void* block = c.keys.data() + at;
    if (c.dtype == DType::bf16) block = c.keys_bf16.data() + at;
    if (c.dtype == DType::fp8_e4m3) block = c.keys_fp8.data() + page * c.fp8_page_bytes();
    pages.push_back(page_of(block));
  }
  pages.push_back(nullptr);  // whoever reads past the last page crashes
  IndexScoresArgs args{};
  args.scores = scores.data();
  args.scores_stride = scores_stride;
  args.q = c.q.data();
  args.q_row_stride = c.heads * c.dim;
  args.q_head_stride = c.dim;
  args.head_weights = c.weights.data();
  args.head_weights_stride = c.heads;
  args.pages = pages.data();
  args.key_stride = c.dtype == DType::fp8_e4m3 ? c.fp8_stride() : c.stride();
  args.key_dtype = c.dtype;
  args.num_keys = c.num_keys.data();
  args.rows = c.num_keys.size();
  args.heads = c.heads;
  args.dim = c.dim;
  args.block_offset = kBlockOffset;
  score(args);
  return scores;
}

std::vector<float> run(const KernelTable& table, const Case& c) {
  return with_args(c, [&](const IndexScoresArgs& args) {
    table.index_scores(args, 0, args.rows, 0, c.max_keys);
  });
}

// A dot of `dim` products is a chain of as many roundings of partial sums of size sqrt(dim); the
// heads add such errors with weights within 1. Times four.
Tolerance tolerance_for(const Case& c) {
  const auto dim = static_cast<double>(c.dim);
  return {.abs = 4 * kUnitRoundoff * dim * std::sqrt(static_cast<double>(c.heads))};
}

class IndexScores : public EveryIsa {};

TEST_P(IndexScores, MatchScalarOnOddShapes) {
  const std::vector<std::int32_t> key_counts = {1, 7, 8, 63, 64, 65, 130, 200};
  for (const auto& [heads, dim] : {std::pair<std::size_t, std::size_t>{1, 1},
                                   {4, 64},
                                   {3, 17},
                                   {5, 128},
                                   {64, 128},
                                   {2, 256},
                                   {7, 31}}) {
    for (const DType dtype : {DType::f32, DType::bf16, DType::fp8_e4m3}) {
      const Case c(heads, dim, key_counts, dtype, rng);
      ASSERT_TRUE(all_close(run(table(), c), run(scalar_table(), c), tolerance_for(c)))
          << "heads=" << heads << " dim=" << dim << " dtype=" << int(dtype);
    }
  }
}

TEST_P(IndexScores, RangesAndThreadsDoNotChangeBits) {
  const Case c(6, 70, {2500, 1, 2499, 700, 64, 65, 1025, 1024, 3, 2000}, DType::bf16, rng);
  const auto want = run(table(), c);
  const auto piecewise = with_args(c, [&](const IndexScoresArgs& args) {
    for (std::size_t row = 0; row < args.rows; ++row) {
      for (std::size_t key = 0; key < c.max_keys; key += 37) {
        table().index_scores(args, row, row + 1, key, std::min(c.max_keys, key + 37));
      }
    }
  });
  EXPECT_TRUE(same_bits(piecewise, want));
  for (const unsigned threads : {1u, 3u}) {
    ThreadPool pool({.num_threads = threads});
    const auto got =
        with_args(c, [&](const IndexScoresArgs& args) { index_scores({&table(), &pool}, args); });
    EXPECT_TRUE(same_bits(got, want)) << threads;
  }
}

TEST_P(IndexScores, AScaleThatIsNotANumberTakesItsKeyAlone) {
  Case c(4, 64, {100}, DType::fp8_e4m3, rng);
  const float nan = std::numeric_limits<float>::quiet_NaN();
  fp8_e4m3* page = c.keys_fp8.data() + c.page_order[0] * c.fp8_page_bytes();
  const auto want = run(table(), c);
  std::memcpy(page + kPageSize * c.fp8_stride() + 7 * sizeof nan, &nan, sizeof nan);
  const auto got = run(table(), c);
  for (std::size_t key = 0; key < 100; ++key) {
    EXPECT_EQ(std::isnan(got[key]), key == 7);
    if (key != 7) {
      EXPECT_EQ(got[key], want[key]);
    }
  }
}

TEST_P(IndexScores, ReluComesBeforeTheSignedWeight) {
  Case c(1, 1, {2}, DType::f32, rng);
  const std::size_t page = c.page_order[0] * kPageSize * c.stride();
  c.q = {2.0f};
  c.weights = {-1.0f};
  c.keys[page] = 3.0f;
  c.keys[page + c.stride()] = -3.0f;
  const auto scores = run(table(), c);
  EXPECT_EQ(scores[0], -6.0f);
  EXPECT_EQ(scores[1], 0.0f);
}

TEST_P(IndexScores, NanKeysGiveNanScores) {
  Case c(4, 64, {100}, DType::f32, rng);
  c.keys[c.page_order[1] * kPageSize * c.stride() + 5 * c.stride() + 9] = kNan;
  const auto scores = run(table(), c);
  for (std::size_t s = 0; s < 100; ++s) EXPECT_EQ(std::isnan(scores[s]), s == 64 + 5) << s;
}

INSTANTIATE_TEST_SUITE_P(Kernels, IndexScores, ::testing::ValuesIn(runnable_tables()), isa_name);

// The definition: sort by (score descending, position ascending), keep k, order by position.
std::vector<std::int32_t> sorted_selection(const std::vector<float>& scores, std::size_t k) {
  std::vector<float> keys = scores;
  for (float& key : keys) {
    if (std::isnan(key)) key = -kInf;
  }
  std::vector<std::int32_t> order(scores.size());
  std::iota(order.begin(), order.end(), 0);
  std::sort(order.begin(), order.end(), [&](std::int32_t a, std::int32_t b) {
    const float key_a = keys[static_cast<std::size_t>(a)];
    const float key_b = keys[static_cast<std::size_t>(b)];
    return key_a != key_b ? key_a > key_b : a < b;
  });
  order.resize(std::min(k, order.size()));
  std::sort(order.begin(), order.end());
  return order;
}

std::vector<std::int32_t> select_topk(const KernelTable& table, const std::vector<float>& scores,
                                      std::size_t k, std::size_t* num_nan = nullptr) {
  std::vector<std::int32_t> positions(std::min(k, scores.size()) + 1, -9);
  std::vector<std::uint32_t> scratch(scores.size());
  const TopkResult result =
      table.topk({scores.data(), scores.size(), k, positions.data(), scratch.data()});
  EXPECT_EQ(positions.back(), -9) << "written past the end";
  positions.resize(result.num_selected);
  if (num_nan != nullptr) *num_nan = result.num_nan;
  return positions;
}

class Topk : public EveryIsa {};

TEST_P(Topk, IsTheSortedSelectionForAnyScores) {
  for (const std::size_t n : {1u, 2u, 7u, 16u, 63u, 64u, 65u, 512u, 1000u, 9000u}) {
    for (const std::size_t k : {1u, 2u, 64u, 511u, 512u, 2048u}) {
      // Few distinct values make ties by the hundred; one value makes nothing but ties.
      for (const float levels : {1e6f, 50.0f, 3.0f, 0.4f}) {
        std::vector<float> scores = random_floats(n, rng);
        for (float& score : scores) score = std::round(score * levels) / levels;
        ASSERT_EQ(select_topk(table(), scores, k), sorted_selection(scores, k))
            << "n=" << n << " k=" << k << " levels=" << levels;
      }
    }
  }
}

TEST_P(Topk, TakesTheLowestPositionsAmongEqualScores) {
  EXPECT_EQ(select_topk(table(), {1, 0, 2, 0, 0, 2}, 4), (std::vector<std::int32_t>{0, 1, 2, 5}));
}

TEST_P(Topk, NegativeZeroEqualsZero) {
  EXPECT_EQ(select_topk(table(), {-0.0f, 0.0f, -0.0f, 0.0f}, 2), (std::vector<std::int32_t>{0, 1}));
}

TEST_P(Topk, NanCountsAsMinusInfinityAndIsReported) {
  std::size_t num_nan = 0;
  const std::vector<float> scores = {kNan, -kInf, 1.0f, -kNan, -2.0f, kInf};
  EXPECT_EQ(select_topk(table(), scores, 4, &num_nan), (std::vector<std::int32_t>{0, 2, 4, 5}));
  EXPECT_EQ(num_nan, 2u);
}

TEST_P(Topk, OrderedScoresAndExtremeExponentsAreExact) {
  std::vector<float> scores;
  for (int i = 0; i < 3000; ++i) {
    const std::uint32_t bits = static_cast<std::uint32_t>(rng());
    float value;
    std::memcpy(&value, &bits, sizeof value);
    scores.push_back(value);
  }
  EXPECT_EQ(select_topk(table(), scores, 700), sorted_selection(scores, 700));
  std::sort(scores.begin(), scores.end(),
            [](float a, float b) { return std::isnan(b) ? false : std::isnan(a) || a < b; });
  EXPECT_EQ(select_topk(table(), scores, 700), sorted_selection(scores, 700));
  std::reverse(scores.begin(), scores.end());
  EXPECT_EQ(select_topk(table(), scores, 700), sorted_selection(scores, 700));
}

TEST_P(Topk, NothingToSelectSelectsNothing) {
  EXPECT_TRUE(select_topk(table(), {}, 5).empty());
  EXPECT_TRUE(select_topk(table(), {1.0f}, 0).empty());
}

TEST_P(Topk, JobsRunOnThePool) {
  ThreadPool pool({.num_threads = 3});
  const std::vector<float> scores = random_floats(5000, rng);
  std::vector<std::vector<std::int32_t>> positions(9, std::vector<std::int32_t>(100));
  std::vector<std::vector<std::uint32_t>> scratch(9, std::vector<std::uint32_t>(5000));
  std::vector<TopkArgs> jobs;
  std::vector<TopkResult> results(9);
  for (std::size_t i = 0; i < 9; ++i) {
    jobs.push_back({scores.data(), 4000 + 100 * i, 100, positions[i].data(), scratch[i].data()});
  }
  topk({&table(), &pool}, jobs.data(), results.data(), jobs.size());
  for (std::size_t i = 0; i < 9; ++i) {
    const std::vector<float> visible(scores.data(), scores.data() + 4000 + 100 * i);
    EXPECT_EQ(positions[i], sorted_selection(visible, 100)) << i;
    EXPECT_EQ(results[i].num_selected, 100u);
  }
}

INSTANTIATE_TEST_SUITE_P(Kernels, Topk, ::testing::ValuesIn(runnable_tables()), isa_name);

}  // namespace
}  // namespace ponder::kernels
