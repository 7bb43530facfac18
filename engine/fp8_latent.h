#pragma once

#include <cstddef>

#include "kernels/kernel_table.h"

/// Cache rows of FP8 latents: the layout that public kernels use, 656 bytes for DeepSeek-V3.2
/// instead of 1152 in bf16. Scales are powers of two, on which all kernels agree.
namespace ponder::engine {

/// Where the parts of a row lie.
kernels::Fp8LatentLayout fp8_latent_layout(std::size_t kv_lora_rank,
                                           std::size_t qk_rope_head_dim) noexcept;

/// Writes the row of `latent` [kv_lora_rank + qk_rope_head_dim] at `to`, 4-byte aligned. A group's
/// scale is the smallest power of two by which its largest magnitude, taken to be 1e-4 at least,
/// can be divided to fit E4M3. A group with a NaN or an infinity reads back as NaN.
void write_fp8_latent(std::byte* to, const float* latent, std::size_t kv_lora_rank,
                      std::size_t qk_rope_head_dim) noexcept;

}  // namespace ponder::engine
