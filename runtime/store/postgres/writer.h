#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/result.h"
#include "runtime/session/session_history.h"
#include "runtime/session/session_lines.h"
#include "runtime/store/append_queue.h"
#include "runtime/store/postgres/leases.h"
#include "runtime/store/postgres/link.h"

namespace ponder::runtime::pg {

/// What writes to the database.
///
/// Appends of many sessions go out together, as one transaction of one statement each: a statement
/// writes its events only if the session's last place and fencing token are the expected ones, so
/// that one that is refused takes nothing of its neighbours with it. When the transaction as a
/// whole fails, each is tried alone.
///
/// Thread: one. Errors: explained.
class Writer {
 public:
  /// All outlive the writer.
  Writer(const Peer& peer, Leases& leases, StopSignal& stop, const Clock& clock,
         Synchronous synchronous);

  /// Gives each append its status, and its records their time. Appends to one session stand in
  /// their order.
  void write(std::span<PendingAppend* const> group);
  /// See SessionStore.
  Status fork(const SessionId& id, const SessionId& parent, std::optional<std::int64_t> at);
  Status import(const SessionCopy& session);
  /// Gives a lease back; one that is somebody else's by now is left alone.
  void release(const std::string& session, std::int64_t fence);
  /// Gives all back that this store still has.
  void release_all();

  /// Transactions that appends have shared so far.
  std::uint64_t commits() const { return commits_; }

 private:
  /// An append with the token that it is written under.
  struct Job {
    PendingAppend* append = nullptr;
    std::int64_t fence = 0;
    bool is_start = false;
  };
  Result<Job> job_for(PendingAppend& append, std::span<const Job> before);
  Result<std::int64_t> fence_for(const std::string& session);
  Status write_jobs(std::span<const Job> jobs);
  Status try_jobs(postgres::Connection& db, std::span<const Job> jobs, bool is_again);
  /// What to tell the caller of an append whose statement touched `rows`. An error is the
  /// connection's.
  Result<Status> judge(postgres::Connection& db, const Job& job, std::int64_t rows, bool is_again);
  Result<Status> refusal(postgres::Connection& db, const Job& job);
  void lose(std::span<const Job> jobs);
  Status begin_whole(postgres::Connection& db, const std::string& session, std::int64_t made,
                     bool is_again);

  const Peer* peer_;
  Leases* leases_;
  const Clock* clock_;
  Synchronous synchronous_;
  Link link_;
  std::uint64_t commits_ = 0;
};

}  // namespace ponder::runtime::pg
