#include <cstring>

#include "engine/cpu_model.h"
#include "engine/fp8_latent.h"
#include "engine/model_workspace.h"

namespace ponder::engine {
namespace {

kernels::RopeLayout kernel_layout(RopeLayout layout) {
  return layout == RopeLayout::interleaved ? kernels::RopeLayout::interleaved
                                           : kernels::RopeLayout::half_split;
}

constexpr float kIndexNormEps = 1e-6F;  // of the indexer's LayerNorm, whatever the config says

}  // namespace

void CpuModel::attention(std::size_t layer, std::span<const BatchSegment> segments,
                         RowTrace* trace) {
  start_attention(layer, segments);
  const bool has_indexer = config_.layers[layer].indexer == IndexerKind::full;
  if (has_indexer) select(layer, segments, trace);
  if (has_indexer && forced_ != nullptr) force_selections(layer);
  if (trace != nullptr) trace_selection(layer, *trace);
  finish_attention(layer, segments);
}

/// Everything up to the rows' own cache rows: all of them are written before any row is scored or
/// attends, whichever path it takes.
void CpuModel::start_attention(std::size_t layer, std::span<const BatchSegment> segments,
                               Goal goal) {
  const LayerWeights& weights = weights_.layers[layer];
  const bool has_indexer = config_.layers[layer].indexer == IndexerKind::full;
  const bool attends = goal == Goal::attention;
  const Projections wanted{.queries = attends,
                           .index_queries = attends && has_indexer && has_scored_rows(),
                           .index_keys = has_indexer};
  const std::size_t hidden = config_.hidden_size;
  kernels::rms_norm(executor(), {.y = ws_->normed.data(),
                                 .y_stride = hidden,
                                 .x = ws_->hidden.data(),
                                 .x_stride = hidden,
                                 .weight = weights.input_layernorm.data(),
                                 .rows = ws_->rows,
                                 .dim = hidden,
                                 .eps = static_cast<float>(config_.rms_norm_eps)});
  project(weights, wanted);
  rotate(config_.layers[layer], wanted);
  if (has_indexer) round_index(wanted);
  write_cache(layer, segments, has_indexer);
}

void CpuModel::finish_attention(std::size_t layer, std::span<const BatchSegment> segments) {
  const LayerWeights& weights = weights_.layers[layer];
  absorb_queries(weights);
  attend(layer, segments);
  project_output(weights);
}

/// One pass over the normed rows for all matrices that read them, then one over the query latents.
void CpuModel::project(const LayerWeights& weights, const Projections& wanted) {
  auto& jobs = ws_->jobs;
  const auto add = [&](const Linear& linear, std::vector<float>& y, const float* x) {
    jobs.push_back(linear.args(y.data(), linear.out, x, linear.in, ws_->rows));
  };
  jobs.clear();
  const float* x = ws_->normed.data();
  if (wanted.queries) add(weights.q_a, ws_->q_latent, x);
  add(weights.kv_a, ws_->latent, x);
  if (wanted.index_keys) add(weights.indexer.wk, ws_->index_k, x);
  if (wanted.index_queries) add(weights.indexer.weights_proj, ws_->index_weights, x);
  kernels::matmul(executor(), jobs.data(), jobs.size());
  normalise_projections(weights, wanted);
  if (!wanted.queries) return;
  jobs.clear();
  add(weights.q_b, ws_->q, ws_->q_latent.data());
  if (wanted.index_queries) add(weights.indexer.wq_b, ws_->index_q, ws_->q_latent.data());
  kernels::matmul(executor(), jobs.data(), jobs.size());
}

void CpuModel::normalise_projections(const LayerWeights& weights, const Projections& wanted) {
  const ModelConfig& c = config_;
  const auto rms_norm = [&](float* values, std::size_t stride, std::span<const float> weight) {
    kernels::rms_norm(executor(), {.y = values,
                                   .y_stride = stride,
                                   .x = values,
                                   .x_stride = stride,
                                   .weight = weight.data(),
                                   .rows = ws_->rows,
                                   .dim = weight.size(),
                                   .eps = static_cast<float>(c.lora_norm_eps)});
  };
  if (wanted.queries) rms_norm(ws_->q_latent.data(), c.q_lora_rank, weights.q_a_layernorm);
  rms_norm(ws_->latent.data(), c.kv_lora_rank + c.qk_rope_head_dim, weights.kv_a_layernorm);
  if (!wanted.index_keys) return;
  kernels::layer_norm(executor(), {.y = ws_->index_k.data(),
                                   .y_stride = c.index_head_dim,
                                   .x = ws_->index_k.data(),
                                   .x_stride = c.index_head_dim,
                                   .weight = weights.indexer.k_norm.data(),
                                   .bias = weights.indexer.k_norm_bias.data(),
                                   .rows = ws_->rows,
                                   .dim = c.index_head_dim,
                                   .eps = kIndexNormEps});
}

void CpuModel::rotate(const LayerDescriptor& layer, const Projections& wanted) {
  const ModelConfig& c = config_;
  const auto rope = [&](float* x, std::size_t row_stride, std::size_t heads,
                        std::size_t head_stride, RopeLayout layout) {
    kernels::rope(executor(), {.x = x,
                               .row_stride = row_stride,
                               .head_stride = head_stride,
                               .cos = ws_->rope_cos.data(),
                               .sin = ws_->rope_sin.data(),
                               .positions = nullptr,
                               .rows = ws_->rows,
                               .heads = heads,
                               .dim = c.qk_rope_head_dim,
                               .layout = kernel_layout(layout)});
  };
  const std::size_t latent_dim = c.kv_lora_rank + c.qk_rope_head_dim;
  if (wanted.queries) {
    rope(ws_->q.data() + c.qk_nope_head_dim, c.num_attention_heads * c.qk_head_dim(),
         c.num_attention_heads, c.qk_head_dim(), layer.rope_layout);
  }
  rope(ws_->latent.data() + c.kv_lora_rank, latent_dim, 1, latent_dim, layer.rope_layout);
  // In the indexer the rotated part comes first.
  if (wanted.index_queries) {
    rope(ws_->index_q.data(), c.index_n_heads * c.index_head_dim, c.index_n_heads, c.index_head_dim,
         layer.indexer_rope_layout);
  }
  if (wanted.index_keys) {
    rope(ws_->index_k.data(), c.index_head_dim, 1, c.index_head_dim, layer.indexer_rope_layout);
  }
}

void CpuModel::store_latent(std::byte* to, const float* latent) {
  const std::size_t rank = config_.kv_lora_rank;
  const std::size_t rope_dim = config_.qk_rope_head_dim;
  if (layout_.dtype == kernels::DType::fp8_e4m3) {
    write_fp8_latent(to, latent, rank, rope_dim);
  } else {
    store_values(to, latent, rank + rope_dim);
  }
}

/// Writes n numbers in the type of the cache's values that are not FP8.
void CpuModel::store_values(std::byte* to, const float* from, std::size_t n) {
  if (layout_.dtype == kernels::DType::f32) {
    std::memcpy(to, from, n * sizeof(float));
  } else {
    table_->f32_to_bf16(reinterpret_cast<kernels::bf16*>(to), from, n);
  }
}

void CpuModel::write_cache(std::size_t layer, std::span<const BatchSegment> segments,
                           bool has_indexer) {
  const std::size_t latent_dim = config_.kv_lora_rank + config_.qk_rope_head_dim;
  std::size_t row = 0;
  for (const BatchSegment& segment : segments) {
    row += segment.num_known;
    for (std::size_t i = segment.num_known; i < segment.tokens.size(); ++i, ++row) {
      const std::size_t position = segment.first_position + i;
      store_latent(segment.table->latent_row(layer, position),
                   ws_->latent.data() + row * latent_dim);
      if (has_indexer) write_index_key(layer, *segment.table, row, position);
    }
  }
}

void CpuModel::absorb_queries(const LayerWeights& weights) {
  const std::size_t heads = config_.num_attention_heads;
  const std::size_t qk_dim = config_.qk_head_dim();
  const std::size_t rank = config_.kv_lora_rank;
  ws_->jobs.clear();
  for (std::size_t head = 0; head < heads; ++head) {
    ws_->jobs.push_back(weights.key_up[head].args(ws_->q_absorbed.data() + head * rank,
                                                  heads * rank, ws_->q.data() + head * qk_dim,
                                                  heads * qk_dim, ws_->rows));
  }
  kernels::matmul(executor(), ws_->jobs.data(), ws_->jobs.size());
}

void CpuModel::attend(std::size_t layer, std::span<const BatchSegment> segments) {
  const ModelConfig& c = config_;
  const std::size_t heads = c.num_attention_heads;
  std::size_t row = 0;
  for (const BatchSegment& segment : segments) {
    for (std::size_t i = 0; i < segment.tokens.size(); ++i, ++row) {
      const bool selected = ws_->num_selected[row] > 0;
      ws_->attention_rows[row] = {
          .q_nope = ws_->q_absorbed.data() + row * heads * c.kv_lora_rank,
          .q_rope = ws_->q.data() + row * heads * c.qk_head_dim() + c.qk_nope_head_dim,
          .out = ws_->attended.data() + row * heads * c.kv_lora_rank,
          .pages = segment.table->addresses(),
          .slots = selected ? ws_->selection.data() + row * c.index_topk : nullptr,
          .num_slots =
              static_cast<std::size_t>(selected ? ws_->num_selected[row] : ws_->num_keys[row])};
    }
  }
  ws_->attention.run(executor(), {.rows = ws_->attention_rows.data(),
                                  .num_rows = ws_->rows,
                                  .heads = heads,
                                  .kv_lora_rank = c.kv_lora_rank,
                                  .qk_rope_head_dim = c.qk_rope_head_dim,
                                  .q_nope_stride = c.kv_lora_rank,
                                  .q_rope_stride = c.qk_head_dim(),
                                  .out_stride = c.kv_lora_rank,
                                  .cache_stride = layout_.latent_stride,
                                  .cache_dtype = layout_.dtype,
                                  .softmax_scale = static_cast<float>(c.softmax_scale),
                                  .fp8 = fp8_latent_layout(c.kv_lora_rank, c.qk_rope_head_dim),
                                  .block_offset = layout_.latent_offsets[layer]});
}

void CpuModel::project_output(const LayerWeights& weights) {
  const std::size_t heads = config_.num_attention_heads;
  const std::size_t rank = config_.kv_lora_rank;
  const std::size_t v_dim = config_.v_head_dim;
  const std::size_t hidden = config_.hidden_size;
  ws_->jobs.clear();
  for (std::size_t head = 0; head < heads; ++head) {
    ws_->jobs.push_back(
        weights.value_up[head].args(ws_->values.data() + head * v_dim, heads * v_dim,
                                    ws_->attended.data() + head * rank, heads * rank, ws_->rows));
  }
  kernels::matmul(executor(), ws_->jobs.data(), ws_->jobs.size());
  kernels::matmul(executor(), weights.o.args(ws_->output.data(), hidden, ws_->values.data(),
                                             heads * v_dim, ws_->rows));
  table_->add(ws_->hidden.data(), ws_->output.data(), ws_->rows * hidden);
}

}  // namespace ponder::engine
