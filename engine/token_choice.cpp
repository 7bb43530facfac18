#include "engine/token_choice.h"

#include <algorithm>

namespace ponder::engine {

RowSampling RowSamplings::add(const Request& request, GrammarMatcher* matcher,
                              std::span<const TokenId> drafts) {
  if (num_kept_ == kept_.size()) kept_.emplace_back();
  Kept& kept = kept_[num_kept_++];
  kept.mask.clear();
  if (matcher != nullptr) {
    const auto mask = matcher->allowed();
    kept.mask.assign(mask.begin(), mask.end());
    // After a stop token nothing follows, and nobody will ask.
    if (matcher->is_stopped()) std::ranges::fill(kept.mask, 0);
  }
  const SamplingParams& params = request.spec.sampling;
  const auto penalties =
      penalties_.list(params, request.tokens, request.stats.tokens_prompt, drafts);
  kept.penalties.assign(penalties.begin(), penalties.end());
  return {&params, kept.mask, request.tokens.size() + drafts.size(), kept.penalties};
}

void TokenChoice::delegate(std::span<const Scheduler::Work> work,
                           std::span<BatchSegment> segments) {
  kept_.clear();
  samplings_.clear();
  const auto is_delegated = [&](std::size_t i) {
    return segments[i].wants_logits && !work[i].request->callbacks.on_logits;
  };
  for (std::size_t i = 0; i < work.size(); ++i) {
    if (is_delegated(i))
      add_rows(*work[i].request, segments[i].tokens.last(segments[i].num_drafts));
  }
  std::span<const RowSampling> rest = samplings_;
  for (std::size_t i = 0; i < work.size(); ++i) {
    if (!is_delegated(i)) continue;
    segments[i].samplings = rest.first(1 + segments[i].num_drafts);
    rest = rest.subspan(1 + segments[i].num_drafts);
  }
}

/// A row behind drafts is looked at when they were right: then the request has them, and its
/// grammar, penalties and random numbers are those after them.
void TokenChoice::add_rows(Request& request, std::span<const TokenId> drafts) {
  if (drafts.empty()) {
    samplings_.push_back(kept_.add(request, request.matcher ? &*request.matcher : nullptr, {}));
    return;
  }
  std::optional<GrammarMatcher> matcher = request.matcher;
  for (std::size_t i = 0; i <= drafts.size(); ++i) {
    samplings_.push_back(kept_.add(request, matcher ? &*matcher : nullptr, drafts.first(i)));
    if (matcher && i < drafts.size()) matcher->accept(drafts[i]);
  }
}

std::optional<TokenId> TokenChoice::choose(Request& request, std::span<const float> logits,
                                           const RowChoice& made) {
  if (made.is_made) return made.token;
  if (request.callbacks.on_logits) request.callbacks.on_logits(logits);
  std::span<const std::uint64_t> mask;
  if (request.matcher) mask = request.matcher->allowed();
  const SamplingParams& params = request.spec.sampling;
  const auto penalized = made.is_penalized ? logits
                                           : penalties_.apply(logits, params, request.tokens,
                                                              request.stats.tokens_prompt);
  return sampler_.sample(penalized, mask, params, request.tokens.size());
}

}  // namespace ponder::engine
