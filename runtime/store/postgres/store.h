#pragma once

#include <atomic>
#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/thread_pool.hpp>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <type_traits>
#include <vector>

#include "base/clock.h"
#include "runtime/session/work_queue.h"
#include "runtime/store/append_queue.h"
#include "runtime/store/postgres/leases.h"
#include "runtime/store/postgres/link.h"
#include "runtime/store/postgres/writer.h"
#include "runtime/store/postgres_session_store.h"

namespace ponder::runtime::pg {

/// The store behind open_postgres_store().
class PostgresSessionStore final : public SessionStore, public WorkQueue {
 public:
  PostgresSessionStore(Peer peer, const Clock& clock, const PostgresOptions& options);
  ~PostgresSessionStore() override;

  SessionId new_id() override;
  boost::asio::awaitable<Result<std::vector<Record>>> append(SessionId session,
                                                             std::int64_t last_seq,
                                                             std::vector<Event> events,
                                                             std::vector<Blob> blobs) override;
  boost::asio::awaitable<Result<SessionId>> fork(SessionId parent, std::optional<std::int64_t> at,
                                                 std::optional<SessionId> id) override;
  boost::asio::awaitable<Status> import(SessionCopy session) override;
  Result<std::vector<Record>> load(const SessionId& session) const override;
  Result<std::string> load_blob(const std::string& hash) const override;
  Result<SessionId> resolve(const std::string& prefix) const override;
  Result<std::vector<SessionSummary>> list(std::uint32_t sessions_max) const override;
  Status lease(const SessionId& session) override;
  void release(const SessionId& session) override;
  WorkQueue* queue() override { return this; }
  std::uint64_t commits() const override { return commits_; }

  Status put(const SessionId& session) override;
  Result<std::optional<SessionId>> take(const std::vector<SessionId>& excluded) override;
  Status note(const SessionId& session, const std::string& problem) override;
  Status remove(const SessionId& session) override;
  Result<std::uint64_t> size() override;
  Result<std::vector<QueuedSession>> list() override;

 private:
  std::optional<boost::asio::any_io_executor> where_reads_wait() const override;
  Result<std::vector<Record>> finish(PendingAppend& append);
  Result<SessionId> fork_here(const SessionId& parent, std::optional<std::int64_t> at,
                              std::optional<SessionId> id);
  /// On the connection for all that is not written by appends; callers take turns.
  template <class Work>
  std::invoke_result_t<Work&, postgres::Connection&> ask(Work work) const {
    const std::lock_guard lock(asking_);
    return reads_.run([&](postgres::Connection& db, bool) { return work(db); });
  }

  const Peer peer_;
  const Clock* clock_;
  RandomBits random_;
  StopSignal stop_;
  Leases leases_;
  mutable std::mutex asking_;
  mutable Link reads_;
  Writer writer_;  // used on thread_ only
  std::atomic<std::uint64_t> commits_ = 0;
  AppendQueue queue_;
  std::optional<LeaseKeeper> keeper_;
  // Last: they end before what they use.
  mutable boost::asio::thread_pool reading_{1};
  boost::asio::thread_pool thread_{1};
};

}  // namespace ponder::runtime::pg
