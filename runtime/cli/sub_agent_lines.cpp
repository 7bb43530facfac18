#include <fmt/format.h>

#include <type_traits>
#include <variant>

#include "runtime/cli/live_view.h"
#include "runtime/cli/terminal.h"

namespace ponder::cli {
namespace {

constexpr std::size_t kLineColumns = 100;

/// Of a sub-agent's id what comes after the session that a person began: the calls on the way down.
std::string tag_of(const std::string& id) { return id.substr(id.find('.') + 1); }

}  // namespace

std::string SubAgentLines::line_of(const runtime::SessionId& session,
                                   const runtime::Record& record) {
  std::vector<std::string>& calls = calls_[session.value];
  const auto said = [&]<class E>(const E& event) -> std::string {
    if constexpr (std::is_same_v<E, runtime::UserMessage>) {
      return "> " + event.content;
    } else if constexpr (std::is_same_v<E, runtime::ModelCompleted>) {
      calls.clear();
      std::string out = event.message.content;
      for (const context::ToolCall& call : event.message.tool_calls) {
        calls.push_back(call.name);
        out += (out.empty() ? "-> " : " -> ") + call_line(call, kLineColumns);
      }
      return out;
    } else if constexpr (std::is_same_v<E, runtime::ToolFinished>) {
      const std::string name = event.call_index < calls.size() ? calls[event.call_index] : "tool";
      const bool is_good = event.outcome == runtime::Outcome::success;
      std::string note = cut_note(event);  // before the text, which is cut once more
      if (!note.empty()) note += ' ';
      return fmt::format("<- {}: {}{}{}", name,
                         is_good ? "" : fmt::format("{}: ", runtime::outcome_name(event.outcome)),
                         note, event.content);
    } else if constexpr (std::is_same_v<E, runtime::TurnEnded>) {
      if (event.reason == runtime::TurnEnd::answered) return "";
      return fmt::format("turn ended: {} {}", runtime::turn_end_name(event.reason), event.detail);
    } else {
      return "";
    }
  };
  std::string text = std::visit(said, record.event);
  if (text.empty()) return text;
  return fmt::format("[{}] {}", tag_of(session.value), one_line(text, kLineColumns));
}

}  // namespace ponder::cli
