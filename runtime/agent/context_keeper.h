#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "base/result.h"
#include "context/budget.h"
#include "context/prompt_counter.h"
#include "runtime/model/model_client.h"
#include "runtime/session/event.h"
#include "runtime/session/session_state.h"
#include "runtime/session/session_store.h"

namespace ponder::runtime {

/// Keeps a session's prompts inside the model's window.
///
/// Before each request it counts the prompt with the model's own tokenizer. When the prompt and
/// what is reserved for the answer pass the limit, it says what to cut (context/budget.h) and words
/// the cut as an event. A summary is asked for in a request of its own, which
/// `summary_request` makes from the state alone; a model that gives none costs the run its old
/// calls (`discard-all`), and the event says so. Nothing is cut for a model whose window or
/// tokenizer is unknown.
///
/// Thread: the session's executor. Lifetime: the model outlives it.
class ContextKeeper {
 public:
  explicit ContextKeeper(const ModelClient& model) : model_(&model) {}

  struct Decision {
    std::uint64_t tokens_prompt = 0;
    std::uint64_t tokens_prompt_max = 0;
    std::optional<context::Reduction> reduction;  // none: nothing has to be cut
    std::optional<TurnEnded> stop;                // nothing can be cut
  };
  /// What has to happen before the next request. Requires: the turn is open, its calls answered.
  /// Fails when the conversation cannot be rendered.
  Result<Decision> decide(const SessionState& state);

  /// The request for the summary that the decision, which has a reduction, wants. None when it
  /// wants none, or when the request itself would not fit.
  Result<std::optional<ModelRequest>> summary_request(const SessionState& state,
                                                      const Decision& decision);

  struct Cut {
    ContextReduced event;
    std::vector<Blob> blobs;  // to be stored with the event
  };
  /// The decision as an event. `summary` is the answer to the request, if one was made.
  /// Requires: decision.reduction.
  Result<Cut> cut(const SessionState& state, const Decision& decision,
                  const std::optional<Result<Completion>>& summary);

 private:
  Result<std::uint64_t> count(const SessionState& state);
  Result<Cut> cut_as(const SessionState& state, const Decision& decision,
                     context::Reduction reduction);
  Result<Cut> cut_without_summary(const SessionState& state, const Decision& decision,
                                  const std::string& why);

  const ModelClient* model_;
  std::optional<context::PromptCounter> counter_;
};

/// The texts that a reduction takes out of the conversation, as they are stored.
std::vector<Blob> blobs_of(const SessionState& state, const context::Reduction& reduction);

/// The request that asks for the summary of a reduction: from the state alone, so that the log is
/// enough to repeat it.
ModelRequest summary_request_of(const SessionState& state, const context::Reduction& reduction);

}  // namespace ponder::runtime
