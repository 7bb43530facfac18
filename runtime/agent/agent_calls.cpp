#include <algorithm>
#include <boost/asio/post.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <chrono>
#include <utility>

#include "base/assert.h"
#include "base/async/with_deadline.h"
#include "context/budget.h"
#include "runtime/agent/agent.h"
#include "runtime/agent/blob_tool.h"
#include "runtime/agent/call_gate.h"
#include "runtime/agent/session_services.h"
#include "runtime/agent/sub_agents.h"
#include "runtime/agent/turn_rules.h"
#include "runtime/model/next_turn.h"
#include "tools/registry.h"

/// The part of the agent that brings a completion's calls to their outcomes.
namespace ponder::runtime {
namespace asio = boost::asio;
namespace {

/// Whose time was over when a call was stopped, where it was not that of a usual call; else null.
const char* other_limit(bool ended_itself, bool is_turns_first) {
  if (ended_itself) return "the tool's own time was over, and the call was stopped";
  if (is_turns_first) return "the time for the turn was over, and the call was stopped";
  return nullptr;
}

}  // namespace

asio::awaitable<Status> Agent::answer_calls() {
  if (is_stopping()) {
    // What calls had handed out before a crash: nobody will wait for it.
    const Status closed = co_await SubAgentCaller::close(*this);
    PONDER_CO_CHECK(closed);
  }
  CallPlan plan = plan_calls(state_, toolbox(), gate_rules());
  const Status status = co_await append(std::move(plan.events));
  PONDER_CO_CHECK(status);
  if (plan.runnable.empty() && plan.to_ask.empty()) co_return Status();
  const auto executor = co_await asio::this_coro::executor;
  TaskGroup group(executor);
  active_ = &group;
  for (const std::uint32_t i : plan.runnable) open_calls_[i] = group.spawn(run_call(i));
  for (const std::uint32_t i : plan.to_ask) open_calls_[i] = group.spawn(approve_call(i));
  if (is_stopping() || log_.error()) group.cancel();
  co_await group.join();
  active_ = nullptr;
  open_calls_.clear();
  if (const auto& error = log_.error()) co_return tl::unexpected<Error>(*error);
  PONDER_ASSERT(!state_.has_open_calls());
  co_return Status();
}

asio::awaitable<void> Agent::approve_call(std::uint32_t call_index) {
  co_await asio::this_coro::throw_if_cancelled(false);
  const context::ToolCall call = state_.calls[call_index].call;
  const tools::Tool* tool = toolbox().registry_for(state_, call.name).find(call.name);
  PONDER_ASSERT(tool != nullptr);  // plan_calls admitted it
  auto question = question_about(call, tool->effect());
  PONDER_ASSERT(question.has_value());  // word_on looked at the arguments
  if (state_.task) question->sub_agent = id_.value;
  const std::uint32_t step = state_.step - 1;
  ApprovalAnswered answered = {step, call_index, question->digest, {}, {}, {}};
  std::vector<Event> asked;
  asked.emplace_back(ApprovalAsked{step, call_index, question->digest});
  const Status written = co_await append(std::move(asked));
  if (!written) co_return;
  expect_results(*parts_.model, state_);

  const std::chrono::milliseconds patience(parts_.approvals.answer_ms_max);
  const Deadline deadline =
      Deadline::earlier(Deadline::after(*parts_.clock, patience), turn_deadline_);
  auto work = parts_.approvals.approver->ask(std::move(*question));
  auto answer = co_await with_deadline(std::move(work), deadline);
  const auto event = answer_event(std::move(answered), std::move(answer));
  std::vector<Event> events;
  if (event) events.emplace_back(*event);
  const Status noted = co_await append(std::move(events));
  if (!noted) co_return;
  // What to do follows from the state, as it would after a restart.
  GateRules rules = gate_rules();
  if (!event) rules.is_cancelled = true;  // the question was withdrawn
  CallPlan plan = plan_call(state_, call_index, toolbox(), rules);
  PONDER_ASSERT(plan.to_ask.empty());
  const Status planned = co_await append(std::move(plan.events));
  if (!planned || plan.runnable.empty()) co_return;
  co_await run_call(call_index);
}

Status Agent::cancel_call(std::uint32_t call_index) {
  const auto task = open_calls_.find(call_index);
  const bool is_open = task != open_calls_.end() && call_index < state_.calls.size() &&
                       !state_.calls[call_index].finished;
  if (!is_open) return fail(Errc::not_found, "that call is not under way");
  active_->cancel(task->second);
  return {};
}

Slots* Agent::slots_for(const asio::any_io_executor& executor, const tools::Tool& tool) {
  if (tool.concurrency_max() == 0) return nullptr;
  return &slots_.try_emplace(tool.spec().name, executor, tool.concurrency_max()).first->second;
}

asio::awaitable<void> Agent::run_call(std::uint32_t call_index) {
  co_await asio::this_coro::throw_if_cancelled(false);
  const auto executor = co_await asio::this_coro::executor;
  const auto cancellation = co_await asio::this_coro::cancellation_state;
  const std::string name = state_.calls[call_index].call.name;
  tools::Tool* tool = toolbox().registry_for(state_, name).find(name);
  PONDER_ASSERT(tool != nullptr);  // plan_calls admitted it
  CallPlace place(slots_for(executor, *tool));
  co_await place.take();
  const bool is_cancelled = cancellation.cancelled() != asio::cancellation_type::none;
  if (!is_cancelled && !is_stopping()) {
    co_await run_tool(call_index, tool, &place);
  } else {
    CallOutcome outcome;
    outcome.finished = cancelled_before_it_began(state_);
    co_await finish_call(call_index, outcome);
  }
}

asio::awaitable<void> Agent::run_tool(std::uint32_t call_index, tools::Tool* tool,
                                      CallPlace* place) {
  const Limits limits = state_.started().limits;
  // A copy: the state drops its calls when the last of them has finished.
  std::string arguments = state_.calls[call_index].call.arguments;
  const Clock& clock = *parts_.clock;
  const auto started_at = clock.now();
  const std::int64_t ms_max = tool->limits_its_time() ? limits.turn_ms_max : limits.tool_ms_max;
  const Deadline own = Deadline::after(clock, std::chrono::milliseconds(ms_max));
  CallTime time(clock, own, turn_deadline_);
  SessionServices services(*this, call_index, time, *place);
  SubAgentCaller agents(*this, call_index);
  const Deadline deadline = Deadline::earlier(own, turn_deadline_);
  tools::ToolContext context(clock, deadline, limits.output_bytes_max);
  const bool keeps_whole = tool->spec().name != context::kReadBlobTool;  // it is kept already
  if (keeps_whole) context.output_kept_max = std::max(context.output_kept_max, kResultKeptMax);
  // While calls are open the message that made them is the last one.
  context.idempotency_key = idempotency_key(id_, state_.origins.back(), call_index);
  context.services = &services;
  if (may_have_sub_agents(state_)) context.agents = &agents;
  auto work = tool->invoke(std::move(arguments), context);
  const auto result = co_await with_deadline(std::move(work), deadline, &time.mover);

  OutcomeRules rules;
  rules.output_bytes_max = limits.output_bytes_max;
  rules.keeps_whole = keeps_whole;
  rules.tool_ms_max = ms_max;
  rules.is_superseded = state_.is_superseded;
  CallOutcome outcome = outcome_of(result, tool->spec().name, rules);
  ToolFinished& finished = outcome.finished;
  const bool ended_itself = tool->limits_its_time() && !deadline.passed(clock);
  const char* whose = other_limit(ended_itself, turn_deadline_.at() < own.at());
  if (finished.outcome == Outcome::timeout && whose != nullptr) {
    finished.content = tools::error_output(whose).content;
  }
  const auto elapsed = clock.now() - started_at - services.waited();
  finished.elapsed_ms = std::chrono::duration_cast<std::chrono::milliseconds>(elapsed).count();
  co_await finish_call(call_index, outcome);
}

// NOLINTNEXTLINE(cppcoreguidelines-avoid-reference-coroutine-parameters): the caller waits for it
asio::awaitable<void> Agent::finish_call(std::uint32_t call_index, CallOutcome& outcome) {
  if (!state_.sub_agents.empty()) {
    // A call that is cut off before it asks again for what it handed out before a crash.
    const Status closed = co_await SubAgentCaller::close(*this, call_index);
    if (!closed) {
      log_.fail(closed.error());
      co_return;
    }
  }
  ToolFinished& finished = outcome.finished;
  finished.step = state_.step - 1;
  finished.call_index = call_index;
  if (outcome.whole && state_.blobs.empty()) finished.reader = blob_tool_spec();
  if (outcome.whole) noted_blobs_.push_back(std::move(*outcome.whole));  // written with the event
  note(std::move(finished));
  const auto executor = co_await asio::this_coro::executor;
  if (state_.has_open_calls()) {
    // Calls that have ended at the same moment share a write.
    co_await asio::post(executor, asio::use_awaitable);
  }
  if (!state_.has_open_calls()) co_return;  // the next request, or the turn's end, comes now
  std::vector<Event> none;
  const Status ignored = co_await append(std::move(none));  // log_.error() keeps it
  (void)ignored;
}

}  // namespace ponder::runtime
