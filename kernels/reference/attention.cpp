// Absorbed multi-head latent attention over selected cache rows, two passes in double per part.

#include <algorithm>
#include <cmath>
#include <limits>
#include <numbers>

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
    const void* page = static_cast<const char*>(row.pages[slot / kPageSize]) + args.block_offset;
    const std::size_t i = slot % kPageSize * args.cache_stride + dim;
    if (args.cache_dtype == DType::f32) return static_cast<const float*>(page)[i];
    if (args.cache_dtype == DType::bf16) {
      return kernels::bf16_to_f32(static_cast<const bf16*>(page)[i]);
    }
    return fp8_at(static_cast<const fp8_e4m3*>(page) + slot % kPageSize * args.cache_stride, dim);
  }

  double fp8_at(const fp8_e4m3* at, std::size_t dim) const noexcept {
    if (dim >= args.kv_lora_rank) {
      const auto* rope = reinterpret_cast<const bf16*>(at + args.fp8.rope_at);
      return kernels::bf16_to_f32(rope[dim - args.kv_lora_rank]);
    }
    const auto* scales = reinterpret_cast<const float*>(at + args.fp8.scales_at);
    return kernels::fp8_e4m3_to_f32(at[dim]) * scales[dim / kFp8LatentGroup];
  }

  double logit(std::size_t index) const noexcept {
    const float* q_nope = row.q_nope + head * args.q_nope_stride;
    const float* q_rope = row.q_rope + head * args.q_rope_stride;
    double dot = 0.0;
    for (std::size_t i = 0; i < args.kv_lora_rank; ++i) dot += q_nope[i] * cache_at(index, i);
    for (std::size_t i = 0; i < args.qk_rope_head_dim; ++i) {
      dot += q_rope[i] * cache_at(index, args.kv_lora_rank + i);
    }
    return dot * args.softmax_scale * std::numbers::log2e;
  }

  void run(std::size_t slot_begin, std::size_t slot_end, const AttentionPart& part) const noexcept {
    double max = -std::numeric_limits<double>::infinity();
    for (std::size_t s = slot_begin; s < slot_end; ++s) max = std::max(max, logit(s));
    double sum = 0.0;
    double out[kLatentDimMax] = {};
    for (std::size_t s = slot_begin; s < slot_end; ++s) {
      const double p = std::exp2(logit(s) - max);
      sum += p;
      for (std::size_t i = 0; i < args.kv_lora_rank; ++i) out[i] += p * cache_at(s, i);
    }
    for (std::size_t i = 0; i < args.kv_lora_rank; ++i) {
      part.out[head * args.kv_lora_rank + i] = static_cast<float>(out[i]);
    }
    part.max[head] = static_cast<float>(max);
    part.sum[head] = static_cast<float>(sum);
  }
};

}  // namespace

AttentionSizes attention_sizes(const AttentionArgs&) noexcept { return {}; }

void attention_pack(const AttentionArgs&, std::size_t, std::size_t, std::size_t, void*) noexcept {}

void attention_part(const AttentionArgs& args, const AttentionSpan& span, const void*,
                    const AttentionPart* parts, std::size_t, void*) noexcept {
  for (std::size_t head = 0; head < args.heads; ++head) {
    Head{args, args.rows[span.row], head}.run(span.slot_begin, span.slot_end, *parts);
  }
}

void attention_combine(const AttentionArgs& args, std::size_t row, const AttentionPart* parts,
                       std::size_t num_parts, std::size_t head_begin,
                       std::size_t head_end) noexcept {
  for (std::size_t head = head_begin; head < head_end; ++head) {
    double max = -std::numeric_limits<double>::infinity();
    for (std::size_t p = 0; p < num_parts; ++p) max = std::max<double>(max, parts[p].max[head]);
    double sum = 0.0;
    double out[kLatentDimMax] = {};
    for (std::size_t p = 0; p < num_parts; ++p) {
      const double weight = std::exp2(parts[p].max[head] - max);
      sum += weight * parts[p].sum[head];
      for (std::size_t i = 0; i < args.kv_lora_rank; ++i) {
        out[i] += weight * parts[p].out[head * args.kv_lora_rank + i];
      }
    }
    for (std::size_t i = 0; i < args.kv_lora_rank; ++i) {
      const double value = num_parts == 0 ? 0.0 : out[i] / sum;
      args.rows[row].out[head * args.out_stride + i] = static_cast<float>(value);
    }
  }
}

}  // namespace ponder::kernels::scalar
