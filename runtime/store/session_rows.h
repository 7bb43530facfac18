#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/result.h"
#include "base/sqlite/connection.h"
#include "runtime/session/event.h"
#include "runtime/session/session_history.h"
#include "runtime/session/session_store.h"

/// The rows that sessions are made of, and the SQL for them; session_store.h is the face.
///
/// Thread: the connection's. Errors: SQLite's, and those named below.
namespace ponder::runtime::rows {

/// sessions.updated_ms lags behind the session's last event by less than this: writing it at each
/// would touch as many pages again as the events do.
inline constexpr std::int64_t kUpdateMs = 10'000;

/// What failed, with the file and the remedy.
tl::unexpected<Error> explain(const std::filesystem::path& file, Error error);

/// The schema, step by step.
std::span<const sqlite::Migration> migrations();

/// The place of session ?1's last event, shared ones included; 0 for an unknown session.
extern const char* const kSelectLastSeq;

/// A session's events in an SQLite file.
class SqliteEventRows : public EventRows {
 public:
  explicit SqliteEventRows(sqlite::Connection& db) : db_(&db) {}
  Result<std::optional<Ancestry>> ancestry_of(const std::string& session) override;
  Status read(const Stretch& stretch, const std::function<void(const StoredEvent&)>& each) override;

 private:
  sqlite::Connection* db_;
  std::optional<sqlite::Statement> select_;  // compiled once for all stretches
};

/// All events of a session in order; see session_history.h.
Result<std::vector<Record>> read_records(sqlite::Connection& db, const std::string& id);
Result<std::string> read_blob(sqlite::Connection& db, const std::string& hash);
/// The latest first. Those of sub-agents have a dot in their id.
Result<std::vector<SessionSummary>> read_summaries(sqlite::Connection& db,
                                                   std::uint32_t sessions_max,
                                                   bool has_sub_agents = true);
Result<SessionId> find_session(sqlite::Connection& db, const std::string& prefix);

}  // namespace ponder::runtime::rows
