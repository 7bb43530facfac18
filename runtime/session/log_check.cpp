#include "runtime/session/log_check.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "runtime/session/event_json.h"
#include "runtime/session/session_state.h"

namespace ponder::runtime {
namespace {

/// Looks at each event with the state that the events before it make.
class Checker {
 public:
  void check(const Record& record) {
    seq_ = record.seq;
    std::visit([this](const auto& event) { look(event); }, record.event);
    apply(state_, record);
  }

  std::vector<LogFault> finish() {
    for (const CallState& call : state_.calls) {
      if (call.finished || !call.effect) continue;
      add(FaultKind::orphaned_intent,
          fmt::format("{} was under way when the log ended", call.call.name));
    }
    return std::move(faults_);
  }

 private:
  void add(FaultKind kind, std::string detail) {
    faults_.push_back({kind, seq_, std::move(detail)});
  }
  void out_of_order(const char* what) { add(FaultKind::wrong_order, what); }

  void look(const SessionStarted&) {
    if (seq_ != 1) out_of_order("session_started stands inside the log");
  }
  void look(const UserMessage&) { expect_start_and_outcomes(); }
  void look(const ModelStarted&) { expect_turn_and_outcomes(); }
  void look(const ModelCompleted&) { expect_turn_and_outcomes(); }
  void look(const ContextReduced&) { expect_turn_and_outcomes(); }
  void look(const TurnEnded&) { expect_turn_and_outcomes(); }
  void look(const ToolIntended& e) { expect_open_call(e.step, e.call_index); }
  void look(const ToolStarted& e) { expect_open_call(e.step, e.call_index); }
  void look(const QuestionAsked& e) { expect_question(e.step, e.call_index, e.n, 1); }
  void look(const QuestionAnswered& e) { expect_question(e.step, e.call_index, e.n, 0); }
  void look(const ToolNoted& e) { expect_open_call(e.step, e.call_index); }
  void look(const ToolValueSet& e) { expect_open_call(e.step, e.call_index); }
  void look(const SubAgentStarted& e) { expect_open_call(e.step, e.call_index); }
  void look(const SubAgentFinished& e) { expect_open_call(e.step, e.call_index); }
  void look(const ToolFinished& e) { expect_open_call(e.step, e.call_index); }
  void look(const UnreadableEvent& e) {
    const auto& known = event_types();
    const bool is_ours = std::find(known.begin(), known.end(), e.type) != known.end();
    if (e.version == 0 && e.type == kMissingType) {
      add(FaultKind::missing_events, e.problem);
    } else if (e.version > kEventVersion || !is_ours) {
      add(FaultKind::unknown_event,
          fmt::format("{} of version {}: a newer ponder wrote it", e.type, e.version));
    } else {
      add(FaultKind::unreadable_event, fmt::format("{}: {}", e.type, e.problem));
    }
  }
  template <class Other>
  void look(const Other&) {
    if (!state_.start) out_of_order("the log does not begin with session_started");
  }

  void expect_start_and_outcomes() {
    if (!state_.start) out_of_order("the log does not begin with session_started");
    for (const CallState& call : state_.calls) {
      if (call.finished) continue;
      add(FaultKind::lost_outcome,
          fmt::format("{} has no outcome, and the log went on", call.call.name));
    }
  }
  void expect_turn_and_outcomes() {
    expect_start_and_outcomes();
    if (state_.start && !state_.is_turn_open) out_of_order("it stands outside of a turn");
  }
  bool expect_open_call(std::uint32_t step, std::uint32_t call_index) {
    const bool is_open = state_.step == step + 1 && call_index < state_.calls.size() &&
                         !state_.calls[call_index].finished;
    if (!is_open) out_of_order("it is about a call that is not open");
    return is_open;
  }
  /// `num_more`: how far its number may lie beyond those that were asked.
  void expect_question(std::uint32_t step, std::uint32_t call_index, std::uint32_t n,
                       std::size_t num_more) {
    if (!expect_open_call(step, call_index)) return;
    const std::size_t num_asked = state_.calls[call_index].questions.size();
    if (n >= num_asked + num_more) out_of_order("it is about a question that was not asked");
  }

  SessionState state_;
  std::int64_t seq_ = 0;
  std::vector<LogFault> faults_;
};

}  // namespace

const char* fault_name(FaultKind kind) noexcept {
  switch (kind) {
    case FaultKind::unreadable_event:
      return "unreadable_event";
    case FaultKind::unknown_event:
      return "unknown_event";
    case FaultKind::missing_events:
      return "missing_events";
    case FaultKind::wrong_order:
      return "wrong_order";
    case FaultKind::lost_outcome:
      return "lost_outcome";
    case FaultKind::orphaned_intent:
      return "orphaned_intent";
    case FaultKind::missing_blob:
      return "missing_blob";
    case FaultKind::damaged_blob:
      return "damaged_blob";
    case FaultKind::wrong_chain:
      return "wrong_chain";
    case FaultKind::stray_events:
      return "stray_events";
    case FaultKind::orphaned_sub_agent:
      return "orphaned_sub_agent";
    case FaultKind::damaged_file:
      return "damaged_file";
  }
  return "unknown";
}

std::vector<LogFault> check_log(std::span<const Record> records) {
  Checker checker;
  for (const Record& record : records) checker.check(record);
  return checker.finish();
}

}  // namespace ponder::runtime
