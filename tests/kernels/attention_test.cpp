#include "kernels/attention.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <numeric>

#include "tests/kernels/cases.h"
#include "tests/kernels/compare.h"
#include "tests/kernels/emulated.h"

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
    if (dtype == DType::fp8_e4m3) draw_fp8(num_pages * kPageSize, rng);
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

  // Any code but NaN, scales that keep values within 1; the cache becomes what they decode to.
  void draw_fp8(std::size_t num_rows, std::mt19937_64& rng) {
    cache_fp8.resize(num_rows * fp8_stride());
    for (std::size_t row = 0; row < num_rows; ++row) {
      std::uint8_t* at = &cache_fp8[row * fp8_stride()];
      float scale = 0.0f;
      for (std::size_t i = 0; i < shape.rank; ++i) {
        if (i % kFp8LatentGroup == 0) {
          scale = std::ldexp(1.0f, -9 - static_cast<int>(rng() % 3));
          std::memcpy(at + fp8_layout().scales_at + i / kFp8LatentGroup * 4, &scale, 4);
        }
        at[i] = static_cast<std::uint8_t>(rng() % 127 + 128 * (rng() % 2));
        cache[row * stride + i] = fp8_e4m3_to_f32(at[i]) * scale;
      }
      for (std::size_t i = 0; i < shape.rope; ++i) {
        float& value = cache[row * stride + shape.rank + i];
        const bf16 rounded = f32_to_bf16(value);
        std::memcpy(at + fp8_layout().rope_at + 2 * i, &rounded, sizeof rounded);
        value = bf16_to_f32(rounded);
      }
    }
  }
  Fp8LatentLayout fp8_layout() const {
    const std::size_t scales_at = (shape.rank + 3) / 4 * 4;
    const std::size_t num_groups = (shape.rank + kFp8LatentGroup - 1) / kFp8LatentGroup;
    const std::size_t rope_at = scales_at + 4 * num_groups;
    return {scales_at, rope_at, rope_at + 2 * shape.rope};
  }
  std::size_t fp8_stride() const { return (fp8_layout().bytes + 3) / 4 * 4 + 4; }
  std::size_t cache_stride() const { return dtype == DType::fp8_e4m3 ? fp8_stride() : stride; }

  std::vector<const void*> pages() const {
    std::vector<const void*> result;
    for (const std::size_t page : page_order) {
      const std::size_t at = page * kPageSize * cache_stride();
      result.push_back(page_of(cache_at(at)));
    }
    return result;
  }
  const void* cache_at(std::size_t at) const {
    if (dtype == DType::f32) return &cache[at];
    if (dtype == DType::bf16) return &cache_bf16[at];
    return &cache_fp8[at];
  }

  Shape shape;
  DType dtype;
  bool is_dense;
  std::size_t stride;
  std::vector<float> q_nope;
  std::vector<float> q_rope;
  std::vector<float> cache;
  std::vector<bf16> cache_bf16;
  std::vector<std::uint8_t> cache_fp8;
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
  args.block_offset = kBlockOffset;
  args.out_stride = out_stride;
  args.cache_stride = c.cache_stride();
  args.fp8 = c.fp8_layout();
  args.cache_dtype = c.dtype;
  args.softmax_scale = 0.6f;
  attend(args);
  return out;
}

std::vector<float> run(const KernelTable& table, const Case& c) {
  ThreadPool pool({.num_threads = 1});
  Attention attention;
  return with_args(c, [&](const AttentionArgs& args) { attention.run({&table, &pool}, args); });
}

// The case's row alone.
Case row_of(const Case& c, std::size_t row) {
  Case alone = c;
  alone.slots = {c.slots[row]};
  const auto cut = [row](std::vector<float>& values, std::size_t per_row) {
    const auto first = values.begin() + static_cast<std::ptrdiff_t>(row * per_row);
    values = std::vector<float>(first, first + static_cast<std::ptrdiff_t>(per_row));
  };
  cut(alone.q_nope, c.shape.heads * c.shape.rank);
  cut(alone.q_rope, c.shape.heads * c.shape.rope);
  return alone;
}

