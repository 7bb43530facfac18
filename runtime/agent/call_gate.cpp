#include "runtime/agent/call_gate.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <utility>
#include <variant>

#include "context/budget.h"
#include "context/transitions.h"
#include "runtime/agent/agent_tool.h"
#include "runtime/text.h"

namespace ponder::runtime {
namespace {

constexpr const char* kOutcomeUnknown =
    "interrupted: ponder stopped while this call ran; whether it took effect is unknown";

ToolFinished refusal(Outcome outcome, const std::string& why) {
  ToolFinished finished;
  finished.outcome = outcome;
  finished.content = tools::error_output(clean_utf8(why)).content;
  return finished;
}

// A call whose result is another each time can be made so many times for each one that repeats_max
// allows of a call whose result is not.
constexpr std::uint32_t kChangingCallsPerRepeat = 10;

bool may_run_again(tools::Effect effect) {
  return effect == tools::Effect::pure || effect == tools::Effect::idempotent;
}

/// How often a call may be made in a turn whose result is always another.
std::uint64_t changing_calls_max(const Limits& limits) {
  return std::uint64_t{limits.repeats_max} * kChangingCallsPerRepeat;
}

/// Why the loop guard keeps a call from running.
std::optional<ToolFinished> refuse_repetition(const SessionState& state, const CallState& one) {
  const Limits& limits = state.started().limits;
  const context::ToolCall& call = one.call;
  const auto found = state.call_counts.find(one.key);
  if (found == state.call_counts.end()) return std::nullopt;
  const CallCount* count = &found->second;
  if (count->in_row > limits.repeats_max) {
    return refusal(Outcome::error,
                   fmt::format("{} was called {} times with these arguments; the answer stays the "
                               "same: do something else or finish",
                               call.name, limits.repeats_max));
  }
  if (count->times > changing_calls_max(limits)) {
    return refusal(Outcome::error,
                   fmt::format("{} was called {} times with these arguments, more often than a "
                               "turn may: do something else or finish",
                               call.name, changing_calls_max(limits)));
  }
  const bool is_stale =
      limits.stale_steps_max > 0 && count->times > 1 && state.stale_steps >= limits.stale_steps_max;
  if (!is_stale) return std::nullopt;
  return refusal(Outcome::error,
                 fmt::format("{} did not run: the last {} steps brought nothing that was not there "
                             "before; do something that you have not tried, or finish",
                             call.name, state.stale_steps));
}

/// Why a sub-agent's call does not run: it has only the tools that it was given.
std::optional<ToolFinished> refuse_unassigned(const SessionState& state, const std::string& name) {
  if (!state.task) return std::nullopt;
  const std::vector<std::string>& tools = state.task->tools;
  const bool is_reader = name == context::kReadBlobTool && !state.blobs.empty();
  if (is_reader || std::find(tools.begin(), tools.end(), name) != tools.end()) return std::nullopt;
  return refusal(Outcome::error, fmt::format("there is no tool '{}' for this task, there are: {}",
                                             name, fmt::join(tools, ", ")));
}

/// Why a call does not run, or nothing and the tool that runs it.
std::optional<ToolFinished> refuse(const SessionState& state, std::size_t index,
                                   const Toolbox& tools, const std::vector<std::string>& grants,
                                   tools::Tool** tool) {
  const CallState& call = state.calls[index];
  const Limits& limits = state.started().limits;
  if (!call.fault.empty()) return refusal(Outcome::error, call.fault);
  if (index >= limits.calls_step_max) {
    return refusal(Outcome::error, fmt::format("at most {} calls are answered at a time; call "
                                               "again",
                                               limits.calls_step_max));
  }
  if (auto repeated = refuse_repetition(state, call)) return repeated;
  if (auto unassigned = refuse_unassigned(state, call.call.name)) return unassigned;
  auto admitted = tools.registry_for(state, call.call.name).admit(call.call, grants);
  if (const auto* refused = std::get_if<tools::Refusal>(&admitted)) {
    const bool is_denied = refused->reason == tools::Refusal::Reason::not_granted;
    return refusal(is_denied ? Outcome::denied : Outcome::error, refused->message);
  }
  *tool = std::get<tools::Tool*>(admitted);
  return std::nullopt;
}

enum class Word { run, ask, refuse };

/// What the log and the policy say about a call that could run.
Word word_on(const SessionState& state, const CallState& call, tools::Effect effect,
             const ApprovalPolicy& policy) {
  if (!needs_approval(effect) || policy.mode == ApprovalMode::always) return Word::run;
  if (policy.mode == ApprovalMode::never) return Word::refuse;
  const auto canonical = canonical_arguments(call.call.arguments);
  if (!canonical) return Word::refuse;
  const bool is_answered =
      call.approval && call.approval->digest == approval_digest(call.call.name, *canonical);
  if (is_answered) {
    const ApprovalDecision decision = call.approval->decision;
    const bool is_yes =
        decision == ApprovalDecision::allow_once || decision == ApprovalDecision::allow_session;
    return is_yes ? Word::run : Word::refuse;
  }
  const auto& rules = state.approval_rules;
  const bool is_allowed = std::any_of(rules.begin(), rules.end(), [&](const ApprovalRule& rule) {
    return rule_allows(rule, call.call);
  });
  if (is_allowed) return Word::run;
  return policy.approver == nullptr ? Word::refuse : Word::ask;
}

/// What the model is told of a call that `word_on` refuses.
ToolFinished denial(const CallState& call, const ApprovalPolicy& policy) {
  std::string why = "nobody is here to approve it; do without it";
  if (policy.mode == ApprovalMode::never) {
    why = "calls with lasting effects are not allowed here; do without it";
  } else if (call.approval && call.approval->decision == ApprovalDecision::expired) {
    why = fmt::format("nobody approved it within {} s; do without it, or ask in your answer",
                      policy.answer_ms_max / 1000);
  } else if (call.approval) {
    const std::string& reason = call.approval->reason;
    why = fmt::format("the user did not approve it{}{}; do not call it again like this",
                      reason.empty() ? "" : ": ", reason);
  }
  return refusal(Outcome::denied, fmt::format("{} did not run: {}", call.call.name, why));
}

}  // namespace

const tools::Registry& Toolbox::registry_for(const SessionState& state,
                                             std::string_view name) const {
  // What is not offered is unknown, as the prompt has it.
  const bool is_reader = name == context::kReadBlobTool && !state.blobs.empty();
  const bool is_agent = name == kAgentTool && may_have_sub_agents(state);
  return is_reader || is_agent ? *builtin : *workflow;
}

Result<std::uint32_t> choose_call(const SessionState& state, std::string_view which) {
  std::optional<std::uint32_t> found;
  for (std::uint32_t i = 0; i < state.calls.size(); ++i) {
    const bool is_meant = state.calls[i].call.name == which || std::to_string(i + 1) == which;
    if (state.calls[i].finished || !is_meant) continue;
    if (found) {
      return fail(Errc::invalid_argument,
                  fmt::format("several calls of {} are under way: say 1, 2, ...", which));
    }
    found = i;
  }
  if (!found) return fail(Errc::not_found, fmt::format("no call {} is under way", which));
  return *found;
}

bool may_have_sub_agents(const SessionState& state) {
  const std::uint32_t depth = state.task ? state.task->depth : 0;
  return state.started().limits.agent_depth_max > depth;
}

ToolFinished cancelled_before_it_began(const SessionState& state) {
  ToolFinished finished = refusal(Outcome::cancelled, "the call was cancelled before it began");
  if (state.is_superseded) finished.content = context::kCancelledResult;
  return finished;
}

CallPlan plan_call(const SessionState& state, std::uint32_t call_index, const Toolbox& tools,
                   const GateRules& rules) {
  CallPlan plan;
  const CallState& call = state.calls[call_index];
  tools::Tool* tool = nullptr;
  std::optional<ToolFinished> finished;
  Word word = Word::run;
  if (call.effect && !may_run_again(*call.effect)) {
    finished = refusal(Outcome::interrupted, kOutcomeUnknown);
  } else if (state.is_superseded || rules.is_cancelled) {
    finished = cancelled_before_it_began(state);
  } else {
    finished = refuse(state, call_index, tools, *rules.grants, &tool);
    if (!finished) word = word_on(state, call, tool->effect(), *rules.approvals);
    if (word == Word::refuse) finished = denial(call, *rules.approvals);
  }
  const std::uint32_t step = state.step - 1;
  if (finished) {
    finished->step = step;
    finished->call_index = call_index;
    plan.events.emplace_back(std::move(*finished));
  } else if (word == Word::ask) {
    plan.to_ask.push_back(call_index);
  } else {
    plan.events.emplace_back(ToolIntended{step, call_index, tool->effect()});
    plan.events.emplace_back(ToolStarted{step, call_index});
    plan.runnable.push_back(call_index);
  }
  return plan;
}

CallPlan plan_calls(const SessionState& state, const Toolbox& tools, const GateRules& rules) {
  CallPlan plan;
  std::vector<Event> intents;
  for (std::uint32_t i = 0; i < state.calls.size(); ++i) {
    if (state.calls[i].finished) continue;
    CallPlan one = plan_call(state, i, tools, rules);
    std::vector<Event>& events = one.runnable.empty() ? plan.events : intents;
    for (Event& event : one.events) events.push_back(std::move(event));
    plan.runnable.insert(plan.runnable.end(), one.runnable.begin(), one.runnable.end());
    plan.to_ask.insert(plan.to_ask.end(), one.to_ask.begin(), one.to_ask.end());
  }
  for (Event& intent : intents) plan.events.push_back(std::move(intent));
  return plan;
}

std::string idempotency_key(const SessionId& session, std::int64_t completion_seq,
                            std::size_t call_index) {
  return fmt::format("{}/{}/{}", session.value, completion_seq, call_index);
}

std::vector<Event> interrupt_open_calls(const SessionState& state) {
  std::vector<Event> events;
  for (std::size_t i = 0; i < state.calls.size(); ++i) {
    const CallState& call = state.calls[i];
    if (call.finished) continue;
    ToolFinished finished = call.effect ? refusal(Outcome::interrupted, kOutcomeUnknown)
                                        : refusal(Outcome::cancelled, "the call never began");
    finished.step = state.step - 1;
    finished.call_index = static_cast<std::uint32_t>(i);
    events.emplace_back(std::move(finished));
  }
  return events;
}

std::optional<std::string> repeated_beyond_warning(const SessionState& state) {
  const Limits& limits = state.started().limits;
  const std::uint64_t refused_at = std::uint64_t{limits.repeats_max} + 1;
  if (state.call_count_max <= refused_at) return std::nullopt;
  const std::uint64_t refused_at_last = changing_calls_max(limits) + 1;
  for (const auto& [call, count] : state.call_counts) {
    if (count.in_row > refused_at || count.times > refused_at_last) return call.first;
  }
  return std::nullopt;
}

}  // namespace ponder::runtime
