#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <vector>

#include "engine/bench/measurement.h"
#include "engine/model.h"

namespace ponder::engine::bench {

/// DeepSeek-V3.2 with so many layers, the first three of which are dense. Its shape is public:
/// config.json of deepseek-ai/DeepSeek-V3.2.
ModelConfig deepseek_v32_config(std::size_t num_layers);

struct StackOptions {
  ModelConfig dense;     // the dense layers alone
  ModelConfig with_moe;  // and as many layers of experts as fit
  std::size_t num_layers_of_model = 61;
  std::vector<std::size_t> contexts = {4096, 32768, 131072};
  std::vector<std::size_t> batches = {1, 16, 64};
  std::uint64_t cache_bytes = std::uint64_t{16} << 30;
  std::size_t repetitions = 15;
};

/// Time of decode steps of a stack of layers with random FP8 weights, an FP8 cache and int8 keys:
/// one token of each sequence, through the head to the likeliest token, which alone comes back to
/// the host, by the wall clock; launched as a graph, and operation by operation. What the whole
/// model would take follows from both stacks and is called an extrapolation. Sequences for whose
/// pages `cache_bytes` will not do share those of others, which the note says.
Status measure_stack(const kernels::DeviceTable& device, const StackOptions& options,
                     const std::function<void(const Measurement&)>& report);

/// Greedy decoding of a checkpoint by the forward pass alone, with graphs and without: tokens per
/// second of all sequences.
Status measure_model(const kernels::DeviceTable& device, const std::filesystem::path& dir,
                     const std::vector<std::size_t>& batches, std::size_t steps,
                     const std::function<void(const Measurement&)>& report);

}  // namespace ponder::engine::bench
