#pragma once

// Four values at a time: 16 bytes of floats, 8 of bf16 or 4 of codes in one access, where addresses
// allow it. What lies beyond the end of a row is read as zeros and not written.

#include "kernels/cuda/numeric.cuh"

namespace ponder::kernels {
namespace {

struct Four {
  float x[4];
};

__host__ __device__ __forceinline__ bool is_aligned_to(const void* at, std::size_t bytes) {
  return reinterpret_cast<std::size_t>(at) % bytes == 0;
}
/// Whether the fours of all rows are 16 bytes that may be read at once.
__host__ __device__ __forceinline__ bool has_aligned_fours(const void* rows, std::size_t stride) {
  return stride % 4 == 0 && is_aligned_to(rows, 16);
}

/// Values i to i + 3 of n. Requires of aligned ones: i and n are multiples of 4.
__device__ __forceinline__ Four load_four(const float* row, std::size_t i, std::size_t n,
                                          bool is_aligned) {
  if (is_aligned) {
    const float4 four = *reinterpret_cast<const float4*>(row + i);
    return {{four.x, four.y, four.z, four.w}};
  }
  Four four{};
  PONDER_UNROLL
  for (unsigned k = 0; k < 4; ++k) {
    if (i + k < n) four.x[k] = row[i + k];
  }
  return four;
}

__device__ __forceinline__ void store_four(float* row, std::size_t i, std::size_t n,
                                           const Four& four, bool is_aligned) {
  if (is_aligned) {
    *reinterpret_cast<float4*>(row + i) = {four.x[0], four.x[1], four.x[2], four.x[3]};
    return;
  }
  PONDER_UNROLL
  for (unsigned k = 0; k < 4; ++k) {
    if (i + k < n) row[i + k] = four.x[k];
  }
}

/// The same in shared memory; i is a multiple of 4, and all four are there.
template <std::size_t N>
__device__ __forceinline__ Four take_four(SharedRow<N>& row, std::size_t i) {
  const float4 four = load_shared(row, i);
  return {{four.x, four.y, four.z, four.w}};
}
template <std::size_t N>
__device__ __forceinline__ void put_four(SharedRow<N>& row, std::size_t i, const Four& four) {
  store_shared(row, i, {four.x[0], four.x[1], four.x[2], four.x[3]});
}

/// As f32 or bf16 from element i on; the first n of them.
__device__ __forceinline__ void store_values(std::byte* to, std::size_t i, const Four& four,
                                             std::size_t n, DType dtype) {
  if (dtype == DType::f32) {
    float* at = reinterpret_cast<float*>(to) + i;
    store_four(at, 0, n, four, n >= 4 && is_aligned_to(at, 16));
    return;
  }
  bf16* at = reinterpret_cast<bf16*>(to) + i;
  bf16 rounded[4];
  PONDER_UNROLL
  for (unsigned k = 0; k < 4; ++k) rounded[k] = to_bf16(four.x[k]);
  if (n >= 4 && is_aligned_to(at, 8)) {
    *reinterpret_cast<uint2*>(at) = {rounded[0] | static_cast<unsigned>(rounded[1]) << 16,
                                     rounded[2] | static_cast<unsigned>(rounded[3]) << 16};
    return;
  }
  PONDER_UNROLL
  for (unsigned k = 0; k < 4; ++k) {
    if (k < n) at[k] = rounded[k];
  }
}

/// Four codes, the first in the lowest byte; the first n of them.
__device__ __forceinline__ void store_codes(void* to, unsigned codes, std::size_t n) {
  if (n >= 4 && is_aligned_to(to, 4)) {
    *static_cast<unsigned*>(to) = codes;
    return;
  }
  PONDER_UNROLL
  for (unsigned k = 0; k < 4; ++k) {
    if (k < n) static_cast<std::uint8_t*>(to)[k] = static_cast<std::uint8_t>(codes >> (8 * k));
  }
}

/// A whole number within +-127 as a byte.
__device__ __forceinline__ unsigned int8_code(float code) {
  return static_cast<std::uint8_t>(static_cast<std::int8_t>(code));
}

/// E4M3 codes of four values, of a row with this scale.
__device__ __forceinline__ unsigned e4m3_codes(const Four& four, float scale) {
  unsigned codes = 0;
  PONDER_UNROLL
  for (unsigned k = 0; k < 4; ++k) {
    codes |= static_cast<unsigned>(e4m3_code(four.x[k], scale)) << (8 * k);
  }
  return codes;
}

/// A group of activations as int8 with one scale, by a warp; each lane has four of them.
__device__ __forceinline__ void store_activation_codes(std::int8_t* codes, float* scale,
                                                       const Four& four) {
  static_assert(kActivationGroup == 4 * kWarp);
  float largest = 0.0f;
  bool all_finite = true;
  PONDER_UNROLL
  for (unsigned k = 0; k < 4; ++k) {
    largest = fmaxf(largest, fabsf(four.x[k]));
    all_finite = all_finite && is_finite(four.x[k]);
  }
  largest = warp_max(largest);
  all_finite = __ballot_sync(kAllLanes, all_finite) == kAllLanes;
  const bool is_zero = !all_finite || largest < kSmallestActivation;
  const float factor = is_zero ? 0.0f : 127.0f / largest;
  unsigned four_codes = 0;
  PONDER_UNROLL
  for (unsigned k = 0; k < 4; ++k) {
    four_codes |= int8_code(is_zero ? 0.0f : rintf(four.x[k] * factor)) << (8 * k);
  }
  store_codes(codes + 4 * lane(), four_codes, 4);
  if (lane() == 0) *scale = !all_finite ? quiet_nan() : is_zero ? 0.0f : largest / 127.0f;
}

}  // namespace
}  // namespace ponder::kernels
