#include "runtime/store/store_rows.h"

#include <utility>

#include "base/postgres/connection.h"
#include "runtime/session/event_json.h"
#include "runtime/store/postgres/link.h"
#include "runtime/store/postgres/reader.h"
#include "runtime/store/postgres/schema.h"

namespace ponder::runtime {
namespace pg {
namespace {

using postgres::Value;

/// The place of a session's last event, as its rows have it.
constexpr const char* kLastSeq =
    "greatest(parent_seq, coalesce((SELECT max(seq) FROM events WHERE session = id), 0))";

class PostgresStoreRows final : public StoreRows {
 public:
  explicit PostgresStoreRows(postgres::Connection db)
      : db_(std::make_unique<postgres::Connection>(std::move(db))), events_(*db_) {}

  Result<std::optional<Ancestry>> ancestry_of(const std::string& session) override {
    return events_.ancestry_of(session);
  }
  Status read(const Stretch& stretch,
              const std::function<void(const StoredEvent&)>& each) override {
    return events_.read(stretch, each);
  }

  Status check_files() override { return {}; }  // the server's own: pg_amcheck, checksums
  const char* file_remedy() const override {
    return "the server cannot read its own files: see its log, and restore a backup; what opens "
           "can be saved with `ponder sessions export ID`";
  }

  Result<std::vector<Session>> sessions() override {
    PONDER_TRY(const auto rows,
               db_->query("SELECT id, parent, parent_seq FROM sessions ORDER BY id"));
    std::vector<Session> out;
    out.reserve(rows.size());
    for (std::size_t i = 0; i < rows.size(); ++i) {
      out.push_back(
          {std::string(rows.text(i, 0)), std::string(rows.text(i, 1)), rows.number(i, 2)});
    }
    return out;
  }
  Result<std::set<Seen>> quarantined() override {
    PONDER_TRY(const auto rows, db_->query("SELECT session, seq, kind FROM quarantine"));
    std::set<Seen> out;
    for (std::size_t i = 0; i < rows.size(); ++i) {
      out.emplace(rows.text(i, 0), rows.number(i, 1), rows.text(i, 2));
    }
    return out;
  }
  Result<std::vector<Place>> orphans() override {
    return places(
        "SELECT session, count(*) FROM events "
        "WHERE NOT EXISTS (SELECT 1 FROM sessions WHERE id = session) GROUP BY session");
  }
  Result<std::vector<Place>> shadowed() override {
    return places(
        "SELECT session, seq FROM events JOIN sessions ON id = session "
        "WHERE seq <= parent_seq OR seq < 1");
  }
  Result<std::vector<Place>> miscounted() override {
    // One statement sees one instant: a session at work is not taken for a miscounted one.
    return places(std::string("SELECT id, ") + kLastSeq + " FROM sessions WHERE last_seq <> " +
                  kLastSeq);
  }
  Result<std::vector<Place>> cut_off() override {
    return places(std::string("SELECT id, ") + kLastSeq + " FROM sessions WHERE last_seq > " +
                  kLastSeq);
  }
  /// The table's key has place for one.
  Result<std::vector<Place>> doubled() override { return std::vector<Place>(); }
  Result<std::optional<Record>> first_own(const std::string& session) override {
    PONDER_TRY(const auto rows, db_->query(R"sql(
      SELECT seq, unix_ms, type, version, payload FROM events
      WHERE session = $1 AND seq > 0 ORDER BY seq LIMIT 1)sql",
                                           {session}));
    if (rows.size() == 0) return std::optional<Record>();
    return std::optional(
        Record{rows.number(0, 0), rows.number(0, 1),
               read_event(rows.text(0, 2), static_cast<int>(rows.number(0, 3)), rows.text(0, 4))});
  }
  Result<std::string> blob(const std::string& hash) override { return read_blob(*db_, hash); }

