#pragma once

// The number formats of weights and caches, one value at a time: what the formats mean, not how to
// decode them fast. Not inline, so that files compiled for one instruction set cannot leak code
// into the rest of the program; they do not include this header.

#include <cstddef>

#include "kernels/kernel_table.h"

namespace ponder::kernels {

[[nodiscard]] float bf16_to_f32(bf16 value) noexcept;

/// Rounds to nearest even; overflow becomes infinity; a NaN stays a (quiet) NaN.
[[nodiscard]] bf16 f32_to_bf16(float value) noexcept;

/// Codes 0x7f and 0xff are NaN.
[[nodiscard]] float fp8_e4m3_to_f32(fp8_e4m3 value) noexcept;

/// y[i] = code * scale for a weight with one scale per square of kFp8BlockSize.
/// w: [n, k], scales: [ceil(n/128), ceil(k/128)], y: [n, k], all dense.
void dequantize_fp8(float* y, const fp8_e4m3* w, const float* scales, std::size_t n,
                    std::size_t k) noexcept;

}  // namespace ponder::kernels
