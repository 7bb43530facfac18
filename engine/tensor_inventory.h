#pragma once

#include <cstddef>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "engine/config.h"
#include "engine/weight_format.h"

namespace ponder::engine {

/// How a tensor is stored in an FP8 checkpoint.
enum class TensorRole {
  matrix_fp8,   // FP8 with block scales
  matrix_bf16,  // a matrix that FP8 checkpoints leave alone
  vector_bf16,  // norms and their biases
  vector_f32,   // the gate's selection bias
};

/// How far a matrix may be quantised before the model suffers in ways that no error shows.
enum class Precision {
  four_bits,   // projections and experts
  eight_bits,  // indexer.wq_b, indexer.wk, kv_b_proj; lm_head (int8)
  full,        // router, indexer.weights_proj, eh_proj, embedding; and all vectors
};

struct TensorSpec {
  std::string name;
  std::vector<std::size_t> shape;
  TensorRole role;
  std::string values_of;  // the main tensor that this one repeats (MTP's embedding, head), or empty
  Precision precision = Precision::full;
  std::optional<std::size_t> layer = {};  // nothing: it belongs to the model as a whole
};

/// As published checkpoints of this configuration store the tensor: FP8 where it declares FP8, else
/// BF16, and F32 for what always is.
WeightDType published_dtype(const ModelConfig& config, const TensorSpec& spec);

/// Whether a matrix may be stored so.
bool may_be_stored_as(const TensorSpec& spec, const WeightFormat& format);

/// Calls visit for every tensor that a checkpoint of this configuration holds (per-expert names,
/// scales not listed), in the order in which we write them.
void for_each_tensor(const ModelConfig& config, const std::function<void(TensorSpec)>& visit);

}  // namespace ponder::engine
