#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "engine/model.h"
#include "engine/penalties.h"
#include "engine/sampler.h"
#include "engine/scheduler.h"

namespace ponder::engine {

/// Chooses the next token of each request: grammar, penalties, temperature, top_p.
///
/// A model that can sample is told how before it computes, and its choice is taken. It is the one
/// that would be made here, so this changes what is moved and no token. The logits are wanted, and
/// the choice is made here, where penalties change them, where somebody listens to them
/// (RequestCallbacks::on_logits), and for rows with drafts, of which there are several in a row.
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
  std::vector<RowSampling> samplings_;             // of each segment
  std::vector<std::vector<std::uint64_t>> masks_;  // the same; a matcher's own is gone too soon
  Penalties penalties_;
  Sampler sampler_;
};

}  // namespace ponder::engine
