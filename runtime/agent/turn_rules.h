#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>

#include "base/result.h"
#include "runtime/model/model_client.h"
#include "runtime/session/event.h"
#include "runtime/session/session_state.h"
#include "runtime/session/session_store.h"
#include "tools/tool.h"

/// What a completion, an error or a tool's output means for the turn. Pure functions.
namespace ponder::runtime {

TurnEnded ended(TurnEnd reason, std::string detail);

/// What a failed completion does to the turn.
TurnEnded end_of_error(const Error& error);

/// The end of the turn that the latest completion brings, if any.
std::optional<TurnEnded> end_after_completion(const SessionState& state);

/// The event of a completion, with clean texts and an id for each call.
ModelCompleted event_of(Completion completion, const SessionState& state);

/// Of one result; what is more is lost.
inline constexpr std::size_t kResultKeptMax = 8 << 20;

/// What holds for the outcome of one call.
struct OutcomeRules {
  std::size_t output_bytes_max = 0;  // of the result, in the conversation
  bool keeps_whole = true;           // what is longer; otherwise it is only cut
  std::int64_t tool_ms_max = 0;
  bool is_superseded = false;  // it was stopped because the user began a new turn
};

struct CallOutcome {
  ToolFinished finished;
  std::optional<Blob> whole;  // the text of finished.whole, to be stored with it
};

/// The outcome of a call of `tool` that ran. Of a result that is too long the conversation gets
/// the beginning and a line that names the tool for the rest.
CallOutcome outcome_of(const Result<tools::ToolOutput>& result, const std::string& tool,
                       const OutcomeRules& rules);

}  // namespace ponder::runtime
