#include "runtime/store/store_doctor.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <optional>
#include <set>
#include <span>
#include <utility>

#include "base/digest.h"
#include "context/budget.h"
#include "runtime/agent/call_gate.h"
#include "runtime/agent/context_keeper.h"
#include "runtime/agent/sub_agents.h"
#include "runtime/session/event_json.h"
#include "runtime/session/session_state.h"
#include "runtime/store/postgres_session_store.h"
#include "runtime/store/store_rows.h"
#include "runtime/text.h"

namespace ponder::runtime {
namespace {

using State = StoreFault::State;

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

class Doctor {
 public:
  Doctor(StoreRows& rows, const Clock& clock, const DoctorOptions& options)
      : rows_(&rows), clock_(&clock), options_(&options), mends_(options.mends) {}

  StoreReport examine() {
    const Status whole = rows_->check_files();
    if (!whole) file_fault("", whole.error());
    note(read_quarantine());
    note(check_strays());
    note(check_counts());
    auto sessions = rows_->sessions();
    if (!sessions) {
      file_fault("", sessions.error());
      return std::move(report_);
    }
    for (const StoreRows::Session& row : *sessions) {
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
                              first_line(clean_utf8(error.message), 400), rows_->file_remedy()});
  }
  void note(const Status& status) {
    if (!status) file_fault("", status.error());
  }
  StoreFault& add(FaultKind kind, State state, const std::string& session, std::int64_t seq,
                  std::string detail, std::string remedy) {
    report_.faults.push_back({kind, state, session, seq, std::move(detail), std::move(remedy)});
    return report_.faults.back();
  }

  Status read_quarantine() {
    PONDER_TRY(seen_, rows_->quarantined());
    return {};
  }
  StoreRows::Note note_of(const std::string& session, std::int64_t seq, std::string kind,
                          std::string problem) const {
    return {session, seq, std::move(kind), std::move(problem), clock_->unix_ms()};
  }

  Status check_strays();
  Status check_counts();
  Status note_cut(const std::string& session, std::int64_t last_seq);
  Status adopt(const std::string& session);
  Status check_session(const StoreRows::Session& row);
  Status check_chain(StoreRows::Session& row);
  Status check_own_log(const StoreRows::Session& row, std::span<const Record> records);
  Status check_blobs(const StoreRows::Session& row, std::span<const Record> records);
  Status check_blob(const StoreRows::Session& row, const BlobRef& ref,
                    std::span<const Record> records);
  Status check_sub_agent(const StoreRows::Session& row, std::span<const Record> records);

