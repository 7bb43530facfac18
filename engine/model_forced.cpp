#include <algorithm>
#include <cmath>

#include "base/assert.h"
#include "engine/cpu_model.h"
#include "engine/model_workspace.h"

namespace ponder::engine {

void weigh_forced_experts(const ModelConfig& config, std::span<const std::int32_t> chosen,
                          const float* logits, float* weights) {
  float sum = 1e-20F;
  for (std::size_t i = 0; i < chosen.size(); ++i) {
    weights[i] = 1.0F / (1.0F + std::exp(-logits[chosen[i]]));
    sum += weights[i];
  }
  const float divisor = config.norm_topk_prob ? sum : 1.0F;
  for (std::size_t i = 0; i < chosen.size(); ++i) {
    weights[i] = weights[i] / divisor * static_cast<float>(config.routed_scaling_factor);
  }
}

void CpuModel::force_selections(std::size_t layer) {
  if (!forced_->selection) return;
  for (std::size_t row = 0; row < ws_->rows; ++row) {
    const auto position = static_cast<std::size_t>(ws_->positions[row]);
    const std::vector<std::int32_t> chosen = forced_->selection(layer, position);
    if (chosen.empty()) continue;
    PONDER_ASSERT(chosen.size() <= config_.index_topk && chosen.back() <= ws_->positions[row]);
    std::ranges::copy(chosen, ws_->selection.data() + row * config_.index_topk);
    ws_->num_selected[row] = static_cast<std::int32_t>(chosen.size());
  }
}

void CpuModel::force_experts(std::size_t layer) {
  if (!forced_->experts) return;
  const std::size_t slots = config_.num_experts_per_tok;
  for (std::size_t row = 0; row < ws_->rows; ++row) {
    const std::vector<std::int32_t> chosen =
        forced_->experts(layer, static_cast<std::size_t>(ws_->positions[row]));
    if (chosen.empty()) continue;
    PONDER_ASSERT(chosen.size() == slots);
    std::ranges::copy(chosen, ws_->experts.data() + row * slots);
    const float* logits = ws_->router_logits.data() + row * config_.n_routed_experts;
    float* weights = ws_->expert_weights.data() + row * slots;
    weigh_forced_experts(config_, chosen, logits, weights);
  }
}

}  // namespace ponder::engine
