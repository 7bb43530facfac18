// The AVX2 row: the shared kernels of kernels/cpu/*.inl over the vector of this folder. Compiled
// with -mavx2 -mfma -mf16c; nothing but the table leaves this file.

#include "kernels/cpu/avx2/avx2_table.h"
#include "kernels/packed_bf16_layout.h"
#include "kernels/reference/scalar.h"

// clang-format off: each file builds on those above it
#include "kernels/cpu/avx2/vector.inl"
#include "kernels/cpu/elementwise.inl"
#include "kernels/cpu/exponential.inl"
#include "kernels/cpu/fp8_latents.inl"
#include "kernels/cpu/attention.inl"
#include "kernels/cpu/attention_combine.inl"
#include "kernels/cpu/indexer.inl"
#include "kernels/cpu/avx2/codes.inl"
#include "kernels/cpu/products_by_halves.inl"
#include "kernels/cpu/int4_order.inl"
#include "kernels/cpu/activation_codes.inl"
#include "kernels/cpu/matmul_sums.inl"
#include "kernels/cpu/matmul_codes.inl"
#include "kernels/cpu/matmul_codes_streamed.inl"
#include "kernels/cpu/matmul.inl"
#include "kernels/cpu/packed_bf16.inl"
#include "kernels/cpu/avx2/packed_bf16.inl"
#include "kernels/cpu/matmul_bf16_packed.inl"
#include "kernels/cpu/matmul_formats.inl"
#include "kernels/cpu/avx2/key_codes.inl"
#include "kernels/cpu/index_quantize.inl"
#include "kernels/cpu/index_scores_i8.inl"
#include "kernels/cpu/avx2/topk_streaming.inl"
// clang-format on

namespace ponder::kernels {

const KernelTable& avx2_table() noexcept {
  static constexpr KernelTable kTable = {
      .name = "avx2",
      .matmul = matmul,
      .matmul_prepared_bytes = matmul_prepared_bytes,
      .matmul_prepare = matmul_prepare,
      .rms_norm = rms_norm,
      .layer_norm = layer_norm,
      .rope = rope,
      .silu_mul = silu_mul,
      .weighted_sum = weighted_sum,
      .softmax = softmax,
      .router = scalar::router,
      .index_scores = index_scores,
      .topk = scalar::topk,
      .index_quantize = index_quantize,
      .index_scores_i8 = index_scores_i8,
      .topk_push = topk_push,
      .topk_shrink = scalar::topk_shrink,
      .attention_sizes = scalar::attention_sizes,
      .attention_pack = scalar::attention_pack,
      .attention_part = attention_part,
      .attention_combine = attention_combine,
      .add = add,
      .argmax = argmax,
      .bf16_to_f32 = bf16_to_f32,
      .f32_to_bf16 = f32_to_bf16,
      .round_to_bf16 = round_to_bf16,
  };
  return kTable;
}

}  // namespace ponder::kernels
