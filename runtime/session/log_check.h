#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "runtime/session/event.h"

/// What is wrong with one session's log: found from its events alone.
namespace ponder::runtime {

enum class FaultKind {
  unreadable_event,    // an event of ours whose payload is torn or damaged
  unknown_event,       // of a newer program: its type or its version
  missing_events,      // a gap in the places
  wrong_order,         // an event that cannot stand where it stands
  lost_outcome,        // a call without an outcome in a log that went on
  orphaned_intent,     // a call that was under way when the log ended
  missing_blob,        // a text that left the conversation and is not stored
  damaged_blob,        // a stored text that is not what its hash says
  wrong_chain,         // a fork whose parent is not the one, or not there, or too short
  stray_events,        // events that belong to no session's history
  orphaned_sub_agent,  // at work for a call that nobody waits for any more
  damaged_file,        // SQLite's pages
};

const char* fault_name(FaultKind kind) noexcept;

struct LogFault {
  FaultKind kind = FaultKind::unreadable_event;
  std::int64_t seq = 0;
  std::string detail;  // one line
};

/// In the order of the log. A log that is whole has none, wherever a crash ended it: then at most
/// orphaned intents, which resuming the session handles.
std::vector<LogFault> check_log(std::span<const Record> records);

}  // namespace ponder::runtime
