#pragma once

// What becomes of a row's queries before they are used, in one launch. One part of the grid turns
// the heads of attention, a thread for each pair of values. The other has a warp for each index
// query: it is read once, turned, rotated and rounded in shared memory, and written as what index
// scores read, beside its head's weight. For one row of DeepSeek-V3.2: 32 KiB of rotated parts and
// 32 KiB of index queries read, 32 and (int8) 8 KiB written.

#include "kernels/cuda/index_keys.cuh"

namespace ponder::kernels {
namespace {

__device__ __forceinline__ void rotate_heads(const QueriesArgs& args) {
  const auto half = static_cast<unsigned>(args.rope.dim / 2);
  const auto heads = static_cast<unsigned>(args.heads);
  const unsigned n = static_cast<unsigned>(args.rows) * heads * half;
  for (auto i = static_cast<unsigned>(global_thread()); i < n; i += gridDim.x * blockDim.x) {
    const unsigned j = i % half;
    const unsigned head = i / half % heads;
    const std::size_t row = i / half / heads;
    float* x = args.q_rope + row * args.q_row_stride + head * args.q_head_stride;
    rotate_pair(x[first_of_pair(j, args.layout)], x[second_of_pair(j, half, args.layout)],
                args.rope.cos[row * half + j], args.rope.sin[row * half + j]);
  }
}

__device__ __forceinline__ void round_index_queries(const QueriesArgs& args) {
  __shared__ IndexRows x;
  const IndexQueries& index = args.index;
  const std::size_t at = own_index_row();
  const std::size_t num_warps = num_global_threads() / kWarp;
  const std::size_t n = args.rows * index.heads;
  for (std::size_t i = global_thread() / kWarp; i < n; i += num_warps) {
    float* q = index.q + i * index.dim;
    const bool is_aligned = has_aligned_fours(index.q, index.dim);
    for (std::size_t d = 4 * lane(); d < index.dim; d += 4 * kWarp) {
      put_four(x, at + d, load_four(q, d, index.dim, is_aligned));
    }
    __syncwarp();
    warp_rope(x, at, args.rope, index.layout, i / index.heads);
    float weight_scale = 1.0f;
    if (index.key_dtype == DType::int8) {
      const Int8Rounding rounding = warp_int8_rounding(x, at, index.dim);
      weight_scale = rounding.scale;
      for (std::size_t d = 4 * lane(); d < index.dim; d += 4 * kWarp) {
        store_codes(index.codes + i * index.dim + d, int8_codes(x, at, d, rounding), index.dim - d);
      }
    } else {
      const bool is_e4m3 = index.key_dtype == DType::fp8_e4m3;
      const float scale = is_e4m3 ? warp_rotate_to_bf16(x, at, index.dim) : 1.0f;
      for (std::size_t d = 4 * lane(); d < index.dim; d += 4 * kWarp) {
        Four four = take_four(x, at + d);
        PONDER_UNROLL
        for (unsigned k = 0; is_e4m3 && k < 4; ++k) {
          four.x[k] = from_e4m3(e4m3_code(four.x[k], scale)) * scale;
        }
        store_four(q, d, index.dim, four, is_aligned);
      }
    }
    if (lane() == 0) {
      const float weight = index.weights[i] * index.weight_factor;
      index.weights[i] = index.key_dtype == DType::int8 ? weight * weight_scale : weight;
    }
    __syncwarp();
  }
}

__global__ void queries_kernel(QueriesArgs args) {
  if (blockIdx.y == 0) {
    rotate_heads(args);
  } else {
    round_index_queries(args);
  }
}

void launch_queries(const QueriesArgs& args) {
  const std::size_t pairs = args.rows * args.heads * args.rope.dim / 2;
  const std::size_t lanes = args.index.q == nullptr ? 0 : args.rows * args.index.heads * kWarp;
  if (pairs + lanes == 0) return;
  dim3 grid = blocks_for(pairs < lanes ? lanes : pairs, kIndexThreads);
  grid.y = lanes == 0 ? 1 : 2;
  launch(queries_kernel, grid, kIndexThreads, args);
}

}  // namespace
}  // namespace ponder::kernels
