#include <fmt/format.h>

#include <cstdio>
#include <limits>
#include <vector>

#include "runtime/bench/load.h"
#include "runtime/session/log_check.h"
#include "runtime/session/session_state.h"
#include "runtime/store/sqlite_session_store.h"
#include "runtime/store/store_doctor.h"

namespace ponder::bench {
namespace {

using namespace runtime;

/// Events of a session: its start, the message, a request and its completion with intent, start and
/// outcome of each call for every step, the last request and its answer, the turn's end.
std::uint64_t events_of(const Workload& work) {
  return 2 + std::uint64_t{work.steps} * (2 + 3 * work.calls) + 3;
}

/// What is wrong with a log, or nothing.
class LogAudit {
 public:
  LogAudit(const Workload& work, const std::vector<Record>& records)
      : work_(work), records_(records) {}

  /// Which session of the script it is; after run().
  std::uint32_t number() const { return number_; }

  std::string run() {
    if (records_.size() != events_of(work_)) {
      return fmt::format("{} events, not {}", records_.size(), events_of(work_));
    }
    const auto faults = check_log(records_);
    if (!faults.empty()) {
      return fmt::format("event {}: {}", faults.front().seq, faults.front().detail);
    }
    outcomes_.assign(std::size_t{work_.steps} * work_.calls, 0);
    for (std::size_t i = 0; i < records_.size() && problem_.empty(); ++i) {
      if (records_[i].seq != static_cast<std::int64_t>(i + 1)) return "the places have a gap";
      std::visit([this](const auto& event) { look(event); }, records_[i].event);
    }
    if (!problem_.empty()) return problem_;
    for (const int count : outcomes_) {
      if (count != 1) return fmt::format("a call has {} outcomes", count);
    }
    const SessionState state = fold(records_);
    const bool is_whole = state.last_end && state.last_end->reason == TurnEnd::answered &&
                          state.turns == 1 && state.completions == work_.steps + 1 &&
                          state.tool_calls == work_.steps * work_.calls &&
                          state.last_answer() == "done";
    return is_whole ? "" : "the log does not fold to an answered turn";
  }

 private:
  template <class E>
  void look(const E&) {}
  void look(const UserMessage& e) {
    if (std::sscanf(e.content.c_str(), "question %u", &number_) != 1 || number_ >= work_.sessions) {
      problem_ = "somebody else's question";
    }
  }
  void look(const ToolFinished& e) {
    const bool is_right = e.step < work_.steps && e.call_index < work_.calls &&
                          e.outcome == Outcome::success &&
                          e.content == load_answer(load_arguments(number_, e.step, e.call_index));
    if (!is_right) {
      problem_ = fmt::format("step {} call {} has another's outcome", e.step, e.call_index);
      return;
    }
    ++outcomes_[std::size_t{e.step} * work_.calls + e.call_index];
  }

  const Workload& work_;
  const std::vector<Record>& records_;
  std::uint32_t number_ = 0;
  std::vector<int> outcomes_;  // of each call
  std::string problem_;
};

}  // namespace

Result<std::uint64_t> check_load(const std::filesystem::path& file, const Workload& work) {
  PONDER_TRY(const auto report, examine_store(file, system_clock(), {}));
  if (!report.faults.empty()) {
    return fail(Errc::corrupt, fmt::format("the store has {} faults; session {}, event {}: {}",
                                           report.faults.size(), report.faults[0].session,
                                           report.faults[0].seq, report.faults[0].detail));
  }
  PONDER_TRY(const auto store, SqliteSessionStore::open(file, system_clock()));
  PONDER_TRY(const auto sessions, store->list(std::numeric_limits<std::uint32_t>::max()));
  if (sessions.size() != work.sessions) {
    return fail(Errc::corrupt, fmt::format("{} sessions, not {}", sessions.size(), work.sessions));
  }
  std::vector<bool> seen(work.sessions);
  std::uint64_t events = 0;
  for (const SessionSummary& session : sessions) {
    PONDER_TRY(const auto records, store->load(session.id));
    events += records.size();
    LogAudit audit(work, records);
    const std::string problem = audit.run();
    if (!problem.empty()) {
      return fail(Errc::corrupt, fmt::format("session {}: {}", session.id.value, problem));
    }
    if (seen[audit.number()]) {
      return fail(Errc::corrupt, fmt::format("question {} is there twice", audit.number()));
    }
    seen[audit.number()] = true;
  }
  return events;
}

}  // namespace ponder::bench
