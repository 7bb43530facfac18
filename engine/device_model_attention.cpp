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

/// Everything up to the rows' own cache rows: all of them are written before any row is scored or
/// attends.
void DeviceModel::start_attention(std::size_t layer) {
  const bool has_indexer = config_.layers[layer].indexer == IndexerKind::full;
  const std::size_t hidden = config_.hidden_size;
  normalise(ws_->normed, hidden, ws_->hidden, hidden, weights_.layers[layer].input_layernorm,
            step_.rows, hidden, config_.rms_norm_eps);
  project(weights_.layers[layer], has_indexer);
  rotate(config_.layers[layer], has_indexer);
  if (has_indexer) round_index();
  write_cache(layer, has_indexer);
}

void DeviceModel::project(const DeviceLayer& weights, bool has_indexer) {
  const ModelConfig& c = config_;
  const std::size_t rows = step_.rows;
  const std::size_t latent_dim = c.kv_lora_rank + c.qk_rope_head_dim;
  multiply(weights.q_a, ws_->q_latent, ws_->normed, rows);
  multiply(weights.kv_a, ws_->latent, ws_->normed, rows);
  if (has_indexer) {
    multiply(weights.wk, ws_->index_k, ws_->normed, rows);
    multiply(weights.weights_proj, ws_->index_weights, ws_->normed, rows);
  }
  normalise(ws_->q_latent, c.q_lora_rank, ws_->q_latent, c.q_lora_rank, weights.q_a_layernorm, rows,
            c.q_lora_rank, c.lora_norm_eps);
  normalise(ws_->latent, latent_dim, ws_->latent, latent_dim, weights.kv_a_layernorm, rows,
            c.kv_lora_rank, c.lora_norm_eps);
  multiply(weights.q_b, ws_->q, ws_->q_latent, rows);
  if (!has_indexer) return;
  table().layer_norm({.y = ws_->index_k,
                      .y_stride = c.index_head_dim,
                      .x = ws_->index_k,
                      .x_stride = c.index_head_dim,
                      .weight = weights.k_norm,
                      .bias = weights.k_norm_bias,
                      .rows = rows,
                      .dim = c.index_head_dim,
                      .eps = static_cast<float>(kIndexNormEps)});
  multiply(weights.wq_b, ws_->index_q, ws_->q_latent, rows);
}

void DeviceModel::rotate(const LayerDescriptor& layer, bool has_indexer) {
  const ModelConfig& c = config_;
  const auto rope = [&](float* x, std::size_t row_stride, std::size_t heads,
                        std::size_t head_stride, RopeLayout layout) {
    table().rope({.x = x,
                  .row_stride = row_stride,
                  .head_stride = head_stride,
                  .cos = ws_->rope_cos,
                  .sin = ws_->rope_sin,
                  .positions = nullptr,
                  .rows = step_.rows,
                  .heads = heads,
                  .dim = c.qk_rope_head_dim,
                  .layout = kernel_layout(layout)});
  };
  const std::size_t latent_dim = c.kv_lora_rank + c.qk_rope_head_dim;
  rope(ws_->q + c.qk_nope_head_dim, c.num_attention_heads * c.qk_head_dim(), c.num_attention_heads,
       c.qk_head_dim(), layer.rope_layout);
  rope(ws_->latent + c.kv_lora_rank, latent_dim, 1, latent_dim, layer.rope_layout);
  if (!has_indexer) return;
  // In the indexer the rotated part comes first.
  rope(ws_->index_q, c.index_n_heads * c.index_head_dim, c.index_n_heads, c.index_head_dim,
       layer.indexer_rope_layout);
  rope(ws_->index_k, c.index_head_dim, 1, c.index_head_dim, layer.indexer_rope_layout);
}

