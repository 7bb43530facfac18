#include "runtime/store/sqlite_session_store.h"

#include <atomic>
#include <boost/asio/post.hpp>
#include <boost/asio/thread_pool.hpp>
#include <mutex>
#include <optional>
#include <system_error>
#include <utility>
#include <vector>

#include "base/assert.h"
#include "base/async/offload.h"
#include "base/sqlite/connection.h"
#include "runtime/session/session_lines.h"
#include "runtime/store/append_queue.h"
#include "runtime/store/fresh_id.h"
#include "runtime/store/session_locks.h"
#include "runtime/store/session_rows.h"
#include "runtime/store/session_writer.h"

namespace ponder::runtime {
namespace fs = std::filesystem;

class SqliteSessionStore::Impl {
 public:
  Impl(fs::path file, const Clock& clock, SessionWriter writer, const StoreOptions& options)
      : file_(std::move(file)),
        clock_(&clock),
        random_(options.random),
        locks_(file_),
        writer_(std::move(writer)),
        wal_pages_checkpoint_(options.wal_pages_checkpoint),
        executor_(options.writer) {
    if (!executor_) executor_ = thread_.emplace(1).get_executor();
  }
  ~Impl() {
    if (thread_) thread_->join();
  }

  const boost::asio::any_io_executor& executor() const { return executor_; }

  AppendQueue& queue() { return queue_; }

  /// Writes on the caller's thread, which is quicker than to hand over to another and back; while
  /// one session is alone at work, nobody else has to wait for it. False: nothing was done.
  bool write_here(PendingAppend& append) {
    if (!thread_ || !is_alone(append.session)) return false;
    const std::unique_lock lock(writing_, std::try_to_lock);
    if (!lock || !queue_.is_empty() || !writer_.write_if_quick(append)) return false;
    commits_ = writer_.commits();
    checkpoint_if_due(wal_pages_checkpoint_);
    return true;
  }

  /// Called on the store's thread.
  Result<std::vector<Record>> finish(PendingAppend& append) {
    {
      const std::lock_guard lock(writing_);
      queue_.write_until_done(append, [this](std::span<PendingAppend* const> group) {
        writer_.write(group);
        commits_ = writer_.commits();
      });
      checkpoint_if_due(thread_ ? wal_pages_checkpoint_ / 4 : wal_pages_checkpoint_);
    }
    return result_of(append);
  }

  /// Of one that was written or refused.
  Result<std::vector<Record>> result_of(PendingAppend& append) const {
    PONDER_ASSERT(append.status);
    if (*append.status) return std::move(append.records);
    if (append.is_conflict) return tl::unexpected<Error>(append.status->error());
    return explained(append.status->error());
  }

  /// Called on the store's thread.
  Status fork(const SessionId& id, const SessionId& parent, std::optional<std::int64_t> at) {
    const std::lock_guard lock(writing_);
    Status status = writer_.fork(id, parent, at);
    if (!status) return explained(status.error());
    return status;
  }

  /// Called on the store's thread.
  Status import(const SessionCopy& session) {
    const std::lock_guard lock(writing_);
    Status status = writer_.import(session);
    if (!status) return explained(status.error());
    return status;
  }

  /// Runs a query on a connection that nobody else uses meanwhile; it sees everything committed so
  /// far. Thread: any.
  template <class Query>
  std::invoke_result_t<Query&, sqlite::Connection&> read(Query query) const {
    auto db = take_reader();
    if (!db) return rows::explain(file_, db.error());
    auto result = query(*db);
    if (!result) return explained(result.error());
    keep_reader(std::move(*db));
    return result;
  }

  SessionLocks& locks() { return locks_; }

  SessionId new_id() const { return make_session_id(clock_->unix_ms(), random_); }
  std::uint64_t commits() const { return commits_; }

 private:
  Result<sqlite::Connection> take_reader() const {
    {
      const std::lock_guard lock(readers_mutex_);
      if (!readers_.empty()) {
        sqlite::Connection db = std::move(readers_.back());
        readers_.pop_back();
        return db;
      }
    }
    return sqlite::Connection::open_read_only(file_.string());
  }

  /// Opening one means to read and compile the schema, which takes longer than most queries. After
  /// an error the next reader looks at the file anew.
  void keep_reader(sqlite::Connection db) const {
    constexpr std::size_t kReadersMax = 4;
    const std::lock_guard lock(readers_mutex_);
    if (readers_.size() < kReadersMax) readers_.push_back(std::move(db));
  }

  /// Whether the latest appends all came from this session.
  bool is_alone(const SessionId& session) {
    constexpr int kInARowMin = 4;
    const std::lock_guard lock(latest_mutex_);
    if (latest_ == session) {
      if (in_a_row_ < kInARowMin) ++in_a_row_;
      return in_a_row_ == kInARowMin;
    }
    latest_ = session;
    in_a_row_ = 1;
    return false;
  }

