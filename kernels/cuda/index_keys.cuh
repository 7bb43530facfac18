#pragma once

// Index queries and keys: the rotation that both share, rounding, and what the cache pages get. A
// warp for each row; all of it gives the bits of the scalar functions on the CPU.

#include "kernels/cuda/device_table.h"
#include "kernels/cuda/numeric.cuh"

namespace ponder::kernels {
namespace {

constexpr unsigned kIndexRowThreads = 64;
constexpr unsigned kIndexRowWarps = kIndexRowThreads / kWarp;
using IndexRows = SharedArray<float, kIndexRowWarps * kIndexHeadDimMax>;

/// The warp's row: its place in shared memory.
__device__ __forceinline__ std::size_t own_index_row() {
  return threadIdx.x / kWarp * kIndexHeadDimMax;
}

/// The butterflies of the Walsh-Hadamard transform, strides ascending, by a warp.
__device__ void warp_hadamard(IndexRows& x, std::size_t at, std::size_t dim) {
  for (std::size_t stride = 1; stride < dim; stride *= 2) {
    __syncwarp();
    for (std::size_t pair = lane(); pair < dim / 2; pair += kWarp) {
      const std::size_t i = at + pair / stride * 2 * stride + pair % stride;
      const float low = x[i];
      const float high = x[i + stride];
      x[i] = low + high;
      x[i + stride] = low - high;
    }
  }
  __syncwarp();
}

__global__ void index_quantize_kernel(IndexQuantizeArgs args) {
  __shared__ IndexRows x;
  const float norm = 1.0f / sqrtf(static_cast<float>(args.dim));
  const std::size_t at = own_index_row();
  const std::size_t num_warps = num_global_threads() / kWarp;
  for (std::size_t row = global_thread() / kWarp; row < args.rows; row += num_warps) {
    const float* from = args.x + row * args.x_stride;
    for (std::size_t d = lane(); d < args.dim; d += kWarp) x[at + d] = from[d];
    warp_hadamard(x, at, args.dim);
    float largest = 0.0f;
    bool all_finite = true;
    for (std::size_t d = lane(); d < args.dim; d += kWarp) {
      const float value = x[at + d] * norm;
      largest = fmaxf(largest, fabsf(value));
      all_finite = all_finite && is_finite(value);
    }
    largest = warp_max(largest);
    all_finite = __ballot_sync(kAllLanes, all_finite) == kAllLanes;
    const bool is_zero = !all_finite || largest < kIndexAbsmaxMin;
    const float to_code = is_zero ? 0.0f : kIndexCodeMax / largest;
    for (std::size_t d = lane(); d < args.dim; d += kWarp) {
      const float code = is_zero ? 0.0f : rintf(x[at + d] * norm * to_code);
      args.codes[row * args.dim + d] = static_cast<std::int8_t>(code);
    }
    if (lane() == 0) {
      args.scales[row] = !all_finite ? quiet_nan() : is_zero ? 0.0f : largest / kIndexCodeMax;
    }
    __syncwarp();
  }
}

__global__ void rotate_index_kernel(RotateIndexArgs args) {
  __shared__ IndexRows x;
  const float norm = 1.0f / sqrtf(static_cast<float>(args.dim));
  const std::size_t at = own_index_row();
  const std::size_t num_warps = num_global_threads() / kWarp;
  for (std::size_t row = global_thread() / kWarp; row < args.rows; row += num_warps) {
    float* values = args.x + row * args.dim;
    for (std::size_t d = lane(); d < args.dim; d += kWarp)
      x[at + d] = from_bf16(to_bf16(values[d]));
    warp_hadamard(x, at, args.dim);
    for (std::size_t d = lane(); d < args.dim; d += kWarp) {
      x[at + d] = from_bf16(to_bf16(x[at + d] * norm));
    }
    const auto value_at = [&](std::size_t d) -> float { return x[at + d]; };
    const float scale = args.is_query ? warp_e4m3_scale(value_at, args.dim) : 0.0f;
    for (std::size_t d = lane(); d < args.dim; d += kWarp) {
      const float value = x[at + d];
      values[d] = args.is_query ? from_e4m3(e4m3_code(value, scale)) * scale : value;
    }
    __syncwarp();
  }
}

/// The layer's block in the page of a slot.
__device__ __forceinline__ std::byte* block_of(const DevicePages& cache, std::size_t slot) {
  return cache.pages + slot / kPageSize * cache.page_bytes + cache.block_offset;
}

/// A page of codes ends with the tokens' scales.
__device__ __forceinline__ float* key_scale(std::byte* block, std::size_t token, std::size_t dim) {
  return reinterpret_cast<float*>(block + kPageSize * dim) + token;
}

/// Where a code of mode I8 lies in its page.
__device__ __forceinline__ std::size_t i8_code_offset(std::size_t token, std::size_t d,
                                                      std::size_t dim) {
  return token / kIndexBlockKeys * kIndexBlockKeys * dim + 64 * (d / 4) +
         4 * (token % kIndexBlockKeys) + d % 4;
}

__device__ __forceinline__ void store_value(std::byte* block, std::size_t i, float value,
                                            DType dtype) {
  if (dtype == DType::f32) {
    reinterpret_cast<float*>(block)[i] = value;
  } else {
    reinterpret_cast<bf16*>(block)[i] = to_bf16(value);
  }
}

__global__ void write_index_keys_kernel(WriteIndexKeysArgs args) {
  const std::size_t num_warps = num_global_threads() / kWarp;
  for (std::size_t row = global_thread() / kWarp; row < args.rows; row += num_warps) {
    if (args.slots[row] < 0) continue;
    const auto slot = static_cast<std::size_t>(args.slots[row]);
    const std::size_t token = slot % kPageSize;
    std::byte* block = block_of(args.cache, slot);
    if (args.cache.dtype == DType::int8) {
      for (std::size_t d = lane(); d < args.dim; d += kWarp) {
        block[i8_code_offset(token, d, args.dim)] =
            static_cast<std::byte>(args.codes[row * args.dim + d]);
      }
      if (lane() == 0) *key_scale(block, token, args.dim) = args.scales[row];
      continue;
    }
    const float* key = args.keys + row * args.dim;
    if (args.cache.dtype == DType::fp8_e4m3) {
      const auto value_at = [&](std::size_t d) -> float { return key[d]; };
      const float scale = warp_e4m3_scale(value_at, args.dim);
      for (std::size_t d = lane(); d < args.dim; d += kWarp) {
        block[token * args.dim + d] = static_cast<std::byte>(e4m3_code(key[d], scale));
      }
      if (lane() == 0) *key_scale(block, token, args.dim) = scale;
      continue;
    }
    for (std::size_t d = lane(); d < args.dim; d += kWarp) {
      store_value(block, token * args.cache.row_stride + d, key[d], args.cache.dtype);
    }
  }
}

/// Latents, rounded as the cache stores them; FP8 in groups of kFp8LatentGroup.
__global__ void write_latents_kernel(WriteLatentsArgs args) {
  const std::size_t dim = args.kv_lora_rank + args.qk_rope_head_dim;
  const std::size_t num_warps = num_global_threads() / kWarp;
  for (std::size_t row = global_thread() / kWarp; row < args.rows; row += num_warps) {
    if (args.slots[row] < 0) continue;
    const auto slot = static_cast<std::size_t>(args.slots[row]);
    const std::size_t at = slot % kPageSize * args.cache.row_stride;
    std::byte* block = block_of(args.cache, slot);
    const float* latent = args.latents + row * dim;
    if (args.cache.dtype != DType::fp8_e4m3) {
      for (std::size_t d = lane(); d < dim; d += kWarp) {
        store_value(block, at + d, latent[d], args.cache.dtype);
      }
      continue;
    }
    std::byte* to = block + at;
    for (std::size_t begin = 0; begin < args.kv_lora_rank; begin += kFp8LatentGroup) {
      const std::size_t rest = args.kv_lora_rank - begin;
      const std::size_t n = rest < kFp8LatentGroup ? rest : kFp8LatentGroup;
      const auto value_at = [&](std::size_t d) -> float { return latent[begin + d]; };
      const float scale = warp_e4m3_scale(value_at, n);
      for (std::size_t d = lane(); d < n; d += kWarp) {
        to[begin + d] = static_cast<std::byte>(e4m3_code(latent[begin + d], scale));
      }
      if (lane() == 0) {
        reinterpret_cast<float*>(to + args.fp8.scales_at)[begin / kFp8LatentGroup] = scale;
      }
    }
    for (std::size_t d = lane(); d < args.qk_rope_head_dim; d += kWarp) {
      store_value(to + args.fp8.rope_at, d, latent[args.kv_lora_rank + d], DType::bf16);
    }
  }
}

template <class Args>
void launch_warps(void (*kernel)(Args), const Args& args) {
  if (args.rows == 0) return;
  launch(kernel, blocks_for(args.rows * kWarp, kIndexRowThreads), kIndexRowThreads, args);
}
void launch_index_quantize(const IndexQuantizeArgs& args) {
  launch_warps(index_quantize_kernel, args);
}
void launch_rotate_index(const RotateIndexArgs& args) { launch_warps(rotate_index_kernel, args); }
void launch_write_index_keys(const WriteIndexKeysArgs& args) {
  launch_warps(write_index_keys_kernel, args);
}
void launch_write_latents(const WriteLatentsArgs& args) {
  launch_warps(write_latents_kernel, args);
}

}  // namespace
}  // namespace ponder::kernels
