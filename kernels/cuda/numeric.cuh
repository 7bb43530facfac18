#pragma once

// The number formats of kernels/numeric.h and engine/numeric_formats.h, to the bit.

#include "kernels/cuda/simt.cuh"
#include "kernels/kernel_table.h"

namespace ponder::kernels {
namespace {

__device__ __forceinline__ float from_bf16(bf16 value) {
  return __uint_as_float(static_cast<unsigned>(value) << 16);
}

__device__ __forceinline__ bf16 to_bf16(float value) {
  const unsigned bits = __float_as_uint(value);
  if (is_nan(value)) return static_cast<bf16>((bits >> 16) | 0x40u);
  return static_cast<bf16>((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16);
}

__device__ __forceinline__ float from_e4m3(fp8_e4m3 code) {
  const unsigned sign = (code & 0x80u) << 24;
  const unsigned magnitude = code & 0x7fu;
  if (magnitude == 0x7fu) return quiet_nan();
  const float value = magnitude < 8 ? static_cast<float>(magnitude) * 0x1p-9f
                                    : __uint_as_float((magnitude << 20) + (120u << 23));
  return __uint_as_float(__float_as_uint(value) | sign);
}

/// Rounds to nearest even and saturates at 448; a NaN stays a NaN.
__device__ __forceinline__ fp8_e4m3 to_e4m3(float value) {
  const unsigned bits = __float_as_uint(value);
  const unsigned sign = bits >> 24 & 0x80u;
  const unsigned magnitude = bits & 0x7fffffffu;
  if (magnitude > 0x7f800000u) return static_cast<fp8_e4m3>(sign | 0x7fu);
  if (magnitude >= 0x43e00000u) return static_cast<fp8_e4m3>(sign | 0x7eu);  // 448
  if (magnitude < 0x3c800000u) {                                             // 2^-6: subnormals
    const float shifted = __uint_as_float(magnitude) + 0x1p14f;
    return static_cast<fp8_e4m3>(sign | (__float_as_uint(shifted) - 0x46800000u));
  }
  const unsigned rounded = magnitude + 0x7ffffu + (magnitude >> 20 & 1u);
  return static_cast<fp8_e4m3>(sign | ((rounded >> 20) - (120u << 3)));
}

/// The smallest power of two by which values up to `absmax` can be divided to fit E4M3: 448 is
/// 1.75 * 2^8. Requires: absmax is finite and normal.
__device__ __forceinline__ float e4m3_scale(float absmax) {
  const unsigned bits = __float_as_uint(absmax);
  const unsigned exponent = (bits >> 23) - 8 + ((bits & 0x7fffffu) > 0x600000u ? 1 : 0);
  return __uint_as_float(exponent << 23);
}

/// The scale that quantize_e4m3 gives to all values of a warp, of which each lane tells its largest
/// magnitude and whether all are finite; NaN when they are not. Every lane gets it.
__device__ __forceinline__ float warp_e4m3_scale(float absmax, bool all_finite) {
  absmax = warp_max(fmaxf(absmax, 1e-4f));
  if (__ballot_sync(kAllLanes, all_finite) != kAllLanes) return quiet_nan();
  return e4m3_scale(absmax);
}

/// The code of one value; that of a row with a NaN or an infinity is 0.
__device__ __forceinline__ fp8_e4m3 e4m3_code(float value, float scale) {
  return is_nan(scale) ? 0 : to_e4m3(value * (1.0f / scale));
}

}  // namespace
}  // namespace ponder::kernels
