#include "runtime/store_doctor.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <optional>
#include <set>
#include <span>
#include <tuple>
#include <utility>

#include "base/sqlite/connection.h"
#include "context/budget.h"
#include "runtime/call_gate.h"
#include "runtime/context_keeper.h"
#include "runtime/digest.h"
#include "runtime/event_json.h"
#include "runtime/session_rows.h"
#include "runtime/session_state.h"
#include "runtime/text.h"

namespace ponder::runtime {
namespace {

using State = StoreFault::State;

constexpr const char* kFileRemedy =
    "nothing is mended in a damaged file: save what can be read with `sqlite3 FILE .recover | "
    "sqlite3 NEW` or, session by session, `ponder sessions export ID`; then set PONDER_SESSIONS to "
    "the new file and run `ponder sessions doctor --mend`";

/// What a reader makes of a damage that stays where it is.
const char* way_around(FaultKind kind) {
  switch (kind) {
    case FaultKind::unreadable_event:
      return "it stays in its place as unreadable, and its calls are not fired again";
    case FaultKind::missing_events:
      return "the gap is shown, and its calls are not fired again";
    case FaultKind::lost_outcome:
      return "the model reads the call as interrupted, outcome unknown";
    default:
      return "the log is read as it stands";
  }
}

/// The texts that the cuts of a session took out, made again from its events.
std::map<std::string, std::string> remake_blobs(std::span<const Record> records) {
  std::map<std::string, std::string> out;
  SessionState state;
  for (const Record& record : records) {
    const auto* cut = std::get_if<ContextReduced>(&record.event);
    if (cut != nullptr && context::reduce(state.conversation, cut->reduction)) {
      for (Blob& blob : blobs_of(state, cut->reduction)) out[blob.hash] = std::move(blob.text);
    }
    apply(state, record);
  }
  return out;
}

struct SessionRow {
  std::string id;
  std::string parent;
  std::int64_t parent_seq = 0;
};

class Doctor {
 public:
  Doctor(sqlite::Connection db, const Clock& clock, const DoctorOptions& options)
      : db_(std::move(db)), clock_(&clock), options_(&options), mends_(options.mends) {}

  StoreReport examine() {
    const Status whole = db_.integrity_check();
    if (!whole) file_fault("", whole.error());
    note(read_quarantine());
    note(check_strays());
    auto sessions = read_sessions();
    if (!sessions) {
      file_fault("", sessions.error());
      return std::move(report_);
    }
    for (const SessionRow& row : *sessions) {
      if (!options_->session.empty() && row.id != options_->session) continue;
      ++report_.sessions;
      const Status status = check_session(row);
      if (!status) file_fault(row.id, status.error());
    }
    return std::move(report_);
  }

 private:
  void file_fault(const std::string& session, const Error& error) {
    mends_ = false;
    report_.faults.push_back({FaultKind::damaged_file, State::lasting, session, 0,
                              first_line(clean_utf8(error.message), 400), kFileRemedy});
  }
  void note(const Status& status) {
    if (!status) file_fault("", status.error());
  }
  StoreFault& add(FaultKind kind, State state, const std::string& session, std::int64_t seq,
                  std::string detail, std::string remedy) {
    report_.faults.push_back({kind, state, session, seq, std::move(detail), std::move(remedy)});
    return report_.faults.back();
  }

  Result<std::vector<SessionRow>> read_sessions() {
    PONDER_TRY(auto query, db_.prepare("SELECT id, parent, parent_seq FROM sessions ORDER BY id"));
    PONDER_TRY(auto rows, query.query());
    std::vector<SessionRow> out;
    while (true) {
      PONDER_TRY(const bool has_row, rows.next());
      if (!has_row) return out;
      out.push_back({std::string(rows.text(0)), std::string(rows.text(1)), rows.int64(2)});
    }
  }

  Status read_quarantine() {
    PONDER_TRY(auto query, db_.prepare("SELECT session, seq, kind FROM quarantine"));
    PONDER_TRY(auto rows, query.query());
    while (true) {
      PONDER_TRY(const bool has_row, rows.next());
      if (!has_row) return {};
      seen_.emplace(rows.text(0), rows.int64(1), rows.text(2));
    }
  }

  template <class Work>
  Status in_transaction(Work work) {
    PONDER_TRY(auto transaction, sqlite::Transaction::begin(db_));
    PONDER_CHECK(work());
    return transaction.commit();
  }

