#include "runtime/store/postgres/leases.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

namespace ponder::runtime::pg {

std::optional<Lease> Leases::find(const std::string& session) const {
  const std::lock_guard lock(mutex_);
  const auto found = leases_.find(session);
  if (found == leases_.end()) return std::nullopt;
  return found->second;
}

void Leases::hold(const std::string& session, std::int64_t fence, int holders) {
  const std::lock_guard lock(mutex_);
  Lease& lease = leases_[session];
  lease.fence = fence;
  lease.holders += holders;
  lease.lost_words.clear();
}

void Leases::lose(const std::string& session, std::int64_t fence, std::string words) {
  const std::lock_guard lock(mutex_);
  const auto found = leases_.find(session);
  if (found == leases_.end() || found->second.fence != fence) return;
  found->second.lost_words = std::move(words);
}

std::optional<std::int64_t> Leases::drop(const std::string& session) {
  const std::lock_guard lock(mutex_);
  const auto found = leases_.find(session);
  if (found == leases_.end() || --found->second.holders > 0) return std::nullopt;
  const std::int64_t fence = found->second.fence;
  leases_.erase(found);
  return fence;
}

void Leases::forget(const std::string& session) {
  const std::lock_guard lock(mutex_);
  leases_.erase(session);
}

std::vector<std::string> Leases::known() const {
  const std::lock_guard lock(mutex_);
  std::vector<std::string> out;
  out.reserve(leases_.size());
  for (const auto& [session, lease] : leases_) out.push_back(session);
  return out;
}

std::map<std::string, std::int64_t> Leases::held() const {
  const std::lock_guard lock(mutex_);
  std::map<std::string, std::int64_t> out;
  for (const auto& [session, lease] : leases_) {
    if (lease.lost_words.empty()) out.emplace(session, lease.fence);
  }
  return out;
}

std::string taken_over(const Peer& peer, const std::string& session, std::string_view owner) {
  return fmt::format(
      "session {} is no longer this program's: it stood still for longer than its "
      "lease of {} ms, and {} took the session over; nothing was written",
      session, peer.lease_ms.count(), owner.empty() ? "another program" : owner);
}

Result<std::int64_t> acquire(postgres::Connection& db, const Peer& peer,
                             const std::string& session) {
  PONDER_TRY(const auto taken, db.query(R"sql(
    UPDATE sessions SET lease_owner = $2, fence = fence + 1,
      lease_until = clock_timestamp() + $3 * interval '1 millisecond'
    WHERE id = $1 AND (lease_owner IS NULL OR lease_owner = $2
                       OR lease_until < clock_timestamp()
                       OR EXISTS (SELECT 1 FROM sessions AS root
                                  WHERE root.id = split_part($1, '.', 1) AND root.id <> $1
                                    AND root.lease_owner = $2))
    RETURNING fence)sql",
                                        {session, peer.owner, peer.lease_ms.count()}));
  if (taken.size() == 1) return taken.number(0, 0);
  PONDER_TRY(const auto holder, db.query(R"sql(
    SELECT coalesce(lease_owner, ''),
      ceil(extract(epoch FROM lease_until - clock_timestamp()))::int8
    FROM sessions WHERE id = $1)sql",
                                         {session}));
  if (holder.size() == 0) return fail(Errc::not_found, fmt::format("no session \"{}\"", session));
  return fail(
      Errc::unavailable,
      fmt::format("session {} is at work in {}; if that program is gone, the session is "
                  "free in {} s",
                  session, holder.text(0, 0), std::max<std::int64_t>(holder.number(0, 1), 0)));
}

LeaseKeeper::LeaseKeeper(const Peer& peer, Leases& leases, StopSignal& stop)
    : peer_(&peer), leases_(&leases), stop_(&stop), link_(peer, stop), thread_([this] { run(); }) {}

LeaseKeeper::~LeaseKeeper() { thread_.join(); }

void LeaseKeeper::run() {
  while (!stop_->wait(peer_->lease_ms / 3)) {
    if (leases_->held().empty()) continue;
    // Once: a server that is away is asked again at the next beat.
    const auto db = link_.get();
    const Status renewed = db ? renew(**db) : Status(tl::unexpected<Error>(db.error()));
    if (!renewed) link_.drop();
  }
}

Status LeaseKeeper::renew(postgres::Connection& db) {
  const std::map<std::string, std::int64_t> held = leases_->held();
  std::vector<std::string_view> sessions;
  sessions.reserve(held.size());
  for (const auto& [session, fence] : held) sessions.emplace_back(session);
  const auto ids = postgres::Value::texts(sessions);
  // A row that is locked has an append under way, which renews it too.
  PONDER_CHECK(db.query(R"sql(
    UPDATE sessions SET lease_until = clock_timestamp() + $3 * interval '1 millisecond'
    WHERE id IN (SELECT id FROM sessions WHERE lease_owner = $1 AND id = ANY ($2)
                 FOR UPDATE SKIP LOCKED))sql",
                        {peer_->owner, ids, peer_->lease_ms.count()}));
  PONDER_TRY(const auto others, db.query(R"sql(
    SELECT id, coalesce(lease_owner, '') FROM sessions
    WHERE id = ANY ($2) AND lease_owner IS DISTINCT FROM $1)sql",
                                         {peer_->owner, ids}));
  for (std::size_t i = 0; i < others.size(); ++i) {
    const std::string session(others.text(i, 0));
    leases_->lose(session, held.at(session), taken_over(*peer_, session, others.text(i, 1)));
  }
  return {};
}

}  // namespace ponder::runtime::pg
