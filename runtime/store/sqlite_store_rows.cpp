#include <fmt/format.h>

#include <limits>
#include <utility>

#include "base/sqlite/connection.h"
#include "runtime/session/event_json.h"
#include "runtime/store/session_rows.h"
#include "runtime/store/store_rows.h"

namespace ponder::runtime {
namespace {

class SqliteStoreRows final : public StoreRows {
 public:
  explicit SqliteStoreRows(sqlite::Connection db)
      : db_(std::make_unique<sqlite::Connection>(std::move(db))), events_(*db_) {}

  Result<std::optional<Ancestry>> ancestry_of(const std::string& session) override {
    return events_.ancestry_of(session);
  }
  Status read(const Stretch& stretch,
              const std::function<void(const StoredEvent&)>& each) override {
    return events_.read(stretch, each);
  }

  Status check_files() override { return db_->integrity_check(); }
  const char* file_remedy() const override {
    return "nothing is mended in a damaged file: save what can be read with `sqlite3 FILE .recover "
           "| sqlite3 NEW` or, session by session, `ponder sessions export ID`; then set "
           "PONDER_SESSIONS to the new file and run `ponder sessions doctor --mend`";
  }

  Result<std::vector<Session>> sessions() override {
    std::vector<Session> out;
    PONDER_CHECK(each(
        "SELECT id, parent, parent_seq FROM sessions ORDER BY id", [&](const sqlite::Rows& row) {
          out.push_back({std::string(row.text(0)), std::string(row.text(1)), row.int64(2)});
        }));
    return out;
  }
  Result<std::set<Seen>> quarantined() override {
    std::set<Seen> out;
    PONDER_CHECK(each("SELECT session, seq, kind FROM quarantine", [&](const sqlite::Rows& row) {
      out.emplace(row.text(0), row.int64(1), row.text(2));
    }));
    return out;
  }
  Result<std::vector<Place>> orphans() override {
    return places(
        "SELECT session, count(*) FROM all_events WHERE session NOT IN "
        "(SELECT id FROM sessions) GROUP BY session");
  }
  Result<std::vector<Place>> shadowed() override {
    return places(
        "SELECT session, seq FROM all_events JOIN sessions ON id = session "
        "WHERE seq <= parent_seq OR seq < 1");
  }
  Result<std::vector<Place>> miscounted() override {
    return places(
        "SELECT session, max(seq) AS last FROM events GROUP BY session HAVING last IS NOT "
        "(SELECT e.seq FROM last_events AS l JOIN events AS e ON e.id = l.id "
        "WHERE l.session = events.session AND e.session = events.session)");
  }
  Result<std::vector<Place>> cut_off() override {
    return places(
        "SELECT e.session, max(e.seq) FROM last_events AS l JOIN events AS e "
        "ON e.session = l.session WHERE NOT EXISTS (SELECT 1 FROM events WHERE id = l.id) "
        "GROUP BY e.session");
  }
  Result<std::vector<Place>> doubled() override {
    return places("SELECT session, seq FROM all_events GROUP BY session, seq HAVING count(*) > 1");
  }
  Result<std::optional<Record>> first_own(const std::string& session) override {
    std::optional<Record> first;
    const Stretch all{session, 1, std::numeric_limits<std::int64_t>::max()};
    PONDER_CHECK(events_.read(all, [&](const StoredEvent& e) {
      if (!first) first = Record{e.seq, e.unix_ms, read_event(e.type, e.version, e.payload)};
    }));
    return first;
  }
  Result<std::string> blob(const std::string& hash) override { return rows::read_blob(*db_, hash); }

