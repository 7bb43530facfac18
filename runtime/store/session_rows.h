#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
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
/// `events` is one log that all sessions write to the end of, so that what many of them append lies
/// on few pages: a commit of a thousand appends writes their bytes, not a page of each. A session
/// is found in it backwards: `last_events` has the row of its last event, and each row that of the
/// session's event `before`, 0 at the first. Where that chain misses a place, the session's
/// rows are looked for in all of the log, which is slow and finds what there is.
/// `events_by_session` is where events lay before schema version 5, a session's side by side;
/// nothing is added there, and what it has of a session comes before what the log has. `all_events`
/// shows both.
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

/// Where a session's history ends.
struct Tail {
  std::int64_t seq = 0;                 // 0: of an unknown session
  std::optional<std::int64_t> unix_ms;  // of its last event; none: it has none of its own
  std::int64_t row = 0;                 // of that event in the log; 0: it is not there
};
Result<Tail> read_tail(sqlite::Connection& db, const std::string& session);

/// Makes the chain of a session's rows follow their places again. Inside a transaction.
Status chain_again(sqlite::Connection& db, const std::string& session);

/// A session's events in an SQLite file.
class SqliteEventRows : public EventRows {
 public:
  explicit SqliteEventRows(sqlite::Connection& db) : db_(&db) {}
  Result<std::optional<Ancestry>> ancestry_of(const std::string& session) override;
  Status read(const Stretch& stretch, const std::function<void(const StoredEvent&)>& each) override;

 private:
  using Each = std::function<void(const StoredEvent&)>;
  struct Statements;
  Status prepare();
  /// Gives the place that is due after what was there.
  Result<std::int64_t> read_old(const Stretch& stretch, const Each& each);
  /// The log's rows of a stretch from the place `due` on, in order: by the chain, or nothing where
  /// that misses a place.
  Result<std::optional<std::vector<std::int64_t>>> chained(const Stretch& stretch,
                                                           std::int64_t due);
  Result<std::vector<std::int64_t>> searched(const Stretch& stretch);

  sqlite::Connection* db_;
  std::shared_ptr<Statements> statements_;  // compiled once for all stretches
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