// Tables that multiply bf16 and FP8 caches in bf16 round queries and weights to it.
bool multiplies_in_bf16(const KernelTable& table, DType cache_dtype) {
  const std::string name = table.name;
  return cache_dtype != DType::f32 && (name == "avx512bf16" || name.starts_with("amx"));
}

// Logits of size sqrt(dim)/3 are off by the walk of dim/8 + 8 roundings, which is the relative
// error of a weight; the mean of values within 1 inherits it, and adds its own chain over slots.
// With roundings to bf16 each product of a logit (1/3 on average) is off by up to 2^-9 of itself,
// and so is each weight.
Tolerance tolerance_for(const KernelTable& table, const Case& c, std::size_t slots) {
  const auto dim = static_cast<double>(c.shape.rank + c.shape.rope);
  const double logit_error = kUnitRoundoff * std::sqrt(dim) * std::sqrt(dim / 8 + 8);
  const double sum_error = kUnitRoundoff * std::sqrt(static_cast<double>(slots));
  if (!multiplies_in_bf16(table, c.dtype)) return {.abs = 4 * (logit_error + sum_error)};
  constexpr double kBf16Roundoff = 1.0 / 512;
  return {.abs = 4 * kBf16Roundoff * (1 + 0.6 * std::sqrt(dim) / 3)};
}

class AttentionTest : public EveryIsa {};

TEST_P(AttentionTest, MatchesScalarOnOddShapes) {
  const Shape shapes[] = {{1, 1, 2},    {3, 7, 2},     {4, 64, 16},  {5, 65, 6},
                          {8, 256, 32}, {17, 130, 31}, {2, 512, 64}, {6, 24, 0}};
  for (const Shape& shape : shapes) {
    for (const DType dtype : {DType::f32, DType::bf16, DType::fp8_e4m3}) {
      for (const bool is_dense : {false, true}) {
        SCOPED_TRACE(::testing::Message()
                     << "heads=" << shape.heads << " rank=" << shape.rank << " rope=" << shape.rope
                     << " dtype=" << int(dtype) << " dense=" << is_dense);
        const Case c(shape, {1, 2, 5, 31, 32, 33, 64, 100, 200}, 201, dtype, is_dense, rng);
        ASSERT_TRUE(
            all_close(run(table(), c), run(scalar_table(), c), tolerance_for(table(), c, 200)));
      }
    }
  }
}

TEST_P(AttentionTest, MatchesScalarInManyPartsOfAWideModel) {
  // Wide enough for parts of several blocks, whose sums so far must be scaled as the maximum rises.
  const Case c({129, 128, 32}, {1, 511, 700}, 700, DType::bf16, false, rng);
  ASSERT_TRUE(all_close(run(table(), c), run(scalar_table(), c), tolerance_for(table(), c, 700)));
}

TEST_P(AttentionTest, AnFp8CacheGivesTheBitsOfTheBf16CacheThatItDecodesTo) {
  const Shape shapes[] = {{1, 1, 2},     {3, 130, 6},    {8, 512, 64},
                          {17, 300, 31}, {16, 1000, 24}, {129, 128, 32}};
  for (const Shape& shape : shapes) {
    SCOPED_TRACE(::testing::Message() << "heads=" << shape.heads << " rank=" << shape.rank);
    Case c(shape, {1, 33, 300}, 301, DType::fp8_e4m3, false, rng);
    const auto got = run(table(), c);
    c.dtype = DType::bf16;
    EXPECT_TRUE(same_bits(got, run(table(), c)));
  }
}

