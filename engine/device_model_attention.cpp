#include <algorithm>

#include "base/assert.h"
#include "engine/device_model.h"
#include "engine/device_workspace.h"
#include "engine/fp8_latent.h"

namespace ponder::engine {
namespace {

kernels::RopeLayout kernel_layout(RopeLayout layout) {
  return layout == RopeLayout::interleaved ? kernels::RopeLayout::interleaved
                                           : kernels::RopeLayout::half_split;
}

constexpr double kIndexNormEps = 1e-6;  // of the indexer's LayerNorm, whatever the config says

}  // namespace

kernels::DevicePages DeviceModel::latent_pages(std::size_t layer) const {
  return {step_.pages, layout_.page_bytes, layout_.latent_offsets[layer], layout_.latent_stride,
          layout_.dtype};
}

kernels::DevicePages DeviceModel::index_pages(std::size_t layer) const {
  const bool is_int8 = layout_.index_keys == IndexKeys::int8;
  return {step_.pages, layout_.page_bytes, layout_.index_offsets[layer], layout_.index_stride,
          is_int8 ? kernels::DType::int8 : layout_.key_dtype};
}

/// From the normed rows to their queries and their own cache rows: all of these are written before
/// any row is scored or attends.
void DeviceModel::start_attention(std::size_t layer) {
  const DeviceLayer& weights = weights_.layers[layer];
  if (config_.layers[layer].indexer == IndexerKind::full) {
    multiply({{weights.q_a, ws_->q_latent},
              {weights.kv_a, ws_->latent},
              {weights.wk, ws_->index_k},
              {weights.weights_proj, ws_->index_weights}},
             ws_->normed, step_.rows);
    finish_latents(layer);
    multiply({{weights.q_b, ws_->q}, {weights.wq_b, ws_->index_q}}, ws_->q_latent, step_.rows);
  } else {
    multiply({{weights.q_a, ws_->q_latent}, {weights.kv_a, ws_->latent}}, ws_->normed, step_.rows);
    finish_latents(layer);
    multiply({{weights.q_b, ws_->q}}, ws_->q_latent, step_.rows);
  }
  finish_queries(layer);
}

void DeviceModel::finish_latents(std::size_t layer) {
  const ModelConfig& c = config_;
  const LayerDescriptor& kind = c.layers[layer];
  const DeviceLayer& weights = weights_.layers[layer];
  kernels::LatentsArgs args{};
  args.queries = {ws_->q_latent, weights.q_a_layernorm, c.q_lora_rank};
  args.kv = {.latents = ws_->latent,
             .norm = weights.kv_a_layernorm,
             .rank = c.kv_lora_rank,
             .cache = latent_pages(layer),
             .fp8 = fp8_latent_layout(c.kv_lora_rank, c.qk_rope_head_dim),
             .layout = kernel_layout(kind.rope_layout)};
  if (kind.indexer == IndexerKind::full) {
    args.index = {.keys = ws_->index_k,
                  .norm = weights.k_norm,
                  .bias = weights.k_norm_bias,
                  .eps = static_cast<float>(kIndexNormEps),
                  .dim = c.index_head_dim,
                  .cache = index_pages(layer),
                  .layout = kernel_layout(kind.indexer_rope_layout)};
  }
  args.slots = ws_->input(Workspace::slots);
  args.rope = {ws_->rope_cos, ws_->rope_sin, c.qk_rope_head_dim};
  args.rows = step_.rows;
  args.eps = static_cast<float>(c.lora_norm_eps);
  table().latents(args);
}

void DeviceModel::finish_queries(std::size_t layer) {
  const ModelConfig& c = config_;
  const LayerDescriptor& kind = c.layers[layer];
  kernels::QueriesArgs args{};
  args.q_rope = ws_->q + c.qk_nope_head_dim;
  args.q_row_stride = c.num_attention_heads * c.qk_head_dim();
  args.q_head_stride = c.qk_head_dim();
  args.heads = c.num_attention_heads;
  args.layout = kernel_layout(kind.rope_layout);
  if (kind.indexer == IndexerKind::full) {
    args.index = {.q = ws_->index_q,
                  .codes = ws_->index_q_codes,
                  .weights = ws_->index_weights,
                  .weight_factor = static_cast<float>(c.indexer_scale),
                  .heads = c.index_n_heads,
                  .dim = c.index_head_dim,
                  .key_dtype = index_pages(layer).dtype,
                  .layout = kernel_layout(kind.indexer_rope_layout)};
  }
  args.rope = {ws_->rope_cos, ws_->rope_sin, c.qk_rope_head_dim};
  args.rows = step_.rows;
  table().queries(args);
}

/// As many rows at a time as their scores fit. Rows that see no more than index_topk positions
/// select all of them, and nothing need be scored.
void DeviceModel::select(std::size_t layer, LayerTrace* trace) {
  const ModelConfig& c = config_;
  const std::size_t stride = step_.keys_max;
  const std::size_t together = std::max<std::size_t>(1, ws_->num_scores / stride);
  for (std::size_t first = 0; first < step_.rows; first += together) {
    const std::size_t num_rows = std::min(together, step_.rows - first);
    if (step_.keys_max > c.index_topk) score_rows(layer, first, num_rows, stride);
    kernels::DeviceSequences sequences = step_.sequences;
    sequences.row_sequences += first;
    table().select({.scores = ws_->scores,
                    .scores_stride = stride,
                    .sequences = sequences,
                    .num_keys = ws_->input(Workspace::num_keys) + first,
                    // The MTP layer has no row at position 0.
                    .first_key = config_.layers[layer].is_mtp ? 1U : 0U,
                    .k = c.index_topk,
                    .positions = ws_->selection + first * c.index_topk,
                    .slots = ws_->selected_slots + first * c.index_topk,
                    .num_selected = ws_->num_selected + first,
                    .num_nan = ws_->input(Workspace::num_nan) + first,
                    .rows = num_rows,
                    .workspace = ws_->select_workspace});
    const auto last_keys = static_cast<std::size_t>(step_.num_keys.back());
    if (trace != nullptr && first + num_rows == step_.rows && last_keys > c.index_topk) {
      trace->index_scores = download(ws_->scores + (num_rows - 1) * stride, last_keys);
    }
  }
}

void DeviceModel::score_rows(std::size_t layer, std::size_t first, std::size_t num_rows,
                             std::size_t stride) {
  const ModelConfig& c = config_;
  const std::size_t index_dim = c.index_n_heads * c.index_head_dim;
  kernels::DeviceSequences sequences = step_.sequences;
  sequences.row_sequences += first;
  table().index_scores({.scores = ws_->scores,
                        .scores_stride = stride,
                        .cache = index_pages(layer),
                        .sequences = sequences,
                        .q = ws_->index_q + first * index_dim,
                        .q_codes = ws_->index_q_codes + first * index_dim,
                        .head_weights = ws_->index_weights + first * c.index_n_heads,
                        .num_keys = ws_->input(Workspace::num_keys) + first,
                        .num_keys_max = step_.keys_max,
                        .keys_min = c.index_topk,
                        .rows = num_rows,
                        .heads = c.index_n_heads,
                        .dim = c.index_head_dim});
}

void DeviceModel::translate_selection() {
  table().translate({.sequences = step_.sequences,
                     .positions = ws_->selection,
                     .num_selected = ws_->num_selected,
                     .slots = ws_->selected_slots,
                     .k = config_.index_topk,
                     .rows = step_.rows});
}

void DeviceModel::force_selections(std::size_t layer) {
  if (!forced_->selection) return;
  for (std::size_t row = 0; row < step_.rows; ++row) {
    const std::vector<std::int32_t> chosen =
        forced_->selection(layer, static_cast<std::size_t>(step_.positions[row]));
    if (chosen.empty()) continue;
    PONDER_ASSERT(chosen.size() <= config_.index_topk && chosen.back() <= step_.positions[row]);
    const auto n = static_cast<std::int32_t>(chosen.size());
    upload(ws_->selection + row * config_.index_topk, std::span<const std::int32_t>(chosen));
    upload(ws_->num_selected + row, std::span<const std::int32_t>(&n, 1));
  }
  translate_selection();
}

void DeviceModel::trace_selection(LayerTrace& trace) {
  const std::size_t row = step_.rows - 1;
  const auto n = static_cast<std::size_t>(download(ws_->num_selected + row, 1)[0]);
  trace.selection = download(ws_->selection + row * config_.index_topk, n);
}

void DeviceModel::finish_attention(std::size_t layer) {
  const DeviceLayer& weights = weights_.layers[layer];
  if (step_.plan.expanded.empty()) {
    attend_gathered(layer, {0, step_.rows});
  } else {
    for (const RowRun& run : step_.plan.gathered) attend_gathered(layer, run);
    attend_expanded(layer);
  }
  multiply({{weights.o, ws_->output}}, ws_->values, step_.rows);
  table().residual_norm(sum_into(ws_->normed, weights.post_attention_layernorm));
}

/// From the rows' queries to their values.
void DeviceModel::attend_gathered(std::size_t layer, RowRun run) {
  const ModelConfig& c = config_;
  const DeviceLayer& weights = weights_.layers[layer];
  const std::size_t heads = c.num_attention_heads;
  const auto multiply_heads = [&](const DeviceLinears& w, float* y, const float* x,
                                  std::size_t x_head_stride) {
    table().matmul({.y = y + run.first_row * heads * w.out,
                    .y_stride = heads * w.out,
                    .y_batch_stride = w.out,
                    .x = x + run.first_row * heads * x_head_stride,
                    .x_stride = heads * x_head_stride,
                    .x_batch_stride = x_head_stride,
                    .w = w.matrices,
                    .w_dtype = w.dtype,
                    .batch = heads,
                    .m = run.num_rows,
                    .m_total = run.num_rows,
                    .n = w.out,
                    .k = w.in});
  };
  multiply_heads(weights.key_up, ws_->q_absorbed, ws_->q, c.qk_head_dim());
  const std::size_t first_latent = run.first_row * heads * c.kv_lora_rank;
  table().attention(
      {.q_nope = ws_->q_absorbed + first_latent,
       .q_nope_row_stride = heads * c.kv_lora_rank,
       .q_nope_head_stride = c.kv_lora_rank,
       .q_rope = ws_->q + run.first_row * heads * c.qk_head_dim() + c.qk_nope_head_dim,
       .q_rope_row_stride = heads * c.qk_head_dim(),
       .q_rope_head_stride = c.qk_head_dim(),
       .out = ws_->attended + first_latent,
       .cache = latent_pages(layer),
       .fp8 = fp8_latent_layout(c.kv_lora_rank, c.qk_rope_head_dim),
       .slots = ws_->selected_slots + run.first_row * c.index_topk,
       .num_slots = ws_->num_selected + run.first_row,
       .slots_stride = c.index_topk,
       .rows = run.num_rows,
       .heads = heads,
       .kv_lora_rank = c.kv_lora_rank,
       .qk_rope_head_dim = c.qk_rope_head_dim,
       .softmax_scale = static_cast<float>(c.softmax_scale),
       .parts = ws_->parts,
       .rows_together = ws_->attention_rows_together,
       .parts_max = ws_->attention_parts_max});
  multiply_heads(weights.value_up, ws_->values, ws_->attended, c.kv_lora_rank);
}

}  // namespace ponder::engine
