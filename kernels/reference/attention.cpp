// Absorbed multi-head latent attention over selected cache rows, two passes in double.

#include <algorithm>
#include <cmath>
#include <limits>

#include "kernels/numeric.h"
#include "kernels/reference/scalar.h"

namespace ponder::kernels::scalar {
namespace {

// One head of one query token.
struct Head {
  const AttentionArgs& args;
  const AttentionRow& row;
  std::size_t head;

  double cache_at(std::size_t index, std::size_t dim) const noexcept {
    const std::size_t slot =
        row.slots == nullptr ? index : static_cast<std::size_t>(row.slots[index]);
    const void* page = row.pages[slot / kPageSize];
    const std::size_t i = slot % kPageSize * args.cache_stride + dim;
    if (args.cache_dtype == DType::f32) return static_cast<const float*>(page)[i];
    return kernels::bf16_to_f32(static_cast<const bf16*>(page)[i]);
  }

  double logit(std::size_t index) const noexcept {
    const float* q_nope = row.q_nope + head * args.q_nope_stride;
    const float* q_rope = row.q_rope + head * args.q_rope_stride;
    double dot = 0.0;
    for (std::size_t i = 0; i < args.kv_lora_rank; ++i) dot += q_nope[i] * cache_at(index, i);
    for (std::size_t i = 0; i < args.qk_rope_head_dim; ++i) {
      dot += q_rope[i] * cache_at(index, args.kv_lora_rank + i);
    }
    return dot * args.softmax_scale;
  }

  void run() const noexcept {
    double max = -std::numeric_limits<double>::infinity();
    for (std::size_t s = 0; s < row.num_slots; ++s) max = std::max(max, logit(s));
    double sum = 0.0;
    double out[kLatentDimMax] = {};
    for (std::size_t s = 0; s < row.num_slots; ++s) {
      const double p = std::exp(logit(s) - max);
      sum += p;
      for (std::size_t i = 0; i < args.kv_lora_rank; ++i) out[i] += p * cache_at(s, i);
    }
    for (std::size_t i = 0; i < args.kv_lora_rank; ++i) {
      const double value = row.num_slots == 0 ? 0.0 : out[i] / sum;
      row.out[head * args.out_stride + i] = static_cast<float>(value);
    }
  }
};

}  // namespace

void attention(const AttentionArgs& args, std::size_t row, std::size_t head_begin,
               std::size_t head_end) noexcept {
  for (std::size_t head = head_begin; head < head_end; ++head) {
    Head{args, args.rows[row], head}.run();
  }
}

}  // namespace ponder::kernels::scalar
