#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>

/// The number formats in which weights are stored, bit by bit: the one place in the engine that
/// knows how bf16, fp16, E4M3 and power-of-two scales are encoded. Scalar and exact; fast paths
/// live in kernels.
namespace ponder::engine {

inline constexpr float kE4m3Max = 448.0f;

inline float bf16_to_float(std::uint16_t bits) noexcept {
  return std::bit_cast<float>(static_cast<std::uint32_t>(bits) << 16);
}

/// Rounds to nearest even; a NaN stays a (quiet) NaN.
std::uint16_t float_to_bf16(float value) noexcept;

float fp16_to_float(std::uint16_t bits) noexcept;

/// E4M3 ("fn": bias 7, no infinity, NaN 0x7f and 0xff, subnormal step 2^-9).
float e4m3_to_float(std::uint8_t code) noexcept;

/// Rounds to nearest even and saturates at 448; a NaN stays a NaN.
std::uint8_t float_to_e4m3(float value) noexcept;

/// 2^ceil(log2(amax / 448)), exactly: the smallest power of two by which values up to amax can be
/// divided to fit E4M3. 1 for amax == 0. Requires: amax >= 0 and finite.
float ue8m0_scale(float amax) noexcept;

/// Rounds `n` values to E4M3 with one scale, which it returns: that of their largest magnitude,
/// taken to be 1e-4 at least, as DeepSeek's kernels do. With a NaN or an infinity among them codes
/// are 0 and the scale is NaN.
float quantize_e4m3(std::byte* codes, const float* values, std::size_t n) noexcept;

}  // namespace ponder::engine
