#include "engine/cpu_ffn.h"

#include <algorithm>
#include <cstring>

#include "base/assert.h"

namespace ponder::engine {
namespace {

template <class T>
void grow(std::vector<T>& values, std::size_t n) {
  if (values.size() < n) values.resize(n);
}

}  // namespace

void CpuFfn::dense(const FfnWeights& ffn, float* output, const float* x, std::size_t rows) {
  const std::size_t width = ffn.gate.out;
  const std::size_t hidden = config_.hidden_size;
  grow(gate_, rows * width);
  grow(up_, rows * width);
  jobs_.clear();
  jobs_.push_back(ffn.gate.args(gate_.data(), width, x, hidden, rows));
  jobs_.push_back(ffn.up.args(up_.data(), width, x, hidden, rows));
  kernels::matmul(executor_, jobs_.data(), jobs_.size());
  kernels::silu_mul(executor_, {.y = gate_.data(),
                                .y_stride = width,
                                .gate = gate_.data(),
                                .gate_stride = width,
                                .up = up_.data(),
                                .up_stride = width,
                                .rows = rows,
                                .dim = width});
  kernels::matmul(executor_, ffn.down.args(output, hidden, gate_.data(), width, rows));
}

void CpuFfn::experts(std::span<const FfnWeights> routed, const RoutedRows& rows,
                     const FfnWeights* shared, float* shared_output) {
  const ModelConfig& c = config_;
  const std::size_t slots = rows.rows * c.num_experts_per_tok;
  const std::size_t shared_widths = shared == nullptr ? 0 : rows.rows * c.n_shared_experts;
  rows_ = rows.rows;
  grow(gate_, (slots + shared_widths) * c.moe_intermediate_size);
  grow(up_, gate_.size());
  grow(slot_rows_, slots);
  grow(expert_input_, slots * c.hidden_size);
  grow(expert_output_, slots * c.hidden_size);
  group_by_expert(routed.size(), rows);
  gate_up(routed, rows, shared);
  down(routed, rows, shared, shared_output);
}

void CpuFfn::add_routed(float* output, const float* weights) {
  kernels::weighted_sum(executor_, {.y = output,
                                    .y_stride = config_.hidden_size,
                                    .x = expert_output_.data(),
                                    .x_stride = config_.hidden_size,
                                    .indices = slot_rows_.data(),
                                    .weights = weights,
                                    .rows = rows_,
                                    .slots = config_.num_experts_per_tok,
                                    .dim = config_.hidden_size});
}

/// Copies each expert's rows together, so that an expert is one matrix product.
void CpuFfn::group_by_expert(std::size_t num_experts, const RoutedRows& rows) {
  const std::size_t topk = config_.num_experts_per_tok;
  const std::size_t num_slots = rows.rows * topk;
  const std::size_t hidden = config_.hidden_size;
  std::vector<std::size_t>& begin = expert_begin_;
  begin.assign(num_experts + 1, 0);
  for (std::size_t slot = 0; slot < num_slots; ++slot) {
    const auto expert = static_cast<std::size_t>(rows.experts[slot]);
    PONDER_ASSERT(expert < num_experts);
    ++begin[expert + 1];
  }
  for (std::size_t e = 0; e < num_experts; ++e) begin[e + 1] += begin[e];
  for (std::size_t slot = 0; slot < num_slots; ++slot) {
    std::size_t& next = begin[static_cast<std::size_t>(rows.experts[slot])];
    slot_rows_[slot] = static_cast<std::int32_t>(next);
    const float* row = rows.x + slot / topk * hidden;
    std::memcpy(expert_input_.data() + next * hidden, row, hidden * sizeof(float));
    ++next;
  }
  // Every entry has moved to its expert's end, which is the next one's beginning.
  std::copy_backward(begin.begin(), begin.end() - 1, begin.end());
  begin[0] = 0;
}

/// Calls visit(weights, first row in expert_input_, number of rows) for each expert that was
/// chosen.
template <class Visit>
void CpuFfn::for_each_used_expert(std::span<const FfnWeights> routed, Visit visit) const {
  for (std::size_t e = 0; e < routed.size(); ++e) {
    const std::size_t begin = expert_begin_[e];
    const std::size_t n = expert_begin_[e + 1] - begin;
    if (n > 0) visit(routed[e], begin, n);
  }
}

/// silu(gate) * up of the routed experts' rows, then of the shared experts', into `gate_`.
void CpuFfn::gate_up(std::span<const FfnWeights> routed, const RoutedRows& rows,
                     const FfnWeights* shared) {
  const std::size_t width = config_.moe_intermediate_size;
  const std::size_t hidden = config_.hidden_size;
  const std::size_t num_slots = rows.rows * config_.num_experts_per_tok;
  jobs_.clear();
  for_each_used_expert(routed, [&](const FfnWeights& ffn, std::size_t begin, std::size_t n) {
    const float* x = expert_input_.data() + begin * hidden;
    jobs_.push_back(ffn.gate.args(gate_.data() + begin * width, width, x, hidden, n));
    jobs_.push_back(ffn.up.args(up_.data() + begin * width, width, x, hidden, n));
  });
  const std::size_t num_shared = shared == nullptr ? 0 : config_.n_shared_experts;
  if (num_shared > 0) {
    const std::size_t shared_width = width * num_shared;
    float* const gate = gate_.data() + num_slots * width;
    float* const up = up_.data() + num_slots * width;
    jobs_.push_back(shared->gate.args(gate, shared_width, rows.x, hidden, rows.rows));
    jobs_.push_back(shared->up.args(up, shared_width, rows.x, hidden, rows.rows));
  }
  kernels::matmul(executor_, jobs_.data(), jobs_.size());
  // Element by element, so a shared row counts as several of the routed rows' width.
  kernels::silu_mul(executor_, {.y = gate_.data(),
                                .y_stride = width,
                                .gate = gate_.data(),
                                .gate_stride = width,
                                .up = up_.data(),
                                .up_stride = width,
                                .rows = num_slots + rows.rows * num_shared,
                                .dim = width});
}

/// The routed experts' outputs into `expert_output_`, the shared experts' into `shared_output`.
void CpuFfn::down(std::span<const FfnWeights> routed, const RoutedRows& rows,
                  const FfnWeights* shared, float* shared_output) {
  const std::size_t width = config_.moe_intermediate_size;
  const std::size_t hidden = config_.hidden_size;
  const std::size_t num_slots = rows.rows * config_.num_experts_per_tok;
  jobs_.clear();
  for_each_used_expert(routed, [&](const FfnWeights& ffn, std::size_t begin, std::size_t n) {
    jobs_.push_back(ffn.down.args(expert_output_.data() + begin * hidden, hidden,
                                  gate_.data() + begin * width, width, n));
  });
  if (shared != nullptr && config_.n_shared_experts > 0) {
    const std::size_t shared_width = width * config_.n_shared_experts;
    const float* x = gate_.data() + num_slots * width;
    jobs_.push_back(shared->down.args(shared_output, hidden, x, shared_width, rows.rows));
  } else if (shared != nullptr) {
    std::fill_n(shared_output, rows.rows * hidden, 0.0F);
  }
  kernels::matmul(executor_, jobs_.data(), jobs_.size());
}

}  // namespace ponder::engine
