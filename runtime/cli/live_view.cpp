#include "runtime/cli/live_view.h"

#include <fmt/core.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <nlohmann/json.hpp>
#include <string_view>
#include <variant>

#include "runtime/session/event_json.h"
#include "runtime/session/money.h"
#include "runtime/session/session_state.h"
#include "tools/session/session_tools.h"

namespace ponder::cli {
namespace {

constexpr const char* kDim = "\x1b[2m";
constexpr const char* kCyan = "\x1b[36m";
constexpr const char* kRed = "\x1b[31m";
constexpr const char* kBold = "\x1b[1m";
constexpr const char* kReset = "\x1b[0m";
constexpr std::size_t kLineColumnsMax = 110;
constexpr std::size_t kLineColumnsMin = 30;
constexpr std::size_t kFrameColumns = 6;  // what stands before a line that is cut, and its "..."
constexpr std::chrono::seconds kProgressEvery{2};  // as a line

/// A line that is cut fits the terminal, if there is one of any width.
std::size_t line_columns_for(const TerminalTraits& terminal) {
  if (terminal.columns < kLineColumnsMin + kFrameColumns) {
    return terminal.columns == 0 ? kLineColumnsMax : kLineColumnsMin;
  }
  return std::min(terminal.columns - kFrameColumns, kLineColumnsMax);
}

}  // namespace

std::string cut_note(const runtime::ToolFinished& event) {
  const std::string_view content = event.content;
  const std::string_view last = content.substr(content.rfind('\n') + 1);  // npos + 1 is 0
  const bool is_kept = event.whole.has_value() && last.starts_with("[the first ");
  if (!is_kept && !last.starts_with("[cut: ")) return {};
  constexpr std::string_view kUnit = " bytes";
  constexpr std::size_t kNoteBytesMax = 80;
  const std::size_t end = last.substr(0, kNoteBytesMax).find(kUnit);
  if (end == std::string_view::npos) return {};
  return fmt::format("{}]", printable(last.substr(0, end + kUnit.size())));
}

std::string call_line(const context::ToolCall& call, std::size_t columns_max) {
  const auto arguments = nlohmann::json::parse(call.arguments, nullptr, /*allow_exceptions=*/false);
  std::string list;
  if (arguments.is_object()) {
    for (const auto& [key, value] : arguments.items()) {
      if (!list.empty()) list += ", ";
      list += key + "=" + value.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
    }
  } else {
    list = call.arguments;
  }
  return one_line(fmt::format("{}({})", call.name, list), columns_max);
}

LiveView::LiveView(TerminalTraits terminal, std::uint32_t tokens_context_max, const Clock& clock,
                   Output& output)
    : output_(&output),
      terminal_(terminal),
      tokens_context_max_(tokens_context_max),
      clock_(&clock),
      status_bar_(terminal.is_tty),
      line_columns_(line_columns_for(terminal)),
      place_(status_bar_.columns()),
      step_start_(clock.now()) {}

void LiveView::show_status(const std::string& text) {
  place_.resize(status_bar_.columns());
  if (!place_.is_at_edge()) status_bar_.show(text);
}

void LiveView::know_calls(const runtime::SessionState& state) {
  for (std::uint32_t i = 0; i < state.calls.size(); ++i) {
    calls_[i] = one_line(state.calls[i].call.name, line_columns_);
  }
}

void LiveView::on_event(const runtime::SessionId&, const runtime::Record& record) {
  std::visit([this](const auto& event) { show(event); }, record.event);
  output_->flush();
}

void LiveView::on_delta(const runtime::SessionId&, const runtime::ModelDelta& delta) {
  using Kind = runtime::ModelDelta::Kind;
  if (delta.kind == Kind::reasoning) write(Section::reasoning, delta.text);
  if (delta.kind == Kind::content) write(Section::content, delta.text);
  if (delta.kind == Kind::restarted) {
    end_section();
    print("{}   asked again, what came before is void: {}{}\n", style(kDim),
          one_line(delta.text, line_columns_), style(kReset));
  }
  if (terminal_.is_tty) {
    runtime::Usage so_far = usage_last_;
    so_far.tokens_generated = delta.tokens_generated;
    so_far.decode_ms =
        std::chrono::duration<double, std::milli>(clock_->now() - step_start_).count();
    show_status(status(so_far, delta.tokens_generated));
  }
  output_->flush();
}

void LiveView::write(Section section, const std::string& text) {
  if (text.empty()) return;
  has_streamed_ = true;
  if (section != section_) {
    end_section();
    section_ = section;
    print("{}", style(section == Section::reasoning ? kDim : ""));
  }
  std::string out;
  for (const char c : printable(text)) {
    if (is_line_start_ && c != '\n') out += "  ";
    out += c;
    is_line_start_ = c == '\n';
  }
  print("{}", out);
}

void LiveView::end_section() {
  if (section_ != Section::none) print("{}", style(kReset));
  if (!is_line_start_) print("\n");
  is_line_start_ = true;
  section_ = Section::none;
}

void LiveView::show(const runtime::SessionForked& event) {
  end_section();
  print("{}   forked from session {} after its event {}{}\n", style(kDim), event.parent,
        event.parent_seq, style(kReset));
}

void LiveView::show(const runtime::TaskAssigned& event) {
  end_section();
  print("{}   a sub-agent of session {}, for call {} of its event {}{}\n", style(kDim),
        event.parent, event.call_index + 1, event.completion_seq, style(kReset));
}

void LiveView::show(const runtime::SubAgentStarted& event) {
  end_section();
  print("{}   sub-agent {} begins{}: at most {} steps and {} tokens{}\n", style(kDim), event.child,
        event.is_fork ? " as a fork" : "", event.budget.steps_max, event.budget.tokens_max,
        style(kReset));
}

void LiveView::show(const runtime::SubAgentFinished& event) {
  end_section();
  print("{}   sub-agent {} ended: {}, {} steps, {} tokens{}\n", style(kDim), event.child,
        runtime::turn_end_name(event.reason), event.steps, event.usage.tokens_generated,
        style(kReset));
}

void LiveView::on_sub_agent_event(const runtime::SessionId& session,
                                  const runtime::Record& record) {
  const std::string line = sub_agents_.line_of(session, record);
  if (line.empty()) return;
  end_section();
  // Cut before for any terminal; again for this one.
  const bool is_narrow = terminal_.columns != 0;
  print("{}   {}{}\n", style(kDim), is_narrow ? one_line(line, line_columns_) : line,
        style(kReset));
  output_->flush();
}

void LiveView::show(const runtime::UserMessage& event) {
  end_section();
  usage_total_ = {};
  print("{}> {}{}\n", style(kBold), printable(event.content), style(kReset));
}

void LiveView::show(const runtime::UserInterjected& event) {
  end_section();
  print("{}{} {}{}\n", style(kBold), event.ends_turn ? ">>" : "+>", printable(event.content),
        style(kReset));
}

void LiveView::show(const runtime::ModeChanged& event) {
  end_section();
  print("{}   note: {}{}\n", style(kDim), printable(event.reason), style(kReset));
}

void LiveView::show(const runtime::MessagePinned& event) {
  end_section();
  print("{}   {} the message of event {}{}\n", style(kDim), event.is_pinned ? "pinned" : "unpinned",
        event.message_seq, style(kReset));
}

std::string LiveView::call_name(std::uint32_t call_index) const {
  const auto call = calls_.find(call_index);
  return call == calls_.end() ? "tool" : call->second;
}

void LiveView::show(const runtime::ApprovalAnswered& event) {
  end_section();
  print("{}   approval of {}: {}{}{}{}\n", style(kDim), call_name(event.call_index),
        runtime::approval_decision_name(event.decision), event.reason.empty() ? "" : ": ",
        printable(event.reason), style(kReset));
}

void LiveView::show(const runtime::QuestionAsked& event) {
  // Whoever can answer is asked elsewhere (desk.h).
  questions_[{event.call_index, event.n}] = event.text;
}

void LiveView::show(const runtime::QuestionAnswered& event) {
  end_section();
  const bool is_answered = event.end == runtime::QuestionEnd::answered;
  const std::string end = runtime::question_end_name(event.end);
  print("{}   {} asked: {}\n   {}{}{}\n", style(kDim), call_name(event.call_index),
        one_line(questions_[{event.call_index, event.n}], line_columns_),
        is_answered ? "answer: " : end + ": ", one_line(event.answer, line_columns_),
        style(kReset));
}

void LiveView::show(const runtime::ToolNoted& event) {
  end_section();
  print("{}   {}, {}: {}{}\n", style(kDim), call_name(event.call_index),
        one_line(event.kind, line_columns_), one_line(event.content, line_columns_), style(kReset));
}

void LiveView::show(const runtime::ToolValueSet& event) {
  if (event.tool != tools::kTodoTool || event.key != tools::kTodoKey) return;
  end_section();
  std::string_view list = event.value ? std::string_view(*event.value) : "the list is empty\n";
  while (!list.empty()) {
    const std::size_t end = std::min(list.find('\n'), list.size());
    print("   {}\n", one_line(list.substr(0, end), line_columns_));
    list.remove_prefix(std::min(end + 1, list.size()));
  }
}

void LiveView::on_progress(const runtime::SessionId&, const runtime::CallProgress& progress) {
  std::string line = progress.tool;
  if (progress.share) line += fmt::format(" {:.0f}%", 100 * *progress.share);
  if (!progress.text.empty()) line += ": " + progress.text;
  if (terminal_.is_tty) {
    show_status(one_line(line, line_columns_));
    output_->flush();
    return;
  }
  const auto now = clock_->now();
  const auto [last, is_first] = progress_shown_.try_emplace(progress.call_index, now);
  if (!is_first && now - last->second < kProgressEvery) return;
  last->second = now;
  end_section();
  print("{}   {}{}\n", style(kDim), one_line(line, line_columns_), style(kReset));
  output_->flush();
}

void LiveView::show(const runtime::ModelStarted& event) {
  step_ = event.step;
  step_start_ = clock_->now();
  has_streamed_ = false;
  if (terminal_.is_tty) show_status(status(usage_last_, 0));
}

void LiveView::show(const runtime::ModelCompleted& event) {
  if (!has_streamed_) {
    write(Section::reasoning, event.message.reasoning);
    write(Section::content, event.message.content);
  }
  end_section();
  calls_.clear();
  questions_.clear();
  progress_shown_.clear();
  for (std::uint32_t i = 0; i < event.message.tool_calls.size(); ++i) {
    calls_[i] = one_line(event.message.tool_calls[i].name, line_columns_);  // the model's own words
    print("{}-> {}{}\n", style(kCyan), call_line(event.message.tool_calls[i], line_columns_),
          style(kReset));
  }
  for (const auto& note : event.notes)
    print("{}   note: {}{}\n", style(kDim), one_line(note, line_columns_), style(kReset));
  usage_last_ = event.usage;
  runtime::add_usage(usage_total_, event.usage);
  runtime::add_usage(usage_total_, event.usage_void);
  if (terminal_.is_tty) show_status(status(event.usage, event.usage.tokens_generated));
}

void LiveView::show(const runtime::ModelRetried& event) {
  end_section();
  print("{}   asked again: {}{}\n", style(kDim), one_line(event.reason, line_columns_),
        style(kReset));
}

void LiveView::show(const runtime::ToolFinished& event) {
  end_section();
  const std::string name = call_name(event.call_index);
  const bool is_good = event.outcome == runtime::Outcome::success;
  const std::string outcome = runtime::outcome_name(event.outcome);
  std::string note = cut_note(event);
  if (!note.empty()) note.insert(0, " ");
  constexpr std::size_t kTimeColumns = 12;
  constexpr std::size_t kRoomMin = 20;
  const std::size_t beside = name.size() + note.size() + kTimeColumns;
  const std::size_t room = line_columns_ > beside + kRoomMin
                               ? std::min(line_columns_ - beside, kLineColumnsMax - 30)
                               : kRoomMin;
  print("{}<- {}: {}{}{}{} {}({} ms){}\n", style(is_good ? kCyan : kRed), name,
        is_good || event.content.starts_with(outcome) ? "" : fmt::format("{}: ", outcome),
        one_line(event.content, room), note, style(kReset), style(kDim), event.elapsed_ms,
        style(kReset));
}

void LiveView::show(const runtime::ContextReduced& event) {
  end_section();
  print("{}   context: {} took {} messages out and shortened {}; {} -> {} tokens{}{}{}\n",
        style(kDim), context::strategy_name(event.reduction.strategy),
        event.reduction.removed.size(), event.reduction.paged_out.size(), event.tokens_before,
        event.tokens_after, event.note.empty() ? "" : "; ", one_line(event.note, line_columns_),
        style(kReset));
}

void LiveView::show(const runtime::TurnEnded& event) {
  end_section();
  runtime::add_usage(usage_total_, event.usage_void);
  if (event.reason != runtime::TurnEnd::answered)
    print("{}turn ended: {}{}{}\n", style(kRed), runtime::turn_end_name(event.reason),
          event.detail.empty() ? "" : ": " + printable(event.detail), style(kReset));
  print("{}[{}]{}\n", style(kDim), status(usage_total_, usage_total_.tokens_generated),
        style(kReset));
}

void LiveView::show(const runtime::UnreadableEvent& event) {
  end_section();
  print("{}   unreadable event {}: {}{}\n", style(kRed), one_line(event.type, line_columns_),
        one_line(event.problem, line_columns_), style(kReset));
}

std::string LiveView::status(const runtime::Usage& usage, std::uint64_t tokens_generated) const {
  const double decode_ms = usage.decode_ms;
  const std::uint64_t context = usage_last_.tokens_prompt + usage_last_.tokens_generated;
  std::string text = fmt::format("step {} | {} tokens", step_ + 1, tokens_generated);
  if (decode_ms > 0 && usage.tokens_generated > 0)
    text += fmt::format(" | {:.0f} tokens/s",
                        static_cast<double>(usage.tokens_generated) / decode_ms * 1000);
  if (context > 0)
    text += tokens_context_max_ == 0
                ? fmt::format(" | context {}", context)
                : fmt::format(" | context {}/{}", context, tokens_context_max_);
  if (usage.tokens_prompt > 0)
    text += fmt::format(" | cache hits {:.0f}%", 100.0 * static_cast<double>(usage.tokens_cached) /
                                                     static_cast<double>(usage.tokens_prompt));
  if (usage.cost_pico > 0)
    text += fmt::format(" | cost {} {}", runtime::format_money(usage.cost_pico), currency_);
  return text;
}

void JsonView::on_event(const runtime::SessionId& session, const runtime::Record& record) {
  put_out(runtime::record_line(session, record) + "\n");
  flush_out();
}

}  // namespace ponder::cli