  StoreRows* rows_;
  const Clock* clock_;
  const DoctorOptions* options_;
  bool mends_;
  std::set<StoreRows::Seen> seen_;
  StoreReport report_;
};

/// Events of a session that is not listed, and events that stand before those a fork owns.
Status Doctor::check_strays() {
  PONDER_TRY(const auto orphans, rows_->orphans());
  PONDER_TRY(const auto shadowed, rows_->shadowed());
  PONDER_TRY(const auto doubled, rows_->doubled());
  for (const auto& [session, seq] : doubled) {
    add(FaultKind::stray_events, State::lasting, session, seq,
        "two events claim this place, and readers show one",
        fmt::format(
            "`ponder sessions export {0}` keeps those that are shown, and `import --as-new` "
            "makes a whole session of them",
            session));
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
    PONDER_CHECK(
        rows_->move_out(note_of(session, seq, fault_name(FaultKind::stray_events), problem)));
    fault.state = State::quarantined;
    fault.remedy = "it was moved there";
  }
  return {};
}

/// The list's word on a session's last event is an index of its log.
Status Doctor::check_counts() {
  PONDER_TRY(const auto miscounted, rows_->miscounted());
  PONDER_TRY(const auto cut_off, rows_->cut_off());
  for (const auto& [session, last_seq] : miscounted) {
    if (std::find(cut_off.begin(), cut_off.end(), StoreRows::Place(session, last_seq)) !=
        cut_off.end()) {
      PONDER_CHECK(note_cut(session, last_seq));
      continue;
    }
    auto& fault =
        add(FaultKind::wrong_chain, State::found, session, last_seq,
            "it is listed with another last event than its log has", "--mend follows the log");
    if (!mends_) continue;
    PONDER_CHECK(rows_->recount(session));
    fault.state = State::mended;
    fault.remedy = "it is listed as the log says";
  }
  return {};
}

/// Nothing in the log itself tells that there was more.
Status Doctor::note_cut(const std::string& session, std::int64_t last_seq) {
  const std::string problem =
      fmt::format("the log ends at {}, and it is listed with an event after that", last_seq);
  auto& fault = add(FaultKind::missing_events, State::found, session, last_seq + 1, problem,
                    "--mend notes it and ends the log there");
  if (!mends_) return {};
  PONDER_CHECK(rows_->quarantine(
      note_of(session, last_seq + 1, fault_name(FaultKind::missing_events), problem)));
  PONDER_CHECK(rows_->recount(session));
  fault.state = State::quarantined;
  fault.remedy = "the log ends there";
  return {};
}

Status Doctor::adopt(const std::string& session) {
  PONDER_TRY(const auto records, read_records(*rows_, session));
  StoreRows::Listing listing;
  listing.id = session;
  listing.created_ms = records.front().unix_ms;
  listing.updated_ms = records.back().unix_ms;
  for (const Record& record : records) {
    if (const auto* e = std::get_if<SessionStarted>(&record.event)) {
      listing.workflow = e->workflow;
      listing.model = e->model;
    }
    const auto* user = std::get_if<UserMessage>(&record.event);
    if (user != nullptr && listing.title.empty()) {
      listing.title = first_line(user->content, kTitleBytesMax);
    }
  }
  return rows_->list_again(listing);
}

Status Doctor::check_session(const StoreRows::Session& listed) {
  StoreRows::Session row = listed;
  PONDER_CHECK(check_chain(row));
  auto records = read_records(*rows_, row.id);
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
Status Doctor::check_sub_agent(const StoreRows::Session& row, std::span<const Record> records) {
  const SessionState state = fold(records);
  const bool is_waited_for = state.task && !state.task->parent.empty();
  if (!is_waited_for || !state.is_turn_open) return {};
  PONDER_TRY(const auto parent_records, read_records(*rows_, state.task->parent));
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
Status Doctor::check_chain(StoreRows::Session& row) {
  PONDER_TRY(const auto first, rows_->first_own(row.id));
  const auto* fork = first ? std::get_if<SessionForked>(&first->event) : nullptr;
  // Where a flat copy of a fork begins with session_started, the fork is history.
  if (first && fork != nullptr && first->seq != fork->parent_seq + 1) fork = nullptr;
  if (fork != nullptr && (fork->parent != row.parent || fork->parent_seq != row.parent_seq)) {
    auto& fault = add(FaultKind::wrong_chain, State::found, row.id, fork->parent_seq + 1,
                      fmt::format("it is listed as a fork of \"{}\" at {}, and was forked from {} "
                                  "at {}",
                                  row.parent, row.parent_seq, fork->parent, fork->parent_seq),
                      "--mend follows the log");
    if (!mends_) return {};
    row.parent = fork->parent;
    row.parent_seq = fork->parent_seq;
    PONDER_CHECK(rows_->set_parent(row));
    fault.state = State::mended;
    fault.remedy = "it is listed as the log says";
  }
  return {};
}

Status Doctor::check_own_log(const StoreRows::Session& row, std::span<const Record> records) {
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
          rows_->quarantine(note_of(row.id, found.seq, fault_name(found.kind), found.detail)));
    }
    fault.state = State::quarantined;
    fault.remedy = way_around(found.kind);
  }
  return {};
}

Status Doctor::check_blobs(const StoreRows::Session& row, std::span<const Record> records) {
  for (const BlobRef& ref : fold(records).blobs) {
    PONDER_CHECK(check_blob(row, ref, records));
  }
  return {};
}

Status Doctor::check_blob(const StoreRows::Session& row, const BlobRef& ref,
                          std::span<const Record> records) {
  const auto stored = rows_->blob(ref.hash);
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
  const StoreRows::Note note = note_of(row.id, 0, fmt::format("{} {}", fault_name(kind), ref.hash),
                                       "the text is not what its hash says");
  PONDER_CHECK(rows_->replace_blob(ref.hash, can_mend ? std::optional(found->second) : std::nullopt,
                                   stored ? std::optional(*stored) : std::nullopt, note));
  fault.state = can_mend ? State::mended : State::quarantined;
  fault.remedy =
      can_mend ? "it was made again from the log" : "reading it back says that it is gone";
  return {};
}

/// Gives a session's lease back.
class Held {
 public:
  Held(SessionStore& store, const SessionId& id) : store_(&store), id_(&id) {}
  ~Held() { store_->release(*id_); }
  Held(const Held&) = delete;
  Held& operator=(const Held&) = delete;

 private:
  SessionStore* store_;
  const SessionId* id_;
};

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

Result<StoreReport> examine_store(const std::string& store, const Clock& clock,
                                  const DoctorOptions& options) {
  PONDER_TRY(const auto rows,
             is_postgres_address(store) ? open_postgres_rows(store) : open_sqlite_rows(store));
  return Doctor(*rows, clock, options).examine();
}

// NOLINTNEXTLINE(cppcoreguidelines-avoid-reference-coroutine-parameters): the caller waits for it
boost::asio::awaitable<Result<std::size_t>> close_open_turn(SessionStore& store, SessionId id) {
  PONDER_CO_CHECK(store.lease(id));
  const Held held(store, id);
  const auto records = store.load(id);
  PONDER_CO_CHECK(records);
  const SessionState state = fold(*records);
  if (!state.is_turn_open) co_return std::size_t{0};
  for (const SubAgentState& one : state.sub_agents) {
    if (one.is_finished || !is_sub_agent_of(id, one.started.child)) continue;
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
