#include "kernels/dispatch.h"
#include "kernels/reference/scalar.h"

namespace ponder::kernels {

const KernelTable& scalar_table() noexcept {
  static constexpr KernelTable kTable = {
      .name = "scalar",
      .matmul = scalar::matmul,
      .matmul_prepared_bytes = scalar::matmul_prepared_bytes,
      .matmul_prepare = scalar::matmul_prepare,
      .rms_norm = scalar::rms_norm,
      .layer_norm = scalar::layer_norm,
      .rope = scalar::rope,
      .silu_mul = scalar::silu_mul,
      .weighted_sum = scalar::weighted_sum,
      .softmax = scalar::softmax,
      .router = scalar::router,
      .index_scores = scalar::index_scores,
      .topk = scalar::topk,
      .index_quantize = scalar::index_quantize,
      .index_scores_i8 = scalar::index_scores_i8,
      .topk_push = scalar::topk_push,
      .topk_shrink = scalar::topk_shrink,
      .attention_sizes = scalar::attention_sizes,
      .attention_pack = scalar::attention_pack,
      .attention_part = scalar::attention_part,
      .attention_combine = scalar::attention_combine,
      .add = scalar::add,
      .argmax = scalar::argmax,
      .bf16_to_f32 = scalar::bf16_to_f32,
      .f32_to_bf16 = scalar::f32_to_bf16,
      .round_to_bf16 = scalar::round_to_bf16,
  };
  return kTable;
}

}  // namespace ponder::kernels
