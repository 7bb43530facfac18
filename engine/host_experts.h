#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <vector>

#include "base/result.h"
#include "engine/checkpoint.h"
#include "engine/cpu_ffn.h"
#include "engine/model.h"
#include "engine/model_weights.h"
#include "kernels/thread_pool.h"

namespace ponder::engine {

/// The routed experts of a model on a device that stay in host memory: their weights, as CpuModel
/// has them (copied to huge pages, packed, or read in place in the mapped files), and the threads
/// that compute them. The rest of the weights is let go.
///
/// Thread: one caller at a time.
class HostExperts {
 public:
  /// `layers`: the ones whose experts stay, ascending. Fails (invalid_argument) for options.isa
  /// that this CPU cannot run. Lifetime: config outlives it.
  static Result<std::unique_ptr<HostExperts>> create(const ModelConfig& config,
                                                     const ModelOptions& options,
                                                     Checkpoint checkpoint, ModelWeights weights,
                                                     const std::vector<std::size_t>& layers);

  /// The first of the layers whose experts stay.
  std::size_t first_layer() const { return kept_.front(); }
  bool has(std::size_t layer) const { return !layers_[layer].experts.empty(); }
  /// CpuFfn::experts() without shared ones. Requires: has(layer).
  void compute(std::size_t layer, const RoutedRows& rows);
  /// CpuFfn::add_routed() for the rows of the last compute().
  void add_to(float* output, const float* weights) { ffn_.add_routed(output, weights); }

  /// Fails, for good, when experts that are read in place were changed under it.
  Status check() const;
  /// Of the experts alone: results of equal names have equal bits.
  std::string arithmetic_name() const;

 private:
  HostExperts(const ModelConfig& config, const ModelOptions& options,
              const kernels::KernelTable& table, Checkpoint checkpoint, ModelWeights weights,
              const std::vector<std::size_t>& layers);

  Checkpoint checkpoint_;  // weights may point into its mapping
  bool is_read_in_place_;
  bool may_round_x_;
  std::vector<LayerWeights> layers_;  // nothing but experts, in the layers whose experts stay
  std::vector<std::size_t> kept_;     // these layers
  const kernels::KernelTable* table_;
  kernels::ThreadPool pool_;
  kernels::PreparedInputs prepared_;
  CpuFfn ffn_;
};

}  // namespace ponder::engine
