#include "runtime/cli/live_view.h"

#include <fmt/core.h>

#include <cstdio>
#include <nlohmann/json.hpp>
#include <variant>

#include "runtime/event_json.h"
#include "runtime/money.h"
#include "runtime/session_state.h"

namespace ponder::cli {
namespace {

constexpr const char* kDim = "\x1b[2m";
constexpr const char* kCyan = "\x1b[36m";
constexpr const char* kRed = "\x1b[31m";
constexpr const char* kBold = "\x1b[1m";
constexpr const char* kReset = "\x1b[0m";
constexpr std::size_t kLineColumns = 110;

}  // namespace

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
      step_start_(clock.now()) {}

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
          one_line(delta.text, kLineColumns), style(kReset));
  }
  if (terminal_.is_tty) {
    runtime::Usage so_far = usage_last_;
    so_far.tokens_generated = delta.tokens_generated;
    so_far.decode_ms =
        std::chrono::duration<double, std::milli>(clock_->now() - step_start_).count();
    status_bar_.show(status(so_far, delta.tokens_generated));
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
  fmt::print("{}   forked from session {} after its event {}{}\n", style(kDim), event.parent,
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
  print("{}   {}{}\n", style(kDim), line, style(kReset));
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

void LiveView::show(const runtime::ApprovalAnswered& event) {
  end_section();
  const auto call = calls_.find(event.call_index);
  print("{}   approval of {}: {}{}{}{}\n", style(kDim),
        call == calls_.end() ? "call" : call->second,
        runtime::approval_decision_name(event.decision), event.reason.empty() ? "" : ": ",
        printable(event.reason), style(kReset));
}

void LiveView::show(const runtime::ModelStarted& event) {
  step_ = event.step;
  step_start_ = clock_->now();
  has_streamed_ = false;
  if (terminal_.is_tty) status_bar_.show(status(usage_last_, 0));
}

void LiveView::show(const runtime::ModelCompleted& event) {
  if (!has_streamed_) {
    write(Section::reasoning, event.message.reasoning);
    write(Section::content, event.message.content);
  }
  end_section();
  calls_.clear();
  for (std::uint32_t i = 0; i < event.message.tool_calls.size(); ++i) {
    calls_[i] = event.message.tool_calls[i].name;
    print("{}-> {}{}\n", style(kCyan), call_line(event.message.tool_calls[i], kLineColumns),
          style(kReset));
  }
  for (const auto& note : event.notes)
    print("{}   note: {}{}\n", style(kDim), one_line(note, kLineColumns), style(kReset));
  usage_last_ = event.usage;
  runtime::add_usage(usage_total_, event.usage);
  if (terminal_.is_tty) status_bar_.show(status(event.usage, event.usage.tokens_generated));
}

void LiveView::show(const runtime::ModelRetried& event) {
  end_section();
  print("{}   asked again: {}{}\n", style(kDim), one_line(event.reason, kLineColumns),
        style(kReset));
}

void LiveView::show(const runtime::ToolFinished& event) {
  end_section();
  const auto call = calls_.find(event.call_index);
  const std::string name = call == calls_.end() ? "tool" : call->second;
  const bool is_good = event.outcome == runtime::Outcome::success;
  const std::string outcome = runtime::outcome_name(event.outcome);
  print("{}<- {}: {}{}{} {}({} ms){}\n", style(is_good ? kCyan : kRed), name,
        is_good || event.content.starts_with(outcome) ? "" : fmt::format("{}: ", outcome),
        one_line(event.content, kLineColumns - 30), style(kReset), style(kDim), event.elapsed_ms,
        style(kReset));
}

void LiveView::show(const runtime::ContextReduced& event) {
  end_section();
  print("{}   context: {} took {} messages out and shortened {}; {} -> {} tokens{}{}{}\n",
        style(kDim), context::strategy_name(event.reduction.strategy),
        event.reduction.removed.size(), event.reduction.paged_out.size(), event.tokens_before,
        event.tokens_after, event.note.empty() ? "" : "; ", one_line(event.note, kLineColumns),
        style(kReset));
}

void LiveView::show(const runtime::TurnEnded& event) {
  end_section();
  if (event.reason != runtime::TurnEnd::answered)
    print("{}turn ended: {}{}{}\n", style(kRed), runtime::turn_end_name(event.reason),
          event.detail.empty() ? "" : ": " + printable(event.detail), style(kReset));
  print("{}[{}]{}\n", style(kDim), status(usage_total_, usage_total_.tokens_generated),
        style(kReset));
}

void LiveView::show(const runtime::UnreadableEvent& event) {
  end_section();
  fmt::print("{}   unreadable event {}: {}{}\n", style(kRed), one_line(event.type, kLineColumns),
             one_line(event.problem, kLineColumns), style(kReset));
}

std::string LiveView::status(const runtime::Usage& usage, std::uint32_t tokens_generated) const {
  const double decode_ms = usage.decode_ms;
  const std::uint32_t context = usage_last_.tokens_prompt + usage_last_.tokens_generated;
  std::string text = fmt::format("step {} | {} tokens", step_ + 1, tokens_generated);
  if (decode_ms > 0 && usage.tokens_generated > 0)
    text += fmt::format(" | {:.0f} tokens/s", usage.tokens_generated / decode_ms * 1000);
  if (context > 0)
    text += tokens_context_max_ == 0
                ? fmt::format(" | context {}", context)
                : fmt::format(" | context {}/{}", context, tokens_context_max_);
  if (usage.tokens_prompt > 0)
    text += fmt::format(" | cache hits {:.0f}%", 100.0 * usage.tokens_cached / usage.tokens_prompt);
  if (usage.cost_pico > 0)
    text += fmt::format(" | cost {} {}", runtime::format_money(usage.cost_pico), currency_);
  return text;
}

void JsonView::on_event(const runtime::SessionId& session, const runtime::Record& record) {
  fmt::print("{}\n", runtime::record_line(session, record));
  std::fflush(stdout);
}

}  // namespace ponder::cli
