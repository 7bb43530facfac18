#pragma once

#include <cstddef>

/// Index keys as DeepSeek deploys them: rotated by a Hadamard matrix and rounded to E4M3 with one
/// power-of-two scale for each key (DeepSeek-V3.2-Exp, inference/kernel.py and model.py:
/// rotate_activation and act_quant with scale_fmt ue8m0). Here for parity with other engines and
/// caches; int8 keys are faster on CPUs and closer to the unrounded ones. Scalar.
namespace ponder::engine {

/// x <- bf16(H bf16(x) / sqrt(dim)), H the Sylvester matrix: H[i][j] = (-1)^popcount(i & j).
/// Requires: dim is a power of two.
void rotate_index_row(float* x, std::size_t dim) noexcept;

/// Rounds a rotated query row to what its E4M3 codes and scale stand for.
void round_index_query(float* x, std::size_t dim) noexcept;

/// Writes a rotated key into its page: [64, dim] codes, then [64] f32 scales, the page of the
/// public kernels. Requires: token < 64.
void write_fp8_index_key(std::byte* page, std::size_t token, const float* key,
                         std::size_t dim) noexcept;

}  // namespace ponder::engine