/// Queries and keys are turned alike, so that their products are those of the rows as they were.
void DeviceModel::round_index() {
  const std::size_t dim = config_.index_head_dim;
  const std::size_t q_rows = step_.rows * config_.index_n_heads;
  if (layout_.index_keys == IndexKeys::int8) {
    table().index_quantize(
        {ws_->index_q, dim, ws_->index_q_codes, ws_->index_q_scales, q_rows, dim});
    table().index_quantize(
        {ws_->index_k, dim, ws_->index_k_codes, ws_->index_k_scales, step_.rows, dim});
  } else if (layout_.index_keys == IndexKeys::fp8) {
    table().rotate_index({ws_->index_q, q_rows, dim, true});
    table().rotate_index({ws_->index_k, step_.rows, dim, false});
  }
}

void DeviceModel::write_cache(std::size_t layer, bool has_indexer) {
  const ModelConfig& c = config_;
  table().write_latents({.cache = latent_pages(layer),
                         .fp8 = fp8_latent_layout(c.kv_lora_rank, c.qk_rope_head_dim),
                         .latents = ws_->latent,
                         .slots = ws_->input(Workspace::slots),
                         .rows = step_.rows,
                         .kv_lora_rank = c.kv_lora_rank,
                         .qk_rope_head_dim = c.qk_rope_head_dim});
  if (!has_indexer) return;
  table().write_index_keys({.cache = index_pages(layer),
                            .keys = ws_->index_k,
                            .codes = ws_->index_k_codes,
                            .scales = ws_->index_k_scales,
                            .slots = ws_->input(Workspace::slots),
                            .rows = step_.rows,
                            .dim = c.index_head_dim});
}

/// As many rows at a time as their scores fit. Rows that see no more than index_topk positions
/// select all of them, and nothing need be scored.
void DeviceModel::select(std::size_t layer, LayerTrace* trace) {
  const ModelConfig& c = config_;
  table().scale_index_weights(
      {.weights = ws_->index_weights,
       .q_scales = layout_.index_keys == IndexKeys::int8 ? ws_->index_q_scales : nullptr,
       .scale = static_cast<float>(c.indexer_scale),
       .n = step_.rows * c.index_n_heads});
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
  const ModelConfig& c = config_;
  const DeviceLayer& weights = weights_.layers[layer];
  const std::size_t heads = c.num_attention_heads;
  const auto multiply_heads = [&](const DeviceLinears& w, float* y, const float* x,
                                  std::size_t x_head_stride) {
    table().matmul({.y = y,
                    .y_stride = heads * w.out,
                    .y_batch_stride = w.out,
                    .x = x,
                    .x_stride = heads * x_head_stride,
                    .x_batch_stride = x_head_stride,
                    .w = w.matrices,
                    .w_dtype = w.dtype,
                    .batch = heads,
                    .m = step_.rows,
                    .m_total = step_.rows,
                    .n = w.out,
                    .k = w.in});
  };
  multiply_heads(weights.key_up, ws_->q_absorbed, ws_->q, c.qk_head_dim());
  table().attention({.q_nope = ws_->q_absorbed,
                     .q_nope_row_stride = heads * c.kv_lora_rank,
                     .q_nope_head_stride = c.kv_lora_rank,
                     .q_rope = ws_->q + c.qk_nope_head_dim,
                     .q_rope_row_stride = heads * c.qk_head_dim(),
                     .q_rope_head_stride = c.qk_head_dim(),
                     .out = ws_->attended,
                     .cache = latent_pages(layer),
                     .fp8 = fp8_latent_layout(c.kv_lora_rank, c.qk_rope_head_dim),
                     .slots = ws_->selected_slots,
                     .num_slots = ws_->num_selected,
                     .slots_stride = c.index_topk,
                     .rows = step_.rows,
                     .heads = heads,
                     .kv_lora_rank = c.kv_lora_rank,
                     .qk_rope_head_dim = c.qk_rope_head_dim,
                     .softmax_scale = static_cast<float>(c.softmax_scale),
                     .parts = ws_->parts,
                     .rows_together = ws_->attention_rows_together,
                     .parts_max = ws_->attention_parts_max});
  multiply_heads(weights.value_up, ws_->values, ws_->attended, c.kv_lora_rank);
  multiply(weights.o, ws_->output, ws_->values, step_.rows);
  table().add(ws_->hidden, ws_->output, step_.rows * c.hidden_size);
}

}  // namespace ponder::engine
