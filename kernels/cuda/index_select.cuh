#pragma once

// The lightning indexer's scores for shapes that index_scores_mma.cuh is not made for, and the
// exact selection of the best.
//
// Scores: a thread for each key, 128 keys of one row in a block; 16 heads of the query at a time
// lie in shared memory, and a key's words are read once for all of them. Heads are added in
// ascending order, so over int8 keys the bits are those of the CPU. Per key: heads * dim products,
// and dim + 4 bytes of the page for every 16 heads, of which all reads but the first come from the
// cache.
//
// Selection, a block for each row; index_select_split.cuh has the form of several. The order image
// of the k-th largest score is found 8 bits at a time; counting is the only use of atomics, and a
// sum of counts has no order. Then a stable compaction: everything above, and of equals the lowest
// positions, in ascending order, which are translated to slots as they are written.

#include "kernels/cuda/device_table.h"
#include "kernels/cuda/elementwise.cuh"
#include "kernels/cuda/numeric.cuh"
#include "kernels/cuda/pages.cuh"

namespace ponder::kernels {
namespace {

constexpr unsigned kScoreThreads = 128;
constexpr unsigned kHeadsTogether = 16;
constexpr unsigned kSelectThreads = 256;
constexpr unsigned kDigitValues = 256;

__device__ __forceinline__ std::int32_t page_of(const DeviceSequences& sequences, std::size_t row,
                                                std::size_t position) {
  const auto sequence = static_cast<std::size_t>(sequences.row_sequences[row]);
  return sequences.block_tables[sequence * sequences.block_table_stride + position / kPageSize];
}

__device__ __forceinline__ std::int32_t slot_of(const DeviceSequences& sequences, std::size_t row,
                                                std::size_t position) {
  return page_of(sequences, row, position) * static_cast<std::int32_t>(kPageSize) +
         static_cast<std::int32_t>(position % kPageSize);
}

/// A key's value under one dimension; not int8.
__device__ __forceinline__ float key_value(const DevicePages& cache, const std::byte* block,
                                           std::size_t token, std::size_t d, float scale) {
  const std::size_t i = token * cache.row_stride + d;
  if (cache.dtype == DType::f32) return reinterpret_cast<const float*>(block)[i];
  if (cache.dtype == DType::bf16) return from_bf16(reinterpret_cast<const bf16*>(block)[i]);
  return from_e4m3(static_cast<fp8_e4m3>(block[i])) * scale;
}

__global__ void index_scores_kernel(DeviceIndexScoresArgs args) {
  __shared__ SharedArray<float, kHeadsTogether * kIndexHeadDimMax> q;  // [head][d]
  const std::size_t row = blockIdx.y;
  const auto num_keys = static_cast<std::size_t>(args.num_keys[row]);
  const std::size_t first_key = static_cast<std::size_t>(blockIdx.x) * kScoreThreads;
  if (num_keys <= args.keys_min || first_key >= num_keys) return;
  const std::size_t key = first_key + threadIdx.x;
  const bool is_visible = key < num_keys;
  // Threads without a key of their own compute the first one again, so that all meet at barriers.
  const std::size_t own_key = is_visible ? key : first_key;
  const auto page = static_cast<std::size_t>(page_of(args.sequences, row, own_key));
  std::byte* block = block_of(args.cache, page * kPageSize);
  const std::size_t token = own_key % kPageSize;
  const float scale =
      args.cache.dtype == DType::fp8_e4m3 ? *key_scale(block, token, args.dim) : 1.0f;
  float sum = 0.0f;
  for (std::size_t head = 0; head < args.heads; head += kHeadsTogether) {
    const std::size_t rest = args.heads - head;
    const std::size_t num_heads = rest < kHeadsTogether ? rest : kHeadsTogether;
    const float* from = args.q + (row * args.heads + head) * args.dim;
    for (std::size_t i = threadIdx.x; i < num_heads * args.dim; i += kScoreThreads) q[i] = from[i];
    __syncthreads();
    float dots[kHeadsTogether] = {};
    for (std::size_t d = 0; d < args.dim; ++d) {
      const float k = key_value(args.cache, block, token, d, scale);
      for (unsigned h = 0; h < kHeadsTogether; ++h) {
        if (h < num_heads) dots[h] = fmaf(q[h * args.dim + d], k, dots[h]);
      }
    }
    for (unsigned h = 0; h < kHeadsTogether; ++h) {
      if (h >= num_heads) continue;
      const float relu = dots[h] < 0.0f ? 0.0f : dots[h];  // a NaN passes
      sum = fmaf(relu, args.head_weights[row * args.heads + head + h], sum);
    }
    __syncthreads();
  }
  if (is_visible) args.scores[row * args.scores_stride + key] = sum;
}

__global__ void index_scores_i8_kernel(DeviceIndexScoresArgs args) {
  __shared__ SharedArray<int, kHeadsTogether * kIndexHeadDimMax / 4> q;  // [head][word]
  const std::size_t row = blockIdx.y;
  const auto num_keys = static_cast<std::size_t>(args.num_keys[row]);
  const std::size_t first_key = static_cast<std::size_t>(blockIdx.x) * kScoreThreads;
  if (num_keys <= args.keys_min || first_key >= num_keys) return;
  const std::size_t key = first_key + threadIdx.x;
  const bool is_visible = key < num_keys;
  const std::size_t own_key = is_visible ? key : first_key;
  const auto page = static_cast<std::size_t>(page_of(args.sequences, row, own_key));
  std::byte* block = block_of(args.cache, page * kPageSize);
  const std::size_t token = own_key % kPageSize;
  const std::size_t words = args.dim / 4;
  float sum = 0.0f;
  for (std::size_t head = 0; head < args.heads; head += kHeadsTogether) {
    const std::size_t rest = args.heads - head;
    const std::size_t num_heads = rest < kHeadsTogether ? rest : kHeadsTogether;
    const auto* from =
        reinterpret_cast<const std::int32_t*>(args.q_codes + (row * args.heads + head) * args.dim);
    for (std::size_t i = threadIdx.x; i < num_heads * words; i += kScoreThreads) q[i] = from[i];
    __syncthreads();
    int dots[kHeadsTogether] = {};
    for (std::size_t word = 0; word < words; ++word) {
      const int k =
          *reinterpret_cast<const std::int32_t*>(block + i8_code_offset(token, 4 * word, args.dim));
      for (unsigned h = 0; h < kHeadsTogether; ++h) {
        if (h < num_heads) dots[h] = __dp4a(q[h * words + word], k, dots[h]);
      }
    }
    for (unsigned h = 0; h < kHeadsTogether; ++h) {
      if (h >= num_heads) continue;
      const auto relu = static_cast<float>(dots[h] < 0 ? 0 : dots[h]);
      sum = fmaf(relu, args.head_weights[row * args.heads + head + h], sum);
    }
    __syncthreads();
  }
  if (is_visible) {
    args.scores[row * args.scores_stride + key] = sum * *key_scale(block, token, args.dim);
  }
}

/// Integers of the same order: -inf and NaN lowest, both zeros equal.
__device__ __forceinline__ unsigned order_image(float value) {
  if (is_nan(value)) return 0x007fffffu;
  const unsigned bits = __float_as_uint(value == 0.0f ? 0.0f : value);
  return (bits >> 31) != 0 ? ~bits : bits | 0x80000000u;
}

/// The image of the rank-th largest score (from 1); `rank` becomes the rank among its equals.
__device__ unsigned find_threshold(const float* scores, std::size_t first, std::size_t n,
                                   unsigned& rank) {
  __shared__ SharedArray<unsigned, kDigitValues> counts;
  __shared__ SharedArray<unsigned, 2> found;  // digit, rank among the scores that share it
  unsigned prefix = 0;
  unsigned mask = 0;
  for (int shift = 24; shift >= 0; shift -= 8) {
    for (unsigned i = threadIdx.x; i < kDigitValues; i += kSelectThreads) counts[i] = 0;
    __syncthreads();
    for (std::size_t i = first + threadIdx.x; i < n; i += kSelectThreads) {
      const unsigned image = order_image(scores[i]);
      if ((image & mask) == prefix) counts.add_atomically(image >> shift & 0xffu, 1u);
    }
    __syncthreads();
    if (threadIdx.x == 0) {
      unsigned digit = kDigitValues - 1;
      unsigned left = rank;
      while (counts[digit] < left) left -= counts[digit--];
      found[0] = digit;
      found[1] = left;
    }
    __syncthreads();
    prefix |= found[0] << shift;
    mask |= 0xffu << shift;
    rank = found[1];
    __syncthreads();
  }
  return prefix;
}

/// Where a row's selection goes.
struct SelectionRow {
  std::size_t row;
  std::int32_t* positions;
  std::int32_t* slots;  // nullptr: nowhere
};

__device__ __forceinline__ SelectionRow selection_row(const SelectArgs& args, std::size_t row) {
  return {row, args.positions + row * args.k,
          args.slots == nullptr ? nullptr : args.slots + row * args.k};
}

__device__ __forceinline__ void put(const SelectArgs& args, const SelectionRow& to, std::size_t at,
                                    std::size_t position) {
  to.positions[at] = static_cast<std::int32_t>(position);
  if (to.slots != nullptr) to.slots[at] = slot_of(args.sequences, to.row, position);
}

__device__ __forceinline__ void put_nothing(const SelectionRow& to, std::size_t at) {
  to.positions[at] = -1;
  if (to.slots != nullptr) to.slots[at] = -1;
}

/// Writes the positions of the `wanted` best, ascending; returns how many scores are NaN.
__device__ int compact(const SelectArgs& args, const SelectionRow& to, const float* scores,
                       std::size_t n, unsigned threshold, int equals_wanted) {
  __shared__ SharedArray<int, kWarp> warp_counts;
  int num_written = 0;
  int num_equal = 0;
  int num_nan = 0;
  for (std::size_t begin = args.first_key; begin < n; begin += kSelectThreads) {
    const std::size_t i = begin + threadIdx.x;
    const bool is_inside = i < n;
    const float score = is_inside ? scores[i] : 0.0f;
    const unsigned image = order_image(score);
    int total = 0;
    const bool is_equal = is_inside && image == threshold;
    const int equal_before = num_equal + count_before(is_equal, warp_counts, total);
    num_equal += total;
    const bool is_kept =
        (is_inside && image > threshold) || (is_equal && equal_before < equals_wanted);
    const int at = num_written + count_before(is_kept, warp_counts, total);
    num_written += total;
    if (is_kept) put(args, to, static_cast<std::size_t>(at), i);
    count_before(is_inside && is_nan(score), warp_counts, total);
    num_nan += total;
  }
  return num_nan;
}

__global__ void select_kernel(SelectArgs args) {
  const SelectionRow to = selection_row(args, blockIdx.x);
  const float* scores = args.scores + to.row * args.scores_stride;
  const auto n = static_cast<std::size_t>(args.num_keys[to.row]);
  const std::size_t visible = n > args.first_key ? n - args.first_key : 0;
  const std::size_t num_selected = visible < args.k ? visible : args.k;
  int num_nan = 0;
  if (n <= args.k) {
    for (std::size_t i = threadIdx.x; i < num_selected; i += kSelectThreads) {
      put(args, to, i, args.first_key + i);
    }
  } else {
    auto rank = static_cast<unsigned>(num_selected);
    const unsigned threshold = find_threshold(scores, args.first_key, n, rank);
    num_nan = compact(args, to, scores, n, threshold, static_cast<int>(rank));
  }
  for (std::size_t i = num_selected + threadIdx.x; i < args.k; i += kSelectThreads) {
    put_nothing(to, i);
  }
  if (threadIdx.x != 0) return;
  args.num_selected[to.row] = static_cast<std::int32_t>(num_selected);
  if (args.num_nan != nullptr) args.num_nan[to.row] += num_nan;
}

__global__ void translate_kernel(TranslateArgs args) {
  const std::size_t n = args.rows * args.k;
  for (std::size_t i = global_thread(); i < n; i += num_global_threads()) {
    const std::size_t row = i / args.k;
    const bool is_set = i % args.k < static_cast<std::size_t>(args.num_selected[row]);
    args.slots[i] =
        is_set ? slot_of(args.sequences, row, static_cast<std::size_t>(args.positions[i])) : -1;
  }
}

void launch_portable_scores(const DeviceIndexScoresArgs& args) {
  dim3 grid;
  grid.x = ceil_div(args.num_keys_max, kScoreThreads);
  grid.y = static_cast<unsigned>(args.rows);
  const bool is_i8 = args.cache.dtype == DType::int8;
  launch(is_i8 ? index_scores_i8_kernel : index_scores_kernel, grid, kScoreThreads, args);
}
void launch_whole_select(const SelectArgs& args) {
  if (args.rows > 0) launch(select_kernel, rows_grid(args.rows), kSelectThreads, args);
}
void launch_translate(const TranslateArgs& args) {
  launch_elements(translate_kernel, args.rows * args.k, args);
}

}  // namespace
}  // namespace ponder::kernels
