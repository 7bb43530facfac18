#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>

#include "base/result.h"
#include "runtime/model/model_client.h"
#include "runtime/session/event.h"
#include "runtime/session/session_state.h"
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

/// The outcome of a call that ran. `is_superseded`: it was stopped because the user began a new
/// turn.
ToolFinished outcome_of(const Result<tools::ToolOutput>& result, std::size_t output_bytes_max,
                        std::int64_t tool_ms_max, bool is_superseded);

}  // namespace ponder::runtime
