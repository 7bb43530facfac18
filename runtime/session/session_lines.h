#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "runtime/session/event.h"
#include "runtime/session/session_store.h"

/// A session as JSON lines, to be kept elsewhere and brought back (docs/event-log.md).
namespace ponder::runtime {

/// All that a session is.
struct SessionCopy {
  SessionId id;
  std::vector<Record> records;
  std::vector<Blob> blobs;  // the texts that its events refer to, where they are there
};

/// An event on each line (event_json.h's record_line), then a blob on each:
/// {"session":..,"type":"blob","hash":..,"text":..}.
std::string write_lines(const SessionCopy& session);

/// Adds SessionImported at the end: what these lines say that a person allowed is not allowed where
/// they go. `id` is the session's name there; empty: the one that it has.
void mark_as_imported(SessionCopy& session, std::int64_t now_unix_ms, const SessionId& id = {});

/// Reads them back. `invalid_argument` names the line: no JSON, another session, places that do not
/// grow, a blob that is not what its hash says. Events that cannot be read stay as they are.
Result<SessionCopy> read_lines(std::string_view lines);

}  // namespace ponder::runtime
