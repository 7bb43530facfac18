#pragma once

#include <cstdint>
#include <optional>
#include <span>

#include "engine/penalties.h"
#include "engine/sampling_params.h"
#include "engine/tokenizer.h"

namespace ponder::engine {

/// How the token after a row is to be sampled, for a model that can do it where its logits are
/// (Model::can_sample). Lifetime: what it points to must outlive the forward pass.
struct RowSampling {
  const SamplingParams* params = nullptr;    // must be set
  std::span<const std::uint64_t> mask = {};  // as Sampler::sample() has it
  std::uint64_t position = 0;                // the same
  std::span<const TokenPenalty> penalties = {};
};

/// What was sampled on the way.
struct RowChoice {
  bool is_made = false;
  std::optional<TokenId> token = {};  // none, though a choice was made: nothing can be chosen
  bool is_penalized = false;  // without a choice: the row's logits are those after penalties
};

}  // namespace ponder::engine