TEST_P(AttentionTest, EveryFp8CodeDecodesToItsValue) {
  // With one slot the softmax is 1 and the output is the row.
  Case c({9, 256, 8}, {1}, 64, DType::fp8_e4m3, false, rng);
  c.slots[0] = {5};
  const std::size_t row = c.page_order[0] * kPageSize + 5;
  for (std::size_t i = 0; i < 256; ++i) {
    c.cache_fp8[row * c.fp8_stride() + i] = static_cast<std::uint8_t>(i);
  }
  const float scales[] = {0x1p-22f, 0x1p100f};  // the smallest there is, and a large one
  std::memcpy(&c.cache_fp8[row * c.fp8_stride() + c.fp8_layout().scales_at], scales, sizeof scales);
  for (float& value : c.q_nope) value = 0.0f;
  const auto got = run(table(), c);
  for (std::size_t h = 0; h < 9; ++h) {
    for (std::size_t i = 0; i < 256; ++i) {
      // A NaN in the row is one in its logit, and so in all of its weight.
      EXPECT_TRUE(std::isnan(got[h * 257 + i])) << i;
    }
  }
  for (const std::size_t nan : {0x7f, 0xff}) c.cache_fp8[row * c.fp8_stride() + nan] = 0;
  const auto finite = run(table(), c);
  for (std::size_t h = 0; h < 9; ++h) {
    for (std::size_t i = 0; i < 256; ++i) {
      const auto code = static_cast<std::uint8_t>(i % 128 == 127 ? 0 : i);
      EXPECT_EQ(finite[h * 257 + i], fp8_e4m3_to_f32(code) * scales[i / 128]) << i;
    }
  }
}

TEST_P(AttentionTest, NoSlotsGiveZeros) {
  const Case c({3, 20, 4}, {0}, 64, DType::f32, false, rng);
  const auto out = run(table(), c);
  for (std::size_t h = 0; h < 3; ++h) {
    for (std::size_t i = 0; i < 20; ++i) EXPECT_EQ(out[h * 21 + i], 0.0f);
    EXPECT_EQ(out[h * 21 + 20], -7.0f);
  }
}

TEST_P(AttentionTest, SelectingEverythingIsDenseAttentionToTheBit) {
  Case c({6, 70, 10}, {65, 130}, 130, DType::bf16, true, rng);
  const auto dense = run(table(), c);
  c.is_dense = false;
  EXPECT_TRUE(same_bits(run(table(), c), dense));
}

TEST_P(AttentionTest, BatchAndThreadsDoNotChangeBits) {
  const Case c({21, 96, 16}, {40, 7, 300, 301}, 320, DType::bf16, false, rng);
  const auto want = run(table(), c);
  for (std::size_t row = 0; row < c.slots.size(); ++row) {
    const std::vector<float> got = run(table(), row_of(c, row));
    const auto first = want.begin() + static_cast<std::ptrdiff_t>(row * got.size());
    EXPECT_TRUE(same_bits(got, {first, first + static_cast<std::ptrdiff_t>(got.size())})) << row;
  }
  for (const unsigned threads : {1u, 2u, 4u}) {
    ThreadPool pool({.num_threads = threads});
    Attention attention;
    for (int repeat = 0; repeat < 2; ++repeat) {
      const auto got =
          with_args(c, [&](const AttentionArgs& args) { attention.run({&table(), &pool}, args); });
      EXPECT_TRUE(same_bits(got, want)) << threads;
    }
  }
}

// Neighbours may be computed together. Around ends of blocks and of parts, and with gaps; in parts
// of one block and of several; with heads that fill lanes, and that do not.
TEST_P(AttentionTest, NeighboursInAPromptDoNotChangeBits) {
  const std::vector<std::size_t> early = {1, 2, 3, 7, 8, 9, 10, 12, 126, 127, 128, 129, 130, 131};
  const std::vector<std::size_t> late = {254, 255, 256, 257, 510, 511, 512, 513, 514, 515};
  for (const auto& [shape, slots] :
       {std::pair{Shape{16, 32, 8}, early}, {Shape{9, 40, 6}, early}, {Shape{16, 256, 16}, late}}) {
    const Case c(shape, slots, 520, DType::bf16, true, rng);
    const auto together = run(table(), c);
    for (std::size_t row = 0; row < slots.size(); ++row) {
      const std::vector<float> alone = run(table(), row_of(c, row));
      const auto first = together.begin() + static_cast<std::ptrdiff_t>(row * alone.size());
      ASSERT_TRUE(same_bits(alone, {first, first + static_cast<std::ptrdiff_t>(alone.size())}))
          << shape.heads << " heads, " << slots[row] << " slots";
    }
  }
}

