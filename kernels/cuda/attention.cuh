#pragma once

// Gathered attention: which kernel computes the parts, and their combination.

#include "kernels/cuda/attention_mma.cuh"
#include "kernels/cuda/attention_portable.cuh"

namespace ponder::kernels {
namespace {

void launch_attention(const DeviceAttentionArgs& args) {
  const bool is_mma = fits_attention_mma(args);
  for (std::size_t first = 0; first < args.rows; first += args.rows_together) {
    DeviceAttentionArgs some = args;
    const std::size_t rest = args.rows - first;
    some.rows = rest < args.rows_together ? rest : args.rows_together;
    some.q_nope += first * args.q_nope_row_stride;
    some.q_rope += first * args.q_rope_row_stride;
    some.out += first * args.heads * args.kv_lora_rank;
    some.slots += first * args.slots_stride;
    some.num_slots += first;
    is_mma ? launch_attention_mma(some) : launch_attention_portable(some);
    launch_attention_combine(some);
  }
}

}  // namespace
}  // namespace ponder::kernels
