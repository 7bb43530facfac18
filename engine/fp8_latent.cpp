#include "engine/fp8_latent.h"

#include <algorithm>
#include <cstring>

#include "engine/numeric_formats.h"

namespace ponder::engine {

kernels::Fp8LatentLayout fp8_latent_layout(std::size_t kv_lora_rank,
                                           std::size_t qk_rope_head_dim) noexcept {
  const std::size_t num_groups =
      (kv_lora_rank + kernels::kFp8LatentGroup - 1) / kernels::kFp8LatentGroup;
  const std::size_t scales_at = (kv_lora_rank + sizeof(float) - 1) / sizeof(float) * sizeof(float);
  const std::size_t rope_at = scales_at + num_groups * sizeof(float);
  return {scales_at, rope_at, rope_at + qk_rope_head_dim * sizeof(kernels::bf16)};
}

void write_fp8_latent(std::byte* to, const float* latent, std::size_t kv_lora_rank,
                      std::size_t qk_rope_head_dim) noexcept {
  const kernels::Fp8LatentLayout layout = fp8_latent_layout(kv_lora_rank, qk_rope_head_dim);
  std::byte* scales = to + layout.scales_at;
  for (std::size_t i = 0; i < kv_lora_rank; i += kernels::kFp8LatentGroup) {
    const std::size_t n = std::min(kernels::kFp8LatentGroup, kv_lora_rank - i);
    const float scale = quantize_e4m3(to + i, latent + i, n);
    std::memcpy(scales, &scale, sizeof scale);
    scales += sizeof scale;
  }
  for (std::size_t i = 0; i < qk_rope_head_dim; ++i) {
    const kernels::bf16 value = float_to_bf16(latent[kv_lora_rank + i]);
    std::memcpy(to + layout.rope_at + i * sizeof value, &value, sizeof value);
  }
}

}  // namespace ponder::engine
