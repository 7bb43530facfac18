#include "runtime/session/trajectory.h"

#include <fmt/chrono.h>
#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <utility>

#include "runtime/session/event_json.h"
#include "runtime/session/session_state.h"

namespace ponder::runtime {
namespace {

using nlohmann::json;

std::string iso_time(std::int64_t unix_ms) {
  const std::chrono::milliseconds since_epoch(unix_ms);
  const auto time = std::chrono::time_point<std::chrono::system_clock>(since_epoch);
  const auto seconds = std::chrono::time_point_cast<std::chrono::seconds>(time);
  return fmt::format("{:%Y-%m-%dT%H:%M:%S}.{:03}Z", fmt::gmtime(seconds), unix_ms % 1000);
}

/// The arguments as the object that the format wants; what is none is kept as text.
json arguments_of(const context::ToolCall& call) {
  json out = json::parse(call.arguments, nullptr, /*allow_exceptions=*/false);
  if (out.is_object()) return out;
  return {{"unparsed", call.arguments}};
}

class Trajectory {
 public:
  void add(const Record& record) {
    unix_ms_ = record.unix_ms;
    std::visit([this](const auto& event) { show(event); }, record.event);
  }

  json finish(const SessionCopy& session, const std::string& version) {
    const SessionState state = fold(session.records);
    const SessionStarted start = state.start.value_or(SessionStarted());
    const json agent = {{"name", "ponder"}, {"version", version}, {"model_name", start.model}};
    const json totals = {{"total_prompt_tokens", state.usage_total.tokens_prompt},
                         {"total_completion_tokens", state.usage_total.tokens_generated},
                         {"total_cached_tokens", state.usage_total.tokens_cached},
                         {"total_steps", steps_.size()}};
    const json extra = {{"workflow", start.workflow},
                        {"family", start.family},
                        {"policy", start.policy},
                        {"last_event", session.records.back().seq}};
    return {{"schema_version", "ATIF-v1.4"}, {"session_id", session.id.value}, {"agent", agent},
            {"steps", std::move(steps_)},    {"final_metrics", totals},        {"extra", extra}};
  }

 private:
  json& step(const char* source, const std::string& message) {
    steps_.push_back({{"step_id", steps_.size() + 1},
                      {"timestamp", iso_time(unix_ms_)},
                      {"source", source},
                      {"message", message}});
    return steps_.back();
  }

  void show(const SessionStarted& e) {
    if (!e.instructions.empty()) step("system", e.instructions);
  }
  void show(const UserMessage& e) { step("user", e.content); }
  void show(const ModelChanged& e) { step("system", "the model is now " + e.model); }
  void show(const ModelCompleted& e) {
    json& out = step("agent", e.message.content);
    if (!e.message.reasoning.empty()) out["reasoning_content"] = e.message.reasoning;
    calls_ = e.message.tool_calls;
    for (const context::ToolCall& call : calls_) {
      out["tool_calls"].push_back({{"tool_call_id", call.id},
                                   {"function_name", call.name},
                                   {"arguments", arguments_of(call)}});
    }
    out["metrics"] = {{"prompt_tokens", e.usage.tokens_prompt},
                      {"completion_tokens", e.usage.tokens_generated},
                      {"cached_tokens", e.usage.tokens_cached}};
    if (!e.message.sampled.empty()) out["metrics"]["completion_token_ids"] = e.message.sampled;
    if (e.verdict != Verdict::ok) out["extra"]["verdict"] = verdict_name(e.verdict);
    agent_step_ = steps_.size() - 1;
    sub_agents_.clear();
    questions_.clear();
  }
  void show(const QuestionAsked& e) { questions_[{e.call_index, e.n}] = e.text; }
  void show(const QuestionAnswered& e) {
    add_extra("questions", e.call_index,
              {{"question", questions_[{e.call_index, e.n}]},
               {"end", question_end_name(e.end)},
               {"answer", e.answer}});
  }
  void show(const ToolNoted& e) {
    add_extra("notes", e.call_index, {{"kind", e.kind}, {"content", e.content}});
  }
  void add_extra(const char* what, std::uint32_t call_index, json entry) {
    if (!agent_step_ || call_index >= calls_.size()) return;
    steps_[*agent_step_]["extra"][what][calls_[call_index].id].push_back(std::move(entry));
  }
  void show(const SubAgentStarted& e) { sub_agents_[e.call_index].push_back(e.child); }
  void show(const ToolFinished& e) {
    if (!agent_step_ || e.call_index >= calls_.size()) return;
    json& out = steps_[*agent_step_];
    json result = {{"source_call_id", calls_[e.call_index].id}, {"content", e.content}};
    for (const std::string& child : sub_agents_[e.call_index]) {
      result["subagent_trajectory_ref"].push_back({{"session_id", child}});
    }
    out["observation"]["results"].push_back(std::move(result));
    out["extra"]["outcomes"][calls_[e.call_index].id] = outcome_name(e.outcome);
  }
  void show(const ContextReduced& e) {
    step("system", fmt::format("context reduced: {} removed {} messages and paged out {} results",
                               context::strategy_name(e.reduction.strategy),
                               e.reduction.removed.size(), e.reduction.paged_out.size()));
  }
  void show(const TurnEnded& e) {
    if (e.reason == TurnEnd::answered) return;
    step("system", fmt::format("turn ended: {} {}", turn_end_name(e.reason), e.detail));
  }
  void show(const UnreadableEvent& e) {
    step("system", fmt::format("unreadable event {}: {}", e.type, e.problem));
  }
  template <class Other>
  void show(const Other&) {}

