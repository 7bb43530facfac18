#include "runtime/store/postgres/store.h"

#include <fmt/format.h>
#include <unistd.h>

#include <array>
#include <boost/asio/post.hpp>
#include <utility>

#include "base/assert.h"
#include "base/async/offload.h"
#include "runtime/session/session_lines.h"
#include "runtime/store/fresh_id.h"
#include "runtime/store/postgres/queue.h"
#include "runtime/store/postgres/reader.h"
#include "runtime/store/postgres/schema.h"

namespace ponder::runtime {
namespace pg {
namespace {

/// The name of a store in leases and of its connections: where it is, and unlike any other.
std::string owner_name(const RandomBits& random) {
  constexpr std::size_t kHostBytesMax = 30;  // of the 63 that a connection's name may have
  std::array<char, 256> host{};
  if (gethostname(host.data(), host.size() - 1) != 0) host[0] = '?';
  return fmt::format("ponder {:.{}}/{}/{:08x}", host.data(), kHostBytesMax, getpid(), random());
}

}  // namespace

PostgresSessionStore::PostgresSessionStore(Peer peer, const Clock& clock,
                                           const PostgresOptions& options)
    : peer_(std::move(peer)),
      clock_(&clock),
      random_(options.random),
      reads_(peer_, stop_),
      writer_(peer_, leases_, stop_, clock, options.synchronous) {
  keeper_.emplace(peer_, leases_, stop_);
}

PostgresSessionStore::~PostgresSessionStore() {
  stop_.stop();
  keeper_.reset();
  reading_.join();
  thread_.join();
  writer_.release_all();
}

std::optional<boost::asio::any_io_executor> PostgresSessionStore::where_reads_wait() const {
  return reading_.get_executor();
}

SessionId PostgresSessionStore::new_id() { return make_session_id(clock_->unix_ms(), random_); }

Result<std::vector<Record>> PostgresSessionStore::finish(PendingAppend& append) {
  queue_.write_until_done(append, [this](std::span<PendingAppend* const> group) {
    writer_.write(group);
    commits_ = writer_.commits();
  });
  PONDER_ASSERT(append.status);
  if (!*append.status) return tl::unexpected<Error>(append.status->error());
  return std::move(append.records);
}

boost::asio::awaitable<Result<std::vector<Record>>> PostgresSessionStore::append(
    SessionId session, std::int64_t last_seq, std::vector<Event> events, std::vector<Blob> blobs) {
  PONDER_ASSERT(!events.empty());
  auto append = std::make_shared<PendingAppend>();
  append->session = std::move(session);
  append->blobs = std::move(blobs);
  for (Event& event : events) append->records.push_back({++last_seq, 0, std::move(event)});
  queue_.push(append);
  auto work = [this, append] { return finish(*append); };
  auto result = co_await offload(thread_.get_executor(), std::move(work));
  co_return result;
}

boost::asio::awaitable<Result<SessionId>> PostgresSessionStore::fork(SessionId parent,
                                                                     std::optional<std::int64_t> at,
                                                                     std::optional<SessionId> id) {
  auto work = [this, parent = std::move(parent), at, id = std::move(id)] {
    return fork_here(parent, at, id);
  };
  auto result = co_await offload(thread_.get_executor(), std::move(work));
  co_return result;
}

Result<SessionId> PostgresSessionStore::fork_here(const SessionId& parent,
                                                  std::optional<std::int64_t> at,
                                                  std::optional<SessionId> id) {
  PONDER_TRY(const SessionId whole_id, resolve(parent.value));
  const auto fork_as = [&](const SessionId& one) { return writer_.fork(one, whole_id, at); };
  if (!id) return with_fresh_id(*this, fork_as);
  PONDER_CHECK(fork_as(*id));
  return *id;
}

boost::asio::awaitable<Status> PostgresSessionStore::import(SessionCopy session) {
  auto work = [this, session = std::move(session)] { return writer_.import(session); };
  auto result = co_await offload(thread_.get_executor(), std::move(work));
  co_return result;
}

Result<std::vector<Record>> PostgresSessionStore::load(const SessionId& session) const {
  return ask([&](postgres::Connection& db) -> Result<std::vector<Record>> {
    PONDER_TRY(const SessionId id, find_session(db, session.value));
    PostgresEventRows rows(db);
    return read_records(rows, id.value);
  });
}

Result<std::string> PostgresSessionStore::load_blob(const std::string& hash) const {
  return ask([&](postgres::Connection& db) { return read_blob(db, hash); });
}

Result<SessionId> PostgresSessionStore::resolve(const std::string& prefix) const {
  return ask([&](postgres::Connection& db) { return find_session(db, prefix); });
}

Result<std::vector<SessionSummary>> PostgresSessionStore::list(std::uint32_t sessions_max) const {
  return ask([&](postgres::Connection& db) { return read_summaries(db, sessions_max); });
}

Status PostgresSessionStore::lease(const SessionId& session) {
  // One that take() has just given is held, and waits for its agent.
  const auto held = leases_.find(session.value);
  if (held && held->lost_words.empty() && held->holders == 0) {
    leases_.hold(session.value, held->fence, 1);
    return {};
  }
  const auto fence =
      ask([&](postgres::Connection& db) { return acquire(db, peer_, session.value); });
  PONDER_CHECK(fence);
  leases_.hold(session.value, *fence, 1);
  return {};
}

void PostgresSessionStore::release(const SessionId& session) {
  const auto fence = leases_.drop(session.value);
  if (!fence) return;
  boost::asio::post(thread_,
                    [this, id = session.value, fence = *fence] { writer_.release(id, fence); });
}

Status PostgresSessionStore::put(const SessionId& session) {
  leases_.forget(session.value);
  return ask([&](postgres::Connection& db) { return put_in_queue(db, peer_, session); });
}

Result<std::optional<SessionId>> PostgresSessionStore::take(
    const std::vector<SessionId>& excluded) {
  std::vector<std::string> left = leases_.known();
  for (const SessionId& session : excluded) left.push_back(session.value);
  PONDER_TRY(const auto taken,
             ask([&](postgres::Connection& db) { return take_from_queue(db, peer_, left); }));
  if (!taken) return std::optional<SessionId>();
  leases_.hold(taken->session.value, taken->fence, 0);
  return std::optional(taken->session);
}

Status PostgresSessionStore::note(const SessionId& session, const std::string& problem) {
  return ask([&](postgres::Connection& db) { return note_in_queue(db, session, problem); });
}

Status PostgresSessionStore::remove(const SessionId& session) {
  return ask([&](postgres::Connection& db) { return remove_from_queue(db, session); });
}

Result<std::uint64_t> PostgresSessionStore::size() {
  return ask([&](postgres::Connection& db) { return size_of_queue(db); });
}

Result<std::vector<QueuedSession>> PostgresSessionStore::list() {
  return ask([&](postgres::Connection& db) { return list_queue(db); });
}

}  // namespace pg

Result<std::unique_ptr<SessionStore>> open_postgres_store(const std::string& address,
                                                          const Clock& clock,
                                                          const PostgresOptions& options) {
  pg::Peer peer{address, pg::owner_name(options.random), options.lease_ms,
                options.reconnect_ms_max};
  {
    PONDER_TRY(auto db, pg::connect(peer));
    const Status migrated = pg::migrate(db);
    if (!migrated) return pg::explain(peer, migrated.error());
  }
  return std::unique_ptr<SessionStore>(
      std::make_unique<pg::PostgresSessionStore>(std::move(peer), clock, options));
}

std::string shown_postgres_address(const std::string& address) {
  return postgres::shown_address(address);
}

std::string postgres_library() { return postgres::library_version(); }

}  // namespace ponder::runtime
