#pragma once

#include <boost/asio/any_io_executor.hpp>
#include <chrono>
#include <filesystem>
#include <memory>

#include "base/clock.h"
#include "base/result.h"
#include "runtime/session/session_store.h"

namespace ponder::runtime {

struct StoreOptions {
  Synchronous synchronous = Synchronous::full;
  /// Another program's write is waited for as long as this.
  std::chrono::milliseconds busy_ms_max{20'000};
  /// As long as this where what a tool's call came to waits to be written: nobody could say later
  /// whether it took effect. Not less than busy_ms_max.
  std::chrono::milliseconds busy_outcome_ms_max{300'000};
  RandomBits random = random_bits();  // of the ids; called from any thread
  /// Once a commit has left SQLite's log longer than this, its pages are moved to the file, and
  /// what comes meanwhile waits. Where appends go through the store's own thread, because several
  /// sessions are at work, a quarter is enough: they wait half as long, more often. A session alone
  /// waits so rarely that it does not matter. 8 MiB.
  int wal_pages_checkpoint = 2000;
  /// Where writes run, one at a time and in order; without one, on a thread of the store's own. Its
  /// context outlives the store, which must not end before its writes have.
  boost::asio::any_io_executor writer;
};

/// The sessions in one SQLite file; what it promises stands in session_store.h. Every error names
/// the file. A lease is a lock of the kernel's (session_locks.h), which ends with the program at
/// the latest; it keeps other agents from the session, not appends.
///
/// Thread: writes run on StoreOptions::writer, or on a thread of the store's own; while one session
/// is alone at work, on its own thread, where the disk is quick. Reads use connections of
/// their own, a few of which stay open.
class SqliteSessionStore : public SessionStore {
 public:
  /// Opens or creates the file and its folder. Fails with `unavailable` (locked, not writable, or
  /// made by a newer ponder), `corrupt`, or `exhausted` (disk full).
  static Result<std::unique_ptr<SessionStore>> open(const std::filesystem::path& file,
                                                    const Clock& clock,
                                                    const StoreOptions& options = {});
  ~SqliteSessionStore() override;

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
  std::uint64_t commits() const override;

 private:
  class Impl;
  explicit SqliteSessionStore(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace ponder::runtime
