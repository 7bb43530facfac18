#pragma once

#include <chrono>
#include <memory>
#include <string>

#include "base/clock.h"
#include "base/result.h"
#include "runtime/session/session_store.h"

namespace ponder::runtime {

struct PostgresOptions {
  Synchronous synchronous = Synchronous::full;
  /// How long a program keeps its sessions without a sign of life, by the server's clock. It gives
  /// one three times in that while; every append is one, too.
  std::chrono::milliseconds lease_ms{15'000};
  /// How long a call goes on trying to reach a server that has gone away.
  std::chrono::milliseconds reconnect_ms_max{20'000};
  RandomBits random = random_bits();  // of ids; called from any thread
};

/// postgresql://... or postgres://...
inline bool is_postgres_address(const std::string& address) {
  return address.starts_with("postgresql://") || address.starts_with("postgres://");
}

/// The sessions in a PostgreSQL database (docs/postgresql.md), which any number of programs on any
/// number of machines may share; what it promises stands in session_store.h.
///
/// A session is leased to one program at a time. Each lease has a fencing token, a number that
/// grows from lease to lease, and every append is checked against it in its own transaction: a
/// program that stood still while another took its session over cannot write any more, and reads so
/// in the error. A lease that has run out and that nobody took is still its owner's.
///
/// A connection that breaks is made anew. An append that was under way then is sent again; the
/// token and the contents tell whether the first was written, so that it is never there twice. When
/// the server stays away, the append fails with `unavailable`, and whether it was written is
/// unknown: the session refuses more until it is leased again.
///
/// Thread: writes run on the store's own thread and renewals on another; each has a connection of
/// its own, as have the reads, leases and the queue. Every error names the server.
///
/// Opens the database, and makes or updates its tables. Fails with `unavailable`: no server, no
/// such database, not allowed, made by a newer ponder, or this ponder was built without libpq.
Result<std::unique_ptr<SessionStore>> open_postgres_store(const std::string& address,
                                                          const Clock& clock,
                                                          const PostgresOptions& options = {});

/// The address without what is secret.
std::string shown_postgres_address(const std::string& address);

/// libpq's version; empty when ponder was built without it.
std::string postgres_library();

}  // namespace ponder::runtime
