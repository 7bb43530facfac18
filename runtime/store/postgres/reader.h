#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "base/postgres/connection.h"
#include "base/result.h"
#include "runtime/session/session_history.h"
#include "runtime/session/session_store.h"

/// What SessionStore reads; see there. Errors: the connection's, and those named there.
namespace ponder::runtime::pg {

/// A session's events in PostgreSQL.
class PostgresEventRows : public EventRows {
 public:
  explicit PostgresEventRows(postgres::Connection& db) : db_(&db) {}
  Result<std::optional<Ancestry>> ancestry_of(const std::string& session) override;
  Status read(const Stretch& stretch, const std::function<void(const StoredEvent&)>& each) override;

 private:
  postgres::Connection* db_;
};

/// The place of a session's last event; 0 for an unknown session.
Result<std::int64_t> last_seq_of(postgres::Connection& db, const std::string& session);
Result<SessionId> find_session(postgres::Connection& db, const std::string& prefix);
Result<std::string> read_blob(postgres::Connection& db, const std::string& hash);
Result<std::vector<SessionSummary>> read_summaries(postgres::Connection& db,
                                                   std::uint32_t sessions_max);

}  // namespace ponder::runtime::pg
