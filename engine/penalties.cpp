#include "engine/penalties.h"

#include <algorithm>

namespace ponder::engine {

std::span<const float> Penalties::apply(std::span<const float> logits, const SamplingParams& params,
                                        std::span<const TokenId> tokens, std::size_t num_prompt,
                                        std::span<const TokenId> drafts) {
  if (!params.has_penalties()) return logits;
  logits_.assign(logits.begin(), logits.end());
  counts_.resize(std::max(counts_.size(), logits.size()));
  const auto prompt = tokens.first(std::min(num_prompt, tokens.size()));
  const auto answer = tokens.subspan(prompt.size());
  for (const TokenId id : prompt) ++counts_[id].prompt;
  for (const TokenId id : answer) ++counts_[id].answer;
  for (const TokenId id : drafts) ++counts_[id].answer;
  for (const auto ids : {prompt, answer, drafts}) {
    for (const TokenId id : ids) penalize(id, params);
  }
  return logits_;
}

/// Once for each token: what has been taken into account is set back to zero.
void Penalties::penalize(TokenId id, const SamplingParams& params) {
  Counts& counts = counts_[id];
  if (counts.prompt + counts.answer == 0) return;
  float& logit = logits_[id];
  logit = logit > 0.0F ? logit / params.repetition_penalty : logit * params.repetition_penalty;
  if (counts.answer > 0) {
    logit -= params.frequency_penalty * static_cast<float>(counts.answer);
    logit -= params.presence_penalty;
  }
  counts = {};
}

}  // namespace ponder::engine
