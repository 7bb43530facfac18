#pragma once

#include <chrono>
#include <condition_variable>
#include <functional>
#include <mutex>
#include <optional>
#include <string>
#include <utility>

#include "base/postgres/connection.h"
#include "base/result.h"

namespace ponder::runtime::pg {

/// What the connections of one store have in common.
struct Peer {
  std::string address;
  std::string owner;  // this store's name in leases, and of its connections
  std::chrono::milliseconds lease_ms{0};
  std::chrono::milliseconds reconnect_ms_max{0};
};

/// The error with the server's address and the remedy.
tl::unexpected<Error> explain(const Peer& peer, Error error);

/// A fresh connection, ready for work.
Result<postgres::Connection> connect(const Peer& peer);

/// How long to wait before each try, until patience ends. By the machine's own clock, for it is a
/// server that is waited for.
class Patience {
 public:
  explicit Patience(std::chrono::milliseconds total)
      : end_(std::chrono::steady_clock::now() + total) {}
  /// The next wait, longer from time to time; nothing when there has been enough.
  std::optional<std::chrono::milliseconds> next();

 private:
  std::chrono::steady_clock::time_point end_;
  std::chrono::milliseconds step_{20};
};

/// Lets those who wait for a server go when the store ends.
class StopSignal {
 public:
  void stop();
  /// Waits; true when it was stopped, then or before.
  bool wait(std::chrono::milliseconds time);

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  bool is_stopped_ = false;
};

/// A connection that is made anew when it breaks.
///
/// Thread: one at a time. Errors: explained.
class Link {
 public:
  using Prepare = std::function<Status(postgres::Connection&)>;
  /// `prepare` runs on every new connection. All outlive the link.
  Link(const Peer& peer, StopSignal& stop, Prepare prepare = {});

  /// The connection, made when there is none. Tries once.
  Result<postgres::Connection*> get();
  void drop() { connection_.reset(); }
  /// Whether the last try to make a connection failed.
  bool is_away() const { return is_away_; }
  /// Of the last run(): why it failed; `lost` also when there was no connection to be had.
  postgres::Failure last_failure() const { return last_failure_; }

  /// Runs `work(connection, is_again)`, again on a new connection when it was lost meanwhile, or
  /// when transactions were in each other's way, until patience ends. `is_again` says that an
  /// earlier try may have been carried out. Work that is no error of the connection returns as it
  /// is: it says so by leaving last_failure() at `none`.
  template <class Work>
  auto run(Work work) -> decltype(work(std::declval<postgres::Connection&>(), false)) {
    Patience patience(peer_->reconnect_ms_max);
    bool is_again = false;
    while (true) {
      auto db = get();
      std::optional<Error> error;
      last_failure_ = postgres::Failure::lost;
      if (db) {
        auto result = work(**db, is_again);
        last_failure_ = (*db)->last_failure();
        if (result || last_failure_ == postgres::Failure::none) return result;
        error = explain(*peer_, result.error()).value();
        if (!may_repeat(**db)) return tl::unexpected<Error>(*error);
        is_again = true;
      } else {
        error = db.error();
      }
      const auto wait = patience.next();
      if (!wait || stop_->wait(*wait)) return tl::unexpected<Error>(*error);
    }
  }

 private:
  /// After a failure: whether the same may be tried again. Drops a connection that is lost, and
  /// frees rows from those who stand still with a lock.
  bool may_repeat(postgres::Connection& db);

  const Peer* peer_;
  StopSignal* stop_;
  Prepare prepare_;
  std::optional<postgres::Connection> connection_;
  postgres::Failure last_failure_ = postgres::Failure::none;
  bool is_away_ = false;
};

/// Ends the connections of programs whose lease has run out and that stand still in the middle of a
/// transaction: they hold rows that others wait for. Such a program finds its connection broken
/// when it goes on.
Status end_stalled(postgres::Connection& db);

}  // namespace ponder::runtime::pg
