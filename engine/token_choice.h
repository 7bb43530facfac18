#pragma once

#include <cstdint>
#include <deque>
#include <optional>
#include <span>
#include <vector>

#include "engine/model.h"
#include "engine/penalties.h"
#include "engine/sampler.h"
#include "engine/scheduler.h"

namespace ponder::engine {

/// How rows are to be sampled, with what that points to.
///
/// Thread: none; the engine's thread.
class RowSamplings {
 public:
  /// What was given so far has no meaning any more.
  void clear() { num_kept_ = 0; }
  /// Of the token after those of the request and these drafts. `matcher`: where the grammar stands
  /// after them; null: there is none. Lifetime: until clear(), and the request's.
  RowSampling add(const Request& request, GrammarMatcher* matcher, std::span<const TokenId> drafts);

 private:
  struct Kept {
    std::vector<std::uint64_t> mask;  // a matcher's own is gone too soon
    std::vector<TokenPenalty> penalties;
  };
  std::deque<Kept> kept_;  // whose memory is used again
  std::size_t num_kept_ = 0;
  Penalties penalties_;
};

/// Chooses the next token of each request: grammar, penalties, temperature, top_p.
///
/// A model that can sample is told how before it computes, and its choice is taken. It is the one
/// that would be made here, so this changes what is moved and no token. The logits are wanted, and
/// the choice is made here, where somebody listens to them (RequestCallbacks::on_logits).
///
/// Thread: none; the engine's thread.
class TokenChoice {
 public:
  /// Before the forward pass of these segments, for a model that can_sample(). They refer to what
  /// is kept here until the next call.
  void delegate(std::span<const Scheduler::Work> work, std::span<BatchSegment> segments);
  /// The token that follows those of the request; none when nothing is left to choose from.
  /// `made`: what the model chose.
  std::optional<TokenId> choose(Request& request, std::span<const float> logits,
                                const RowChoice& made);

 private:
  void add_rows(Request& request, std::span<const TokenId> drafts);

  RowSamplings kept_;
  std::vector<RowSampling> samplings_;  // of all rows whose logits are wanted
  Penalties penalties_;
  Sampler sampler_;
};

}  // namespace ponder::engine
