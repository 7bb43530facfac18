#include "runtime/store/postgres/reader.h"

#include <fmt/format.h>

#include <utility>

#include "runtime/store/session_prefix.h"

namespace ponder::runtime::pg {
namespace {

constexpr std::size_t kRowsAtOnce = 1000;  // of a session's events, so that memory stays bounded

}  // namespace

Result<std::optional<Ancestry>> PostgresEventRows::ancestry_of(const std::string& session) {
  PONDER_TRY(const auto rows,
             db_->query("SELECT parent, parent_seq FROM sessions WHERE id = $1", {session}));
  if (rows.size() == 0) return std::optional<Ancestry>();
  return std::optional(Ancestry{std::string(rows.text(0, 0)), rows.number(0, 1)});
}

Status PostgresEventRows::read(const Stretch& stretch,
                               const std::function<void(const StoredEvent&)>& each) {
  std::int64_t next = stretch.first_seq;
  while (true) {
    PONDER_TRY(const auto rows, db_->query(R"sql(
      SELECT seq, unix_ms, type, version, payload FROM events
      WHERE session = $1 AND seq BETWEEN $2 AND $3 ORDER BY seq LIMIT $4)sql",
                                           {stretch.session, next, stretch.last_seq, kRowsAtOnce}));
    for (std::size_t i = 0; i < rows.size(); ++i) {
      each({rows.number(i, 0), rows.number(i, 1), rows.text(i, 2),
            static_cast<int>(rows.number(i, 3)), rows.text(i, 4)});
    }
    if (rows.size() < kRowsAtOnce) return {};
    next = rows.number(rows.size() - 1, 0) + 1;
  }
}

Result<std::int64_t> last_seq_of(postgres::Connection& db, const std::string& session) {
  PONDER_TRY(const auto rows, db.query("SELECT last_seq FROM sessions WHERE id = $1", {session}));
  return rows.size() == 0 ? 0 : rows.number(0, 0);
}

Result<SessionId> find_session(postgres::Connection& db, const std::string& prefix) {
  // What comes after a dot is a sub-agent's: it is only meant where the prefix has one, too. The
  // prefix itself comes first, for it may be a whole id.
  const bool is_last = prefix == "last";
  PONDER_TRY(const auto rows,
             db.query(is_last ? "SELECT id FROM sessions WHERE $1 = 'last' AND strpos(id, '.') = 0 "
                                "ORDER BY updated_ms DESC, id DESC LIMIT 1"
                              : "SELECT id FROM sessions WHERE starts_with(id, $1) "
                                "AND strpos(substr(id, length($1) + 1), '.') = 0 "
                                "ORDER BY id LIMIT 4",
                      {prefix}));
  if (rows.size() == 0) return fail(Errc::not_found, fmt::format("no session \"{}\"", prefix));
  if (rows.size() > 1 && rows.text(0, 0) != prefix) {
    std::vector<std::string> ids;
    for (std::size_t i = 0; i < rows.size(); ++i) ids.emplace_back(rows.text(i, 0));
    return ambiguous_prefix(prefix, ids);
  }
  return SessionId{std::string(rows.text(0, 0))};
}

Result<std::string> read_blob(postgres::Connection& db, const std::string& hash) {
  PONDER_TRY(const auto rows, db.query("SELECT text FROM blobs WHERE hash = $1", {hash}));
  if (rows.size() == 0) return fail(Errc::not_found, fmt::format("no blob {}", hash));
  return std::string(rows.text(0, 0));
}

Result<std::vector<SessionSummary>> read_summaries(postgres::Connection& db,
                                                   std::uint32_t sessions_max) {
  PONDER_TRY(const auto rows, db.query(R"sql(
    SELECT id, created_ms, updated_ms, workflow, model, title, parent, parent_seq,
      parent_seq + (SELECT count(*) FROM events WHERE session = id),
      (SELECT type FROM events WHERE session = id ORDER BY seq DESC LIMIT 1)
    FROM sessions ORDER BY updated_ms DESC, id DESC LIMIT $1)sql",
                                       {sessions_max}));
  std::vector<SessionSummary> out;
  for (std::size_t i = 0; i < rows.size(); ++i) {
    SessionSummary summary;
    summary.id = SessionId{std::string(rows.text(i, 0))};
    summary.created_unix_ms = rows.number(i, 1);
    summary.updated_unix_ms = rows.number(i, 2);
    summary.workflow = rows.text(i, 3);
    summary.model = rows.text(i, 4);
    summary.title = rows.text(i, 5);
    summary.parent = rows.text(i, 6);
    summary.parent_seq = rows.number(i, 7);
    summary.events = rows.number(i, 8);
    summary.last_type = rows.text(i, 9);
    out.push_back(std::move(summary));
  }
  return out;
}

}  // namespace ponder::runtime::pg
