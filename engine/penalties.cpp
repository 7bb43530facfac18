#include "engine/penalties.h"

#include <algorithm>

namespace ponder::engine {

float penalized(float logit, float repetition_penalty, const TokenPenalty& penalty) {
  logit = logit > 0.0F ? logit / repetition_penalty : logit * repetition_penalty;
  return logit - penalty.frequency - penalty.presence;
}

std::span<const TokenPenalty> Penalties::list(const SamplingParams& params,
                                              std::span<const TokenId> tokens,
                                              std::size_t num_prompt,
                                              std::span<const TokenId> drafts) {
  list_.clear();
  if (!params.has_penalties()) return list_;
  const auto prompt = tokens.first(std::min(num_prompt, tokens.size()));
  const auto answer = tokens.subspan(prompt.size());
  for (const TokenId id : prompt) ++counts_of(id).prompt;
  for (const TokenId id : answer) ++counts_of(id).answer;
  for (const TokenId id : drafts) ++counts_of(id).answer;
  for (const auto ids : {prompt, answer, drafts}) {
    for (const TokenId id : ids) add(id, params);
  }
  return list_;
}

Penalties::Counts& Penalties::counts_of(TokenId id) {
  if (id >= counts_.size()) counts_.resize(std::size_t{id} + 1);
  return counts_[id];
}

/// Once for each token: what has been taken into account is set back to zero.
void Penalties::add(TokenId id, const SamplingParams& params) {
  Counts& counts = counts_[id];
  const bool is_in_answer = counts.answer > 0;
  if (is_in_answer) {
    const auto n = static_cast<float>(counts.answer);
    list_.push_back({id, params.frequency_penalty * n, params.presence_penalty});
  } else if (counts.prompt > 0 && params.repetition_penalty != 1.0F) {
    list_.push_back({id, 0.0F, 0.0F});
  }
  counts = {};
}

std::span<const float> Penalties::apply(std::span<const float> logits, const SamplingParams& params,
                                        std::span<const TokenId> tokens, std::size_t num_prompt,
                                        std::span<const TokenId> drafts) {
  if (!params.has_penalties()) return logits;
  logits_.assign(logits.begin(), logits.end());
  for (const TokenPenalty& penalty : list(params, tokens, num_prompt, drafts)) {
    float& logit = logits_[penalty.id];
    logit = penalized(logit, params.repetition_penalty, penalty);
  }
  return logits_;
}

}  // namespace ponder::engine
