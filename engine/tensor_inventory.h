#pragma once

#include <cstddef>
#include <functional>
#include <string>
#include <vector>

#include "engine/config.h"

namespace ponder::engine {

/// How a tensor is stored in an FP8 checkpoint.
enum class TensorRole {
  matrix_fp8,   // FP8 with block scales
  matrix_bf16,  // a matrix that is never quantised
  vector_bf16,  // norms and their biases
  vector_f32,   // the gate's selection bias
};

struct TensorSpec {
  std::string name;
  std::vector<std::size_t> shape;
  TensorRole role;
  std::string values_of;  // the main tensor that this one repeats (MTP's embedding, head), or empty
};

/// Calls visit for every tensor that a checkpoint of this configuration holds (per-expert names,
/// scales not listed), in the order in which we write them.
void for_each_tensor(const ModelConfig& config, const std::function<void(TensorSpec)>& visit);

}  // namespace ponder::engine
