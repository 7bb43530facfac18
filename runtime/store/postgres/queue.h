#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/postgres/connection.h"
#include "base/result.h"
#include "runtime/session/event.h"
#include "runtime/session/work_queue.h"
#include "runtime/store/postgres/link.h"

/// The table `queue`; see work_queue.h.
namespace ponder::runtime::pg {

/// A session that was taken, and the token of its lease.
struct Taken {
  SessionId session;
  std::int64_t fence = 0;
};

Status put_in_queue(postgres::Connection& db, const Peer& peer, const SessionId& session);
/// None of `excluded`: sessions that this store works on, or has just lost.
Result<std::optional<Taken>> take_from_queue(postgres::Connection& db, const Peer& peer,
                                             const std::vector<std::string>& excluded);
Status note_in_queue(postgres::Connection& db, const SessionId& session,
                     const std::string& problem);
Status remove_from_queue(postgres::Connection& db, const SessionId& session);
Result<std::uint64_t> size_of_queue(postgres::Connection& db);
Result<std::vector<QueuedSession>> list_queue(postgres::Connection& db);

}  // namespace ponder::runtime::pg
