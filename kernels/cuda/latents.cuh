#pragma once

// What becomes of a row's first projections, in one launch: the queries' latent is normalised; the
// latent of keys and values is normalised, its RoPE part turned, and both written to the row's
// cache page; the index key is normalised, turned, rotated, rounded and written beside it.
//
// A third of the grid for each. A block has a row of latents, which it reads once: 16 bytes for
// each thread, so that a warp has a group of the FP8 format and knows its scale. A warp has an
// index key, four of which share a block. For one row of DeepSeek-V3.2: 8,960 B are read, 6 KiB of
// queries' latent, 656 B of FP8 latent and 132 B of int8 key written.

#include "kernels/cuda/index_keys.cuh"
#include "kernels/cuda/pages.cuh"
#include "kernels/cuda/row_sums.cuh"

namespace ponder::kernels {
namespace {

constexpr unsigned kLatentThreads = 128;
static_assert(kLatentThreads == kRowChains && 4 * kWarp == kFp8LatentGroup &&
              kLatentThreads == kIndexThreads);
using LatentRow = SharedRow<kLatentThreads * kOwnFloats>;

__device__ __forceinline__ void normalise_query_latent(const LatentsArgs& args, LatentRow& row) {
  const std::size_t dim = args.queries.dim;
  float* x = args.queries.latents + blockIdx.x * dim;
  const bool is_aligned = has_aligned_fours(x, dim) && is_aligned_to(args.queries.norm, 16);
  prefetch_row(args.queries.norm, dim);
  const auto load = [&](std::size_t i) -> Four { return load_four(x, i, dim, is_aligned); };
  const float scale =
      rms_norm_scale(row, dim, args.eps, load, [](std::size_t, const Four&) -> void {});
  const bool is_whole = dim <= std::size_t{kOwnFloats} * blockDim.x;
  for (std::size_t i = 4 * threadIdx.x; i < dim; i += 4 * blockDim.x) {
    const Four four = is_whole ? take_four(row, i) : load(i);
    const Four weights = load_four(args.queries.norm, i, dim, is_aligned);
    store_four(x, i, dim, scaled(four, scale, weights), is_aligned);
  }
}

/// Values i to i + 3 of a latent, by all lanes: those of a warp are a group of the FP8 format. What
/// lies beyond the rank is 0.
__device__ __forceinline__ void write_latent_values(const KvLatents& kv, std::byte* block,
                                                    std::size_t at, std::size_t i,
                                                    const Four& four) {
  const std::size_t n = i < kv.rank ? kv.rank - i : 0;
  if (kv.cache.dtype != DType::fp8_e4m3) {
    store_values(block, at + i, four, n, kv.cache.dtype);
    return;
  }
  float absmax = 0.0f;
  bool all_finite = true;
  PONDER_UNROLL
  for (unsigned k = 0; k < 4; ++k) {
    absmax = fmaxf(absmax, fabsf(four.x[k]));
    all_finite = all_finite && is_finite(four.x[k]);
  }
  const float scale = warp_e4m3_scale(absmax, all_finite);
  store_codes(block + at + i, e4m3_codes(four, scale), n);
  if (lane() == 0) {
    reinterpret_cast<float*>(block + at + kv.fp8.scales_at)[i / kFp8LatentGroup] = scale;
  }
}

__device__ __forceinline__ void write_rope_part(const LatentsArgs& args, const float* x,
                                                std::byte* to, DType dtype) {
  const std::size_t half = args.rope.dim / 2;
  for (std::size_t j = threadIdx.x; j < half; j += blockDim.x) {
    const std::size_t a = first_of_pair(j, args.kv.layout);
    const std::size_t b = second_of_pair(j, half, args.kv.layout);
    float first = x[a];
    float second = x[b];
    rotate_pair(first, second, args.rope.cos[blockIdx.x * half + j],
                args.rope.sin[blockIdx.x * half + j]);
    store_values(to, a, {{first}}, 1, dtype);
    store_values(to, b, {{second}}, 1, dtype);
  }
}

__device__ __forceinline__ void write_latent(const LatentsArgs& args, LatentRow& row) {
  const KvLatents& kv = args.kv;
  if (args.slots[blockIdx.x] < 0) return;
  const auto slot = static_cast<std::size_t>(args.slots[blockIdx.x]);
  const std::size_t stride = kv.rank + args.rope.dim;
  const float* x = kv.latents + blockIdx.x * stride;
  const bool is_aligned =
      has_aligned_fours(kv.latents, stride) && kv.rank % 4 == 0 && is_aligned_to(kv.norm, 16);
  prefetch_row(kv.norm, kv.rank);
  const auto load = [&](std::size_t i) -> Four { return load_four(x, i, kv.rank, is_aligned); };
  const float scale =
      rms_norm_scale(row, kv.rank, args.eps, load, [](std::size_t, const Four&) -> void {});
  std::byte* block = block_of(kv.cache, slot);
  const std::size_t at = slot % kPageSize * kv.cache.row_stride;
  const bool is_whole = kv.rank <= std::size_t{kOwnFloats} * blockDim.x;
  const std::size_t own_group = threadIdx.x / kWarp * kFp8LatentGroup;
  for (std::size_t group = own_group; group < kv.rank; group += 4 * blockDim.x) {
    const std::size_t i = group + 4 * lane();
    Four four{};
    if (i < kv.rank) {
      four = scaled(is_whole ? take_four(row, i) : load(i), scale,
                    load_four(kv.norm, i, kv.rank, is_aligned));
    }
    write_latent_values(kv, block, at, i, four);
  }
  if (kv.cache.dtype == DType::fp8_e4m3) {
    write_rope_part(args, x + kv.rank, block + at + kv.fp8.rope_at, DType::bf16);
  } else {
    const std::size_t bytes = kv.cache.dtype == DType::f32 ? sizeof(float) : sizeof(bf16);
    write_rope_part(args, x + kv.rank, block + (at + kv.rank) * bytes, kv.cache.dtype);
  }
}

/// LayerNorm of a warp's row, in place.
__device__ __forceinline__ void warp_layer_norm(IndexRows& x, std::size_t at,
                                                const NewIndexKeys& index) {
  const auto dim = static_cast<float>(index.dim);
  float chains[kRowSums] = {};
  for (std::size_t begin = 0; begin < index.dim; begin += kRowChains) {
    PONDER_UNROLL
    for (unsigned i = 0; i < kRowSums; ++i) {
      const std::size_t d = begin + i * kWarp + lane();
      if (d < index.dim) chains[i] += x[at + d];
    }
  }
  const float mean = sum_of_chains(chains) / dim;
  float squares[kRowSums] = {};
  for (std::size_t begin = 0; begin < index.dim; begin += kRowChains) {
    PONDER_UNROLL
    for (unsigned i = 0; i < kRowSums; ++i) {
      const std::size_t d = begin + i * kWarp + lane();
      if (d >= index.dim) continue;
      const float off = x[at + d] - mean;
      squares[i] = fmaf(off, off, squares[i]);
    }
  }
  const float scale = 1.0f / sqrtf(sum_of_chains(squares) / dim + index.eps);
  for (std::size_t d = lane(); d < index.dim; d += kWarp) {
    x[at + d] = fmaf((x[at + d] - mean) * scale, index.norm[d], index.bias[d]);
  }
  __syncwarp();
}

__device__ __forceinline__ void write_index_key(const LatentsArgs& args) {
  __shared__ IndexRows x;
  const NewIndexKeys& index = args.index;
  const std::size_t row = global_thread() / kWarp;
  if (row >= args.rows || args.slots[row] < 0) return;
  const auto slot = static_cast<std::size_t>(args.slots[row]);
  const std::size_t token = slot % kPageSize;
  const std::size_t dim = index.dim;
  const std::size_t at = own_index_row();
  std::byte* block = block_of(index.cache, slot);
  const bool is_aligned = has_aligned_fours(index.keys, dim);
  for (std::size_t d = 4 * lane(); d < dim; d += 4 * kWarp) {
    put_four(x, at + d, load_four(index.keys + row * dim, d, dim, is_aligned));
  }
  __syncwarp();
  warp_layer_norm(x, at, index);
  warp_rope(x, at, args.rope, index.layout, row);
  if (index.cache.dtype == DType::int8) {
    const Int8Rounding rounding = warp_int8_rounding(x, at, dim);
    for (std::size_t d = 4 * lane(); d < dim; d += 4 * kWarp) {
      store_codes(block + i8_code_offset(token, d, dim), int8_codes(x, at, d, rounding), dim - d);
    }
    if (lane() == 0) *key_scale(block, token, dim) = rounding.scale;
  } else if (index.cache.dtype == DType::fp8_e4m3) {
    const float scale = warp_rotate_to_bf16(x, at, dim);
    for (std::size_t d = 4 * lane(); d < dim; d += 4 * kWarp) {
      store_codes(block + token * dim + d, e4m3_codes(take_four(x, at + d), scale), dim - d);
    }
    if (lane() == 0) *key_scale(block, token, dim) = scale;
  } else {
    for (std::size_t d = 4 * lane(); d < dim; d += 4 * kWarp) {
      store_values(block, token * index.cache.row_stride + d, take_four(x, at + d), dim - d,
                   index.cache.dtype);
    }
  }
}

__global__ void latents_kernel(LatentsArgs args) {
  __shared__ LatentRow row;
  if (blockIdx.y == 0) {
    if (args.queries.latents != nullptr) normalise_query_latent(args, row);
  } else if (blockIdx.y == 1) {
    if (args.kv.latents != nullptr) write_latent(args, row);
  } else {
    write_index_key(args);
  }
}

void launch_latents(const LatentsArgs& args) {
  if (args.rows == 0) return;
  dim3 grid;
  grid.x = static_cast<unsigned>(args.rows);
  grid.y = args.index.keys == nullptr ? 2 : 3;
  launch(latents_kernel, grid, kLatentThreads, args);
}

}  // namespace
}  // namespace ponder::kernels
