#include "engine/token_choice.h"

#include <algorithm>

namespace ponder::engine {

void TokenChoice::delegate(std::span<const Scheduler::Work> work,
                           std::span<BatchSegment> segments) {
  samplings_.resize(work.size());
  masks_.resize(std::max(masks_.size(), work.size()));
  for (std::size_t i = 0; i < work.size(); ++i) {
    Request& request = *work[i].request;
    const SamplingParams& params = request.spec.sampling;
    const bool wants_token = segments[i].wants_logits && segments[i].num_drafts == 0;
    if (!wants_token || params.has_penalties() || request.callbacks.on_logits) continue;
    masks_[i].clear();
    if (request.matcher) {
      const auto mask = request.matcher->allowed();
      masks_[i].assign(mask.begin(), mask.end());
    }
    samplings_[i] = {&params, masks_[i], request.tokens.size()};
    segments[i].sampling = &samplings_[i];
  }
}

std::optional<TokenId> TokenChoice::choose(Request& request, std::span<const float> logits,
                                           const RowChoice& made) {
  if (made.is_made) return made.token;
  if (request.callbacks.on_logits) request.callbacks.on_logits(logits);
  std::span<const std::uint64_t> mask;
  if (request.matcher) mask = request.matcher->allowed();
  const SamplingParams& params = request.spec.sampling;
  const auto penalized =
      penalties_.apply(logits, params, request.tokens, request.stats.tokens_prompt);
  return sampler_.sample(penalized, mask, params, request.tokens.size());
}

}  // namespace ponder::engine
