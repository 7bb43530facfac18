#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <vector>

#include "base/result.h"
#include "base/sqlite/connection.h"
#include "runtime/event.h"
#include "runtime/session_store.h"

/// The rows that sessions are made of, and the SQL for them; session_store.h is the face.
///
/// A fork owns only the events after those that it shares. Its history is a chain of stretches, one
/// for each session that it goes back through.
///
/// Thread: the connection's. Errors: SQLite's, and those named below.
namespace ponder::runtime::rows {

/// sessions.updated_ms lags behind the session's last event by less than this: writing it at each
/// would touch as many pages again as the events do.
inline constexpr std::int64_t kUpdateMs = 10'000;

inline constexpr std::size_t kTitleBytesMax = 80;  // of a session, as it is listed

/// What failed, with the file and the remedy.
tl::unexpected<Error> explain(const std::filesystem::path& file, Error error);

/// The schema, step by step.
std::span<const sqlite::Migration> migrations();

/// The place of session ?1's last event, shared ones included; 0 for an unknown session.
extern const char* const kSelectLastSeq;

/// Events first..last of a fork's history, and whose they are.
struct Stretch {
  std::string session;
  std::int64_t first_seq = 1;
  std::int64_t last_seq = 0;  // of the session itself: the largest there can be
  bool is_there = true;       // false: the store has no such session
};

/// A chain of forks longer than this is refused when made, and taken for a circle when read.
inline constexpr std::size_t kForkDepthMax = 1000;

/// Where a session's events lie, oldest first; the last stretch is its own. `corrupt` for a circle.
Result<std::vector<Stretch>> history_of(sqlite::Connection& db, const std::string& id);

/// All events in order. A place without an event is filled with an UnreadableEvent that says so,
/// one for each run of them, so that what is there can be seen whatever is lost.
Result<std::vector<Record>> read_records(sqlite::Connection& db, const std::string& id);
Result<std::string> read_blob(sqlite::Connection& db, const std::string& hash);
/// The latest first. Those of sub-agents have a dot in their id.
Result<std::vector<SessionSummary>> read_summaries(sqlite::Connection& db,
                                                   std::uint32_t sessions_max,
                                                   bool has_sub_agents = true);
Result<SessionId> find_session(sqlite::Connection& db, const std::string& prefix);

}  // namespace ponder::runtime::rows
