#include "kernels/numeric.h"

#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>

namespace ponder::kernels {

float bf16_to_f32(bf16 value) noexcept {
  return std::bit_cast<float>(static_cast<std::uint32_t>(value) << 16);
}

bf16 f32_to_bf16(float value) noexcept {
  const auto bits = std::bit_cast<std::uint32_t>(value);
  if (std::isnan(value)) return static_cast<bf16>((bits >> 16) | 0x40u);
  const std::uint32_t rounding = 0x7fffu + ((bits >> 16) & 1u);
  return static_cast<bf16>((bits + rounding) >> 16);
}

float fp8_e4m3_to_f32(fp8_e4m3 value) noexcept {
  const int exponent = (value >> 3) & 15;
  const int mantissa = value & 7;
  float magnitude;
  if (exponent == 15 && mantissa == 7) {
    magnitude = std::numeric_limits<float>::quiet_NaN();
  } else if (exponent == 0) {
    magnitude = std::ldexp(static_cast<float>(mantissa), -9);
  } else {
    magnitude = std::ldexp(static_cast<float>(8 + mantissa), exponent - 10);
  }
  return (value & 0x80) != 0 ? -magnitude : magnitude;
}

void dequantize_fp8(float* y, const fp8_e4m3* w, const float* scales, std::size_t n,
                    std::size_t k) noexcept {
  const std::size_t scales_per_row = (k + kFp8BlockSize - 1) / kFp8BlockSize;
  for (std::size_t row = 0; row < n; ++row) {
    const float* row_scales = scales + row / kFp8BlockSize * scales_per_row;
    for (std::size_t i = 0; i < k; ++i) {
      y[row * k + i] = fp8_e4m3_to_f32(w[row * k + i]) * row_scales[i / kFp8BlockSize];
    }
  }
}

}  // namespace ponder::kernels