  /// Copies the event's row, if there is one, and notes the problem.
  Status quarantine(const std::string& session, std::int64_t seq, FaultKind kind,
                    const std::string& problem) {
    PONDER_TRY(auto note, db_.prepare("INSERT OR IGNORE INTO quarantine (session, seq, kind, "
                                      "found_ms, problem) VALUES (?, ?, ?, ?, ?)"));
    PONDER_CHECK(note.run(session, seq, fault_name(kind), clock_->unix_ms(), problem));
    PONDER_TRY(auto keep, db_.prepare(R"sql(
      UPDATE quarantine SET (unix_ms, type, version, payload) =
        (SELECT unix_ms, type, version, payload FROM events WHERE session = ?1 AND seq = ?2)
      WHERE session = ?1 AND seq = ?2 AND kind = ?3
        AND EXISTS (SELECT 1 FROM events WHERE session = ?1 AND seq = ?2))sql"));
    return keep.run(session, seq, fault_name(kind));
  }

  Status check_strays();
  Status adopt(const std::string& session);
  Status move_out(const std::string& session, std::int64_t seq, const std::string& problem);
  Status check_session(const SessionRow& row);
  Status check_chain(SessionRow& row);
  Status check_own_log(const SessionRow& row, std::span<const Record> records);
  Status check_blobs(const SessionRow& row, std::span<const Record> records);
  Status check_blob(const SessionRow& row, const BlobRef& ref, std::span<const Record> records);
  Status check_sub_agent(const SessionRow& row, std::span<const Record> records);

  sqlite::Connection db_;
  const Clock* clock_;
  const DoctorOptions* options_;
  bool mends_;
  std::set<std::tuple<std::string, std::int64_t, std::string>> seen_;  // session, seq, kind
  StoreReport report_;
};

/// Events of a session that is not listed, and events that stand before those a fork owns.
Status Doctor::check_strays() {
  std::vector<std::pair<std::string, std::int64_t>> orphans;
  std::vector<std::pair<std::string, std::int64_t>> shadowed;
  {
    PONDER_TRY(auto query, db_.prepare("SELECT session, count(*) FROM events WHERE session NOT IN "
                                       "(SELECT id FROM sessions) GROUP BY session"));
    PONDER_TRY(auto rows, query.query());
    while (true) {
      PONDER_TRY(const bool has_row, rows.next());
      if (!has_row) break;
      orphans.emplace_back(rows.text(0), rows.int64(1));
    }
    PONDER_TRY(auto low,
               db_.prepare("SELECT session, seq FROM events JOIN sessions ON id = session "
                           "WHERE seq <= parent_seq OR seq < 1"));
    PONDER_TRY(auto low_rows, low.query());
    while (true) {
      PONDER_TRY(const bool has_row, low_rows.next());
      if (!has_row) break;
      shadowed.emplace_back(low_rows.text(0), low_rows.int64(1));
    }
  }
  for (const auto& [session, events] : orphans) {
    auto& fault = add(FaultKind::stray_events, State::found, session, 0,
                      fmt::format("{} events of a session that is not listed", events),
                      "--mend lists it again");
    if (!mends_) continue;
    PONDER_CHECK(adopt(session));
    fault.state = State::mended;
    fault.remedy = "it is listed again";
  }
  for (const auto& [session, seq] : shadowed) {
    const std::string problem = "the event stands where the history is another session's";
    auto& fault = add(FaultKind::stray_events, State::found, session, seq, problem,
                      "--mend moves it to the quarantine");
    if (!mends_) continue;
    PONDER_CHECK(move_out(session, seq, problem));
    fault.state = State::quarantined;
    fault.remedy = "it was moved there";
  }
  return {};
}

Status Doctor::adopt(const std::string& session) {
  PONDER_TRY(const auto records, rows::read_records(db_, session));
  SessionStarted start;
  std::string title;
  for (const Record& record : records) {
    if (const auto* e = std::get_if<SessionStarted>(&record.event)) start = *e;
    const auto* user = std::get_if<UserMessage>(&record.event);
    if (user != nullptr && title.empty()) title = first_line(user->content, rows::kTitleBytesMax);
  }
  return in_transaction([&]() -> Status {
    PONDER_TRY(auto insert, db_.prepare("INSERT INTO sessions (id, created_ms, updated_ms, "
                                        "workflow, model, title) VALUES (?, ?, ?, ?, ?, ?)"));
    return insert.run(session, records.front().unix_ms, records.back().unix_ms, start.workflow,
                      start.model, title);
  });
}

Status Doctor::move_out(const std::string& session, std::int64_t seq, const std::string& problem) {
  return in_transaction([&]() -> Status {
    PONDER_CHECK(quarantine(session, seq, FaultKind::stray_events, problem));
    PONDER_TRY(auto remove, db_.prepare("DELETE FROM events WHERE session = ? AND seq = ?"));
    return remove.run(session, seq);
  });
}

Status Doctor::check_session(const SessionRow& listed) {
  SessionRow row = listed;
  PONDER_CHECK(check_chain(row));
  auto records = rows::read_records(db_, row.id);
  if (!records && records.error().code == Errc::corrupt) {
    add(FaultKind::wrong_chain, State::lasting, row.id, 0, records.error().message,
        "import the session again from an export");
    return {};
  }
  PONDER_CHECK(records);
  const auto own = std::count_if(records->begin(), records->end(),
                                 [&](const Record& record) { return record.seq > row.parent_seq; });
  report_.events += static_cast<std::uint64_t>(own);
  PONDER_CHECK(check_own_log(row, *records));
  PONDER_CHECK(check_blobs(row, *records));
  return check_sub_agent(row, *records);
}

/// A sub-agent goes on with its parent's call; where that is over, nobody else ends its turn.
Status Doctor::check_sub_agent(const SessionRow& row, std::span<const Record> records) {
  const SessionState state = fold(records);
  const bool is_waited_for = state.task && !state.task->parent.empty();
  if (!is_waited_for || !state.is_turn_open) return {};
  PONDER_TRY(const auto parent_records, rows::read_records(db_, state.task->parent));
  const SessionState parent = fold(parent_records);
  const bool is_call_open = parent.has_open_calls() &&
                            parent.origins.back() == state.task->completion_seq &&
                            state.task->call_index < parent.calls.size() &&
                            !parent.calls[state.task->call_index].finished;
  if (is_call_open) return {};
  add(FaultKind::orphaned_sub_agent, State::lasting, row.id, state.last_seq,
      fmt::format("its turn is open, and the call of {} that it works for is not",
                  state.task->parent),
      fmt::format("`ponder sessions doctor {} --mend` closes the turn", row.id));
  return {};
}

/// The reference to a parent is an index of what the fork's first own event says.
Status Doctor::check_chain(SessionRow& row) {
  PONDER_TRY(auto query, db_.prepare("SELECT seq, type, version, payload FROM events "
                                     "WHERE session = ? AND seq > 0 ORDER BY seq LIMIT 1"));
  std::optional<SessionForked> fork;
  {
    PONDER_TRY(auto rows, query.query(row.id));
    PONDER_TRY(const bool has_row, rows.next());
    if (has_row) {
      const Event first = read_event(rows.text(1), static_cast<int>(rows.int64(2)), rows.text(3));
      const auto* forked = std::get_if<SessionForked>(&first);
      // Where a flat copy of a fork begins with session_started, the fork is history.
      if (forked != nullptr && rows.int64(0) == forked->parent_seq + 1) fork = *forked;
    }
  }
  if (fork && (fork->parent != row.parent || fork->parent_seq != row.parent_seq)) {
    auto& fault = add(FaultKind::wrong_chain, State::found, row.id, fork->parent_seq + 1,
                      fmt::format("it is listed as a fork of \"{}\" at {}, and was forked from {} "
                                  "at {}",
                                  row.parent, row.parent_seq, fork->parent, fork->parent_seq),
                      "--mend follows the log");
    if (!mends_) return {};
    PONDER_CHECK(in_transaction([&]() -> Status {
      PONDER_TRY(auto update,
                 db_.prepare("UPDATE sessions SET parent = ?, parent_seq = ? WHERE id = ?"));
      return update.run(fork->parent, fork->parent_seq, row.id);
    }));
    row.parent = fork->parent;
    row.parent_seq = fork->parent_seq;
    fault.state = State::mended;
    fault.remedy = "it is listed as the log says";
  }
  return {};
}

Status Doctor::check_own_log(const SessionRow& row, std::span<const Record> records) {
  for (const LogFault& found : check_log(records)) {
    if (found.seq <= row.parent_seq) {
      // The owner's faults are reported with the owner; what it does not have shows only here.
      if (found.kind != FaultKind::missing_events) continue;
      add(FaultKind::wrong_chain, State::lasting, row.id, found.seq,
          fmt::format("of the history that it shares with {}: {}", row.parent, found.detail),
          "import the parent again from an export");
      continue;
    }
    if (found.kind == FaultKind::orphaned_intent) {
      add(found.kind, State::lasting, row.id, found.seq, found.detail,
          fmt::format("`ponder sessions resume {0}` goes on with it; `ponder sessions doctor {0} "
                      "--mend` closes the turn",
                      row.id));
      continue;
    }
    if (found.kind == FaultKind::unknown_event) {
      add(found.kind, State::lasting, row.id, found.seq, found.detail, "use a newer ponder");
      continue;
    }
    auto& fault = add(found.kind, State::found, row.id, found.seq, found.detail,
                      "--mend keeps it aside and notes it");
    const bool is_seen = seen_.contains({row.id, found.seq, fault_name(found.kind)});
    if (!is_seen && !mends_) continue;
    if (!is_seen) {
      PONDER_CHECK(
          in_transaction([&] { return quarantine(row.id, found.seq, found.kind, found.detail); }));
    }
    fault.state = State::quarantined;
    fault.remedy = way_around(found.kind);
  }
  return {};
}

Status Doctor::check_blobs(const SessionRow& row, std::span<const Record> records) {
  for (const BlobRef& ref : fold(records).blobs) {
    PONDER_CHECK(check_blob(row, ref, records));
  }
  return {};
}

Status Doctor::check_blob(const SessionRow& row, const BlobRef& ref,
                          std::span<const Record> records) {
  const auto stored = rows::read_blob(db_, ref.hash);
  if (!stored && stored.error().code != Errc::not_found) return tl::unexpected(stored.error());
  if (stored && sha256_hex(*stored) == ref.hash) return {};
  const FaultKind kind = stored ? FaultKind::damaged_blob : FaultKind::missing_blob;
  const auto remade = remake_blobs(records);
  const auto found = remade.find(ref.hash);
  const bool can_mend = found != remade.end();
  auto& fault =
      add(kind, can_mend || stored ? State::found : State::lasting, row.id, 0,
          fmt::format("the text {} ({}, {} bytes)", ref.hash, ref.title, ref.bytes),
          can_mend ? "--mend makes it again from the log" : "reading it back says that it is gone");
  if (!mends_ || (!can_mend && !stored)) return {};
  PONDER_CHECK(in_transaction([&]() -> Status {
    if (stored) {
      PONDER_TRY(auto keep, db_.prepare("INSERT OR IGNORE INTO quarantine (session, seq, kind, "
                                        "found_ms, problem, payload) VALUES (?, 0, ?, ?, ?, ?)"));
      PONDER_CHECK(keep.run(row.id, fmt::format("{} {}", fault_name(kind), ref.hash),
                            clock_->unix_ms(), "the text is not what its hash says", *stored));
      PONDER_TRY(auto remove, db_.prepare("DELETE FROM blobs WHERE hash = ?"));
      PONDER_CHECK(remove.run(ref.hash));
    }
    if (!can_mend) return {};
    PONDER_TRY(auto insert, db_.prepare("INSERT INTO blobs (hash, text) VALUES (?, ?)"));
    return insert.run(ref.hash, found->second);
  }));
  fault.state = can_mend ? State::mended : State::quarantined;
  fault.remedy =
      can_mend ? "it was made again from the log" : "reading it back says that it is gone";
  return {};
}

}  // namespace

const char* state_name(StoreFault::State state) noexcept {
  switch (state) {
    case State::found:
      return "found";
    case State::mended:
      return "mended";
    case State::quarantined:
      return "quarantined";
    case State::lasting:
      return "lasting";
  }
  return "unknown";
}

Result<StoreReport> examine_store(const std::filesystem::path& file, const Clock& clock,
                                  const DoctorOptions& options) {
  auto db = sqlite::Connection::open(file.string());
  if (!db) return rows::explain(file, db.error());
  const Status migrated = db->migrate(rows::migrations());
  if (!migrated) return rows::explain(file, migrated.error());
  return Doctor(std::move(*db), clock, options).examine();
}

boost::asio::awaitable<Result<std::size_t>> close_open_turn(SessionStore& store, SessionId id) {
  const auto records = store.load(id);
  PONDER_CO_CHECK(records);
  const SessionState state = fold(*records);
  if (!state.is_turn_open) co_return std::size_t{0};
  for (const SubAgentState& one : state.sub_agents) {
    if (one.is_finished) continue;
    SessionId child{one.started.child};
    auto below = co_await close_open_turn(store, std::move(child));
    const bool has_begun = below || below.error().code != Errc::not_found;
    if (has_begun && !below) co_return below;
  }
  std::vector<Event> events = interrupt_open_calls(state);
  const std::size_t calls = events.size();
  events.emplace_back(TurnEnded{TurnEnd::cancelled, "closed by ponder sessions doctor"});
  const auto written = co_await store.append(id, state.last_seq, std::move(events));
  PONDER_CO_CHECK(written);
  co_return calls;
}

}  // namespace ponder::runtime
