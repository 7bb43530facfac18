#include "engine/cpu_model.h"
#include "engine/model_workspace.h"

namespace ponder::engine {

void CpuModel::feed_forward(std::size_t layer, RowTrace* trace) {
  const LayerWeights& weights = weights_.layers[layer];
  const std::size_t hidden = config_.hidden_size;
  kernels::rms_norm(executor(), {.y = ws_->normed.data(),
                                 .y_stride = hidden,
                                 .x = ws_->hidden.data(),
                                 .x_stride = hidden,
                                 .weight = weights.post_attention_layernorm.data(),
                                 .rows = ws_->rows,
                                 .dim = hidden,
                                 .eps = static_cast<float>(config_.rms_norm_eps)});
  if (config_.layers[layer].ffn == FfnKind::dense) {
    ffn_.dense(weights.dense, ws_->output.data(), ws_->normed.data(), ws_->rows);
  } else {
    moe_ffn(layer, weights);
    if (trace != nullptr) {
      const std::size_t slots = config_.num_experts_per_tok;
      const std::size_t first = (ws_->rows - 1) * slots;
      (*trace)[layer].experts.assign(&ws_->experts[first], &ws_->experts[first] + slots);
      const float* expert_weights = &ws_->expert_weights[first];
      (*trace)[layer].expert_weights.assign(expert_weights, expert_weights + slots);
    }
  }
  table_->add(ws_->hidden.data(), ws_->output.data(), ws_->rows * hidden);
}

void CpuModel::moe_ffn(std::size_t layer, const LayerWeights& weights) {
  route(weights);
  if (forced_ != nullptr) force_experts(layer);
  ffn_.experts(weights.experts,
               {.x = ws_->normed.data(), .experts = ws_->experts.data(), .rows = ws_->rows},
               &weights.shared, ws_->output.data());
  // The shared experts' output lies in `output`; the routed ones are added to it.
  ffn_.add_routed(ws_->output.data(), ws_->expert_weights.data());
}

void CpuModel::route(const LayerWeights& weights) {
  const ModelConfig& c = config_;
  kernels::matmul(executor(),
                  weights.router.args(ws_->router_logits.data(), c.n_routed_experts,
                                      ws_->normed.data(), c.hidden_size, ws_->rows));
  kernels::router(executor(), {.logits = ws_->router_logits.data(),
                               .logits_stride = c.n_routed_experts,
                               .bias = weights.router_bias.data(),
                               .indices = ws_->experts.data(),
                               .weights = ws_->expert_weights.data(),
                               .rows = ws_->rows,
                               .experts = c.n_routed_experts,
                               .groups = c.n_group,
                               .topk_group = c.topk_group,
                               .topk = c.num_experts_per_tok,
                               .normalize = c.norm_topk_prob,
                               .scaling_factor = static_cast<float>(c.routed_scaling_factor)});
}

}  // namespace ponder::engine
