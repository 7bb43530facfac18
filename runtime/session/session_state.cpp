#include "runtime/session/session_state.h"

#include <algorithm>
#include <functional>
#include <tuple>

#include "base/assert.h"
#include "context/transitions.h"
#include "runtime/session/canonical_arguments.h"
#include "runtime/text.h"
#include "tools/registry.h"

namespace ponder::runtime {
namespace {

constexpr const char* kOutcomeLost =
    "interrupted: the log has no outcome of this call; whether it took effect is unknown";

CallState* find_call(SessionState& state, std::uint32_t index) {
  return index < state.calls.size() ? &state.calls[index] : nullptr;
}

void add_message(SessionState& state, context::Message message, std::int64_t seq) {
  state.conversation.push_back(std::move(message));
  state.origins.push_back(seq);
}

/// Puts the words that wait onto the results that the model has not read yet.
void deliver_words(SessionState& state) {
  if (!state.has_fresh_results || state.is_superseded) return;
  for (const std::string& words : state.interjected) {
    auto steered = context::steer(state.conversation, words);
    if (!steered) return;
    state.conversation = std::move(*steered);
  }
  state.interjected.clear();
}

std::pair<std::string, std::string> key_of(const context::ToolCall& call) {
  return {call.name, canonical_arguments(call.arguments).value_or(call.arguments)};
}

void count_call(SessionState& state, const CallState& call) {
  CallCount& count = state.call_counts[call.key];
  const std::uint32_t effects_of_others = state.effects_turn - count.effects;
  if (count.effects_of_others != effects_of_others) count.in_row = 0;
  count.effects_of_others = effects_of_others;
  ++count.in_row;
  ++count.times;
  state.call_count_max = std::max(state.call_count_max, count.times);
}

/// Whether a call, or what came of it, was not there before in the turn. Takes note of it.
bool is_news(SessionState& state, const CallState& call) {
  CallCount& count = state.call_counts[call.key];
  if (!call.effect) return count.times <= 1;  // it did not run: what it was told is no news
  PONDER_ASSERT(call.finished);
  const std::size_t result = std::hash<std::string>()(call.finished->content);
  if (count.result && *count.result != result) count.in_row = 1;
  count.result = result;
  if (*call.effect != tools::Effect::pure) {
    ++count.effects;
    ++state.effects_turn;
  }
  std::string seen = call.key.first;
  seen.append(1, '\0').append(call.key.second).append(1, '\0').append(call.finished->content);
  return state.results_seen.insert(std::hash<std::string>()(seen)).second;
}

void note_progress(SessionState& state) {
  bool has_news = false;
  for (const CallState& call : state.calls) has_news = is_news(state, call) || has_news;
  state.stale_steps = has_news ? 0 : state.stale_steps + 1;
}

/// A turn's counters, as they stand where it begins.
void reset_turn(SessionState& state) {
  state.step = 0;
  state.attempt = 0;
  state.completion.reset();
  state.blank_answer.reset();
  state.tokens_generated_turn = 0;
  state.steps_delegated_turn = 0;
  state.call_counts.clear();
  state.call_count_max = 0;
  state.effects_turn = 0;
  state.stale_steps = 0;
  state.results_seen.clear();
  state.reductions_in_row = 0;
}

/// Once every call has its outcome the block is complete and may be seen by the model.
void settle_calls(SessionState& state) {
  const bool is_complete = std::all_of(state.calls.begin(), state.calls.end(),
                                       [](const CallState& c) { return c.finished.has_value(); });
  if (!is_complete) return;
  note_progress(state);
  for (const CallState& call : state.calls) {
    PONDER_ASSERT(call.finished);
    context::Message result;
    result.role = context::Role::tool;
    result.content = call.finished->content;
    result.tool_call_id = call.call.id;
    add_message(state, std::move(result), call.finished_seq);
  }
  state.calls.clear();
  state.has_fresh_results = true;
  deliver_words(state);
}

/// What cannot be read may have been an intent: a call that might have begun is not fired again.
void suspect_open_calls(SessionState& state) {
  for (CallState& call : state.calls) {
    if (!call.effect) call.effect = tools::Effect::irreversible;
  }
}

/// The log went on, so that every call had its outcome: those that it lost are read as unknown, and
/// the block of calls stays whole.
void settle_lost_calls(SessionState& state, std::int64_t seq) {
  for (CallState& call : state.calls) {
    if (call.finished) continue;
    call.finished.emplace();
    call.finished->outcome = Outcome::interrupted;
    call.finished->content = tools::error_output(kOutcomeLost).content;
    call.finished_seq = seq;
  }
  settle_calls(state);
}

CompletionState completion_of(const ModelCompleted& e) {
  CompletionState out;
  out.is_cut_off = e.finish == Finish::length || e.verdict == Verdict::truncated;
  out.has_calls = !e.message.tool_calls.empty();
  out.says_nothing = !out.has_calls && is_blank(e.message.content);
  return out;
}

void take_message(SessionState& state, const CompletionState& completion, const ModelCompleted& e,
                  std::int64_t seq) {
  context::Message message = e.message;
  if (completion.is_cut_off) {
    // Its end is missing: as text it can be closed properly, as tokens it cannot; calls are void.
    message.tool_calls.clear();
    message.sampled.clear();
  }
  // A completion that says nothing stays out: the model is asked again, or the turn ends.
  if (message.content.empty() && message.tool_calls.empty()) return;
  if (completion.says_nothing && !completion.is_cut_off) {
    state.blank_answer.emplace(seq, std::move(message));
    return;
  }
  for (std::size_t i = 0; i < message.tool_calls.size(); ++i) {
    CallState call;
    call.call = message.tool_calls[i];
    if (i < e.call_faults.size()) call.fault = e.call_faults[i];
    call.key = key_of(call.call);
    count_call(state, call);
    state.calls.push_back(std::move(call));
  }
  state.tool_calls += static_cast<std::uint32_t>(message.tool_calls.size());
  add_message(state, std::move(message), seq);
  state.attempt = 0;
}

/// The tool that reads back what left the conversation stands behind the session's own.
void offer_tool(SessionState& state, const context::ToolSpec& tool, std::int64_t seq) {
  if (state.conversation.empty() || state.conversation.front().role != context::Role::system) {
    context::Message system;
    system.role = context::Role::system;
    context::Conversation& messages = state.conversation.edit();
    messages.insert(messages.begin(), std::move(system));
    state.origins.insert(state.origins.begin(), seq);
  }
  state.conversation.edit().front().tools.push_back(tool);
}

/// A result that the conversation has but the beginning of can be read back from here on.
void keep_whole(SessionState& state, const BlobRef& whole,
                const std::optional<context::ToolSpec>& reader, std::int64_t seq) {
  const bool is_known = std::any_of(state.blobs.begin(), state.blobs.end(),
                                    [&](const BlobRef& one) { return one.hash == whole.hash; });
  if (!is_known) state.blobs.push_back(whole);
  if (!reader) return;
  // Calls that ended side by side may all have brought it.
  const context::Conversation& messages = state.conversation;
  const bool has_system = !messages.empty() && messages.front().role == context::Role::system;
  const bool is_offered =
      has_system && std::any_of(messages.front().tools.begin(), messages.front().tools.end(),
                                [&](const auto& tool) { return tool.name == reader->name; });
  if (!is_offered) offer_tool(state, *reader, seq);
}

void cut_conversation(SessionState& state, const ContextReduced& e, std::int64_t seq) {
  auto reduced = context::reduce(state.conversation, e.reduction);
  if (!reduced) {
    ++state.unreadable;
    return;
  }
  for (const std::size_t i : e.reduction.removed) {
    state.removed.emplace_back(state.origins[i], std::move(state.conversation.edit()[i]));
  }
  std::vector<std::int64_t> origins;
  for (const auto& origin : reduced->origins) {
    origins.push_back(origin ? state.origins[*origin] : seq);
  }
  state.conversation = std::move(reduced->conversation);
  state.origins = std::move(origins);
  state.blobs.insert(state.blobs.end(), e.blobs.begin(), e.blobs.end());
  if (e.reader) offer_tool(state, *e.reader, seq);
}

/// A message so far and the event that it came from. What one event gave keeps its order.
struct PastMessage {
  std::int64_t seq;
  std::size_t place;
  const context::Message* message;
};

/// Every message so far, in the order of the log.
std::vector<PastMessage> past_of(const SessionState& state) {
  std::vector<PastMessage> all;
  all.reserve(state.removed.size() + state.conversation.size());
  for (const auto& [seq, message] : state.removed) all.push_back({seq, all.size(), &message});
  for (std::size_t i = 0; i < state.conversation.size(); ++i) {
    all.push_back({state.origins[i], all.size(), &state.conversation[i]});
  }
  std::sort(all.begin(), all.end(), [](const PastMessage& a, const PastMessage& b) {
    return std::tie(a.seq, a.place) < std::tie(b.seq, b.place);
  });
  return all;
}

/// What a person allowed and answered was meant for the session where it was said.
void forget_answers(SessionState& state) {
  state.approval_rules.clear();
  for (CallState& call : state.calls) {
    call.approval.reset();
    call.questions.clear();
  }
}

/// Whoever waits for an answer, or owes one, has to do with another session than this one.
void part_from_others(SessionState& state) {
  if (state.task) state.task->parent.clear();
  std::erase_if(state.sub_agents, [](const SubAgentState& one) { return !one.is_finished; });
}

struct Applier {
  SessionState& state;
  std::int64_t seq;