  json steps_ = json::array();
  std::int64_t unix_ms_ = 0;
  std::vector<context::ToolCall> calls_;
  std::map<std::uint32_t, std::vector<std::string>> sub_agents_;              // by call of calls_
  std::map<std::pair<std::uint32_t, std::uint32_t>, std::string> questions_;  // by call and number
  std::optional<std::size_t> agent_step_;  // whose calls these are
};

/// A fence that the text itself does not contain.
std::string fenced(const std::string& text) {
  std::size_t longest = 2;
  std::size_t run = 0;
  for (const char c : text) {
    run = c == '`' ? run + 1 : 0;
    longest = std::max(longest, run);
  }
  const std::string fence(longest + 1, '`');
  return fmt::format("{}\n{}\n{}\n", fence, text, fence);
}

std::string quoted(const std::string& text) {
  std::string out = "> ";
  for (const char c : text) out += c == '\n' ? std::string("\n> ") : std::string(1, c);
  return out + "\n";
}

class Page {
 public:
  void add(const Record& record) {
    std::visit([this](const auto& event) { show(event); }, record.event);
  }
  std::string text;

 private:
  void line(const std::string& words) { text += words + "\n\n"; }
  std::string name_of(std::uint32_t call_index) const {
    return call_index < calls_.size() ? calls_[call_index].name : "tool";
  }

  void show(const SessionStarted& e) {
    line(fmt::format("Workflow `{}`, model `{}`.", e.workflow, e.model));
    if (!e.instructions.empty()) line("## Instructions\n\n" + fenced(e.instructions));
  }
  void show(const SessionForked& e) {
    line(fmt::format("*Forked from session {} after its event {}.*", e.parent, e.parent_seq));
  }
  void show(const TaskAssigned& e) {
    line(fmt::format("*A sub-agent of session {}, for call {} of its event {}.*", e.parent,
                     e.call_index + 1, e.completion_seq));
  }
  void show(const SubAgentFinished& e) {
    line(fmt::format("*Sub-agent {} ended: {}, {} steps, {} tokens.*", e.child,
                     turn_end_name(e.reason), e.steps, e.usage.tokens_generated));
  }
  void show(const UserMessage& e) {
    line(fmt::format("## Turn {}", ++turns_));
    line(quoted(e.content));
  }
  void show(const ModelChanged& e) { line(fmt::format("*The model is now `{}`.*", e.model)); }
  void show(const ModelCompleted& e) {
    if (!e.message.reasoning.empty()) {
      line("<details><summary>reasoning</summary>\n\n" + fenced(e.message.reasoning) +
           "\n</details>");
    }
    if (!e.message.content.empty()) line(e.message.content);
    calls_ = e.message.tool_calls;
    for (const context::ToolCall& call : calls_) {
      line(fmt::format("Call of `{}`:\n\n{}", call.name, fenced(call.arguments)));
    }
  }
  void show(const QuestionAsked& e) {
    line(fmt::format("`{}` asked:\n\n{}", name_of(e.call_index), quoted(e.text)));
  }
  void show(const QuestionAnswered& e) {
    line(fmt::format("The answer to `{}` ({}):\n\n{}", name_of(e.call_index),
                     question_end_name(e.end), quoted(e.answer)));
  }
  void show(const ToolNoted& e) {
    line(fmt::format("Note of `{}` ({}):\n\n{}", name_of(e.call_index), e.kind, fenced(e.content)));
  }
  void show(const ToolFinished& e) {
    line(fmt::format("Result of `{}` ({}, {} ms):\n\n{}", name_of(e.call_index),
                     outcome_name(e.outcome), e.elapsed_ms, fenced(e.content)));
  }
  void show(const ContextReduced& e) {
    line(fmt::format("*Context: {} took {} messages out and shortened {}.*",
                     context::strategy_name(e.reduction.strategy), e.reduction.removed.size(),
                     e.reduction.paged_out.size()));
  }
  void show(const TurnEnded& e) {
    if (e.reason == TurnEnd::answered) return;
    line(fmt::format("*Turn ended: {} {}*", turn_end_name(e.reason), e.detail));
  }
  void show(const WorkflowFinished& e) {
    line(fmt::format("**{}:** {}", e.is_solved ? "Verified" : "Not verified", e.detail));
  }
  void show(const UnreadableEvent& e) {
    line(fmt::format("*Unreadable event `{}`: {}*", e.type, e.problem));
  }
  template <class Other>
  void show(const Other&) {}

  std::uint32_t turns_ = 0;
  std::vector<context::ToolCall> calls_;
};

}  // namespace

std::string to_atif(const SessionCopy& session, const std::string& version) {
  Trajectory trajectory;
  for (const Record& record : session.records) trajectory.add(record);
  return trajectory.finish(session, version).dump(2, ' ', false, json::error_handler_t::replace) +
         "\n";
}

std::string to_markdown(const SessionCopy& session) {
  Page page;
  page.text = fmt::format("# Session {}\n\n", session.id.value);
  for (const Record& record : session.records) page.add(record);
  return page.text;
}

}  // namespace ponder::runtime
