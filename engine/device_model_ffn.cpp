#include <algorithm>
#include <cstring>

#include "base/assert.h"
#include "engine/device_model.h"
#include "engine/device_workspace.h"

namespace ponder::engine {
namespace {

/// Whether a product with these weights reads codes.
bool has_codes(const DeviceLinears& w) {
  return w.dtype == kernels::DType::int8 || w.dtype == kernels::DType::int4;
}

}  // namespace

/// hidden += output; and its norm.
kernels::ResidualNormArgs DeviceModel::sum_into(float* normed, const float* norm) const {
  kernels::ResidualNormArgs sum{};
  sum.hidden = ws_->hidden;
  sum.output = ws_->output;
  sum.y = normed;
  sum.weight = norm;
  sum.rows = step_.rows;
  sum.dim = config_.hidden_size;
  sum.eps = static_cast<float>(config_.rms_norm_eps);
  return sum;
}

/// The norm is the next layer's, or the one before the head.
kernels::ResidualNormArgs DeviceModel::sum_after(std::size_t layer) const {
  const std::size_t num_layers = config_.num_hidden_layers;
  if (layer + 1 < num_layers) {
    return sum_into(ws_->normed, weights_.layers[layer + 1].input_layernorm);
  }
  if (layer < num_layers) return sum_into(ws_->final_hidden, weights_.norm);
  PONDER_ASSERT(weights_.mtp);
  return sum_into(ws_->final_hidden, weights_.mtp->shared_head_norm);
}

void DeviceModel::feed_forward(std::size_t layer, LayerTrace* trace) {
  kernels::ResidualNormArgs sum = sum_after(layer);
  if (config_.layers[layer].ffn == FfnKind::dense) {
    dense_ffn(weights_.layers[layer].dense);
  } else {
    moe_ffn(layer, sum);
    if (trace != nullptr) {
      const std::size_t slots = config_.num_experts_per_tok;
      trace->experts = download(ws_->experts + (step_.rows - 1) * slots, slots);
      trace->expert_weights = download(ws_->expert_weights + (step_.rows - 1) * slots, slots);
    }
  }
  table().residual_norm(sum);
}

void DeviceModel::dense_ffn(const DeviceFfn& ffn) {
  const bool as_codes = has_codes(ffn.down);
  multiply({{ffn.gate, ws_->gate}, {ffn.up, ws_->up}}, ws_->normed, step_.rows);
  activate(step_.rows * ffn.gate.out, as_codes);
  multiply_all({{ffn.down, ws_->output}}, activated(0, as_codes));
}

/// gate = silu(gate) * up for so many values, or their codes, which is all that a product with int8
/// or int4 weights reads.
void DeviceModel::activate(std::size_t n, bool as_codes) {
  table().silu_mul({.y = as_codes ? nullptr : ws_->gate,
                    .gate = ws_->gate,
                    .up = ws_->up,
                    .n = n,
                    .codes = as_codes ? ws_->x_codes : nullptr,
                    .scales = as_codes ? ws_->x_scales : nullptr});
}

/// What activate() has left, from value `first` on, as the rows of a product.
kernels::DeviceMatmulArgs DeviceModel::activated(std::size_t first, bool as_codes) const {
  kernels::DeviceMatmulArgs args = rows_of(ws_->gate + first, step_.rows);
  if (!as_codes) return args;
  args.x_codes += first;
  args.x_scales += first / kernels::kActivationGroup;
  args.x_is_coded = true;
  return args;
}

/// `sum` gets the routed experts' outputs, which are added to the shared ones' in `output` in
/// ascending slot order, unless the host has done so. The shared experts' values lie behind the
/// routed ones'.
void DeviceModel::moe_ffn(std::size_t layer, kernels::ResidualNormArgs& sum) {
  const DeviceFfn& experts = weights_.layers[layer].experts;
  const DeviceFfn& shared = weights_.layers[layer].shared;
  choose_experts(layer);
  if (forced_ != nullptr) force_experts(layer);
  if (host_ != nullptr && host_->has(layer)) return moe_ffn_with_host(layer, shared);
  group_rows();
  const bool has_shared = shared.gate.batch > 0;
  const bool as_codes = has_codes(experts.down) && (!has_shared || has_codes(shared.down));
  const std::size_t num_routed =
      step_.rows * config_.num_experts_per_tok * config_.moe_intermediate_size;
  kernels::DeviceMatmulArgs rows = rows_of(ws_->normed, step_.rows);
  rows.x_rows = ws_->source_rows;
  multiply_experts({{experts.gate, ws_->gate}, {experts.up, ws_->up}}, rows);
  if (has_shared) {
    multiply({{shared.gate, ws_->gate + num_routed}, {shared.up, ws_->up + num_routed}},
             ws_->normed, step_.rows);
  }
  activate(num_routed + (has_shared ? step_.rows * shared.gate.out : 0), as_codes);
  multiply_experts({{experts.down, ws_->expert_output}}, activated(0, as_codes));
  if (has_shared) multiply_all({{shared.down, ws_->output}}, activated(num_routed, as_codes));
  if (!has_shared) sum.output = nullptr;
  sum.expert_output = ws_->expert_output;
  sum.expert_rows = ws_->slot_rows;
  sum.expert_weights = ws_->expert_weights;
  sum.slots = config_.num_experts_per_tok;
}

void DeviceModel::choose_experts(std::size_t layer) {
  const ModelConfig& c = config_;
  const DeviceLayer& weights = weights_.layers[layer];
  multiply({{weights.router, ws_->router_logits}}, ws_->normed, step_.rows);
  table().router({.logits = ws_->router_logits,
                  .logits_stride = c.n_routed_experts,
                  .bias = weights.router_bias,
                  .indices = ws_->experts,
                  .weights = ws_->expert_weights,
                  .rows = step_.rows,
                  .experts = c.n_routed_experts,
                  .groups = c.n_group,
                  .topk_group = c.topk_group,
                  .topk = c.num_experts_per_tok,
                  .normalize = c.norm_topk_prob,
                  .scaling_factor = static_cast<float>(c.routed_scaling_factor)});
}

/// Each expert's rows lie together; a row goes to an expert at most once.
void DeviceModel::group_rows() {
  const ModelConfig& c = config_;
  table().group_by_expert({.experts = ws_->experts,
                           .num_slots = step_.rows * c.num_experts_per_tok,
                           .topk = c.num_experts_per_tok,
                           .num_experts = c.n_routed_experts,
                           .expert_begin = ws_->expert_begin,
                           .slot_rows = ws_->slot_rows,
                           .source_rows = ws_->source_rows,
                           .num_rows = ws_->input(Workspace::num_rows)});
}

void DeviceModel::multiply_experts(std::initializer_list<Product> products,
                                   kernels::DeviceMatmulArgs rows) {
  rows.batch = config_.n_routed_experts;
  rows.group_begin = ws_->expert_begin;
  rows.m_total = step_.rows * config_.num_experts_per_tok;
  multiply_all(products, rows);
}

/// The routed experts on the CPU while the device computes the shared ones, to which they are added
/// on the host: in the order and with the operation of an experts' layer on the device.
void DeviceModel::moe_ffn_with_host(std::size_t layer, const DeviceFfn& shared) {
  const std::size_t rows = step_.rows;
  const std::size_t hidden = config_.hidden_size;
  host_rows_.resize(ws_->routing_floats + rows_max_ * hidden);
  note(table().download(host_rows_.data(), ws_->routing,
                        (ws_->routing_floats + rows * hidden) * sizeof(float)));
  const bool has_shared = shared.gate.batch > 0;
  if (has_shared) dense_ffn(shared);
  // Nothing of such a step will be used, nor is what came to be believed.
  if (device_->error() != 0) return;
  const std::size_t slots = rows_max_ * config_.num_experts_per_tok;
  host_choices_.resize(slots);
  std::memcpy(host_choices_.data(), host_rows_.data(), slots * sizeof(std::int32_t));
  host_->compute(layer, {.x = host_rows_.data() + ws_->routing_floats,
                         .experts = host_choices_.data(),
                         .rows = rows});
  host_output_.resize(rows_max_ * hidden);
  if (!has_shared) {
    std::fill_n(host_output_.begin(), rows * hidden, 0.0F);
  } else {
    note(table().download(host_output_.data(), ws_->output, rows * hidden * sizeof(float)));
    if (device_->error() != 0) return;
  }
  host_->add_to(host_output_.data(), host_rows_.data() + slots);
  upload(ws_->output, std::span<const float>(host_output_).first(rows * hidden));
}

void DeviceModel::force_experts(std::size_t layer) {
  if (!forced_->experts) return;
  const std::size_t slots = config_.num_experts_per_tok;
  const std::size_t num_experts = config_.n_routed_experts;
  const std::vector<float> logits = download(ws_->router_logits, step_.rows * num_experts);
  for (std::size_t row = 0; row < step_.rows; ++row) {
    const std::vector<std::int32_t> chosen =
        forced_->experts(layer, static_cast<std::size_t>(step_.positions[row]));
    if (chosen.empty()) continue;
    PONDER_ASSERT(chosen.size() == slots);
    std::vector<float> weights(slots);
    weigh_forced_experts(config_, chosen, logits.data() + row * num_experts, weights.data());
    upload(ws_->experts + row * slots, std::span<const std::int32_t>(chosen));
    upload(ws_->expert_weights + row * slots, std::span<const float>(weights));
  }
}

}  // namespace ponder::engine