  Status quarantine(const Note& note) override {
    return in_transaction([&] { return copy_to_quarantine(note); });
  }
  Status move_out(const Note& note) override {
    return in_transaction([&]() -> Status {
      PONDER_CHECK(copy_to_quarantine(note));
      for (const char* from : {"events", "events_by_session"}) {
        PONDER_CHECK(run(fmt::format("DELETE FROM {} WHERE session = ? AND seq = ?", from).c_str(),
                         note.session, note.seq));
      }
      return rows::chain_again(*db_, note.session);
    });
  }
  Status list_again(const Listing& it) override {
    return in_transaction([&] {
      return run(
          "INSERT INTO sessions (id, created_ms, updated_ms, workflow, model, title) "
          "VALUES (?, ?, ?, ?, ?, ?)",
          it.id, it.created_ms, it.updated_ms, it.workflow, it.model, it.title);
    });
  }
  Status recount(const std::string& session) override {
    return in_transaction([&] { return rows::chain_again(*db_, session); });
  }
  Status set_parent(const Session& session) override {
    return in_transaction([&] {
      return run("UPDATE sessions SET parent = ?, parent_seq = ? WHERE id = ?", session.parent,
                 session.parent_seq, session.id);
    });
  }
  Status replace_blob(const std::string& hash, const std::optional<std::string>& text,
                      const std::optional<std::string>& stored, const Note& note) override {
    return in_transaction([&]() -> Status {
      if (stored) {
        PONDER_CHECK(
            run("INSERT OR IGNORE INTO quarantine (session, seq, kind, found_ms, problem, "
                "payload) VALUES (?, ?, ?, ?, ?, ?)",
                note.session, note.seq, note.kind, note.found_ms, note.problem, *stored));
        PONDER_CHECK(run("DELETE FROM blobs WHERE hash = ?", hash));
      }
      if (!text) return {};
      return run("INSERT INTO blobs (hash, text) VALUES (?, ?)", hash, *text);
    });
  }

 private:
  template <class Each>
  Status each(const char* sql, Each each_row) {
    PONDER_TRY(auto query, db_->prepare(sql));
    PONDER_TRY(auto rows, query.query());
    while (true) {
      PONDER_TRY(const bool has_row, rows.next());
      if (!has_row) return {};
      each_row(rows);
    }
  }
  Result<std::vector<Place>> places(const char* sql) {
    std::vector<Place> out;
    PONDER_CHECK(
        each(sql, [&](const sqlite::Rows& row) { out.emplace_back(row.text(0), row.int64(1)); }));
    return out;
  }
  template <class... Args>
  Status run(const char* sql, const Args&... args) {
    PONDER_TRY(auto statement, db_->prepare(sql));
    return statement.run(args...);
  }
  template <class Work>
  Status in_transaction(Work work) {
    PONDER_TRY(auto transaction, sqlite::Transaction::begin(*db_));
    PONDER_CHECK(work());
    return transaction.commit();
  }
  Status copy_to_quarantine(const Note& note) {
    PONDER_CHECK(
        run("INSERT OR IGNORE INTO quarantine (session, seq, kind, found_ms, problem) "
            "VALUES (?, ?, ?, ?, ?)",
            note.session, note.seq, note.kind, note.found_ms, note.problem));
    return run(R"sql(
      UPDATE quarantine SET (unix_ms, type, version, payload) =
        (SELECT unix_ms, type, version, payload FROM all_events WHERE session = ?1 AND seq = ?2)
      WHERE session = ?1 AND seq = ?2 AND kind = ?3
        AND EXISTS (SELECT 1 FROM all_events WHERE session = ?1 AND seq = ?2))sql",
               note.session, note.seq, note.kind);
  }

  std::unique_ptr<sqlite::Connection> db_;  // in a place of its own: events_ refers to it
  rows::SqliteEventRows events_;
};

}  // namespace

Result<std::unique_ptr<StoreRows>> open_sqlite_rows(const std::filesystem::path& file) {
  auto db = sqlite::Connection::open(file.string());
  if (!db) return rows::explain(file, db.error());
  const Status migrated = db->migrate(rows::migrations());
  if (!migrated) return rows::explain(file, migrated.error());
  return std::unique_ptr<StoreRows>(std::make_unique<SqliteStoreRows>(std::move(*db)));
}

}  // namespace ponder::runtime
