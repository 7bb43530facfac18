#include "runtime/agent/sub_agents.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <boost/asio/this_coro.hpp>
#include <chrono>
#include <limits>
#include <memory>
#include <utility>

#include "base/assert.h"
#include "runtime/agent/agent.h"
#include "runtime/agent/agent_tool.h"
#include "runtime/text.h"
#include "tools/registry.h"

namespace ponder::runtime {
namespace asio = boost::asio;
namespace {

constexpr const char* kInstructions =
    "You work on one task that another agent gave you. Nobody is there to be asked: decide for "
    "yourself. Your last message is all that it gets, so put the whole result into it.";
constexpr const char* kLeftToParent = "left to the agent that you were forked from";

/// Hands the events of a sub-agent's session on to those who watch its parent.
class Forwarder final : public EventSink {
 public:
  explicit Forwarder(std::vector<EventSink*> sinks) : sinks_(std::move(sinks)) {}
  void on_event(const SessionId& session, const Record& record) override {
    tell_all(sinks_, [&](EventSink& sink) { sink.on_sub_agent_event(session, record); });
  }
  void on_sub_agent_event(const SessionId& session, const Record& record) override {
    on_event(session, record);
  }

 private:
  std::vector<EventSink*> sinks_;
};

const SubAgentState* find_sub_agent(const SessionState& state, std::string_view child) {
  const auto found =
      std::find_if(state.sub_agents.begin(), state.sub_agents.end(),
                   [&](const SubAgentState& one) { return one.started.child == child; });
  return found == state.sub_agents.end() ? nullptr : &*found;
}

/// Whether it works for a call that is open.
bool is_at_work(const SessionState& state, const SubAgentState& one) {
  const std::uint32_t call = one.started.call_index;
  return !one.is_finished && state.has_open_calls() && one.completion_seq == state.origins.back() &&
         call < state.calls.size() && !state.calls[call].finished;
}

// NOLINTNEXTLINE(cppcoreguidelines-avoid-reference-coroutine-parameters): the caller waits for it
asio::awaitable<bool> is_there(const SessionStore& store, SessionId id) {
  auto resolve = [&store, &id] { return store.resolve(id.value); };
  const auto found = co_await store.read(std::move(resolve));
  co_return found && *found == id;
}

asio::awaitable<Result<std::unique_ptr<Agent>>> open_agent(AgentParts parts, SessionId id) {
  const SessionStore& store = *parts.store;
  auto open = [&parts, &id] { return Agent::open(std::move(parts), id); };
  auto opened = co_await store.read(std::move(open));
  co_return opened;
}

/// Who finds the session that it begins has lost the parent to somebody who was faster.
tl::unexpected<Error> begun_elsewhere(const Error& error) {
  if (error.code != Errc::invalid_argument) return tl::unexpected<Error>(error);
  return fail(Errc::unavailable, error.message + ": another program works on it");
}

/// a - b, at least 0.
template <class T, class U>
T less(T a, U b) {
  return a > b ? static_cast<T>(a - b) : 0;
}

/// What a task that was worked on gives the model that asked.
Result<tools::ToolOutput> output_of(const SessionState& state, const TurnEnded& end) {
  if (end.reason == TurnEnd::answered) return tools::ToolOutput(state.last_answer(), false);
  return tools::error_output(fmt::format("the agent ended without an answer ({}){}{}",
                                         turn_end_name(end.reason), end.detail.empty() ? "" : ": ",
                                         end.detail));
}

SubAgentFinished finished_of(const SubAgentStarted& started, const SessionState& state) {
  SubAgentFinished out;
  out.step = started.step;
  out.call_index = started.call_index;
  out.child = started.child;
  out.reason = state.last_end ? state.last_end->reason : TurnEnd::cancelled;
  out.steps = state.steps_turn();
  out.usage = state.usage_total;
  add_usage(out.usage, state.usage_delegated);
  return out;
}

Limits limits_within(Limits limits, const SubAgentBudget& budget) {
  limits.steps_max = budget.steps_max;
  limits.tokens_turn_max = budget.tokens_max;
  limits.turn_ms_max = budget.ms_max;
  limits.cost_pico_max = budget.cost_pico_max;
  return limits;
}

/// The outcomes with which a fork's history goes on: its own call told it what to do.
std::vector<Event> outcomes_for_fork(const SessionState& state, std::uint32_t own_call,
                                     const std::string& task) {
  std::vector<Event> out;
  for (std::uint32_t i = 0; i < state.calls.size(); ++i) {
    ToolFinished finished;
    finished.step = state.step - 1;
    finished.call_index = i;
    finished.outcome = i == own_call ? Outcome::success : Outcome::cancelled;
    finished.content =
        i == own_call ? fmt::format("You are now the agent that this call asked for. {}\nTask: {}",
                                    kInstructions, task)
                      : kLeftToParent;
    out.emplace_back(std::move(finished));
  }
  return out;
}

}  // namespace

std::string sub_agent_id(const SessionId& parent, std::int64_t completion_seq,
                         std::uint32_t call_index, std::uint32_t n) {
  std::string id = fmt::format("{}.{}-{}", parent.value, completion_seq, call_index);
  if (n > 0) id += fmt::format("-{}", n);
  return id;
}

std::string_view parent_of_sub_agent(std::string_view id) {
  const std::size_t dot = id.find_last_of('.');
  return dot == std::string_view::npos ? std::string_view() : id.substr(0, dot);
}

bool is_sub_agent_of(const SessionId& parent, std::string_view id) {
  return parent_of_sub_agent(id) == parent.value;
}

SubAgentCaller::SubAgentCaller(Agent& parent, std::uint32_t call_index)
    : parent_(&parent), completion_seq_(parent.state_.origins.back()), call_index_(call_index) {}

asio::awaitable<Result<tools::ToolOutput>> SubAgentCaller::run(tools::AgentTask task) {
  return run_nth(next_++, std::move(task));
}

asio::awaitable<Result<tools::ToolOutput>> SubAgentCaller::run_nth(std::uint32_t n,
                                                                   tools::AgentTask task) {
  co_await asio::this_coro::throw_if_cancelled(false);
  task.task = clean_utf8(task.task);
  const SessionId child{sub_agent_id(parent_->id_, completion_seq_, call_index_, n)};
  const SubAgentState* const known = find_sub_agent(parent_->state_, child.value);
  if (known != nullptr && known->is_finished) {
    auto output = co_await outcome_of(child);
    co_return output;
  }
  if (known == nullptr) {
    const Status announced = co_await announce(child.value, task);
    if (!announced) co_return tools::error_output(announced.error().message);
  }
  auto assigned = assignment(child.value, task);
  if (!assigned) co_return tools::error_output(assigned.error().message);
  Status begun;
  if (task.is_fork) {
    begun = co_await begin_fork(child, std::move(*assigned), std::move(task.task));
  } else {
    begun = co_await begin_alone(child, std::move(*assigned), std::move(task.task));
  }
  if (!begun) co_return no_agent(begun.error());
  auto output = co_await work(child);
  co_return output;
}

asio::awaitable<Result<tools::ToolOutput>> SubAgentCaller::outcome_of(SessionId child) {
  SessionStore& store = *parent_->parts_.store;
  const bool was_begun = co_await is_there(store, child);
  if (!was_begun) co_return tools::error_output("the agent never began");
  auto load = [&store, &child] { return store.load(child); };
  const auto records = co_await store.read(std::move(load));
  if (!records) co_return no_agent(records.error());
  const SessionState state = fold(*records);
  if (!state.last_end) co_return tools::error_output("the agent never began");
  co_return output_of(state, *state.last_end);
}

asio::awaitable<Status> SubAgentCaller::announce(std::string child, tools::AgentTask task) {
  const auto tools = tools_for(task);
  PONDER_CO_CHECK(tools);
  const auto budget = budget_for(task);
  PONDER_CO_CHECK(budget);
  SubAgentStarted started;
  started.step = parent_->state_.step - 1;
  started.call_index = call_index_;
  started.child = child;
  started.is_fork = task.is_fork;
  started.budget = *budget;
  std::vector<Event> events;
  events.emplace_back(std::move(started));
  // The state has it at once, so that the next one who asks sees what is spoken for.
  const Status written = co_await parent_->append(std::move(events));
  co_return written;
}

Result<SubAgentBudget> SubAgentCaller::budget_for(const tools::AgentTask& task) const {
  const SessionState& state = parent_->state_;
  const Limits& limits = state.started().limits;
  SubAgentBudget left;
  left.steps_max = less(limits.steps_max, state.steps_turn());
  left.tokens_max = less(limits.tokens_turn_max, state.tokens_generated_turn);
  left.cost_pico_max = less(limits.cost_pico_max, state.cost_pico());
  const auto take = [&left](const SubAgentBudget& given) {
    left.steps_max = less(left.steps_max, given.steps_max);
    left.tokens_max = less(left.tokens_max, given.tokens_max);
    left.cost_pico_max = less(left.cost_pico_max, given.cost_pico_max);
  };
  std::vector<bool> has_budget(state.calls.size());
  for (const SubAgentState& one : state.sub_agents) {
    if (!is_at_work(state, one) || !is_sub_agent_of(parent_->id_, one.started.child)) continue;
    take(one.started.budget);
    has_budget[one.started.call_index] = true;
  }
  // This call, the parent, and the calls of `agent` that come after this one.
  std::uint32_t sharers = 2;
  for (std::uint32_t i = call_index_ + 1; i < state.calls.size(); ++i) {
    const CallState& call = state.calls[i];
    const bool will_ask = call.call.name == kAgentTool && !call.finished && !has_budget[i];
    sharers += will_ask ? 1 : 0;
  }
  const auto time_left = parent_->turn_deadline_.at() - parent_->parts_.clock->now();
  const auto ms_left = std::chrono::duration_cast<std::chrono::milliseconds>(time_left).count();
  SubAgentBudget out;
  out.steps_max = std::min(task.steps_max.value_or(left.steps_max), left.steps_max / sharers);
  out.tokens_max = std::min(task.tokens_max.value_or(left.tokens_max), left.tokens_max / sharers);
  out.ms_max = std::min(task.ms_max.value_or(ms_left), std::int64_t{ms_left});
  out.cost_pico_max = left.cost_pico_max / sharers;
  const bool has_money = limits.cost_pico_max == 0 || out.cost_pico_max > 0;
  if (out.steps_max > 0 && out.tokens_max > 0 && out.ms_max > 0 && has_money) return out;
  return fail(Errc::exhausted,
              fmt::format("too little is left of this turn for another agent (steps: {}, tokens: "
                          "{}); go on yourself",
                          left.steps_max, left.tokens_max));
}

Result<std::vector<std::string>> SubAgentCaller::tools_for(const tools::AgentTask& task) const {
  const SessionState& state = parent_->state_;
  std::vector<std::string> all;
  for (const context::ToolSpec& spec : state.started().tools) all.push_back(spec.name);
  if (state.task) all = state.task->tools;
  const std::uint32_t depth = state.task ? state.task->depth + 1 : 1;
  if (depth >= state.started().limits.agent_depth_max) std::erase(all, kAgentTool);
  if (!task.tools) return all;
  for (const std::string& name : *task.tools) {
    if (std::find(all.begin(), all.end(), name) != all.end()) continue;
    return fail(Errc::invalid_argument,
                fmt::format("there is no tool '{}' to give to an agent, there are: {}", name,
                            fmt::join(all, ", ")));
  }
  return *task.tools;
}

Result<TaskAssigned> SubAgentCaller::assignment(const std::string& child,
                                                const tools::AgentTask& task) const {
  const SessionState& state = parent_->state_;
  const SubAgentState* const known = find_sub_agent(state, child);
  PONDER_ASSERT(known != nullptr);
  TaskAssigned out;
  out.parent = parent_->id_.value;
  out.completion_seq = completion_seq_;
  out.call_index = call_index_;
  out.depth = state.task ? state.task->depth + 1 : 1;
  PONDER_TRY(out.tools, tools_for(task));
  out.limits = limits_within(state.started().limits, known->started.budget);
  return out;
}

asio::awaitable<Status> SubAgentCaller::begin_alone(SessionId child, TaskAssigned assigned,
                                                    std::string task) {
  SessionStore& store = *parent_->parts_.store;
  const bool is_begun = co_await is_there(store, child);
  if (is_begun) co_return Status();
  SessionStarted start = parent_->state_.started();
  std::erase_if(start.tools, [&](const context::ToolSpec& spec) {
    const auto& given = assigned.tools;
    return std::find(given.begin(), given.end(), spec.name) == given.end();
  });
  if (!start.instructions.empty()) start.instructions += "\n\n";
  start.instructions += kInstructions;
  start.limits = assigned.limits;
  std::vector<Event> events;
  events.emplace_back(std::move(start));
  events.emplace_back(std::move(assigned));
  events.emplace_back(UserMessage{std::move(task)});
  const Status written = co_await write(std::move(child), 0, std::move(events));
  if (!written) co_return begun_elsewhere(written.error());
  co_return written;
}

asio::awaitable<Status> SubAgentCaller::begin_fork(SessionId child, TaskAssigned assigned,
                                                   std::string task) {
  SessionStore& store = *parent_->parts_.store;
  const bool is_begun = co_await is_there(store, child);
  if (!is_begun) {
    const auto forked = co_await store.fork(parent_->id_, completion_seq_, child);
    if (!forked) co_return begun_elsewhere(forked.error());
  }
  auto load = [&store, &child] { return store.load(child); };
  const auto records = co_await store.read(std::move(load));
  PONDER_CO_CHECK(records);
  const SessionState state = fold(*records);
  if (state.task_seq > completion_seq_) co_return Status();
  std::vector<Event> events = outcomes_for_fork(state, call_index_, task);
  events.emplace_back(std::move(assigned));
  const Status written = co_await write(std::move(child), state.last_seq, std::move(events));
  co_return written;
}

asio::awaitable<Status> SubAgentCaller::write(SessionId child, std::int64_t last_seq,
                                              std::vector<Event> events) {
  Forwarder forwarder(parent_->parts_.sinks);
  if (const auto& error = parent_->log_.error()) co_return tl::unexpected<Error>(*error);
  const auto written = co_await parent_->parts_.store->append(child, last_seq, std::move(events));
  PONDER_CO_CHECK(written);
  for (const Record& record : *written) forwarder.on_event(child, record);
  co_return Status();
}

Result<tools::ToolOutput> SubAgentCaller::no_agent(const Error& error) {
  const bool is_of_store = error.code == Errc::unavailable || error.code == Errc::exhausted ||
                           error.code == Errc::internal;
  if (is_of_store) {
    // The sub-agent's log stands as it stood. A result would say that this is all there will be.
    parent_->log_.fail(error);
    if (parent_->active_ != nullptr) parent_->active_->cancel();
  }
  return tools::error_output("no agent: " + error.message);
}

asio::awaitable<Result<tools::ToolOutput>> SubAgentCaller::work(SessionId child) {
  Forwarder forwarder(parent_->parts_.sinks);
  AgentParts parts = parent_->parts_;
  parts.sinks.assign(1, &forwarder);
  parts.deadline = parent_->turn_deadline_;
  parts.log_above = &parent_->log_;
  auto opened = co_await open_agent(std::move(parts), child);
  if (!opened) co_return no_agent(opened.error());
  Agent& agent = **opened;
  if (agent.state().is_turn_open) {
    const auto end = co_await agent.resume();
    if (!end) co_return no_agent(end.error());
  }
  const std::optional<TurnEnded>& end = agent.state().last_end;
  if (!end) co_return tools::error_output("the agent never began");
  const SubAgentState* const known = find_sub_agent(parent_->state_, child.value);
  PONDER_ASSERT(known != nullptr);
  std::vector<Event> events;
  events.emplace_back(finished_of(known->started, agent.state()));
  const Status written = co_await parent_->append(std::move(events));
  PONDER_CO_CHECK(written);
  const auto cancellation = co_await asio::this_coro::cancellation_state;
  const bool is_cancelled = cancellation.cancelled() != asio::cancellation_type::none;
  if (is_cancelled && end->reason != TurnEnd::answered) {
    co_return fail(Errc::cancelled, "the agent was cancelled");
  }
  co_return output_of(agent.state(), *end);
}

// NOLINTNEXTLINE(cppcoreguidelines-avoid-reference-coroutine-parameters): the caller waits for it
asio::awaitable<Status> SubAgentCaller::close(Agent& parent,
                                              std::optional<std::uint32_t> call_index) {
  const std::vector<SubAgentState> all = parent.state_.sub_agents;
  for (const SubAgentState& one : all) {
    if (call_index && one.started.call_index != *call_index) continue;
    if (!is_at_work(parent.state_, one) || !is_sub_agent_of(parent.id_, one.started.child))
      continue;
    SubAgentFinished finished = finished_of(one.started, SessionState());
    const SessionId child{one.started.child};
    const bool is_begun = co_await is_there(*parent.parts_.store, child);
    if (is_begun) {
      AgentParts parts = parent.parts_;
      Forwarder forwarder(parent.parts_.sinks);
      parts.sinks.assign(1, &forwarder);
      parts.log_above = &parent.log_;
      auto agent = co_await open_agent(std::move(parts), child);
      if (!agent) co_return tl::unexpected<Error>(agent.error());
      const Status closed = co_await (*agent)->close_open_turn();
      PONDER_CO_CHECK(closed);
      finished = finished_of(one.started, (*agent)->state());
    }
    std::vector<Event> events;
    events.emplace_back(std::move(finished));
    const Status written = co_await parent.append(std::move(events));
    PONDER_CO_CHECK(written);
  }
  co_return Status();
}

}  // namespace ponder::runtime
