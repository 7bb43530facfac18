#pragma once

#include <cstdint>
#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "base/postgres/connection.h"
#include "base/result.h"
#include "runtime/store/postgres/link.h"

namespace ponder::runtime::pg {

/// What one store knows of a lease it has, or had.
struct Lease {
  std::int64_t fence = 0;
  int holders = 0;         // agents at work on the session
  std::string lost_words;  // not empty: it is this store's no longer, and why
};

/// The leases of one store.
///
/// Thread: any.
class Leases {
 public:
  std::optional<Lease> find(const std::string& session) const;
  /// A lease was given; `holders` more are at work on the session. What was lost is forgotten.
  void hold(const std::string& session, std::int64_t fence, int holders);
  /// From now on what the session's holders write is refused with these words, until it is held
  /// again. Of a lease with another token nothing is changed: it is a later one.
  void lose(const std::string& session, std::int64_t fence, std::string words);
  /// A holder less. The fence of a lease to give back when it was the last.
  std::optional<std::int64_t> drop(const std::string& session);
  void forget(const std::string& session);
  /// All, also those that are lost while their holders have not ended.
  std::vector<std::string> known() const;
  /// Those that are not lost, with their tokens.
  std::map<std::string, std::int64_t> held() const;

 private:
  mutable std::mutex mutex_;
  std::map<std::string, Lease> leases_;
};

/// Takes the session for the peer's owner, with a new token: `unavailable`, naming the holder, when
/// it is somebody else's; `not_found`. Who has a session can take those of its sub-agents, whose
/// ids begin with its own and a dot, whoever had them.
Result<std::int64_t> acquire(postgres::Connection& db, const Peer& peer,
                             const std::string& session);

/// What a program reads whose lease is now `owner`'s.
std::string taken_over(const Peer& peer, const std::string& session, std::string_view owner);

/// Renews a store's leases three times in the while that they last, on a thread and a connection of
/// its own, and notes those that somebody else has.
class LeaseKeeper {
 public:
  LeaseKeeper(const Peer& peer, Leases& leases, StopSignal& stop);
  /// Requires: the stop signal was given.
  ~LeaseKeeper();
  LeaseKeeper(const LeaseKeeper&) = delete;
  LeaseKeeper& operator=(const LeaseKeeper&) = delete;

 private:
  void run();
  Status renew(postgres::Connection& db);

  const Peer* peer_;
  Leases* leases_;
  StopSignal* stop_;
  Link link_;
  std::thread thread_;
};

}  // namespace ponder::runtime::pg
