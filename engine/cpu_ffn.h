#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "engine/config.h"
#include "engine/model_weights.h"
#include "kernels/ops.h"

namespace ponder::engine {

/// Rows of one layer, and what its router chose for each of them.
struct RoutedRows {
  const float* x = nullptr;               // [rows, hidden_size], normed
  const std::int32_t* experts = nullptr;  // [rows, num_experts_per_tok], best first
  std::size_t rows = 0;
};

/// The feed-forward part of layers on the CPU: all of CpuModel's, and the routed experts that a
/// DeviceModel leaves in host memory (engine/host_experts.h). Both run this code, so that an expert
/// gives the same bits wherever it is asked from.
///
/// Scratch memory grows to the largest batch seen; nothing is allocated after that. An output's
/// bits do not depend on the other rows, nor on the number of threads.
///
/// Thread: the executor's caller. Lifetime: config and executor outlive it.
class CpuFfn {
 public:
  CpuFfn(const ModelConfig& config, const kernels::Executor& executor)
      : config_(config), executor_(executor) {}

  /// output = down(silu(gate x) * up x). x and output: [rows, hidden_size].
  void dense(const FfnWeights& ffn, float* output, const float* x, std::size_t rows);

  /// Computes the chosen experts, whose outputs stay here until add_routed(), and with `shared` in
  /// the same products the shared experts into `shared_output` [rows, hidden_size].
  void experts(std::span<const FfnWeights> routed, const RoutedRows& rows,
               const FfnWeights* shared = nullptr, float* shared_output = nullptr);

  /// output[row] += weight * output of the expert, in ascending slot order, for the rows of the
  /// last experts(). output: [rows, hidden_size]; weights: [rows, num_experts_per_tok].
  void add_routed(float* output, const float* weights);

 private:
  void group_by_expert(std::size_t num_experts, const RoutedRows& rows);
  void gate_up(std::span<const FfnWeights> routed, const RoutedRows& rows,
               const FfnWeights* shared);
  void down(std::span<const FfnWeights> routed, const RoutedRows& rows, const FfnWeights* shared,
            float* shared_output);
  template <class Visit>
  void for_each_used_expert(std::span<const FfnWeights> routed, Visit visit) const;

  const ModelConfig& config_;
  kernels::Executor executor_;
  std::size_t rows_ = 0;                   // of the last experts()
  std::vector<float> gate_;                // rows * widths
  std::vector<float> up_;                  // the same
  std::vector<std::int32_t> slot_rows_;    // [rows, num_experts_per_tok] row in expert_input_
  std::vector<std::size_t> expert_begin_;  // [n_routed_experts + 1] rows of each expert
  std::vector<float> expert_input_;        // [rows * num_experts_per_tok, hidden_size]
  std::vector<float> expert_output_;       // the same
  std::vector<kernels::MatmulArgs> jobs_;
};

}  // namespace ponder::engine
