#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <unordered_map>
#include <vector>

#include "engine/model.h"
#include "engine/penalties.h"
#include "engine/prefix_cache.h"
#include "engine/sampler.h"
#include "engine/scheduler.h"
#include "engine/token_choice.h"

namespace ponder::engine {

/// Speculative decoding: the MTP layer drafts the next tokens of a request, and the model verifies
/// them all in one batch.
///
/// Exactness. Every token is sampled from the model's own logits, as ever: with the request's mask,
/// temperature, top_p and the random number of its position. A draft is a guess of which token that
/// will be; where it was right, the row behind it has been computed already. So the tokens are
/// those of plain decoding, bit for bit, at any temperature, and drafts can only cost time. A draft
/// is itself sampled with the random number of its position, which meets the model's choice more
/// often than the most probable token would. A model that can sample (Model::can_sample) chooses
/// drafts, too: as the sampler here would, from the same logits.
///
/// How far to draft follows each request's acceptance: one more token after a full success, one
/// less when nothing was accepted, and after a failure of the last one a pause. With many requests
/// in a batch there are no drafts: the machine is busy without them.
///
/// The state here is a memory only: what does not fit the request any more (it was preempted, or
/// given tokens) is not used.
///
/// Thread: none; the engine's thread. Lifetime: model and cache must outlive it.
class Speculation {
 public:
  /// Tokens that may be drafted at a time for a request.
  static constexpr std::uint32_t kTokensMax = 8;
  /// Fails (invalid_argument) for more than kTokensMax.
  static Status check(std::uint32_t tokens_max);

  /// `tokens_max` of a request are drafted at a time; 0 turns everything off.
  Speculation(Model& model, PrefixCache& cache, std::uint32_t tokens_max);

  bool is_on() const { return tokens_max_ > 0; }

  /// Rows that extend() adds to a batch at most.
  static std::uint32_t rows_max(std::uint32_t tokens_max);
  /// Adds to the rows about to be computed: the request's drafts, and where a cached prefix ends
  /// the row before, whose hidden state the MTP layer needs.
  void extend(std::span<const Scheduler::Work> work, std::span<BatchSegment> segments);
  /// After the forward pass: the first `num_rows` rows of the segment, of which row `first_row` of
  /// the batch is the first, hold the request's tokens.
  void computed(const Request& request, const BatchSegment& segment, std::size_t first_row,
                std::size_t num_rows);
  /// Of the request's drafts `num_accepted` were right.
  void verified(const Request& request, std::size_t num_drafts, std::size_t num_accepted);
  /// Drafts for requests whose last token is all that is not computed.
  void draft(std::span<Request* const> requests);
  void forget(RequestId id) { states_.erase(id); }
  /// From now on with another model, which has computed nothing yet.
  void restart(Model& model);

 private:
  struct State {
    std::vector<float> hidden;  // final hidden state of the position before next_position
    std::size_t next_position = 0;
    std::vector<TokenId> drafts;  // proposed to follow the request's first num_tokens tokens
    std::size_t num_tokens = 0;
    std::vector<TokenId> row_tokens;  // of a segment that is not a part of the request's tokens
    std::vector<std::int32_t> selection;
    std::uint32_t depth = 0;  // tokens to draft
    std::uint32_t wait = 0;   // at depth 0: tokens until the next try
    std::uint32_t pause = 0;  // what to wait after the next failure
  };
  /// One request's drafts in the making.
  struct Draft {
    Request* request;
    State* state;
    std::optional<GrammarMatcher> matcher;
    std::span<const float> hidden;
    std::size_t depth;
  };

  State& state_of(RequestId id);
  std::size_t depth_for(const Request& request, State& state) const;
  void start(Request& request);
  void add_row(Draft& draft);
  bool propose(Draft& draft, std::span<const float> logits, const RowChoice& choice);
  std::optional<TokenId> sample(Draft& draft, std::span<const float> logits,
                                const RowChoice& choice);

  Model* model_;
  PrefixCache* cache_;
  std::uint32_t tokens_max_;
  Penalties penalties_;
  Sampler sampler_;
  std::unordered_map<RequestId, State> states_;
  std::vector<Draft> drafts_;   // of the call
  std::vector<DraftRow> rows_;  // of one draft each
  RowSamplings kept_;
  std::vector<RowSampling> samplings_;  // of the rows, for a model that samples
};

}  // namespace ponder::engine