  /// Those whose events are written do not wait for it. Requires: writing_ is held.
  void checkpoint_if_due(int log_pages) {
    if (writer_.log_pages() < log_pages) return;
    if (!thread_) {
      writer_.checkpoint();
    } else if (!is_checkpoint_posted_) {
      is_checkpoint_posted_ = true;
      boost::asio::post(executor_, [this] {
        const std::lock_guard lock(writing_);
        writer_.checkpoint();
        is_checkpoint_posted_ = false;
      });
    }
  }

  tl::unexpected<Error> explained(const Error& error) const {
    const bool is_about_file =
        error.code != Errc::not_found && error.code != Errc::invalid_argument;
    return is_about_file ? rows::explain(file_, error) : tl::unexpected(error);
  }

  fs::path file_;
  const Clock* clock_;
  RandomBits random_;
  SessionLocks locks_;
  mutable std::mutex readers_mutex_;
  mutable std::vector<sqlite::Connection> readers_;  // that nobody uses now
  std::mutex latest_mutex_;
  SessionId latest_;    // whose append came last
  int in_a_row_ = 0;    // of its appends
  std::mutex writing_;  // held by whoever uses what comes next
  SessionWriter writer_;
  const int wal_pages_checkpoint_;
  bool is_checkpoint_posted_ = false;
  std::atomic<std::uint64_t> commits_ = 0;
  AppendQueue queue_;
  boost::asio::any_io_executor executor_;
  std::optional<boost::asio::thread_pool> thread_;  // last: it ends before what it uses
};

SqliteSessionStore::SqliteSessionStore(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
SqliteSessionStore::~SqliteSessionStore() = default;

Result<std::unique_ptr<SessionStore>> SqliteSessionStore::open(const fs::path& file,
                                                               const Clock& clock,
                                                               const StoreOptions& options) {
  std::error_code error;
  if (file.has_parent_path()) fs::create_directories(file.parent_path(), error);
  if (error) return rows::explain(file, Error(Errc::unavailable, error.message()));
  auto writer = SessionWriter::open(file.string(), clock, options);
  if (!writer) return rows::explain(file, writer.error());
  auto impl = std::make_unique<Impl>(file, clock, std::move(*writer), options);
  return std::unique_ptr<SessionStore>(new SqliteSessionStore(std::move(impl)));
}

SessionId SqliteSessionStore::new_id() { return impl_->new_id(); }

Status SqliteSessionStore::lease(const SessionId& session) {
  return impl_->locks().hold(session.value);
}

void SqliteSessionStore::release(const SessionId& session) { impl_->locks().drop(session.value); }

std::uint64_t SqliteSessionStore::commits() const { return impl_->commits(); }

boost::asio::awaitable<Result<std::vector<Record>>> SqliteSessionStore::append(
    SessionId session, std::int64_t last_seq, std::vector<Event> events, std::vector<Blob> blobs) {
  PONDER_ASSERT(!events.empty());
  auto append = std::make_shared<PendingAppend>();
  append->session = std::move(session);
  append->blobs = std::move(blobs);
  append->records.reserve(events.size());
  for (Event& event : events) append->records.push_back({++last_seq, 0, std::move(event)});
  if (impl_->write_here(*append)) co_return impl_->result_of(*append);
  impl_->queue().push(append);
  auto work = [impl = impl_.get(), append] { return impl->finish(*append); };
  auto result = co_await offload(impl_->executor(), std::move(work));
  co_return result;
}

boost::asio::awaitable<Result<SessionId>> SqliteSessionStore::fork(SessionId parent,
                                                                   std::optional<std::int64_t> at,
                                                                   std::optional<SessionId> id) {
  auto whole_id = resolve(parent.value);
  PONDER_CO_CHECK(whole_id);
  auto work = [this, parent = std::move(*whole_id), at, id = std::move(id)]() -> Result<SessionId> {
    const auto fork_as = [&](const SessionId& one) { return impl_->fork(one, parent, at); };
    if (!id) return with_fresh_id(*this, fork_as);
    PONDER_CHECK(fork_as(*id));
    return *id;
  };
  auto result = co_await offload(impl_->executor(), std::move(work));
  co_return result;
}

Result<std::vector<Record>> SqliteSessionStore::load(const SessionId& session) const {
  return impl_->read([&](sqlite::Connection& db) -> Result<std::vector<Record>> {
    PONDER_TRY(const SessionId id, rows::find_session(db, session.value));
    return rows::read_records(db, id.value);
  });
}

Result<std::string> SqliteSessionStore::load_blob(const std::string& hash) const {
  return impl_->read([&](sqlite::Connection& db) { return rows::read_blob(db, hash); });
}

Result<SessionId> SqliteSessionStore::resolve(const std::string& prefix) const {
  return impl_->read([&](sqlite::Connection& db) { return rows::find_session(db, prefix); });
}

Result<std::vector<SessionSummary>> SqliteSessionStore::list(std::uint32_t sessions_max) const {
  return impl_->read(
      [&](sqlite::Connection& db) { return rows::read_summaries(db, sessions_max); });
}

boost::asio::awaitable<Status> SqliteSessionStore::import(SessionCopy session) {
  auto work = [impl = impl_.get(), session = std::move(session)] { return impl->import(session); };
  auto result = co_await offload(impl_->executor(), std::move(work));
  co_return result;
}

}  // namespace ponder::runtime
