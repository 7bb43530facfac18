#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/postgres/connection.h"
#include "runtime/session/session_lines.h"
#include "runtime/store/append_queue.h"
#include "runtime/store/postgres/link.h"

/// The SQL that writes events, and its values.
namespace ponder::runtime::pg {

/// Prepares what the calls below name.
Status prepare_statements(postgres::Connection& db);

/// Until the transaction's end a commit does not wait for the disk.
postgres::Call relaxed_call();

/// Begins a session with its first events, leased to the peer's owner under token 1. Touches no row
/// when a session of that id is there.
postgres::Call start_call(const Peer& peer, const PendingAppend& append);

/// Appends events, and renews the lease. Touches no row unless the session's last event is the one
/// before them, and the lease is the owner's under this token.
postgres::Call append_call(const Peer& peer, const PendingAppend& append, std::int64_t fence);

/// A whole session with its places and times, as start_call(). Gives the number of sessions made.
postgres::Call import_call(const Peer& peer, const SessionCopy& session);

/// Whether the events of an append stand in the database under this token, as the append would
/// write them: an earlier try did, then. The token alone does not tell: a session's first belongs
/// to whoever began it, and two programs may begin one, such as a sub-agent's whose parent was
/// taken over.
Result<bool> is_there(postgres::Connection& db, const PendingAppend& append, std::int64_t fence);

}  // namespace ponder::runtime::pg
