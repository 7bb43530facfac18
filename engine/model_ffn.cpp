#include <algorithm>
#include <cstring>

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
    dense_ffn(weights);
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

void CpuModel::dense_ffn(const LayerWeights& weights) {
  const std::size_t width = config_.intermediate_size;
  const std::size_t hidden = config_.hidden_size;
  const std::size_t rows = ws_->rows;
  const FfnWeights& ffn = weights.dense;
  ws_->jobs.clear();
  ws_->jobs.push_back(ffn.gate.args(ws_->gate.data(), width, ws_->normed.data(), hidden, rows));
  ws_->jobs.push_back(ffn.up.args(ws_->up.data(), width, ws_->normed.data(), hidden, rows));
  kernels::matmul(executor(), ws_->jobs.data(), ws_->jobs.size());
  kernels::silu_mul(executor(), {.y = ws_->gate.data(),
                                 .y_stride = width,
                                 .gate = ws_->gate.data(),
                                 .gate_stride = width,
                                 .up = ws_->up.data(),
                                 .up_stride = width,
                                 .rows = rows,
                                 .dim = width});
  kernels::matmul(executor(),
                  ffn.down.args(ws_->output.data(), hidden, ws_->gate.data(), width, rows));
}

void CpuModel::moe_ffn(std::size_t layer, const LayerWeights& weights) {
  const ModelConfig& c = config_;
  route(weights);
  if (forced_ != nullptr) force_experts(layer);
  group_by_expert(weights);
  expert_gate_up(weights);
  expert_down(weights);
  // The shared experts' output lies in `output`; the routed ones are added in ascending slot order.
  kernels::weighted_sum(executor(), {.y = ws_->output.data(),
                                     .y_stride = c.hidden_size,
                                     .x = ws_->expert_output.data(),
                                     .x_stride = c.hidden_size,
                                     .indices = ws_->slot_rows.data(),
                                     .weights = ws_->expert_weights.data(),
                                     .rows = ws_->rows,
                                     .slots = c.num_experts_per_tok,
                                     .dim = c.hidden_size});
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

/// Copies each expert's rows together, so that an expert is one matrix product.
void CpuModel::group_by_expert(const LayerWeights& weights) {
  const std::size_t num_slots = ws_->rows * config_.num_experts_per_tok;
  const std::size_t hidden = config_.hidden_size;
  std::vector<std::size_t>& begin = ws_->expert_begin;
  std::fill(begin.begin(), begin.end(), 0);
  for (std::size_t slot = 0; slot < num_slots; ++slot) {
    ++begin[static_cast<std::size_t>(ws_->experts[slot]) + 1];
  }
  for (std::size_t e = 0; e < weights.experts.size(); ++e) begin[e + 1] += begin[e];
  for (std::size_t slot = 0; slot < num_slots; ++slot) {
    std::size_t& next = begin[static_cast<std::size_t>(ws_->experts[slot])];
    ws_->slot_rows[slot] = static_cast<std::int32_t>(next);
    const float* row = ws_->normed.data() + slot / config_.num_experts_per_tok * hidden;
    std::memcpy(ws_->expert_input.data() + next * hidden, row, hidden * sizeof(float));
    ++next;
  }
  // Every entry has moved to its expert's end, which is the next one's beginning.
  std::copy_backward(begin.begin(), begin.end() - 1, begin.end());
  begin[0] = 0;
}

/// Calls visit(weights, first row in expert_input, number of rows) for each expert that was chosen.
template <class Visit>
void CpuModel::for_each_used_expert(const LayerWeights& weights, Visit visit) const {
  for (std::size_t e = 0; e < weights.experts.size(); ++e) {
    const std::size_t begin = ws_->expert_begin[e];
    const std::size_t n = ws_->expert_begin[e + 1] - begin;
    if (n > 0) visit(weights.experts[e], begin, n);
  }
}

/// silu(gate) * up of the routed experts' rows, then of the shared experts', into `gate`.
void CpuModel::expert_gate_up(const LayerWeights& weights) {
  const std::size_t width = config_.moe_intermediate_size;
  const std::size_t shared_width = width * config_.n_shared_experts;
  const std::size_t hidden = config_.hidden_size;
  const std::size_t num_slots = ws_->rows * config_.num_experts_per_tok;
  auto& jobs = ws_->jobs;
  jobs.clear();
  for_each_used_expert(weights, [&](const FfnWeights& ffn, std::size_t begin, std::size_t n) {
    const float* x = ws_->expert_input.data() + begin * hidden;
    jobs.push_back(ffn.gate.args(ws_->gate.data() + begin * width, width, x, hidden, n));
    jobs.push_back(ffn.up.args(ws_->up.data() + begin * width, width, x, hidden, n));
  });
  if (shared_width > 0) {
    const float* x = ws_->normed.data();
    float* const gate = ws_->gate.data() + num_slots * width;
    float* const up = ws_->up.data() + num_slots * width;
    jobs.push_back(weights.shared.gate.args(gate, shared_width, x, hidden, ws_->rows));
    jobs.push_back(weights.shared.up.args(up, shared_width, x, hidden, ws_->rows));
  }
  kernels::matmul(executor(), jobs.data(), jobs.size());
  // Element by element, so a shared row counts as several of the routed rows' width.
  kernels::silu_mul(executor(), {.y = ws_->gate.data(),
                                 .y_stride = width,
                                 .gate = ws_->gate.data(),
                                 .gate_stride = width,
                                 .up = ws_->up.data(),
                                 .up_stride = width,
                                 .rows = num_slots + ws_->rows * config_.n_shared_experts,
                                 .dim = width});
}

/// The routed experts' outputs into `expert_output`, the shared experts' into `output`.
void CpuModel::expert_down(const LayerWeights& weights) {
  const std::size_t width = config_.moe_intermediate_size;
  const std::size_t shared_width = width * config_.n_shared_experts;
  const std::size_t hidden = config_.hidden_size;
  const std::size_t num_slots = ws_->rows * config_.num_experts_per_tok;
  auto& jobs = ws_->jobs;
  jobs.clear();
  for_each_used_expert(weights, [&](const FfnWeights& ffn, std::size_t begin, std::size_t n) {
    jobs.push_back(ffn.down.args(ws_->expert_output.data() + begin * hidden, hidden,
                                 ws_->gate.data() + begin * width, width, n));
  });
  if (shared_width > 0) {
    const float* x = ws_->gate.data() + num_slots * width;
    jobs.push_back(
        weights.shared.down.args(ws_->output.data(), hidden, x, shared_width, ws_->rows));
  } else {
    std::fill_n(ws_->output.data(), ws_->rows * hidden, 0.0F);
  }
  kernels::matmul(executor(), jobs.data(), jobs.size());
}

}  // namespace ponder::engine
