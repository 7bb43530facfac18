#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <unordered_map>
#include <vector>

#include "base/clock.h"
#include "base/result.h"
#include "base/sqlite/connection.h"
#include "runtime/session/event.h"
#include "runtime/session/session_lines.h"
#include "runtime/store/append_queue.h"
#include "runtime/store/session_rows.h"
#include "runtime/store/sqlite_session_store.h"

namespace ponder::runtime {

/// What writes to the session store's file.
///
/// Appends of many sessions share a transaction, and so the wait for the disk. One that is refused
/// has written nothing; where one cannot be written, such as for lack of room, all are taken back
/// and each is tried alone, so that it takes nothing of its neighbours with it.
///
/// Thread: one at a time. Errors: SQLite's, and those named below.
class SessionWriter {
 public:
  /// Opens or creates the file and brings its schema up to date.
  static Result<SessionWriter> open(const std::string& file, const Clock& clock,
                                    const StoreOptions& options);
  SessionWriter(SessionWriter&&) noexcept;
  ~SessionWriter();

  /// Gives each append its status, and its records their time. One that does not follow on its
  /// session's last event is `unavailable`. Appends to one session stand in their order.
  void write(std::span<PendingAppend* const> group);
  /// The same for one append, where that can be expected to take no longer than a busy thread may
  /// be kept: false, and nothing done, where another program writes or the disk has been slow.
  bool write_if_quick(PendingAppend& append);

  /// Length of SQLite's log after the last commit.
  int log_pages() const { return db_.log_pages(); }
  /// Moves it into the file. A failure shows at the next attempt, and in the log's length.
  void checkpoint();

  /// A session of the name `id` that shares `parent`'s events up to `at`; see SessionStore::fork.
  Status fork(const SessionId& id, const SessionId& parent, std::optional<std::int64_t> at);

  /// A session that is not there yet, with its places and times. `invalid_argument` when it is.
  Status import(const SessionCopy& session);

  /// Transactions that appends have shared so far.
  std::uint64_t commits() const { return commits_; }

 private:
  struct Statements;
  SessionWriter(sqlite::Connection db, std::unique_ptr<Statements> statements, const Clock& clock,
                const StoreOptions& options);

  Result<sqlite::Transaction> begin(std::span<PendingAppend* const> group,
                                    std::chrono::milliseconds patience);
  bool must_sync(std::span<PendingAppend* const> group) const;
  Status write_in(sqlite::Transaction transaction, std::span<PendingAppend* const> group);
  /// Forgets the tails when another program has written since.
  Status look_around();
  Result<rows::Tail> tail_of(const std::string& session);
  /// Whether the append comes right after the tail.
  static Status follow_on(const rows::Tail& tail, const PendingAppend& append);
  Status write_one(PendingAppend& append, rows::Tail tail);
  /// Adds rows after the tail and moves it on.
  Status insert(const std::string& session, const std::vector<Record>& records, rows::Tail& tail);
  Status insert_session(const std::string& id, const SessionStarted& start, std::int64_t now_ms);
  Status insert_fork(const SessionId& id, const SessionId& parent, std::optional<std::int64_t> at);

  sqlite::Connection db_;
  std::unique_ptr<Statements> statements_;  // end before their connection
  const Clock* clock_;
  Synchronous synchronous_;
  std::chrono::milliseconds busy_ms_max_;
  std::chrono::milliseconds busy_outcome_ms_max_;
  Clock::Instant::duration synced_in_{0};  // the latest transaction that waited for the disk
  std::uint64_t commits_ = 0;
  // Of sessions written to lately, as of data_version_; not in the middle of a failed transaction.
  std::unordered_map<std::string, rows::Tail> tails_;
  std::int64_t data_version_ = 0;
};

}  // namespace ponder::runtime
