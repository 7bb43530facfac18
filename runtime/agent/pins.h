#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "runtime/session/session_state.h"

/// Which messages of a session no cut may take. What its user said stays anyway; a pin holds an
/// answer or a tool result, together with the call and the other results of its step.
///
/// Pure functions of the state.
namespace ponder::runtime {

/// The places of the pinned messages in the conversation, ascending.
std::vector<std::size_t> pinned_places(const SessionState& state);

/// A message that can be pinned.
struct PinChoice {
  std::int64_t seq = 0;  // the event it came from
  std::string text;      // its content
};

/// The latest answer or result that holds `words`; any does when they are empty. Fails with
/// not_found, also for what has left the conversation.
Result<PinChoice> choose_pin(const SessionState& state, std::string_view words);
/// The same among those that are pinned.
Result<PinChoice> choose_unpin(const SessionState& state, std::string_view words);

}  // namespace ponder::runtime
