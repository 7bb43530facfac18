#include "tests/simulation/dump.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <variant>

#include "runtime/session/event_json.h"

namespace ponder::simulation {
namespace {

using namespace runtime;

void add(std::string& out, const context::ToolCall& call) {
  fmt::format_to(std::back_inserter(out), "  call {} {} {}\n", call.id, call.name, call.arguments);
}

void add(std::string& out, const context::Message& m) {
  fmt::format_to(std::back_inserter(out), "{} [{}] {} (answers '{}', {}, ends turn {}) {}\n",
                 static_cast<int>(m.role), m.reasoning, m.content, m.tool_call_id,
                 m.response_format, m.ends_turn, fmt::join(m.sampled, " "));
  for (const context::ToolCall& call : m.tool_calls) add(out, call);
  for (const context::ToolSpec& tool : m.tools) {
    fmt::format_to(std::back_inserter(out), "  tool {} {} {}\n", tool.name, tool.description,
                   tool.parameters);
  }
}

template <class E>
void add_event(std::string& out, const char* name, const std::optional<E>& event) {
  fmt::format_to(std::back_inserter(out), "{} {}\n", name,
                 event ? event_payload(Event(*event)) : "none");
}

void add(std::string& out, const CallState& call) {
  add(out, call.call);
  fmt::format_to(std::back_inserter(out), "  fault '{}' effect {} started {} finished at {}\n",
                 call.fault, call.effect ? effect_name(*call.effect) : "none", call.is_started,
                 call.finished_seq);
  add_event(out, "  approval", call.approval);
  for (const QuestionState& question : call.questions) {
    out += "  asked " + event_payload(Event(question.asked)) + "\n";
    add_event(out, "  answered", question.answered);
  }
  add_event(out, "  finished", call.finished);
}

std::string usage_line(const Usage& u) {
  return fmt::format("{} {} {} {} {} {}", u.tokens_prompt, u.tokens_cached, u.tokens_generated,
                     u.prefill_ms, u.decode_ms, u.cost_pico);
}

void add(std::string& out, const std::vector<LiveValues>& values) {
  for (const LiveValues& live : values) {
    fmt::format_to(std::back_inserter(out), "live {} {} {}\n", live.tool, live.parameter,
                   fmt::join(live.values, " "));
  }
}

void add_conversation(std::string& out, const SessionState& s) {
  for (const context::Message& message : s.conversation) add(out, message);
  fmt::format_to(std::back_inserter(out), "origins {}\n", fmt::join(s.origins, " "));
  for (const auto& [seq, message] : s.removed) {
    fmt::format_to(std::back_inserter(out), "removed {}: ", seq);
    add(out, message);
  }
  for (const BlobRef& blob : s.blobs) {
    fmt::format_to(std::back_inserter(out), "blob {} {} {}\n", blob.hash, blob.bytes, blob.title);
  }
}

}  // namespace

std::string dump(const ModelRequest& request) {
  const Sampling& s = request.sampling;
  std::string out =
      fmt::format("{} {} {} {} {} {} max {}\n", request.family, s.temperature, s.top_p, s.seed,
                  s.is_thinking, s.has_grammar, request.tokens_generated_max);
  for (const context::Message& message : request.conversation) add(out, message);
  add(out, request.live_values);
  return out;
}

std::string dump(const SessionState& state) {
  // Every member is named, so that a new one does not go unnoticed.
  const auto& [start, task, task_seq, conversation, origins, removed, blobs, approval_rules, pinned,
               tool_values, kept_values, reductions_in_row, is_foreign, has_side_effects,
               is_turn_open, turns, step, attempt, completion, blank_answer, calls, call_counts,
               call_count_max, effects_turn, stale_steps, results_seen, sub_agents,
               steps_delegated_turn, usage_delegated, interjected, is_superseded, has_fresh_results,
               tokens_generated_turn, usage_total, usage_last, completions, damaged_completions,
               tool_calls, malformed_calls, last_end, workflow, unreadable, last_seq] = state;
  std::string out;
  add_event(out, "start", start);
  add_conversation(out, state);
  for (const ApprovalRule& rule : approval_rules) {
    fmt::format_to(std::back_inserter(out), "rule {} {}\n", rule.tool, fmt::join(rule.fixed, " "));
  }
  fmt::format_to(std::back_inserter(out), "pinned {}\n", fmt::join(pinned, " "));
  for (const auto& [place, value] : kept_values) {
    fmt::format_to(std::back_inserter(out), "kept {} {}: {}\n", place.first, place.second, value);
  }
  fmt::format_to(std::back_inserter(out),
                 "reductions {} foreign {} side effects {} open {} turns {} step {} attempt {}\n",
                 reductions_in_row, is_foreign, has_side_effects, is_turn_open, turns, step,
                 attempt);
  if (completion) {
    fmt::format_to(std::back_inserter(out), "completion {} {} {}\n", completion->is_cut_off,
                   completion->has_calls, completion->says_nothing);
  }
  if (blank_answer) fmt::format_to(std::back_inserter(out), "blank {}\n", blank_answer->first);
  for (const CallState& call : calls) add(out, call);
  for (const auto& [call, count] : call_counts) {
    fmt::format_to(std::back_inserter(out), "called {} {}: {} {} {} {} {}\n", call.first,
                   call.second, count.times, count.in_row, count.result.value_or(0), count.effects,
                   count.effects_of_others);
  }
  fmt::format_to(std::back_inserter(out), "words {} superseded {} fresh {} tokens {}\n",
                 fmt::join(interjected, "|"), is_superseded, has_fresh_results,
                 tokens_generated_turn);
  fmt::format_to(std::back_inserter(out), "usage {} / {} ({}, {}, {}, {})\n",
                 usage_line(usage_total), usage_line(usage_last), completions, damaged_completions,
                 tool_calls, malformed_calls);
  fmt::format_to(std::back_inserter(out), "guard {} {} {} {}, delegated {} {} of task {}\n",
                 call_count_max, effects_turn, stale_steps, fmt::join(results_seen, " "),
                 steps_delegated_turn, usage_line(usage_delegated), task_seq);
  for (const SubAgentState& agent : sub_agents) {
    fmt::format_to(std::back_inserter(out), "sub-agent {} {} {}\n", agent.started.child,
                   agent.completion_seq, agent.is_finished);
  }
  add(out, tool_values.values);
  fmt::format_to(std::back_inserter(out), "problems {}\n", fmt::join(tool_values.problems, "|"));
  add_event(out, "task", task);
  add_event(out, "end", last_end);
  add_event(out, "workflow", workflow);
  fmt::format_to(std::back_inserter(out), "unreadable {} last {}\n", unreadable, last_seq);
  return out;
}

std::string difference(const std::string& a, const std::string& b) {
  const std::size_t common = static_cast<std::size_t>(
      std::mismatch(a.begin(), a.end(), b.begin(), b.end()).first - a.begin());
  if (common == a.size() && common == b.size()) return "none";
  const auto line_at = [common](const std::string& text) {
    if (common >= text.size()) return std::string("(end)");
    const std::size_t before = text.rfind('\n', common == 0 ? 0 : common - 1);
    const std::size_t begin = before == std::string::npos ? 0 : before + 1;
    return text.substr(begin, std::min<std::size_t>(text.find('\n', common) - begin, 400));
  };
  return fmt::format("\"{}\" and \"{}\"", line_at(a), line_at(b));
}

}  // namespace ponder::simulation
