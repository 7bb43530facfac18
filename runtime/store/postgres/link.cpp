#include "runtime/store/postgres/link.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

namespace ponder::runtime::pg {
namespace {

constexpr std::chrono::milliseconds kStepMax{1000};

const char* remedy(Errc code) {
  switch (code) {
    case Errc::exhausted:
      return "give the server room, then go on with `ponder sessions resume last`";
    case Errc::corrupt:
      return "the server's files are damaged: see its log, and restore its backup";
    default:
      return "see that the server runs and lets this user in, then try again, or choose another "
             "store with PONDER_SESSIONS";
  }
}

}  // namespace

tl::unexpected<Error> explain(const Peer& peer, Error error) {
  return fail(error.code,
              fmt::format("session store {}: {} ({})", postgres::shown_address(peer.address),
                          error.message, remedy(error.code)));
}

Result<postgres::Connection> connect(const Peer& peer) {
  postgres::ConnectOptions options;
  options.name = peer.owner;
  // A network that is silent must show before the lease has run out, while there is time to renew
  // it over another connection.
  options.unanswered_ms_max = std::min(options.unanswered_ms_max, peer.lease_ms * 2 / 3);
  auto db = postgres::Connection::open(peer.address, options);
  if (!db) return explain(peer, db.error());
  return db;
}

std::optional<std::chrono::milliseconds> Patience::next() {
  if (std::chrono::steady_clock::now() >= end_) return std::nullopt;
  return std::exchange(step_, std::min(2 * step_, kStepMax));
}

void StopSignal::stop() {
  const std::lock_guard lock(mutex_);
  is_stopped_ = true;
  changed_.notify_all();
}

bool StopSignal::wait(std::chrono::milliseconds time) {
  std::unique_lock lock(mutex_);
  return changed_.wait_for(lock, time, [this] { return is_stopped_; });
}

Link::Link(const Peer& peer, StopSignal& stop, Prepare prepare)
    : peer_(&peer), stop_(&stop), prepare_(std::move(prepare)) {}

Result<postgres::Connection*> Link::get() {
  if (!connection_) {
    is_away_ = true;
    PONDER_TRY(auto db, connect(*peer_));
    if (prepare_) {
      const Status prepared = prepare_(db);
      if (!prepared) return explain(*peer_, prepared.error());
    }
    connection_ = std::move(db);
    is_away_ = false;
  }
  return &*connection_;
}

bool Link::may_repeat(postgres::Connection& db) {
  switch (db.last_failure()) {
    case postgres::Failure::lost:
      drop();
      return true;
    case postgres::Failure::conflict:
      return true;
    case postgres::Failure::locked: {
      const Status ended = end_stalled(db);
      if (!ended) drop();
      return true;
    }
    default:
      return false;
  }
}

Status end_stalled(postgres::Connection& db) {
  PONDER_CHECK(db.query(R"sql(
    SELECT pg_terminate_backend(a.pid) FROM pg_stat_activity a
    WHERE a.datname = current_database() AND a.pid <> pg_backend_pid()
      AND a.xact_start IS NOT NULL AND a.wait_event = 'ClientRead'
      AND a.application_name IN
        (SELECT lease_owner FROM sessions WHERE lease_until < clock_timestamp()))sql"));
  return {};
}

}  // namespace ponder::runtime::pg
