#pragma once

#include <cstddef>
#include <cstdint>

#include "engine/device_model.h"

namespace ponder::engine {

/// The forward pass's scratch memory on the device, for batch_rows_max rows. It scales with the
/// rows of a batch, not with the context, but for the scores and block tables, which are bounded.
struct DeviceModel::Workspace {
  // What a step tells of its rows, in one piece: [kNumInputs][rows_max].
  enum Input {
    tokens,
    num_keys,
    row_sequences,
    slots,
    mtp_tokens,
    rows_before,
    num_nan,
    num_rows,  // only the first: how many rows there are
    kNumInputs
  };
  std::int32_t* inputs = nullptr;
  std::size_t rows_max = 0;
  std::size_t logits_rows_max = 0;  // rows of logits that lie in memory together
  std::int32_t* input(Input which) const { return inputs + which * rows_max; }

  std::int32_t* block_tables = nullptr;
  std::size_t block_table_ints = 0;
  std::int32_t* logits_rows = nullptr;  // [rows]

  // What the CPU has to know of a layer whose experts it computes lies together, so that one copy
  // brings it: `experts` and `expert_weights`, and routing_floats from the begin `normed`.
  float* routing = nullptr;
  std::size_t routing_floats = 0;

  float* hidden = nullptr;    // [rows, hidden_size] the residual stream
  float* normed = nullptr;    // [rows, hidden_size]; in `routing`
  float* output = nullptr;    // [rows, hidden_size] of a sub-layer
  float* rope_cos = nullptr;  // [rows, qk_rope_head_dim / 2]
  float* rope_sin = nullptr;  // the same

  float* q_latent = nullptr;    // [rows, q_lora_rank]
  float* q = nullptr;           // [rows, heads, qk_head_dim]
  float* latent = nullptr;      // [rows, kv_lora_rank + qk_rope_head_dim]
  float* q_absorbed = nullptr;  // [rows, heads, kv_lora_rank]
  float* attended = nullptr;    // the same
  float* values = nullptr;      // [rows, heads, v_head_dim]
  float* parts = nullptr;       // of attention
  std::size_t attention_rows_together = 0;
  std::size_t attention_parts_max = 0;

  // Of expanded prompts; null without them.
  std::size_t expanded_heads_max = 0;               // the same of heads
  float* expanded_latents = nullptr;                // [64 pages, kv_lora_rank + qk_rope_head_dim]
  float* expanded_keys = nullptr;                   // [heads, 64 pages, qk_nope_head_dim]
  float* expanded_values = nullptr;                 // [heads, 64 pages, v_head_dim]
  std::uint32_t* expanded_stages = nullptr;         // as tensor cores read them
  std::int32_t* expanded_pages = nullptr;           // [rows, pages] of a step
  std::int32_t* expanded_page_keys = nullptr;       // the same
  kernels::ExpandedTile* expanded_tiles = nullptr;  // [rows]

  float* index_q = nullptr;              // [rows, index_n_heads, index_head_dim]
  float* index_k = nullptr;              // [rows, index_head_dim]
  float* index_weights = nullptr;        // [rows, index_n_heads]
  std::int8_t* index_q_codes = nullptr;  // like index_q
  float* scores = nullptr;               // [rows together, keys]
  std::size_t num_scores = 0;
  std::uint32_t* select_workspace = nullptr;  // of both selections: keys, best logits
  std::int32_t* selection = nullptr;          // [rows, index_topk]
  std::int32_t* selected_slots = nullptr;     // the same as slots
  std::int32_t* num_selected = nullptr;       // [rows]

  float* gate = nullptr;                 // FFN: rows * widths
  float* up = nullptr;                   // the same
  float* router_logits = nullptr;        // [rows, n_routed_experts]
  std::int32_t* experts = nullptr;       // [rows, num_experts_per_tok]; in `routing`
  float* expert_weights = nullptr;       // the same
  std::int32_t* slot_rows = nullptr;     // the same: rows of expert_output
  std::int32_t* source_rows = nullptr;   // the row of `normed` that each of them is made of
  std::int32_t* expert_begin = nullptr;  // [n_routed_experts + 1]
  float* expert_output = nullptr;        // [rows * num_experts_per_tok, hidden_size]
  std::int8_t* x_codes = nullptr;        // of a product with int8 or int4 weights
  float* x_scales = nullptr;

  float* final_hidden = nullptr;  // [rows, hidden_size] normed, what the head reads
  float* mtp_input = nullptr;     // [rows, 2 * hidden_size]
  float* logits = nullptr;        // [rows together, vocab_size]

  // Of sampling, for the rows of logits that lie there together.
  kernels::LogitsRowInfo* logits_info = nullptr;  // [rows together]
  std::uint64_t* masks = nullptr;                 // [rows together, vocab_size / 64 or one more]
  kernels::LogitPenalty* penalties = nullptr;     // [penalties_max]
  std::size_t penalties_max = 0;
  std::byte* best_logits = nullptr;               // what comes back of a step, in one piece
  float* part_maxima = nullptr;                   // [rows together, parts]
  std::int32_t* num_logits = nullptr;             // [rows together]
  std::int32_t* num_best = nullptr;               // the same
};

/// Takes arrays out of the arena until one does not fit.
class DeviceModel::ArrayTaker {
 public:
  explicit ArrayTaker(DeviceArena& arena) : arena_(arena) {}
  template <class T>
  void operator()(T*& at, std::size_t n) {
    if (!status) return;
    auto array = arena_.allocate_array<T>(n);
    if (array) {
      at = *array;
    } else {
      status = tl::unexpected(array.error());
    }
  }
  Status status;

 private:
  DeviceArena& arena_;
};

template <class T>
void DeviceModel::upload(T* to, std::span<const T> values) {
  note(table().upload(to, values.data(), values.size_bytes()));
}

/// Zeros when the device has failed.
template <class T>
std::vector<T> DeviceModel::download(const T* from, std::size_t n) {
  std::vector<T> values(n);
  note(table().download(values.data(), from, n * sizeof(T)));
  return values;
}

}  // namespace ponder::engine
