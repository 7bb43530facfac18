#pragma once

#include "engine/config.h"

namespace ponder::engine::detail {

/// Fills in the values that ModelConfig derives from its dimensions and its RoPE fields:
/// inv_freq, rope_amplitude, softmax_scale and indexer_scale. Requires: the other fields are valid.
void derive_rope(ModelConfig& config);

}  // namespace ponder::engine::detail
