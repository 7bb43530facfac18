#pragma once

#include <fmt/core.h>

#include <cstdint>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "base/clock.h"
#include "runtime/agent/agent.h"
#include "runtime/cli/line_place.h"
#include "runtime/cli/terminal.h"

namespace ponder::cli {

/// What sub-agents do, a line for each event that people want to see.
class SubAgentLines {
 public:
  /// Without the line's end; empty: nothing to see.
  std::string line_of(const runtime::SessionId& session, const runtime::Record& record);

 private:
  std::map<std::string, std::vector<std::string>> calls_;  // by session: of its latest completion
};

/// Shows a session as it happens: reasoning dimmed, calls and results a line each, answers plain,
/// and a status line with step, tokens, speed, context and cache use.
///
/// Thread: the session's executor.
class LiveView final : public runtime::EventSink {
 public:
  /// `tokens_context_max` is the model's window; 0 when unknown.
  /// `output` outlives it.
  LiveView(TerminalTraits terminal, std::uint32_t tokens_context_max, const Clock& clock,
           Output& output);
  /// The names of the calls that a session goes on with; their completion came before.
  void know_calls(const runtime::SessionState& state);
  void on_event(const runtime::SessionId& session, const runtime::Record& record) override;
  void on_delta(const runtime::SessionId& session, const runtime::ModelDelta& delta) override;
  /// In the status line; without one as lines, of which one in a while.
  void on_progress(const runtime::SessionId& session,
                   const runtime::CallProgress& progress) override;
  /// A line each, with the place of the call that it works for.
  void on_sub_agent_event(const runtime::SessionId& session,
                          const runtime::Record& record) override;

 private:
  enum class Section { none, reasoning, content };

  void show(const runtime::SessionStarted& event) { currency_ = event.currency; }
  void show(const runtime::SessionForked& event);
  void show(const runtime::TaskAssigned& event);
  void show(const runtime::SubAgentStarted& event);
  void show(const runtime::SubAgentFinished& event);
  void show(const runtime::UserMessage& event);
  void show(const runtime::UserInterjected& event);
  void show(const runtime::ModeChanged& event);
  void show(const runtime::MessagePinned& event);
  void show(const runtime::ApprovalAnswered& event);
  void show(const runtime::QuestionAsked& event);
  void show(const runtime::QuestionAnswered& event);
  void show(const runtime::ToolNoted& event);
  void show(const runtime::ToolValueSet& event);
  void show(const runtime::ModelStarted& event);
  void show(const runtime::ModelCompleted& event);
  void show(const runtime::ModelRetried& event);
  void show(const runtime::ToolFinished& event);
  void show(const runtime::ContextReduced& event);
  void show(const runtime::TurnEnded& event);
  void show(const runtime::UnreadableEvent& event);
  template <class Other>
  void show(const Other&) {}

  template <class... T>
  void print(fmt::format_string<T...> format, T&&... values) {
    const std::string text = fmt::format(format, std::forward<T>(values)...);
    place_.take(text);
    output_->write(text);
  }
  /// Not while the cursor waits at the edge, which would lose a character: the next text brings the
  /// status that is due.
  void show_status(const std::string& text);
  void write(Section section, const std::string& text);
  void end_section();
  std::string call_name(std::uint32_t call_index) const;
  std::string status(const runtime::Usage& usage, std::uint64_t tokens_generated) const;
  const char* style(const char* escape) const { return terminal_.has_color ? escape : ""; }

  Output* output_;
  TerminalTraits terminal_;
  std::uint32_t tokens_context_max_;
  const Clock* clock_;
  StatusBar status_bar_;
  std::size_t line_columns_;  // of a line that is cut
  LinePlace place_;
  Section section_ = Section::none;
  bool is_line_start_ = true;
  bool has_streamed_ = false;  // this completion's text has been shown as it came
  std::uint32_t step_ = 0;
  runtime::Usage usage_total_;  // of this turn
  runtime::Usage usage_last_;
  Clock::Instant step_start_;
  std::map<std::uint32_t, std::string> calls_;  // of the latest completion, as shown
  std::map<std::pair<std::uint32_t, std::uint32_t>, std::string> questions_;  // call, number
  std::map<std::uint32_t, Clock::Instant> progress_shown_;                    // by call
  SubAgentLines sub_agents_;
  std::string currency_;
};

/// Prints each event as a JSON line, as `sessions export` does.
class JsonView final : public runtime::EventSink {
 public:
  void on_event(const runtime::SessionId& session, const runtime::Record& record) override;
  void on_sub_agent_event(const runtime::SessionId& session,
                          const runtime::Record& record) override {
    on_event(session, record);
  }
};

/// `get_city(name="Wuhu")`: a call on one line.
std::string call_line(const context::ToolCall& call, std::size_t columns_max);
/// What a result that was cut says of it in its last line, "[the first 16000 of 90000 bytes]" or
/// the like; empty for one that is whole.
std::string cut_note(const runtime::ToolFinished& event);

}  // namespace ponder::cli