  void operator()(const SessionStarted& e) {
    state.start = e;
    if (e.instructions.empty() && e.tools.empty()) return;
    context::Message system;
    system.role = context::Role::system;
    system.content = e.instructions;
    system.tools = e.tools;
    add_message(state, std::move(system), seq);
  }
  void operator()(const SessionForked&) {
    forget_answers(state);
    part_from_others(state);
  }
  void operator()(const SessionImported& e) {
    state.is_foreign = true;
    forget_answers(state);
    if (!e.from.empty()) part_from_others(state);
  }
  void operator()(const TaskAssigned& e) {
    state.task = e;
    state.task_seq = seq;
    if (state.start) state.start->limits = e.limits;
    if (state.is_turn_open) ++state.turns;  // a fork: its work is a turn of its own
    reset_turn(state);
    state.usage_total = {};
    state.usage_last = {};
    state.usage_delegated = {};
    state.completions = 0;
    state.damaged_completions = 0;
    state.tool_calls = 0;
    state.malformed_calls = 0;
    state.sub_agents.clear();
  }
  void operator()(const BudgetChanged& e) {
    if (!state.start) return;
    Limits& limits = state.start->limits;
    limits.cost_pico_max = e.cost_pico_max;
    limits.steps_max = e.steps_max.value_or(limits.steps_max);
    limits.tokens_turn_max = e.tokens_turn_max.value_or(limits.tokens_turn_max);
    limits.turn_ms_max = e.turn_ms_max.value_or(limits.turn_ms_max);
  }
  void operator()(const ModelChanged& e) {
    if (!state.start) return;
    state.start->model = e.model;
    state.start->family = e.family;
    state.start->policy = e.policy;
    state.start->vocabulary = e.vocabulary;
    state.conversation = context::for_other_model(state.conversation);
  }
  void operator()(const UserMessage& e) {
    context::Message message;
    message.role = context::Role::user;
    message.content = e.content;
    // The log only has a user message here because a person began a new turn.
    message.ends_turn = true;
    add_message(state, std::move(message), seq);
    state.is_turn_open = true;
    ++state.turns;
    reset_turn(state);
    state.calls.clear();
    state.interjected.clear();
    state.is_superseded = false;
    state.has_fresh_results = false;
    state.last_end.reset();
    state.workflow.reset();
  }
  void operator()(const UserInterjected& e) {
    state.interjected.push_back(e.content);
    state.is_superseded = state.is_superseded || e.ends_turn;
    deliver_words(state);
  }
  void operator()(const ModeChanged& e) {
    if (!state.start) return;
    state.start->sampling.is_thinking = e.is_thinking;
    state.start->policy = e.policy;
  }
  void operator()(const MessagePinned& e) {
    if (e.is_pinned) {
      state.pinned.insert(e.message_seq);
    } else {
      state.pinned.erase(e.message_seq);
    }
  }
  void operator()(const ModelStarted& e) {
    state.has_fresh_results = false;
    if (e.values) state.tool_values = *e.values;
  }
  void operator()(const ModelCompleted& e) {
    state.step = e.step + 1;
    const CompletionState completion = completion_of(e);
    state.completion = completion;
    ++state.completions;
    state.usage_last = e.usage;
    state.tokens_generated_turn += e.usage.tokens_generated + e.usage_void.tokens_generated;
    add_usage(state.usage_total, e.usage);
    add_usage(state.usage_total, e.usage_void);
    state.reductions_in_row = 0;
    state.blank_answer.reset();
    if (e.verdict != Verdict::ok) ++state.damaged_completions;
    state.malformed_calls += static_cast<std::uint32_t>(
        std::count_if(e.call_faults.begin(), e.call_faults.end(),
                      [](const std::string& fault) { return !fault.empty(); }));
    take_message(state, completion, e, seq);
  }
  void operator()(const ModelRetried& e) {
    state.blank_answer.reset();  // it was no answer
    state.step = e.step;
    ++state.attempt;
    state.completion.reset();
  }
  void operator()(const ApprovalAsked&) {}
  void operator()(const ApprovalAnswered& e) {
    CallState* call = find_call(state, e.call_index);
    if (call != nullptr && e.step + 1 == state.step) call->approval = e;
    if (e.decision == ApprovalDecision::allow_session) state.approval_rules.push_back(e.rule);
  }
  void operator()(const ToolIntended& e) {
    if (CallState* call = find_call(state, e.call_index)) call->effect = e.effect;
    if (e.effect != tools::Effect::pure) state.has_side_effects = true;
  }
  void operator()(const ToolStarted& e) {
    if (CallState* call = find_call(state, e.call_index)) call->is_started = true;
  }
  void operator()(const QuestionAsked& e) {
    CallState* call = find_call(state, e.call_index);
    if (call == nullptr || e.step + 1 != state.step || e.n > call->questions.size()) return;
    if (e.n == call->questions.size()) call->questions.emplace_back();
    call->questions[e.n] = {e, std::nullopt};
  }
  void operator()(const QuestionAnswered& e) {
    CallState* call = find_call(state, e.call_index);
    const bool is_asked =
        call != nullptr && e.step + 1 == state.step && e.n < call->questions.size();
    if (is_asked) call->questions[e.n].answered = e;
  }
  void operator()(const ToolNoted&) {}
  void operator()(const ToolValueSet& e) {
    if (e.value) {
      state.kept_values[{e.tool, e.key}] = *e.value;
    } else {
      state.kept_values.erase({e.tool, e.key});
    }
  }
  void operator()(const SubAgentStarted& e) {
    // While calls are open the message that made them is the last one.
    const std::int64_t completion_seq = state.origins.empty() ? 0 : state.origins.back();
    state.sub_agents.push_back({e, completion_seq, false});
  }
  void operator()(const SubAgentFinished& e) {
    for (SubAgentState& one : state.sub_agents) {
      if (one.started.child != e.child || one.is_finished) continue;
      one.is_finished = true;
      state.steps_delegated_turn += e.steps;
      state.tokens_generated_turn += e.usage.tokens_generated;
      add_usage(state.usage_delegated, e.usage);
    }
  }
  void operator()(const ToolFinished& e) {
    CallState* call = find_call(state, e.call_index);
    if (call == nullptr || call->finished) return;  // the first outcome is the one that counts
    call->finished = e;
    call->finished_seq = seq;
    if (e.whole) keep_whole(state, *e.whole, e.reader, seq);
    settle_calls(state);
  }
  void operator()(const ContextReduced& e) {
    cut_conversation(state, e, seq);
    ++state.reductions_in_row;
    state.tokens_generated_turn += e.summary_usage.tokens_generated;
    add_usage(state.usage_total, e.summary_usage);
  }
  void operator()(const TurnEnded& e) {
    // As earlier versions folded it, which took it for an answer.
    if (state.blank_answer && e.reason != TurnEnd::reasoning_only) {
      add_message(state, std::move(state.blank_answer->second), state.blank_answer->first);
    }
    state.blank_answer.reset();
    state.is_turn_open = false;
    state.last_end = e;
    state.tokens_generated_turn += e.usage_void.tokens_generated;
    add_usage(state.usage_total, e.usage_void);
  }
  void operator()(const WorkflowFinished& e) { state.workflow = e; }
  void operator()(const UnreadableEvent&) {
    ++state.unreadable;
    suspect_open_calls(state);
  }
};

/// These come only once every call has its outcome.
bool follows_outcomes(const Event& event) {
  return std::holds_alternative<UserMessage>(event) ||
         std::holds_alternative<ModelStarted>(event) ||
         std::holds_alternative<ModelCompleted>(event) ||
         std::holds_alternative<ContextReduced>(event) || std::holds_alternative<TurnEnded>(event);
}

}  // namespace

const SessionStarted& SessionState::started() const {
  PONDER_ASSERT(start);
  return *start;
}

std::string SessionState::last_answer() const {
  const context::Conversation& messages = conversation;
  for (auto it = messages.rbegin(); it != messages.rend(); ++it) {
    if (it->role == context::Role::assistant) return it->content;
  }
  return {};
}

context::Conversation SessionState::history() const {
  context::Conversation out;
  for (const PastMessage& past : past_of(*this)) out.push_back(*past.message);
  return out;
}

std::vector<std::int64_t> SessionState::history_origins() const {
  std::vector<std::int64_t> out;
  for (const PastMessage& past : past_of(*this)) out.push_back(past.seq);
  return out;
}

void add_usage(Usage& total, const Usage& usage) {
  total.tokens_prompt += usage.tokens_prompt;
  total.tokens_cached += usage.tokens_cached;
  total.tokens_generated += usage.tokens_generated;
  total.prefill_ms += usage.prefill_ms;
  total.decode_ms += usage.decode_ms;
  total.cost_pico = sum_of(total.cost_pico, usage.cost_pico);
}

void apply(SessionState& state, const Record& record) {
  if (state.has_open_calls() && follows_outcomes(record.event)) {
    settle_lost_calls(state, record.seq);
  }
  std::visit(Applier{state, record.seq}, record.event);
  state.last_seq = record.seq;
}

SessionState fold(std::span<const Record> records) {
  SessionState state;
  for (const Record& record : records) apply(state, record);
  return state;
}

}  // namespace ponder::runtime
