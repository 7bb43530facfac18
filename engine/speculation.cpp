#include "engine/speculation.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/assert.h"

namespace ponder::engine {
namespace {

constexpr std::uint32_t kDraftedRequestsMax = 8;  // with more in a batch, none are drafted
constexpr std::uint32_t kPauseMin = 8;            // tokens
constexpr std::uint32_t kPauseMax = 256;

}  // namespace

Speculation::Speculation(Model& model, PrefixCache& cache, std::uint32_t tokens_max)
    : model_(&model), cache_(&cache), tokens_max_(tokens_max) {}

Status Speculation::check(std::uint32_t tokens_max) {
  if (tokens_max <= kTokensMax) return {};
  return fail(Errc::invalid_argument,
              fmt::format("draft_tokens_max: {} is more than {}", tokens_max, kTokensMax));
}

void Speculation::restart(Model& model) {
  model_ = &model;
  states_.clear();
}

std::uint32_t Speculation::rows_max(std::uint32_t tokens_max) {
  if (tokens_max == 0) return 0;
  return Scheduler::kRunningMax + kDraftedRequestsMax * tokens_max;
}

Speculation::State& Speculation::state_of(RequestId id) {
  const auto [it, is_new] = states_.try_emplace(id);
  if (is_new) {
    it->second.depth = tokens_max_;
    it->second.pause = kPauseMin;
  }
  return it->second;
}

void Speculation::extend(std::span<const Scheduler::Work> work, std::span<BatchSegment> segments) {
  if (!is_on()) return;
  std::size_t drafts_left = std::size_t{kDraftedRequestsMax} * tokens_max_;
  for (std::size_t i = 0; i < work.size(); ++i) {
    const Request& request = *work[i].request;
    BatchSegment& segment = segments[i];
    State& state = state_of(request.id);
    if (segment.first_position > 0) {
      if (state.next_position == segment.first_position) {
        segment.hidden_before = state.hidden;
      } else {
        --segment.first_position;
        ++segment.num_known;
      }
    }
    const bool has_drafts = segment.wants_logits && state.num_tokens == request.tokens.size();
    // A request that was preempted since has pages for its tokens, not for all of the drafts.
    const std::size_t room = has_drafts ? request.table.capacity() - request.tokens.size() : 0;
    segment.num_drafts = std::min({state.drafts.size(), drafts_left, room});
    drafts_left -= segment.num_drafts;
    if (segment.num_known + segment.num_drafts == 0) continue;
    const auto begin = request.tokens.begin() + static_cast<std::ptrdiff_t>(segment.first_position);
    const auto num_tokens = static_cast<std::ptrdiff_t>(segment.num_known + segment.tokens.size());
    state.row_tokens.assign(begin, begin + num_tokens);
    const auto drafts = std::span(state.drafts).first(segment.num_drafts);
    state.row_tokens.insert(state.row_tokens.end(), drafts.begin(), drafts.end());
    segment.tokens = state.row_tokens;
  }
}

void Speculation::computed(const Request& request, const BatchSegment& segment,
                           std::size_t first_row, std::size_t num_rows) {
  if (!is_on()) return;
  State& state = state_of(request.id);
  const std::span<const float> hidden = model_->hidden(first_row + num_rows - 1);
  state.hidden.assign(hidden.begin(), hidden.end());
  state.next_position = segment.first_position + num_rows;
}

void Speculation::verified(const Request& request, std::size_t num_drafts,
                           std::size_t num_accepted) {
  if (num_drafts == 0) return;
  State& state = state_of(request.id);
  state.drafts.clear();
  if (num_accepted == num_drafts) {
    state.depth = std::min(state.depth + 1, tokens_max_);
    state.pause = kPauseMin;
  } else if (num_accepted == 0 && --state.depth == 0) {
    state.wait = state.pause;
    state.pause = std::min(2 * state.pause, kPauseMax);
  }
}

/// The last token of a request is never computed, so neither is a draft of it.
std::size_t Speculation::depth_for(const Request& request, State& state) const {
  if (state.depth == 0) {
    if (state.wait > 0) {
      --state.wait;
      return 0;
    }
    state.depth = 1;
  }
  const std::size_t left = request.tokens_max - request.tokens.size();
  return std::min<std::size_t>(state.depth, left - 1);
}

void Speculation::draft(std::span<Request* const> requests) {
  drafts_.clear();
  if (!is_on() || requests.size() > kDraftedRequestsMax) return;
  for (Request* request : requests) start(*request);
  while (!drafts_.empty()) {
    rows_.clear();
    kept_.clear();
    samplings_.clear();
    samplings_.reserve(drafts_.size());  // rows point to them
    for (Draft& draft : drafts_) add_row(draft);
    const std::span<const float> logits = model_->draft(rows_);
    const std::span<const RowChoice> choices = model_->choices();
    const std::size_t vocab = model_->config().vocab_size;
    std::size_t row = 0;
    std::erase_if(drafts_, [&](Draft& draft) {
      draft.hidden = model_->hidden(row);
      const RowChoice choice = choices.empty() ? RowChoice{} : choices[row];
      return !propose(draft, logits.subspan(row++ * vocab, vocab), choice);
    });
  }
}

void Speculation::add_row(Draft& draft) {
  const Request& request = *draft.request;
  const State& state = *draft.state;
  rows_.push_back({.table = &draft.request->table,
                   .position = request.tokens.size() + state.drafts.size() - 1,
                   .token = state.drafts.empty() ? request.tokens.back() : state.drafts.back(),
                   .hidden = draft.hidden,
                   .selection = &draft.state->selection});
  if (!model_->can_sample()) return;
  GrammarMatcher* matcher = draft.matcher ? &*draft.matcher : nullptr;
  samplings_.push_back(kept_.add(request, matcher, state.drafts));
  rows_.back().sampling = &samplings_.back();
}

void Speculation::start(Request& request) {
  State& state = state_of(request.id);
  state.drafts.clear();
  state.selection.clear();
  state.num_tokens = request.tokens.size();
  if (state.next_position + 1 != request.tokens.size()) return;
  const std::size_t depth = depth_for(request, state);
  if (depth == 0) return;
  while (request.table.capacity() < request.tokens.size() + depth) {
    const auto page = cache_->acquire();
    PONDER_ASSERT(page.has_value());  // reserved when the request was admitted
    request.table.append(*page);
  }
  drafts_.push_back({.request = &request,
                     .state = &state,
                     .matcher = request.matcher,
                     .hidden = state.hidden,
                     .depth = depth});
}

/// Takes the next draft from the logits, or the model's choice. Returns whether another one is
/// wanted.
bool Speculation::propose(Draft& draft, std::span<const float> logits, const RowChoice& choice) {
  const Request& request = *draft.request;
  std::vector<TokenId>& drafts = draft.state->drafts;
  const auto token = choice.is_made ? choice.token : sample(draft, logits, choice);
  if (!token) return false;
  if (draft.matcher) draft.matcher->accept(*token);
  drafts.push_back(*token);
  return drafts.size() < draft.depth && !std::ranges::count(request.spec.stop_tokens, *token);
}

std::optional<TokenId> Speculation::sample(Draft& draft, std::span<const float> logits,
                                           const RowChoice& choice) {
  const Request& request = *draft.request;
  const std::vector<TokenId>& drafts = draft.state->drafts;
  std::span<const std::uint64_t> mask;
  if (draft.matcher) mask = draft.matcher->allowed();
  const SamplingParams& params = request.spec.sampling;
  const auto penalized =
      choice.is_penalized
          ? logits
          : penalties_.apply(logits, params, request.tokens, request.stats.tokens_prompt, drafts);
  return sampler_.sample(penalized, mask, params, request.tokens.size() + drafts.size());
}

}  // namespace ponder::engine