TEST_P(AttentionTest, NanInAPromptShowsInTheTokensFromThereOn) {
  Case c({16, 32, 8}, {33, 34, 35, 36, 37, 38, 39, 40}, 64, DType::bf16, true, rng);
  const std::size_t row = c.page_order[0] * kPageSize + 36;  // the last slot of the token with 37
  c.cache_bf16[row * c.stride + 3] = 0x7fc0;
  const auto got = run(table(), c);
  for (std::size_t i = 0; i < got.size(); ++i) {
    if (i % 33 == 32) continue;  // between the heads
    ASSERT_EQ(std::isnan(got[i]), i / (16 * 33) >= 4) << i;
  }
}

TEST_P(AttentionTest, NanInOneRowOfTheCacheShowsInExactlyTheTokensThatSelectIt) {
  Case c({4, 32, 8}, {10, 10}, 64, DType::f32, false, rng);
  c.slots[0] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9};
  c.slots[1] = {10, 11, 12, 13, 14, 15, 16, 17, 18, 19};
  c.cache[c.page_order[0] * kPageSize * c.stride + 12 * c.stride + 3] = kNan;
  const auto got = run(table(), c);
  const auto want = run(scalar_table(), c);
  EXPECT_FALSE(std::isnan(got[0]));
  EXPECT_TRUE(std::isnan(got[4 * 33]));
  EXPECT_TRUE(all_close(got, want, tolerance_for(table(), c, 10)));
}

TEST_P(AttentionTest, NanInABf16CacheOrAQueryShowsWhereItBelongs) {
  Case c({9, 40, 8}, {300, 200, 150}, 400, DType::bf16, false, rng);
  for (std::size_t i = 0; i < 300; ++i) c.slots[0][i] = static_cast<std::int32_t>(i);
  for (std::size_t i = 0; i < 200; ++i) c.slots[1][i] = static_cast<std::int32_t>(100 + i);
  const std::size_t row = c.page_order[5] * kPageSize + 10;  // position 330
  c.cache_bf16[row * c.stride + 3] = 0x7fc0;
  const std::uint32_t all_ones = 0x7fffffff;  // a NaN that rounding could carry over into a zero
  std::memcpy(&c.q_nope[(2 * 9 + 4) * 40 + 7], &all_ones, sizeof all_ones);
  c.slots[2].back() = 330;
  const auto got = run(table(), c);
  for (std::size_t token = 0; token < 3; ++token) {
    for (std::size_t h = 0; h < 9; ++h) {
      for (std::size_t i = 0; i < 40; ++i) {
        EXPECT_EQ(std::isnan(got[(token * 9 + h) * 41 + i]), token == 2) << token << " " << h;
      }
    }
  }
  c.slots[2].pop_back();
  c.slots[2].erase(std::remove(c.slots[2].begin(), c.slots[2].end(), 330), c.slots[2].end());
  EXPECT_TRUE(all_close(run(table(), c), run(scalar_table(), c), tolerance_for(table(), c, 300)));
}

TEST_P(AttentionTest, HugeLogitsOfABf16CacheDoNotOverflow) {
  Case c({9, 40, 8}, {300}, 300, DType::bf16, false, rng);
  for (float& value : c.q_nope) value *= 1e30f;
  for (const float value : run(table(), c)) EXPECT_TRUE(std::isfinite(value));
}

TEST_P(AttentionTest, HugeLogitsDoNotOverflow) {
  Case c({4, 32, 8}, {64}, 64, DType::f32, false, rng);
  for (float& value : c.q_nope) value *= 1e4f;
  // The weights are all but one-hot; ties within the error of a logit of size 1e5 are unlikely
  // enough to be excluded by the fixed seed, so the result is one cache row.
  const auto got = run(table(), c);
  for (const float value : got) EXPECT_TRUE(std::isfinite(value));
  EXPECT_TRUE(all_close(got, run(scalar_table(), c), {.abs = 0.02}));
}

INSTANTIATE_TEST_SUITE_P(Kernels, AttentionTest, ::testing::ValuesIn(tables_and_emulation()),
                         isa_name);

}  // namespace
}  // namespace ponder::kernels
