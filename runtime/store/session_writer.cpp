#include "runtime/store/session_writer.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "runtime/session/event_json.h"
#include "runtime/store/session_rows.h"
#include "runtime/text.h"

namespace ponder::runtime {
namespace {

// For the inner pages of a large file, and what a group of appends touches. Not for the page that
// each of ten thousand sessions comes back to: reading one takes a few microseconds, and SQLite
// (3.40) walks through the whole cache at the end of each transaction that has split a page.
constexpr int kCacheKibMax = 8 * 1024;

// A disk that takes longer is waited for where nobody else has to wait.
constexpr std::chrono::milliseconds kQuick{10};

}  // namespace

/// What every append runs, compiled once.
struct SessionWriter::Statements {
  sqlite::Statement last_event;
  sqlite::Statement last_seq;
  sqlite::Statement insert_event;
  sqlite::Statement insert_session;
  sqlite::Statement insert_blob;
  sqlite::Statement set_title;
  sqlite::Statement touch;
};

SessionWriter::SessionWriter(sqlite::Connection db, std::unique_ptr<Statements> statements,
                             const Clock& clock, const StoreOptions& options)
    : db_(std::move(db)),
      statements_(std::move(statements)),
      clock_(&clock),
      synchronous_(options.synchronous),
      wal_pages_checkpoint_(options.wal_pages_checkpoint) {}

SessionWriter::SessionWriter(SessionWriter&&) noexcept = default;
SessionWriter::~SessionWriter() = default;

Result<SessionWriter> SessionWriter::open(const std::string& file, const Clock& clock,
                                          const StoreOptions& options) {
  sqlite::OpenOptions how;
  how.busy_timeout = options.busy_ms_max;
  how.wal_pages_checkpoint = 0;
  how.cache_kib_max = kCacheKibMax;
  PONDER_TRY(auto db, sqlite::Connection::open(file, how));
  PONDER_CHECK(db.migrate(rows::migrations()));
  PONDER_TRY(auto last_event, db.prepare("SELECT seq, unix_ms FROM events WHERE session = ? "
                                         "ORDER BY seq DESC LIMIT 1"));
  PONDER_TRY(auto last_seq, db.prepare(rows::kSelectLastSeq));
  PONDER_TRY(auto insert_event, db.prepare("INSERT INTO events VALUES (?, ?, ?, ?, ?, ?)"));
  PONDER_TRY(auto insert_session,
             db.prepare("INSERT INTO sessions (id, created_ms, updated_ms, workflow, model) "
                        "VALUES (?, ?, ?, ?, ?)"));
  PONDER_TRY(auto insert_blob,
             db.prepare("INSERT OR IGNORE INTO blobs (hash, text) VALUES (?, ?)"));
  PONDER_TRY(auto set_title,
             db.prepare("UPDATE sessions SET title = ? WHERE id = ? AND title = ''"));
  PONDER_TRY(auto touch, db.prepare("UPDATE sessions SET updated_ms = ? WHERE id = ?"));
  auto statements = std::make_unique<Statements>(Statements{
      std::move(last_event), std::move(last_seq), std::move(insert_event),
      std::move(insert_session), std::move(insert_blob), std::move(set_title), std::move(touch)});
  return SessionWriter(std::move(db), std::move(statements), clock, options);
}

void SessionWriter::write(std::span<PendingAppend* const> group) {
  auto transaction = begin(group, sqlite::Transaction::begin);
  const Status status =
      transaction ? write_in(std::move(*transaction), group) : tl::unexpected(transaction.error());
  if (status) return;
  for (PendingAppend* append : group) {
    if (group.size() == 1 || !transaction) {
      append->status.emplace(status);
    } else {
      // One that is too large for the disk must not fail the others.
      write(std::span(&append, 1));
    }
  }
}

bool SessionWriter::write_if_quick(PendingAppend& append) {
  PendingAppend* const group[] = {&append};
  if (must_sync(group) && synced_in_ > kQuick) return false;
  auto transaction = begin(group, sqlite::Transaction::try_begin);
  if (!transaction) return false;
  const Status status = write_in(std::move(*transaction), group);
  if (!status) append.status.emplace(status);
  return true;
}

bool SessionWriter::is_checkpoint_due() const { return db_.log_pages() >= wal_pages_checkpoint_; }

void SessionWriter::checkpoint() { (void)db_.checkpoint(); }

Result<sqlite::Transaction> SessionWriter::begin(std::span<PendingAppend* const> group, Begin how) {
  PONDER_CHECK(
      db_.set_durability(must_sync(group) ? sqlite::Durability::full : sqlite::Durability::normal));
  return how(db_);
}

bool SessionWriter::must_sync(std::span<PendingAppend* const> group) const {
  return synchronous_ == Synchronous::full ||
         std::any_of(group.begin(), group.end(),
                     [](const PendingAppend* append) { return has_intent_of_effect(*append); });
}

Status SessionWriter::write_in(sqlite::Transaction transaction,
                               std::span<PendingAppend* const> group) {
  for (PendingAppend* append : group) {
    PONDER_TRY(const Tail tail, tail_of(append->session.value));
    append->status.emplace(follow_on(tail, *append));
    if (*append->status) {
      PONDER_CHECK(write_one(*append, tail));
    }
  }
  ++commits_;
  const auto begun = clock_->now();
  PONDER_CHECK(transaction.commit());
  if (must_sync(group)) synced_in_ = clock_->now() - begun;
  return {};
}

Status SessionWriter::follow_on(const Tail& tail, const PendingAppend& append) {
  const std::int64_t last_seq = append.records.front().seq - 1;
  if (tail.seq == last_seq) return {};
  return fail(Errc::unavailable, fmt::format("session {} has {} events where {} were expected: "
                                             "another program works on it",
                                             append.session.value, tail.seq, last_seq));
}

Status SessionWriter::write_one(PendingAppend& append, const Tail& tail) {
  const std::string& session = append.session.value;
  for (Record& record : append.records) record.unix_ms = clock_->unix_ms();
  PONDER_CHECK(insert(session, append.records));
  const std::int64_t now_ms = append.records.back().unix_ms;
  const bool is_listed_late =
      tail.unix_ms && *tail.unix_ms / rows::kUpdateMs != now_ms / rows::kUpdateMs;
  if (is_listed_late) {
    PONDER_CHECK(statements_->touch.run(now_ms, session));
  }
  for (const Blob& blob : append.blobs) {
    PONDER_CHECK(statements_->insert_blob.run(blob.hash, blob.text));
  }
  return {};
}

Status SessionWriter::insert(const std::string& session, const std::vector<Record>& records) {
  for (const Record& record : records) {
    if (const auto* start = std::get_if<SessionStarted>(&record.event)) {
      PONDER_CHECK(insert_session(session, *start, record.unix_ms));
    }
    if (const auto* user = std::get_if<UserMessage>(&record.event)) {
      PONDER_CHECK(statements_->set_title.run(first_line(user->content, kTitleBytesMax), session));
    }
    PONDER_CHECK(
        statements_->insert_event.run(session, record.seq, record.unix_ms, event_type(record.event),
                                      event_version(record.event), event_payload(record.event)));
  }
  return {};
}

Result<SessionWriter::Tail> SessionWriter::tail_of(const std::string& session) {
  {
    PONDER_TRY(auto rows, statements_->last_event.query(session));
    PONDER_TRY(const bool has_row, rows.next());
    if (has_row) return Tail{rows.int64(0), rows.int64(1)};
  }
  // A new session, or one that has only what it shares.
  PONDER_TRY(const std::int64_t seq, last_seq_of(session));
  return Tail{seq, std::nullopt};
}

Result<std::int64_t> SessionWriter::last_seq_of(const std::string& session) {
  PONDER_TRY(auto rows, statements_->last_seq.query(session));
  PONDER_TRY(const bool has_row, rows.next());
  return has_row ? rows.int64(0) : 0;
}

Status SessionWriter::fork(const SessionId& id, const SessionId& parent,
                           std::optional<std::int64_t> at) {
  PONDER_TRY(auto transaction, sqlite::Transaction::begin(db_));
  PONDER_CHECK(insert_fork(id, parent, at));
  return transaction.commit();
}

Status SessionWriter::import(const SessionCopy& session) {
  PONDER_TRY(auto transaction, sqlite::Transaction::begin(db_));
  PONDER_TRY(const std::int64_t last_seq, last_seq_of(session.id.value));
  if (last_seq != 0) {
    return fail(Errc::invalid_argument,
                fmt::format("session {} is there already", session.id.value));
  }
  std::vector<Record> records;
  for (const Record& record : session.records) {
    // What is missing is shown by the gap itself.
    if (event_type(record.event) != kMissingType) records.push_back(record);
  }
  const bool begins = !records.empty() && std::holds_alternative<SessionStarted>(records[0].event);
  if (!begins) {
    PONDER_CHECK(insert_session(session.id.value, SessionStarted(), session.records[0].unix_ms));
  }
  if (!records.empty()) {
    PONDER_CHECK(insert(session.id.value, records));
    PONDER_CHECK(statements_->touch.run(records.back().unix_ms, session.id.value));
  }
  for (const Blob& blob : session.blobs) {
    PONDER_CHECK(statements_->insert_blob.run(blob.hash, blob.text));
  }
  return transaction.commit();
}

Status SessionWriter::insert_session(const std::string& id, const SessionStarted& start,
                                     std::int64_t now_ms) {
  return statements_->insert_session.run(id, now_ms, now_ms, start.workflow, start.model);
}

Status SessionWriter::insert_fork(const SessionId& id, const SessionId& parent,
                                  std::optional<std::int64_t> at) {
  PONDER_TRY(const std::int64_t last_seq, last_seq_of(parent.value));
  rows::SqliteEventRows rows(db_);
  PONDER_TRY(const ForkPoint point, fork_point(rows, parent.value, last_seq, at));
  PONDER_TRY(auto begin, db_.prepare(R"sql(
    INSERT INTO sessions (id, created_ms, updated_ms, workflow, model, title, parent, parent_seq)
    SELECT ?, ?, ?, workflow, model, title, ?, ? FROM sessions WHERE id = ?)sql"));
  const std::int64_t now_ms = clock_->unix_ms();
  PONDER_CHECK(begin.run(id.value, now_ms, now_ms, point.owner, point.shared, parent.value));
  return insert(id.value, {{point.shared + 1, now_ms, SessionForked{point.owner, point.shared}}});
}

}  // namespace ponder::runtime
