#pragma once

#include <boost/asio/awaitable.hpp>
#include <boost/asio/ip/address.hpp>
#include <cstddef>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "base/clock.h"
#include "base/result.h"

namespace ponder::http {

using Addresses = std::vector<boost::asio::ip::address>;

/// Finds the addresses of hosts without making anybody wait for a look-up that hangs.
///
/// The system's getaddrinfo blocks, can take half a minute when a name server is silent, and
/// cannot be interrupted; Asio runs one at a time, so that a dead name delays all others. Here each
/// name is looked up on a thread of its own, as far as there are enough; whoever waits can be
/// cancelled or run out of time at once, and an answer that comes later is thrown away. Those who
/// ask for the same name at the same time wait for one look-up.
///
/// Lifetime: a look-up under way outlives the resolver, and ends with the program at the latest:
/// neither destroying the resolver nor leaving the program waits for it. Coroutines that wait may
/// outlive the resolver.
/// Thread: any.
class Resolver {
 public:
  struct Options {
    std::size_t threads_max = 8;          // names looked up at the same time; the others queue
    std::size_t names_queued_max = 1024;  // further names are refused
  };
  /// Gives the addresses of a name, best first; blocks. Runs on threads of the resolver, several at
  /// the same time, and may go on after the resolver's end: it owns what it uses.
  using LookUp = std::function<Result<Addresses>(const std::string& host)>;

  explicit Resolver(LookUp look_up) : Resolver(std::move(look_up), Options()) {}
  Resolver(LookUp look_up, Options options);

  /// The addresses of `host`, a name or an address. Addresses and localhost (RFC 6761, 6.3) need no
  /// look-up. Errors: what the look-up says, `unavailable` as a rule; `deadline`; `cancelled`;
  /// `exhausted` when too many names wait. Waiting for a place counts for the deadline.
  /// Requires: one executor, whose handlers never run at the same time; the caller has called
  /// throw_if_cancelled(false).
  boost::asio::awaitable<Result<Addresses>> find(std::string host, Deadline deadline);

 private:
  struct Pool;
  class Wait;
  std::shared_ptr<Pool> pool_;  // shared with its threads, which can outlive the resolver
};

/// Looks names up as the system does: its files, then its name servers.
Result<Addresses> look_up_in_system(const std::string& host);

/// The resolver of the whole program, for threads that hang are the program's. It uses
/// look_up_in_system.
Resolver& system_resolver();

}  // namespace ponder::http
