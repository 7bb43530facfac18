#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>

#include "kernels/ops.h"
#include "tests/kernels/cases.h"
#include "tests/kernels/compare.h"

namespace ponder::kernels {
namespace {

struct Shape {
  std::size_t heads;
  std::size_t rank;
  std::size_t rope;
};

// Pages in permuted order over one pool, and rows whose slots are a scattered, ascending selection.
struct Case {
  Case(Shape shape_in, std::vector<std::size_t> slots_per_row, std::size_t context, DType dtype_in,
       bool is_dense_in, std::mt19937_64& rng)
      : shape(shape_in),
        dtype(dtype_in),
        is_dense(is_dense_in),
        stride(shape.rank + shape.rope + 3),
        q_nope(random_floats(slots_per_row.size() * shape.heads * shape.rank, rng)),
        q_rope(random_floats(slots_per_row.size() * shape.heads * shape.rope, rng)) {
    const std::size_t num_pages = (context + kPageSize - 1) / kPageSize;
    cache = random_floats(num_pages * kPageSize * stride, rng);
    cache_bf16 = to_bf16(cache);
    page_order.resize(num_pages);
    std::iota(page_order.begin(), page_order.end(), std::size_t{0});
    std::shuffle(page_order.begin(), page_order.end(), rng);
    for (const std::size_t count : slots_per_row) {
      std::vector<std::int32_t> all(context);
      std::iota(all.begin(), all.end(), 0);
      if (!is_dense) std::shuffle(all.begin(), all.end(), rng);
      all.resize(count);
      std::sort(all.begin(), all.end());
      slots.push_back(all);
    }
  }

  std::vector<const void*> pages() const {
    std::vector<const void*> result;
    for (const std::size_t page : page_order) {
      const std::size_t at = page * kPageSize * stride;
      const void* bf16_page = cache_bf16.data() + at;
      result.push_back(dtype == DType::f32 ? static_cast<const void*>(cache.data() + at)
                                           : bf16_page);
    }
    return result;
  }

