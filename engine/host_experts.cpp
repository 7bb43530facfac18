#include "engine/host_experts.h"

#include <fmt/format.h>

#include <utility>

#include "base/assert.h"

namespace ponder::engine {

Result<std::unique_ptr<HostExperts>> HostExperts::create(const ModelConfig& config,
                                                         const ModelOptions& options,
                                                         Checkpoint checkpoint,
                                                         ModelWeights weights,
                                                         const std::vector<std::size_t>& layers) {
  PONDER_ASSERT(!layers.empty());
  PONDER_TRY(const kernels::KernelTable* table, find_kernels(options.isa));
  return std::unique_ptr<HostExperts>(
      new HostExperts(config, options, *table, std::move(checkpoint), std::move(weights), layers));
}

HostExperts::HostExperts(const ModelConfig& config, const ModelOptions& options,
                         const kernels::KernelTable& table, Checkpoint checkpoint,
                         ModelWeights weights, const std::vector<std::size_t>& layers)
    : checkpoint_(std::move(checkpoint)),
      is_read_in_place_(weights.is_read_in_place),
      may_round_x_(options.activations == Activations::bf16),
      layers_(weights.layers.size()),
      kept_(layers),
      table_(&table),
      pool_({.num_threads = options.num_threads, .pin = false}),
      ffn_(config, {table_, &pool_, &prepared_}) {
  for (const std::size_t layer : layers) {
    layers_[layer].experts = std::move(weights.layers[layer].experts);
    layers_[layer].expert_arena = std::move(weights.layers[layer].expert_arena);
  }
}

void HostExperts::compute(std::size_t layer, const RoutedRows& rows) {
  PONDER_ASSERT(has(layer));
  ffn_.experts(layers_[layer].experts, rows);
}

Status HostExperts::check() const {
  return is_read_in_place_ ? checkpoint_.check_unchanged() : Status();
}

std::string HostExperts::arithmetic_name() const {
  return fmt::format("experts of layers {}..{} on {}{}", kept_.front(), kept_.back(), table_->name,
                     may_round_x_ ? ", bf16 activations" : "");
}

}  // namespace ponder::engine
