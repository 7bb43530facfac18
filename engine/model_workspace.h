#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "engine/cpu_model.h"
#include "kernels/attention.h"
#include "kernels/index_select.h"

namespace ponder::engine {

/// The forward pass's scratch memory. It scales with the rows of a batch, not with the context.
/// Grows to the largest batch seen.
struct CpuModel::Workspace {
  Workspace(const ModelConfig& config, IndexKeys index_keys, unsigned num_threads);
  /// Sets the number of rows of this batch.
  void resize(std::size_t num_rows);

  const ModelConfig& config;
  const IndexKeys index_keys;
  std::size_t rows = 0;
  std::size_t rows_capacity = 0;
  std::vector<std::int32_t> positions;  // [rows]

  std::vector<float> hidden;    // [rows, hidden_size] the residual stream
  std::vector<float> normed;    // [rows, hidden_size]
  std::vector<float> output;    // [rows, hidden_size] of a sub-layer
  std::vector<float> rope_cos;  // [rows, qk_rope_head_dim / 2]
  std::vector<float> rope_sin;  // the same

  std::vector<float> q_latent;                        // [rows, q_lora_rank]
  std::vector<float> q;                               // [rows, heads, qk_head_dim]
  std::vector<float> latent;                          // [rows, kv_lora_rank + qk_rope_head_dim]
  std::vector<float> q_absorbed;                      // [rows, heads, kv_lora_rank]
  std::vector<float> attended;                        // [rows, heads, kv_lora_rank]
  std::vector<float> values;                          // [rows, heads, v_head_dim]
  std::vector<kernels::AttentionRow> attention_rows;  // [rows]
  kernels::Attention attention;

  std::vector<float> index_q;              // [rows, index_n_heads, index_head_dim]
  std::vector<float> index_k;              // [rows, index_head_dim]
  std::vector<float> index_weights;        // [rows, index_n_heads]
  std::vector<std::int8_t> index_q_codes;  // int8 index keys: like index_q
  std::vector<std::int8_t> index_k_codes;  // like index_k
  std::vector<float> index_q_scales;       // [rows, index_n_heads]
  std::vector<float> index_k_scales;       // [rows]
  kernels::IndexSelector selector;
  std::vector<std::int32_t> num_keys;  // [rows]
  std::vector<kernels::TopkResult> topk_results;
  std::vector<std::int32_t> selection;     // [rows, index_topk]
  std::vector<std::int32_t> num_selected;  // [rows]; 0: every visible position

  std::vector<float> router_logits;   // [rows, n_routed_experts]
  std::vector<std::int32_t> experts;  // [rows, num_experts_per_tok]
  std::vector<float> expert_weights;  // [rows, num_experts_per_tok]

  std::vector<float> final_hidden;  // [rows, hidden_size], with an MTP layer
  std::vector<float> mtp_input;     // [rows, 2 * hidden_size]: embedding, hidden state; both normed
  std::vector<BatchSegment> draft_segments;
  std::vector<BatchSegment> asked_segments;  // of drop_unasked_rows()

  std::vector<kernels::MatmulArgs> jobs;
  std::vector<float> logits_input;  // [n, hidden_size]
  std::vector<float> logits;        // [n, vocab_size]
};

}  // namespace ponder::engine
