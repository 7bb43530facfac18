#pragma once

// What index queries and keys have in common: RoPE, the rotation, and rounding. A warp has a row,
// in shared memory; all of it gives the bits of the scalar functions on the CPU. queries.cuh and
// latents.cuh are made of it, so that the two sides cannot differ.

#include "kernels/cuda/device_table.h"
#include "kernels/cuda/fours.cuh"

namespace ponder::kernels {
namespace {

constexpr unsigned kIndexThreads = 128;
constexpr unsigned kIndexWarps = kIndexThreads / kWarp;
using IndexRows = SharedRow<kIndexWarps * kIndexHeadDimMax>;

/// The warp's row: its place in shared memory.
__device__ __forceinline__ std::size_t own_index_row() {
  return threadIdx.x / kWarp * kIndexHeadDimMax;
}

/// Turns a pair by an angle.
__device__ __forceinline__ void rotate_pair(float& first, float& second, float cos, float sin) {
  const float a = first;
  const float b = second;
  first = fmaf(a, cos, -(b * sin));
  second = fmaf(a, sin, b * cos);
}

/// Where the two of pair j are.
__device__ __forceinline__ std::size_t first_of_pair(std::size_t j, RopeLayout layout) {
  return layout == RopeLayout::interleaved ? 2 * j : j;
}
__device__ __forceinline__ std::size_t second_of_pair(std::size_t j, std::size_t half,
                                                      RopeLayout layout) {
  return layout == RopeLayout::interleaved ? 2 * j + 1 : j + half;
}

/// RoPE of the first elements of a warp's row. The row is there for all lanes before and after.
__device__ __forceinline__ void warp_rope(IndexRows& x, std::size_t at, const DeviceRope& rope,
                                          RopeLayout layout, std::size_t position) {
  const std::size_t half = rope.dim / 2;
  for (std::size_t j = lane(); j < half; j += kWarp) {
    float first = x[at + first_of_pair(j, layout)];
    float second = x[at + second_of_pair(j, half, layout)];
    rotate_pair(first, second, rope.cos[position * half + j], rope.sin[position * half + j]);
    x[at + first_of_pair(j, layout)] = first;
    x[at + second_of_pair(j, half, layout)] = second;
  }
  __syncwarp();
}

/// The butterflies of the Walsh-Hadamard transform, strides ascending, by a warp.
__device__ __forceinline__ void warp_hadamard(IndexRows& x, std::size_t at, std::size_t dim) {
  for (std::size_t stride = 1; stride < dim; stride *= 2) {
    for (std::size_t pair = lane(); pair < dim / 2; pair += kWarp) {
      const std::size_t i = at + pair / stride * 2 * stride + pair % stride;
      const float low = x[i];
      const float high = x[i + stride];
      x[i] = low + high;
      x[i + stride] = low - high;
    }
    __syncwarp();
  }
}

/// How a rotated row becomes int8 codes.
struct Int8Rounding {
  float norm;     // of the rotation
  float to_code;  // 0: all codes are
  float scale;
};
/// Rotates a row. Each lane has looked at the elements it gets from int8_codes().
__device__ __forceinline__ Int8Rounding warp_int8_rounding(IndexRows& x, std::size_t at,
                                                           std::size_t dim) {
  warp_hadamard(x, at, dim);
  const float norm = 1.0f / sqrtf(static_cast<float>(dim));
  float largest = 0.0f;
  bool all_finite = true;
  for (std::size_t d = lane(); d < dim; d += kWarp) {
    const float value = x[at + d] * norm;
    largest = fmaxf(largest, fabsf(value));
    all_finite = all_finite && is_finite(value);
  }
  largest = warp_max(largest);
  all_finite = __ballot_sync(kAllLanes, all_finite) == kAllLanes;
  if (!all_finite) return {norm, 0.0f, quiet_nan()};
  if (largest < kIndexAbsmaxMin) return {norm, 0.0f, 0.0f};
  return {norm, kIndexCodeMax / largest, largest / kIndexCodeMax};
}

/// Codes d to d + 3, the first in the lowest byte.
__device__ __forceinline__ unsigned int8_codes(IndexRows& x, std::size_t at, std::size_t d,
                                               const Int8Rounding& rounding) {
  const Four four = take_four(x, at + d);
  unsigned codes = 0;
  PONDER_UNROLL
  for (unsigned k = 0; k < 4; ++k) {
    const float code =
        rounding.to_code == 0.0f ? 0.0f : rintf(four.x[k] * rounding.norm * rounding.to_code);
    codes |= int8_code(code) << (8 * k);
  }
  return codes;
}

/// x <- bf16(H bf16(x) / sqrt(dim)), and the scale of its E4M3 codes.
__device__ __forceinline__ float warp_rotate_to_bf16(IndexRows& x, std::size_t at,
                                                     std::size_t dim) {
  for (std::size_t d = lane(); d < dim; d += kWarp) x[at + d] = from_bf16(to_bf16(x[at + d]));
  __syncwarp();
  warp_hadamard(x, at, dim);
  const float norm = 1.0f / sqrtf(static_cast<float>(dim));
  float largest = 0.0f;
  bool all_finite = true;
  for (std::size_t d = lane(); d < dim; d += kWarp) {
    const float value = from_bf16(to_bf16(x[at + d] * norm));
    x[at + d] = value;
    largest = fmaxf(largest, fabsf(value));
    all_finite = all_finite && is_finite(value);
  }
  const float scale = warp_e4m3_scale(largest, all_finite);
  __syncwarp();
  return scale;
}

}  // namespace
}  // namespace ponder::kernels