  Status quarantine(const Note& note) override { return run(kCopy, values_of(note)); }
  Status move_out(const Note& note) override {
    return in_transaction([&]() -> Status {
      PONDER_CHECK(run(kCopy, values_of(note)));
      PONDER_CHECK(
          run("DELETE FROM events WHERE session = $1 AND seq = $2", {note.session, note.seq}));
      return count_again(note.session);
    });
  }
  Status list_again(const Listing& it) override {
    return in_transaction([&]() -> Status {
      PONDER_CHECK(
          run("INSERT INTO sessions (id, created_ms, updated_ms, workflow, model, title, "
              "last_seq) VALUES ($1, $2, $3, $4, $5, $6, 0)",
              {it.id, it.created_ms, it.updated_ms, it.workflow, it.model, it.title}));
      return count_again(it.id);
    });
  }
  Status recount(const std::string& session) override { return count_again(session); }
  Status set_parent(const Session& session) override {
    return in_transaction([&]() -> Status {
      PONDER_CHECK(run("UPDATE sessions SET parent = $2, parent_seq = $3 WHERE id = $1",
                       {session.id, session.parent, session.parent_seq}));
      return count_again(session.id);
    });
  }
  Status replace_blob(const std::string& hash, const std::optional<std::string>& text,
                      const std::optional<std::string>& stored, const Note& note) override {
    return in_transaction([&]() -> Status {
      if (stored) {
        std::vector<Value> values = values_of(note);
        values.push_back(Value::bytes(*stored));
        PONDER_CHECK(
            run("INSERT INTO quarantine (session, seq, kind, found_ms, problem, payload) "
                "VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT DO NOTHING",
                values));
        PONDER_CHECK(run("DELETE FROM blobs WHERE hash = $1", {hash}));
      }
      if (!text) return {};
      return run("INSERT INTO blobs (hash, text) VALUES ($1, $2)", {hash, Value::bytes(*text)});
    });
  }

 private:
  static constexpr const char* kCopy = R"sql(
    INSERT INTO quarantine (session, seq, kind, found_ms, problem, unix_ms, type, version, payload)
    SELECT $1, $2, $3, $4, $5, coalesce(e.unix_ms, 0), coalesce(e.type, ''),
           coalesce(e.version, 0), coalesce(e.payload, '')
    FROM (VALUES (1)) AS one LEFT JOIN events e ON e.session = $1 AND e.seq = $2
    ON CONFLICT DO NOTHING)sql";

  static std::vector<Value> values_of(const Note& note) {
    return {note.session, note.seq, note.kind, note.found_ms, note.problem};
  }
  Status run(const std::string& sql, const std::vector<Value>& values) {
    PONDER_CHECK(db_->query(sql, values));
    return {};
  }
  Status count_again(const std::string& session) {
    return run(std::string("UPDATE sessions SET last_seq = ") + kLastSeq + " WHERE id = $1",
               {session});
  }
  Result<std::vector<Place>> places(const std::string& sql) {
    PONDER_TRY(const auto rows, db_->query(sql));
    std::vector<Place> out;
    out.reserve(rows.size());
    for (std::size_t i = 0; i < rows.size(); ++i)
      out.emplace_back(rows.text(i, 0), rows.number(i, 1));
    return out;
  }
  template <class Work>
  Status in_transaction(Work work) {
    PONDER_CHECK(db_->exec("BEGIN"));
    Status done = work();
    if (done) return db_->exec("COMMIT");
    const Status undone = db_->exec("ROLLBACK");
    (void)undone;  // the first error says more
    return done;
  }

  std::unique_ptr<postgres::Connection> db_;  // in a place of its own: events_ refers to it
  PostgresEventRows events_;
};

}  // namespace
}  // namespace pg

Result<std::unique_ptr<StoreRows>> open_postgres_rows(const std::string& address) {
  pg::Peer peer;
  peer.address = address;
  peer.owner = "ponder doctor";
  PONDER_TRY(auto db, pg::connect(peer));
  const Status migrated = pg::migrate(db);
  if (!migrated) return pg::explain(peer, migrated.error());
  return std::unique_ptr<StoreRows>(std::make_unique<pg::PostgresStoreRows>(std::move(db)));
}

}  // namespace ponder::runtime
