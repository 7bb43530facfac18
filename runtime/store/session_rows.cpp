#include "runtime/store/session_rows.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <tuple>
#include <utility>

namespace ponder::runtime::rows {
namespace {

constexpr std::array<sqlite::Migration, 4> kMigrations = {{{1, R"sql(
  CREATE TABLE sessions (
    id TEXT PRIMARY KEY,
    created_ms INTEGER NOT NULL,
    updated_ms INTEGER NOT NULL,
    workflow TEXT NOT NULL,
    model TEXT NOT NULL,
    title TEXT NOT NULL DEFAULT ''
  ) STRICT;
  CREATE INDEX sessions_by_update ON sessions (updated_ms);
  CREATE TABLE events (
    session TEXT NOT NULL REFERENCES sessions (id),
    seq INTEGER NOT NULL,
    unix_ms INTEGER NOT NULL,
    type TEXT NOT NULL,
    version INTEGER NOT NULL,
    payload TEXT NOT NULL,
    PRIMARY KEY (session, seq)
  ) STRICT, WITHOUT ROWID;
)sql"},
                                                           {2, R"sql(
  CREATE TABLE blobs (
    hash TEXT PRIMARY KEY,
    text TEXT NOT NULL
  ) STRICT, WITHOUT ROWID;
)sql"},
                                                           {3, R"sql(
  ALTER TABLE sessions ADD COLUMN parent TEXT REFERENCES sessions (id);
  ALTER TABLE sessions ADD COLUMN parent_seq INTEGER NOT NULL DEFAULT 0;
)sql"},
                                                           {4, R"sql(
  CREATE TABLE quarantine (
    session TEXT NOT NULL,
    seq INTEGER NOT NULL,
    kind TEXT NOT NULL,
    found_ms INTEGER NOT NULL,
    problem TEXT NOT NULL,
    unix_ms INTEGER NOT NULL DEFAULT 0,
    type TEXT NOT NULL DEFAULT '',
    version INTEGER NOT NULL DEFAULT 0,
    payload TEXT NOT NULL DEFAULT '',
    PRIMARY KEY (session, seq, kind)
  ) STRICT, WITHOUT ROWID;
)sql"}}};

const char* remedy(Errc code) {
  switch (code) {
    case Errc::exhausted:
      return "free some disk space, then go on with `ponder sessions resume last`";
    case Errc::corrupt:
      return "move the file away to start with a new one; `sqlite3 FILE .recover` saves what can "
             "be read";
    case Errc::unavailable:
      return "see that the folder can be written and that no other program holds the file, then "
             "try again, or choose another file with PONDER_SESSIONS";
    default:
      return "choose another file with PONDER_SESSIONS";
  }
}

Status count_events(sqlite::Statement& count, sqlite::Statement& last, SessionSummary& out) {
  PONDER_TRY(auto count_rows, count.query(out.id.value));
  PONDER_TRY(const bool has_count, count_rows.next());
  if (has_count) out.events += count_rows.int64(0);
  PONDER_TRY(auto last_rows, last.query(out.id.value));
  PONDER_TRY(const bool has_last, last_rows.next());
  if (!has_last) return {};
  out.last_type = last_rows.text(0);
  out.updated_unix_ms = last_rows.int64(1);
  return {};
}

}  // namespace

tl::unexpected<Error> explain(const std::filesystem::path& file, Error error) {
  if (error.message.find(file.string()) == std::string::npos) {
    error.message = file.string() + ": " + error.message;
  }
  return fail(error.code,
              fmt::format("session database {} ({})", error.message, remedy(error.code)));
}

const char* const kSelectLastSeq =
    "SELECT max(coalesce((SELECT max(seq) FROM events WHERE session = ?1), 0), "
    "coalesce((SELECT parent_seq FROM sessions WHERE id = ?1), 0))";

std::span<const sqlite::Migration> migrations() { return kMigrations; }

Result<std::optional<Ancestry>> SqliteEventRows::ancestry_of(const std::string& session) {
  PONDER_TRY(auto query, db_->prepare("SELECT parent, parent_seq FROM sessions WHERE id = ?"));
  PONDER_TRY(auto rows, query.query(session));
  PONDER_TRY(const bool has_row, rows.next());
  if (!has_row) return std::optional<Ancestry>();
  return std::optional(Ancestry{std::string(rows.text(0)), rows.int64(1)});
}

Status SqliteEventRows::read(const Stretch& stretch,
                             const std::function<void(const StoredEvent&)>& each) {
  if (!select_) {
    PONDER_TRY(select_, db_->prepare("SELECT seq, unix_ms, type, version, payload FROM events "
                                     "WHERE session = ? AND seq BETWEEN ? AND ? ORDER BY seq"));
  }
  PONDER_TRY(auto rows, select_->query(stretch.session, stretch.first_seq, stretch.last_seq));
  while (true) {
    PONDER_TRY(const bool has_row, rows.next());
    if (!has_row) return {};
    each({rows.int64(0), rows.int64(1), rows.text(2), static_cast<int>(rows.int64(3)),
          rows.text(4)});
  }
}

Result<std::vector<Record>> read_records(sqlite::Connection& db, const std::string& id) {
  SqliteEventRows rows(db);
  return runtime::read_records(rows, id);
}

Result<std::string> read_blob(sqlite::Connection& db, const std::string& hash) {
  PONDER_TRY(auto query, db.prepare("SELECT text FROM blobs WHERE hash = ?"));
  PONDER_TRY(auto rows, query.query(hash));
  PONDER_TRY(const bool has_row, rows.next());
  if (!has_row) return fail(Errc::not_found, fmt::format("no blob {}", hash));
  return std::string(rows.text(0));
}

Result<std::vector<SessionSummary>> read_summaries(sqlite::Connection& db,
                                                   std::uint32_t sessions_max,
                                                   bool has_sub_agents) {
  PONDER_TRY(auto query, db.prepare(R"sql(
    SELECT id, created_ms, updated_ms, workflow, model, title, parent, parent_seq FROM sessions
    WHERE (?3 OR instr(id, '.') = 0) AND updated_ms > (SELECT min(updated_ms) FROM
      (SELECT updated_ms FROM sessions WHERE ?3 OR instr(id, '.') = 0
       ORDER BY updated_ms DESC LIMIT ?1)) - ?2)sql"));
  PONDER_TRY(auto count, db.prepare("SELECT count(*) FROM events WHERE session = ?"));
  PONDER_TRY(auto last, db.prepare("SELECT type, unix_ms FROM events WHERE session = ? "
                                   "ORDER BY seq DESC LIMIT 1"));
  PONDER_TRY(auto rows, query.query(sessions_max, kUpdateMs, std::int64_t{has_sub_agents}));
  std::vector<SessionSummary> out;
  while (true) {
    PONDER_TRY(const bool has_row, rows.next());
    if (!has_row) break;
    SessionSummary summary;
    summary.id = SessionId{std::string(rows.text(0))};
    summary.created_unix_ms = rows.int64(1);
    summary.updated_unix_ms = rows.int64(2);
    summary.workflow = rows.text(3);
    summary.model = rows.text(4);
    summary.title = rows.text(5);
    summary.parent = rows.text(6);
    summary.parent_seq = rows.int64(7);
    summary.events = summary.parent_seq;
    // A session whose pages are damaged is listed as such, and hides no other.
    const Status counted = count_events(count, last, summary);
    if (!counted) summary.last_type = "damaged";
    out.push_back(std::move(summary));
  }
  std::sort(out.begin(), out.end(), [](const SessionSummary& a, const SessionSummary& b) {
    return std::tie(a.updated_unix_ms, a.id.value) > std::tie(b.updated_unix_ms, b.id.value);
  });
  if (out.size() > sessions_max) out.resize(sessions_max);
  return out;
}

Result<SessionId> find_session(sqlite::Connection& db, const std::string& prefix) {
  if (prefix == "last") {
    PONDER_TRY(const auto latest, read_summaries(db, 1, /*has_sub_agents=*/false));
    if (!latest.empty()) return latest.front().id;
  }
  // What comes after a dot is a sub-agent's: it is only meant where the prefix has one, too. The
  // prefix itself comes first, for it may be a whole id.
  PONDER_TRY(auto query, db.prepare("SELECT id FROM sessions WHERE "
                                    "substr(id, 1, length(?1)) = ?1 AND "
                                    "instr(substr(id, length(?1) + 1), '.') = 0 "
                                    "ORDER BY id LIMIT 2"));
  PONDER_TRY(auto rows, query.query(prefix));
  PONDER_TRY(const bool has_row, rows.next());
  if (!has_row) return fail(Errc::not_found, fmt::format("no session \"{}\"", prefix));
  SessionId found{std::string(rows.text(0))};
  PONDER_TRY(const bool has_second, rows.next());
  if (has_second && found.value != prefix) {
    return fail(Errc::invalid_argument, fmt::format("several sessions begin with \"{}\"", prefix));
  }
  return found;
}

}  // namespace ponder::runtime::rows
