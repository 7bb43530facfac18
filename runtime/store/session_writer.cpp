#include "runtime/store/session_writer.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "runtime/session/event_json.h"
#include "runtime/store/session_rows.h"
#include "runtime/text.h"

namespace ponder::runtime {
namespace {

// For the end of the log and the hundred pages on which ten thousand sessions have their last
// event. No more, for SQLite (3.40) walks through the whole cache at the end of each transaction
// that has split a page.
constexpr int kCacheKibMax = 2 * 1024;

constexpr std::size_t kTailsMax = 100'000;  // 10 MiB

// A disk that takes longer is waited for where nobody else has to wait.
constexpr std::chrono::milliseconds kQuick{10};

tl::unexpected<Error> there_already(const SessionId& session) {
  return fail(Errc::invalid_argument, fmt::format("session {} is there already", session.value));
}

}  // namespace

/// What every append runs, compiled once.
struct SessionWriter::Statements {
  sqlite::Statement data_version;
  sqlite::Statement insert_event;
  sqlite::Statement set_last;
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
      busy_ms_max_(options.busy_ms_max),
      busy_outcome_ms_max_(std::max(options.busy_ms_max, options.busy_outcome_ms_max)) {}

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
  PONDER_TRY(auto data_version, db.prepare("PRAGMA data_version"));
  PONDER_TRY(auto insert_event,
             db.prepare("INSERT INTO events (session, seq, unix_ms, type, version, before, "
                        "payload) VALUES (?, ?, ?, ?, ?, ?, ?)"));
  PONDER_TRY(auto set_last, db.prepare("INSERT INTO last_events VALUES (?, ?) "
                                       "ON CONFLICT (session) DO UPDATE SET id = excluded.id"));
  PONDER_TRY(auto insert_session,
             db.prepare("INSERT INTO sessions (id, created_ms, updated_ms, workflow, model) "
                        "VALUES (?, ?, ?, ?, ?)"));
  PONDER_TRY(auto insert_blob,
             db.prepare("INSERT OR IGNORE INTO blobs (hash, text) VALUES (?, ?)"));
  PONDER_TRY(auto set_title,
             db.prepare("UPDATE sessions SET title = ? WHERE id = ? AND title = ''"));
  PONDER_TRY(auto touch, db.prepare("UPDATE sessions SET updated_ms = ? WHERE id = ?"));
  auto statements = std::make_unique<Statements>(Statements{
      std::move(data_version), std::move(insert_event), std::move(set_last),
      std::move(insert_session), std::move(insert_blob), std::move(set_title), std::move(touch)});
  return SessionWriter(std::move(db), std::move(statements), clock, options);
}

void SessionWriter::write(std::span<PendingAppend* const> group) {
  const bool is_outcome =
      std::ranges::any_of(group, [](const PendingAppend* append) { return has_outcome(*append); });
  auto transaction = begin(group, is_outcome ? busy_outcome_ms_max_ : busy_ms_max_);
  const Status status =
      transaction ? write_in(std::move(*transaction), group) : tl::unexpected(transaction.error());
  if (status) return;
  tails_.clear();
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
  auto transaction = begin(group, std::chrono::milliseconds(0));
  if (!transaction) return false;
  const Status status = write_in(std::move(*transaction), group);
  if (!status) {
    tails_.clear();
    append.status.emplace(status);
  }
  return true;
}

void SessionWriter::checkpoint() { (void)db_.checkpoint(); }

Result<sqlite::Transaction> SessionWriter::begin(std::span<PendingAppend* const> group,
                                                 std::chrono::milliseconds patience) {
  PONDER_CHECK(
      db_.set_durability(must_sync(group) ? sqlite::Durability::full : sqlite::Durability::normal));
  return sqlite::Transaction::begin_within(db_, patience);
}

bool SessionWriter::must_sync(std::span<PendingAppend* const> group) const {
  return synchronous_ == Synchronous::full ||
         std::any_of(group.begin(), group.end(),
                     [](const PendingAppend* append) { return has_intent_of_effect(*append); });
}

Status SessionWriter::write_in(sqlite::Transaction transaction,
                               std::span<PendingAppend* const> group) {
  PONDER_CHECK(look_around());
  for (PendingAppend* append : group) {
    PONDER_TRY(const rows::Tail tail, tail_of(append->session.value));
    append->status.emplace(follow_on(tail, *append));
    append->is_conflict = !*append->status;
    if (*append->status) {
      PONDER_CHECK(write_one(*append, tail));
    }
  }
  const auto begun = clock_->now();
  PONDER_CHECK(transaction.commit());
  ++commits_;
  if (must_sync(group)) synced_in_ = clock_->now() - begun;
  return {};
}

Status SessionWriter::look_around() {
  PONDER_TRY(auto rows, statements_->data_version.query());
  PONDER_TRY(const bool has_row, rows.next());
  const std::int64_t version = has_row ? rows.int64(0) : 0;
  if (version != data_version_ || tails_.size() > kTailsMax) tails_.clear();
  data_version_ = version;
  return {};
}

Status SessionWriter::follow_on(const rows::Tail& tail, const PendingAppend& append) {
  const std::int64_t last_seq = append.records.front().seq - 1;
  if (tail.seq == last_seq) return {};
  if (last_seq == 0) return there_already(append.session);
  return fail(Errc::unavailable, fmt::format("session {} has {} events where {} were expected: "
                                             "another program works on it",
                                             append.session.value, tail.seq, last_seq));
}

Status SessionWriter::write_one(PendingAppend& append, rows::Tail tail) {
  const std::string& session = append.session.value;
  for (Record& record : append.records) record.unix_ms = clock_->unix_ms();
  const auto last_ms = tail.unix_ms;
  PONDER_CHECK(insert(session, append.records, tail));
  const std::int64_t now_ms = append.records.back().unix_ms;
  const bool is_listed_late = last_ms && *last_ms / rows::kUpdateMs != now_ms / rows::kUpdateMs;
  if (is_listed_late) {
    PONDER_CHECK(statements_->touch.run(now_ms, session));
  }
  for (const Blob& blob : append.blobs) {
    PONDER_CHECK(statements_->insert_blob.run(blob.hash, blob.text));
  }
  tails_[session] = tail;
  return {};
}

Status SessionWriter::insert(const std::string& session, const std::vector<Record>& records,
                             rows::Tail& tail) {
  for (const Record& record : records) {
    if (const auto* start = std::get_if<SessionStarted>(&record.event)) {
      PONDER_CHECK(insert_session(session, *start, record.unix_ms));
    }
    if (const auto* user = std::get_if<UserMessage>(&record.event)) {
      PONDER_CHECK(statements_->set_title.run(first_line(user->content, kTitleBytesMax), session));
    }
    PONDER_CHECK(statements_->insert_event.run(
        session, record.seq, record.unix_ms, event_type(record.event), event_version(record.event),
        tail.row, event_payload(record.event)));
    tail = {record.seq, record.unix_ms, db_.last_insert_rowid()};
  }
  return statements_->set_last.run(session, tail.row);
}

Result<rows::Tail> SessionWriter::tail_of(const std::string& session) {
  const auto known = tails_.find(session);
  if (known != tails_.end()) return known->second;
  return rows::read_tail(db_, session);
}

Status SessionWriter::fork(const SessionId& id, const SessionId& parent,
                           std::optional<std::int64_t> at) {
  PONDER_TRY(auto transaction, sqlite::Transaction::begin(db_));
  PONDER_CHECK(insert_fork(id, parent, at));
  return transaction.commit();
}

Status SessionWriter::import(const SessionCopy& session) {
  PONDER_TRY(auto transaction, sqlite::Transaction::begin(db_));
  PONDER_TRY(rows::Tail tail, rows::read_tail(db_, session.id.value));
  if (tail.seq != 0) return there_already(session.id);
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
    PONDER_CHECK(insert(session.id.value, records, tail));
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
  PONDER_TRY(const rows::Tail own, rows::read_tail(db_, id.value));
  if (own.seq != 0) return there_already(id);
  PONDER_TRY(const rows::Tail last, rows::read_tail(db_, parent.value));
  rows::SqliteEventRows rows(db_);
  PONDER_TRY(const ForkPoint point, fork_point(rows, parent.value, last.seq, at));
  PONDER_TRY(auto begin, db_.prepare(R"sql(
    INSERT INTO sessions (id, created_ms, updated_ms, workflow, model, title, parent, parent_seq)
    SELECT ?, ?, ?, workflow, model, title, ?, ? FROM sessions WHERE id = ?)sql"));
  const std::int64_t now_ms = clock_->unix_ms();
  PONDER_CHECK(begin.run(id.value, now_ms, now_ms, point.owner, point.shared, parent.value));
  rows::Tail tail;
  return insert(id.value, {{point.shared + 1, now_ms, SessionForked{point.owner, point.shared}}},
                tail);
}

}  // namespace ponder::runtime