  Shape shape;
  DType dtype;
  bool is_dense;
  std::size_t stride;
  std::vector<float> q_nope;
  std::vector<float> q_rope;
  std::vector<float> cache;
  std::vector<bf16> cache_bf16;
  std::vector<std::size_t> page_order;
  std::vector<std::vector<std::int32_t>> slots;
};

// Calls attend(args) with arguments for the whole case; returns what it wrote.
template <class Attend>
std::vector<float> with_args(const Case& c, Attend attend) {
  const std::size_t rows_n = c.slots.size();
  const std::size_t out_stride = c.shape.rank + 1;
  std::vector<float> out(rows_n * c.shape.heads * out_stride, -7.0f);
  const std::vector<const void*> pages = c.pages();
  std::vector<AttentionRow> rows;
  for (std::size_t r = 0; r < rows_n; ++r) {
    rows.push_back({&c.q_nope[r * c.shape.heads * c.shape.rank],
                    c.q_rope.data() + r * c.shape.heads * c.shape.rope,
                    &out[r * c.shape.heads * out_stride], pages.data(),
                    c.is_dense ? nullptr : c.slots[r].data(), c.slots[r].size()});
  }
  AttentionArgs args{};
  args.rows = rows.data();
  args.num_rows = rows_n;
  args.heads = c.shape.heads;
  args.kv_lora_rank = c.shape.rank;
  args.qk_rope_head_dim = c.shape.rope;
  args.q_nope_stride = c.shape.rank;
  args.q_rope_stride = c.shape.rope;
  args.out_stride = out_stride;
  args.cache_stride = c.stride;
  args.cache_dtype = c.dtype;
  args.softmax_scale = 0.6f;
  attend(args);
  return out;
}

std::vector<float> run(const KernelTable& table, const Case& c) {
  return with_args(c, [&](const AttentionArgs& args) {
    for (std::size_t row = 0; row < args.num_rows; ++row) {
      table.attention(args, row, 0, args.heads);
    }
  });
}

// Logits of size sqrt(dim)/3 are off by the walk of dim/8 + 8 roundings, which is the relative
// error of a weight; the mean of values within 1 inherits it, and adds its own chain over slots.
Tolerance tolerance_for(const Shape& shape, std::size_t slots) {
  const auto dim = static_cast<double>(shape.rank + shape.rope);
  const double logit_error = kUnitRoundoff * std::sqrt(dim) * std::sqrt(dim / 8 + 8);
  return {.abs = 4 * (logit_error + kUnitRoundoff * std::sqrt(static_cast<double>(slots)))};
}

class Attention : public EveryIsa {};

TEST_P(Attention, MatchesScalarOnOddShapes) {
  const Shape shapes[] = {{1, 1, 2},    {3, 7, 2},     {4, 64, 16},  {5, 65, 6},
                          {8, 256, 32}, {17, 130, 31}, {2, 512, 64}, {6, 24, 0}};
  for (const Shape& shape : shapes) {
    for (const DType dtype : {DType::f32, DType::bf16}) {
      for (const bool is_dense : {false, true}) {
        SCOPED_TRACE(::testing::Message()
                     << "heads=" << shape.heads << " rank=" << shape.rank << " rope=" << shape.rope
                     << " dtype=" << int(dtype) << " dense=" << is_dense);
        const Case c(shape, {1, 2, 5, 31, 32, 33, 64, 100, 200}, 201, dtype, is_dense, rng);
        ASSERT_TRUE(all_close(run(table(), c), run(scalar_table(), c), tolerance_for(shape, 200)));
      }
    }
  }
}

TEST_P(Attention, NoSlotsGiveZeros) {
  const Case c({3, 20, 4}, {0}, 64, DType::f32, false, rng);
  const auto out = run(table(), c);
  for (std::size_t h = 0; h < 3; ++h) {
    for (std::size_t i = 0; i < 20; ++i) EXPECT_EQ(out[h * 21 + i], 0.0f);
    EXPECT_EQ(out[h * 21 + 20], -7.0f);
  }
}

TEST_P(Attention, SelectingEverythingIsDenseAttentionToTheBit) {
  Case c({6, 70, 10}, {65, 130}, 130, DType::bf16, true, rng);
  const auto dense = run(table(), c);
  c.is_dense = false;
  EXPECT_TRUE(same_bits(run(table(), c), dense));
}

TEST_P(Attention, HeadRangesBatchAndThreadsDoNotChangeBits) {
  const Case c({21, 96, 16}, {40, 7, 300, 301}, 320, DType::bf16, false, rng);
  const auto want = run(table(), c);
  const auto by_head = with_args(c, [&](const AttentionArgs& args) {
    for (std::size_t row = 0; row < args.num_rows; ++row) {
      for (std::size_t h = 0; h < args.heads; ++h) table().attention(args, row, h, h + 1);
    }
  });
  EXPECT_TRUE(same_bits(by_head, want));
  for (const unsigned threads : {1u, 2u, 4u}) {
    ThreadPool pool({.num_threads = threads});
    const auto got =
        with_args(c, [&](const AttentionArgs& args) { attention({&table(), &pool}, args); });
    EXPECT_TRUE(same_bits(got, want)) << threads;
  }
}

TEST_P(Attention, NanInOneRowOfTheCacheShowsInExactlyTheTokensThatSelectIt) {
  Case c({4, 32, 8}, {10, 10}, 64, DType::f32, false, rng);
  c.slots[0] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9};
  c.slots[1] = {10, 11, 12, 13, 14, 15, 16, 17, 18, 19};
  c.cache[c.page_order[0] * kPageSize * c.stride + 12 * c.stride + 3] = kNan;
  const auto got = run(table(), c);
  const auto want = run(scalar_table(), c);
  EXPECT_FALSE(std::isnan(got[0]));
  EXPECT_TRUE(std::isnan(got[4 * 33]));
  EXPECT_TRUE(all_close(got, want, tolerance_for(c.shape, 10)));
}

TEST_P(Attention, HugeLogitsDoNotOverflow) {
  Case c({4, 32, 8}, {64}, 64, DType::f32, false, rng);
  for (float& value : c.q_nope) value *= 1e4f;
  // The weights are all but one-hot; ties within the error of a logit of size 1e5 are unlikely
  // enough to be excluded by the fixed seed, so the result is one cache row.
  const auto got = run(table(), c);
  for (const float value : got) EXPECT_TRUE(std::isfinite(value));
  EXPECT_TRUE(all_close(got, run(scalar_table(), c), {.abs = 0.02}));
}

INSTANTIATE_TEST_SUITE_P(Kernels, Attention, ::testing::ValuesIn(runnable_tables()), isa_name);

}  // namespace
}  // namespace ponder::kernels
