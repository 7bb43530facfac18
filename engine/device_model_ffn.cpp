#include <cstring>

#include "base/assert.h"
#include "engine/device_model.h"
#include "engine/device_workspace.h"

namespace ponder::engine {

void DeviceModel::feed_forward(std::size_t layer, LayerTrace* trace) {
  const DeviceLayer& weights = weights_.layers[layer];
  const std::size_t hidden = config_.hidden_size;
  normalise(ws_->normed, hidden, ws_->hidden, hidden, weights.post_attention_layernorm, step_.rows,
            hidden, config_.rms_norm_eps);
  if (config_.layers[layer].ffn == FfnKind::dense) {
    dense_ffn(weights.dense);
  } else {
    moe_ffn(layer, weights);
    if (trace != nullptr) {
      const std::size_t slots = config_.num_experts_per_tok;
      trace->experts = download(ws_->experts + (step_.rows - 1) * slots, slots);
      trace->expert_weights = download(ws_->expert_weights + (step_.rows - 1) * slots, slots);
    }
  }
  table().add(ws_->hidden, ws_->output, step_.rows * hidden);
}

void DeviceModel::dense_ffn(const DeviceFfn& ffn) {
  const std::size_t width = ffn.gate.out;
  multiply(ffn.gate, ws_->gate, ws_->normed, step_.rows);
  multiply(ffn.up, ws_->up, ws_->normed, step_.rows);
  table().silu_mul({.y = ws_->gate,
                    .y_stride = width,
                    .gate = ws_->gate,
                    .gate_stride = width,
                    .up = ws_->up,
                    .up_stride = width,
                    .rows = step_.rows,
                    .dim = width});
  multiply(ffn.down, ws_->output, ws_->gate, step_.rows);
}

void DeviceModel::moe_ffn(std::size_t layer, const DeviceLayer& weights) {
  const ModelConfig& c = config_;
  const std::size_t num_slots = step_.rows * c.num_experts_per_tok;
  const std::size_t width = c.moe_intermediate_size;
  multiply(weights.router, ws_->router_logits, ws_->normed, step_.rows);
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
  if (forced_ != nullptr) force_experts(layer);
  if (host_ != nullptr && host_->has(layer)) return moe_ffn_with_host(layer, weights);
  table().group_by_expert({.experts = ws_->experts,
                           .num_slots = num_slots,
                           .topk = c.num_experts_per_tok,
                           .num_experts = c.n_routed_experts,
                           .expert_begin = ws_->expert_begin,
                           .slot_rows = ws_->slot_rows,
                           .source_rows = ws_->source_rows,
                           .num_rows = ws_->input(Workspace::num_rows)});
  table().gather_rows({.y = ws_->expert_input,
                       .y_stride = c.hidden_size,
                       .table = ws_->normed,
                       .dtype = kernels::DType::f32,
                       .indices = ws_->source_rows,
                       .rows = num_slots,
                       .dim = c.hidden_size});
  multiply_experts(weights.experts.gate, ws_->gate, ws_->expert_input);
  multiply_experts(weights.experts.up, ws_->up, ws_->expert_input);
  table().silu_mul({.y = ws_->gate,
                    .y_stride = width,
                    .gate = ws_->gate,
                    .gate_stride = width,
                    .up = ws_->up,
                    .up_stride = width,
                    .rows = num_slots,
                    .dim = width});
  multiply_experts(weights.experts.down, ws_->expert_output, ws_->gate);
  shared_experts(weights.shared);
  // The shared experts' output lies in `output`; the routed ones are added in ascending slot order.
  table().weighted_sum({.y = ws_->output,
                        .y_stride = c.hidden_size,
                        .x = ws_->expert_output,
                        .x_stride = c.hidden_size,
                        .indices = ws_->slot_rows,
                        .weights = ws_->expert_weights,
                        .rows = step_.rows,
                        .slots = c.num_experts_per_tok,
                        .dim = c.hidden_size});
}

/// The routed experts on the CPU while the device computes the shared ones, to which they are added
/// on the host: in the order and with the operation of an experts' layer on the device.
void DeviceModel::moe_ffn_with_host(std::size_t layer, const DeviceLayer& weights) {
  const std::size_t rows = step_.rows;
  const std::size_t hidden = config_.hidden_size;
  host_rows_.resize(ws_->routing_floats + rows_max_ * hidden);
  note(table().download(host_rows_.data(), ws_->routing,
                        (ws_->routing_floats + rows * hidden) * sizeof(float)));
  shared_experts(weights.shared);
  // Nothing of such a step will be used, nor is what came to be believed.
  if (device_->error() != 0) return;
  const std::size_t slots = rows_max_ * config_.num_experts_per_tok;
  host_choices_.resize(slots);
  std::memcpy(host_choices_.data(), host_rows_.data(), slots * sizeof(std::int32_t));
  host_->compute(layer, {.x = host_rows_.data() + ws_->routing_floats,
                         .experts = host_choices_.data(),
                         .rows = rows});
  host_output_.resize(rows_max_ * hidden);
  note(table().download(host_output_.data(), ws_->output, rows * hidden * sizeof(float)));
  if (device_->error() != 0) return;
  host_->add_to(host_output_.data(), host_rows_.data() + slots);
  upload(ws_->output, std::span<const float>(host_output_).first(rows * hidden));
}

/// Each expert's rows lie together; a row goes to an expert at most once.
void DeviceModel::multiply_experts(const DeviceLinears& w, float* y, const float* x) {
  table().matmul({.y = y,
                  .y_stride = w.out,
                  .x = x,
                  .x_stride = w.in,
                  .w = w.matrices,
                  .w_dtype = w.dtype,
                  .batch = w.batch,
                  .group_begin = ws_->expert_begin,
                  .m = step_.rows,
                  .m_total = step_.rows * config_.num_experts_per_tok,
                  .n = w.out,
                  .k = w.in,
                  .x_codes = ws_->x_codes,
                  .x_scales = ws_->x_scales});
}

void DeviceModel::shared_experts(const DeviceFfn& ffn) {
  if (ffn.gate.batch > 0) return dense_ffn(ffn);
  table().gather_rows({.y = ws_->output,
                       .y_stride = config_.hidden_size,
                       .table = ws_->normed,
                       .dtype = kernels::DType::f32,
                       .indices = ws_->no_rows,
                       .rows = step_.rows,
                       .dim = config_.hidden_size});
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
