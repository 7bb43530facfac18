#include "engine/numeric_formats.h"

#include <cmath>

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
  const std::uint8_t sign = std::signbit(value) ? 0x80 : 0;
  if (std::isnan(value)) return sign | 0x7f;
  const float magnitude = std::fabs(value);
  if (magnitude >= kE4m3Max) return sign | 0x7e;
  // The step between neighbours is 2^(e-3) for magnitudes in [2^e, 2^(e+1)), never below 2^-9.
  const int exponent = magnitude < 0x1p-6f ? -6 : std::ilogb(magnitude);
  // Scaling by a power of two is exact, so rounding to an integer is the only rounding.
  const auto steps = static_cast<int>(std::nearbyint(std::ldexp(magnitude, 3 - exponent)));
  // steps is 0..8 for subnormals and 8..16 for normals; a carry walks into the next exponent.
  const int base = (exponent + 6) * 8;
  return static_cast<std::uint8_t>(sign | (base + steps));
}

float ue8m0_scale(float amax) noexcept {
  PONDER_ASSERT(amax >= 0.0f && std::isfinite(amax));
  if (amax == 0.0f) return 1.0f;
  int exponent = 0;
  const float fraction = std::frexp(amax, &exponent);  // amax = fraction * 2^exponent, in [0.5, 1)
  // 448 = 0.875 * 2^9, so a power of two is enough exactly when the fraction is at most 0.875.
  return std::ldexp(1.0f, exponent - 9 + (fraction > 0.875f ? 1 : 0));
}

}  // namespace ponder::engine
