#pragma once

#include <cstdint>
#include <string>

#include "base/result.h"
#include "engine/checkpoint.h"
#include "engine/config.h"
#include "engine/model_weights.h"

/// In which form load_weights() keeps the matrices of a model, and what that takes: the one rule
/// that loading follows and that reports of a model state. Reads headers, no weights.
namespace ponder::engine {

/// Weights by what loading may do with them, in bytes.
struct LoadBytes {
  /// Made whatever the form: the router and norms in F32, scales, kv_b unfolded to F32, F16
  /// widened, and matrices that lie in their file too badly aligned to be read there.
  std::uint64_t made = 0;
  std::uint64_t factors = 0;  // kv_b unfolded to BF16, which is made whatever the form
  std::uint64_t codes = 0;    // int8 and int4, as packed as they are stored
  std::uint64_t bf16 = 0;     // matrices that can be packed, as stored
  std::uint64_t others = 0;   // matrices that stay as stored: F32, FP8, the embedding

  LoadBytes& operator+=(const LoadBytes& other);
};

struct LoadPlan {
  bool is_copied = false;    // or read in place
  bool packs_codes = false;  // int8 and int4
  bool packs_bf16 = false;
  bool packs_factors = false;  // which takes less memory, not more
  LoadBytes all;
  LoadBytes routed_experts;     // of all
  LoadBytes embedding_as_head;  // of all: read a second time, as lm_head
  std::uint64_t available = 0;  // memory, as it was taken to be

  /// What BF16 matrices that can be packed take then, and what factors take, nearly: see
  /// packed_bf16_estimate().
  std::uint64_t packed_bf16_bytes() const;
  std::uint64_t factor_bytes() const;
  /// What packed codes and BF16 matrices take, or would take, with all that is made in any case.
  std::uint64_t packed_bytes() const;
  /// All that loading allocates and keeps, to a few per cent.
  std::uint64_t made_bytes() const;
  /// What stays in the files and is read there, and what of it belongs to routed experts.
  std::uint64_t in_place_bytes() const;
  std::uint64_t in_place_expert_bytes() const;
  /// What must be available, lest loading is refused: what is copied or unfolded counts as if it
  /// were not packed, because only reading it shows whether that makes it smaller.
  std::uint64_t needed_bytes() const;
  /// Fails (exhausted) with both numbers when needed_bytes() are not available.
  Status check_memory() const;
};

/// `checkpoint` may be nullptr: then the weights are stored as published_dtype() says. Tensors that
/// it lacks count for nothing. Where `options` name no memory, it is what the machine has
/// available now.
LoadPlan plan_load(const ModelConfig& config, const Checkpoint* checkpoint,
                   const WeightOptions& options);

/// Whether products can read the matrix where it lies in its file. Codes need no alignment.
bool is_readable_in_place(const StoredMatrix& matrix);

}  // namespace ponder::engine
