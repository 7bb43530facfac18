#include "runtime/store/session_rows.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <tuple>
#include <utility>

#include "runtime/store/session_prefix.h"

namespace ponder::runtime::rows {
namespace {

constexpr std::array<sqlite::Migration, 5> kMigrations = {{{1, R"sql(
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
)sql"},
                                                           {5, R"sql(
  ALTER TABLE events RENAME TO events_by_session;
  CREATE TABLE events (
    id INTEGER PRIMARY KEY,
    session TEXT NOT NULL,
    seq INTEGER NOT NULL,
    unix_ms INTEGER NOT NULL,
    type TEXT NOT NULL,
    version INTEGER NOT NULL,
    before INTEGER NOT NULL DEFAULT 0,
    payload TEXT NOT NULL
  ) STRICT;
  CREATE TABLE last_events (
    session TEXT PRIMARY KEY,
    id INTEGER NOT NULL
  ) STRICT, WITHOUT ROWID;
  CREATE VIEW all_events AS
    SELECT session, seq, unix_ms, type, version, payload FROM events_by_session
    UNION ALL SELECT session, seq, unix_ms, type, version, payload FROM events;
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

/// A session's last event: the log's, else that of before the log.
constexpr const char* kSelectLastChained =
    "SELECT seq, unix_ms, type, events.id FROM last_events JOIN events ON events.id = "
    "last_events.id WHERE last_events.session = ?1 AND events.session = ?1";
constexpr const char* kSelectLastOld =
    "SELECT seq, unix_ms, type, 0 FROM events_by_session WHERE session = ?1 "
    "ORDER BY seq DESC LIMIT 1";
/// The same where the chain's end is lost: looks through the log, unless nothing says that the
/// session is in it.
constexpr const char* kSelectLastSearched =
    "SELECT seq, unix_ms, type, events.id FROM last_events CROSS JOIN events "
    "ON events.session = last_events.session WHERE last_events.session = ?1 "
    "ORDER BY seq DESC, events.id DESC LIMIT 1";

/// The first row that one of the queries has for the session goes to `take`; false: none has any.
template <class Take>
Result<bool> find_last(std::span<sqlite::Statement> queries, const std::string& session,
                       Take take) {
  for (sqlite::Statement& query : queries) {
    PONDER_TRY(auto rows, query.query(session));
    PONDER_TRY(const bool has_row, rows.next());
    if (!has_row) continue;
    take(rows);
    return true;
  }
  return false;
}

Result<std::vector<sqlite::Statement>> prepare_last(sqlite::Connection& db) {
  std::vector<sqlite::Statement> out;
  for (const char* sql : {kSelectLastChained, kSelectLastSearched, kSelectLastOld}) {
    PONDER_TRY(auto query, db.prepare(sql));
    out.push_back(std::move(query));
  }
  return out;
}

StoredEvent event_of(const sqlite::Rows& row) {
  return {row.int64(0), row.int64(1), row.text(2), static_cast<int>(row.int64(3)), row.text(4)};
}

}  // namespace

tl::unexpected<Error> explain(const std::filesystem::path& file, Error error) {
  if (error.message.find(file.string()) == std::string::npos) {
    error.message = fmt::format("database {}: {}", file.string(), error.message);
  }
  return fail(error.code, fmt::format("session {} ({})", error.message, remedy(error.code)));
}

std::span<const sqlite::Migration> migrations() { return kMigrations; }

Result<std::optional<Ancestry>> SqliteEventRows::ancestry_of(const std::string& session) {
  PONDER_TRY(auto query, db_->prepare("SELECT parent, parent_seq FROM sessions WHERE id = ?"));
  PONDER_TRY(auto rows, query.query(session));
  PONDER_TRY(const bool has_row, rows.next());
  if (!has_row) return std::optional<Ancestry>();
  return std::optional(Ancestry{std::string(rows.text(0)), rows.int64(1)});
}

struct SqliteEventRows::Statements {
  sqlite::Statement old;
  sqlite::Statement last;
  sqlite::Statement link;
  sqlite::Statement search;
  sqlite::Statement event;
};

Status SqliteEventRows::prepare() {
  if (statements_) return {};
  PONDER_TRY(auto old, db_->prepare("SELECT seq, unix_ms, type, version, payload "
                                    "FROM events_by_session "
                                    "WHERE session = ? AND seq BETWEEN ? AND ? ORDER BY seq"));
  PONDER_TRY(auto last, db_->prepare("SELECT id FROM last_events WHERE session = ?"));
  PONDER_TRY(auto link, db_->prepare("SELECT session, seq, before FROM events WHERE id = ?"));
  PONDER_TRY(auto search, db_->prepare("SELECT id FROM events WHERE session = ? AND "
                                       "seq BETWEEN ? AND ? ORDER BY seq, id"));
  PONDER_TRY(auto event, db_->prepare("SELECT seq, unix_ms, type, version, payload "
                                      "FROM events WHERE id = ?"));
  statements_ = std::make_shared<Statements>(Statements{
      std::move(old), std::move(last), std::move(link), std::move(search), std::move(event)});
  return {};
}

Status SqliteEventRows::read(const Stretch& stretch, const Each& each) {
  PONDER_CHECK(prepare());
  PONDER_TRY(const std::int64_t due, read_old(stretch, each));
  PONDER_TRY(auto ids, chained(stretch, due));
  if (!ids) {
    PONDER_TRY(ids, searched(stretch));
  }
  for (const std::int64_t id : *ids) {
    PONDER_TRY(auto rows, statements_->event.query(id));
    PONDER_TRY(const bool has_row, rows.next());
    if (has_row) each(event_of(rows));
  }
  return {};
}

Result<std::int64_t> SqliteEventRows::read_old(const Stretch& stretch, const Each& each) {
  PONDER_TRY(auto rows,
             statements_->old.query(stretch.session, stretch.first_seq, stretch.last_seq));
  std::int64_t due = stretch.first_seq;
  while (true) {
    PONDER_TRY(const bool has_row, rows.next());
    if (!has_row) return due;
    const StoredEvent event = event_of(rows);
    due = event.seq + 1;
    each(event);
  }
}

Result<std::optional<std::vector<std::int64_t>>> SqliteEventRows::chained(const Stretch& stretch,
                                                                          std::int64_t due) {
  using Ids = std::optional<std::vector<std::int64_t>>;
  std::int64_t id = 0;
  {
    PONDER_TRY(auto rows, statements_->last.query(stretch.session));
    PONDER_TRY(const bool has_row, rows.next());
    // A session that is not listed may have lost this as well.
    if (!has_row) return stretch.is_there ? Ids(std::in_place) : Ids();
    id = rows.int64(0);
  }
  std::vector<std::int64_t> out;
  std::optional<std::int64_t> seq;
  do {
    PONDER_TRY(auto rows, statements_->link.query(id));
    PONDER_TRY(const bool has_row, rows.next());
    const bool is_next =
        has_row && rows.text(0) == stretch.session && (!seq || rows.int64(1) == *seq - 1);
    if (!is_next) return Ids();
    seq = rows.int64(1);
    if (*seq >= stretch.first_seq && *seq <= stretch.last_seq) out.push_back(id);
    id = rows.int64(2);
  } while (*seq > due);
  std::reverse(out.begin(), out.end());
  return Ids(std::move(out));
}

Result<std::vector<std::int64_t>> SqliteEventRows::searched(const Stretch& stretch) {
  PONDER_TRY(auto rows,
             statements_->search.query(stretch.session, stretch.first_seq, stretch.last_seq));
  std::vector<std::int64_t> out;
  while (true) {
    PONDER_TRY(const bool has_row, rows.next());
    if (!has_row) return out;
    out.push_back(rows.int64(0));
  }
}

Result<Tail> read_tail(sqlite::Connection& db, const std::string& session) {
  PONDER_TRY(auto queries, prepare_last(db));
  Tail out;
  PONDER_TRY(const bool has_own, find_last(queries, session, [&](const sqlite::Rows& row) {
               out = Tail{row.int64(0), row.int64(1), row.int64(3)};
             }));
  if (has_own) return out;
  PONDER_TRY(auto shared, db.prepare("SELECT parent_seq FROM sessions WHERE id = ?"));
  PONDER_TRY(auto rows, shared.query(session));
  PONDER_TRY(const bool has_row, rows.next());
  if (has_row) out.seq = rows.int64(0);
  return out;
}

Status chain_again(sqlite::Connection& db, const std::string& session) {
  PONDER_TRY(auto link, db.prepare(R"sql(
    UPDATE events SET before = chained.before FROM
      (SELECT id, lag(id, 1, 0) OVER (ORDER BY seq, id) AS before FROM events
       WHERE session = ?1) AS chained
    WHERE events.id = chained.id AND events.before <> chained.before)sql"));
  PONDER_CHECK(link.run(session));
  PONDER_TRY(auto forget, db.prepare("DELETE FROM last_events WHERE session = ?1"));
  PONDER_CHECK(forget.run(session));
  PONDER_TRY(auto last, db.prepare("INSERT INTO last_events SELECT session, id FROM events WHERE "
                                   "session = ?1 ORDER BY seq DESC, id DESC LIMIT 1"));
  return last.run(session);
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
  PONDER_TRY(auto last, prepare_last(db));
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
    const auto found = find_last(last, summary.id.value, [&](const sqlite::Rows& row) {
      summary.events = row.int64(0);
      summary.updated_unix_ms = row.int64(1);
      summary.last_type = row.text(2);
    });
    if (!found) summary.last_type = "damaged";
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
                                    "ORDER BY id LIMIT 4"));
  PONDER_TRY(auto rows, query.query(prefix));
  PONDER_TRY(const bool has_row, rows.next());
  if (!has_row) return fail(Errc::not_found, fmt::format("no session \"{}\"", prefix));
  SessionId found{std::string(rows.text(0))};
  if (found.value == prefix) return found;
  std::vector<std::string> others;
  while (true) {
    PONDER_TRY(const bool has_other, rows.next());
    if (!has_other) break;
    others.emplace_back(rows.text(0));
  }
  if (!others.empty()) {
    others.insert(others.begin(), found.value);
    return ambiguous_prefix(prefix, others);
  }
  return found;
}

}  // namespace ponder::runtime::rows
