#include "engine/numeric_formats.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "base/assert.h"

namespace ponder::engine {

std::uint16_t float_to_bf16(float value) noexcept {
  const auto bits = std::bit_cast<std::uint32_t>(value);
  if (std::isnan(value)) return static_cast<std::uint16_t>((bits >> 16) | 0x0040u);
  return static_cast<std::uint16_t>((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16);
}

float fp16_to_float(std::uint16_t bits) noexcept {
  const int exponent = (bits >> 10) & 0x1f;
  const int mantissa = bits & 0x3ff;
  const std::uint32_t sign = static_cast<std::uint32_t>(bits & 0x8000) << 16;
  if (exponent == 0x1f) {
    return std::bit_cast<float>(sign | 0x7f800000u | (static_cast<std::uint32_t>(mantissa) << 13));
  }
  const float magnitude = exponent == 0
                              ? std::ldexp(static_cast<float>(mantissa), -24)
                              : std::ldexp(static_cast<float>(mantissa + 0x400), exponent - 25);
  return sign != 0 ? -magnitude : magnitude;
}

float e4m3_to_float(std::uint8_t code) noexcept {
  const int exponent = (code >> 3) & 0xf;
  const int mantissa = code & 7;
  const bool is_negative = (code & 0x80) != 0;
  if ((code & 0x7f) == 0x7f) return std::bit_cast<float>(is_negative ? 0xffc00000u : 0x7fc00000u);
  const float magnitude = exponent == 0
                              ? std::ldexp(static_cast<float>(mantissa), -9)
                              : std::ldexp(static_cast<float>(mantissa + 8), exponent - 10);
  return is_negative ? -magnitude : magnitude;
}

std::uint8_t float_to_e4m3(float value) noexcept {
  const auto bits = std::bit_cast<std::uint32_t>(value);
  const auto sign = static_cast<std::uint8_t>(bits >> 24 & 0x80);
  const std::uint32_t magnitude = bits & 0x7fffffffu;
  if (magnitude > 0x7f800000u) return sign | 0x7f;
  if (magnitude >= std::bit_cast<std::uint32_t>(kE4m3Max)) return sign | 0x7e;
  if (magnitude < std::bit_cast<std::uint32_t>(0x1p-6f)) {
    // Subnormals: multiples of 2^-9, which is a float's last digit at 2^14.
    const float shifted = std::bit_cast<float>(magnitude) + 0x1p14f;
    const auto steps =
        std::bit_cast<std::uint32_t>(shifted) - std::bit_cast<std::uint32_t>(0x1p14f);
    return static_cast<std::uint8_t>(sign | steps);
  }
  // 20 digits go; a carry walks into the exponent, whose bias falls from 127 to 7.
  const std::uint32_t rounded = magnitude + 0x7ffffu + (magnitude >> 20 & 1u);
  return static_cast<std::uint8_t>(sign | ((rounded >> 20) - (120u << 3)));
}

float ue8m0_scale(float amax) noexcept {
  PONDER_ASSERT(amax >= 0.0f && std::isfinite(amax));
  if (amax == 0.0f) return 1.0f;
  int exponent = 0;
  const float fraction = std::frexp(amax, &exponent);  // amax = fraction * 2^exponent, in [0.5, 1)
  // 448 = 0.875 * 2^9, so a power of two is enough exactly when the fraction is at most 0.875.
  return std::ldexp(1.0f, exponent - 9 + (fraction > 0.875f ? 1 : 0));
}

float quantize_e4m3(std::byte* codes, const float* values, std::size_t n) noexcept {
  constexpr float kAbsmaxMin = 1e-4F;  // so that scales stay above 2^-23
  float absmax = kAbsmaxMin;
  bool is_finite = true;
  for (std::size_t i = 0; i < n; ++i) {
    absmax = std::max(absmax, std::fabs(values[i]));
    is_finite = is_finite && std::isfinite(values[i]);
  }
  if (!is_finite) {
    std::memset(codes, 0, n);
    return std::numeric_limits<float>::quiet_NaN();
  }
  const float scale = ue8m0_scale(absmax);
  const float reciprocal = 1.0F / scale;  // exact, as the product with it
  for (std::size_t i = 0; i < n; ++i) {
    codes[i] = static_cast<std::byte>(float_to_e4m3(values[i] * reciprocal));
  }
  return scale;
}

}  // namespace ponder::engine
