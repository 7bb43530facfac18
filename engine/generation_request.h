#pragma once

#include <cstddef>
#include <span>

#include "base/clock.h"
#include "base/result.h"
#include "engine/config.h"
#include "engine/engine.h"

/// What is refused at submission, before a request costs anything.
namespace ponder::engine {

/// Everything but the prompt's length; the fault is named. `deadline` if it has passed.
Status check_request(const GenerationRequest& request, const ModelConfig& config,
                     const Clock& clock);
Status check_ids(std::span<const TokenId> ids, const ModelConfig& config);
/// A prompt that leaves no position for an answer is refused with exhausted.
Status check_length(std::size_t tokens_prompt, const ModelConfig& config);

/// Tokens that a grammar forces are the tokenizer's: the model has to know each of them.
Status check_ids_fit(const Tokenizer& tokenizer, const ModelConfig& config);

}  // namespace ponder::engine
