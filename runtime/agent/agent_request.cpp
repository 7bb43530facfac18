#include <boost/asio/this_coro.hpp>
#include <chrono>
#include <utility>

#include "base/async/with_deadline.h"
#include "runtime/agent/agent.h"
#include "runtime/agent/turn_rules.h"
#include "runtime/model/next_turn.h"
#include "runtime/session/live_values.h"
#include "tools/registry.h"

/// The part of the agent that asks the model.
namespace ponder::runtime {
namespace asio = boost::asio;
namespace {

// For all tools to say what they know. Long, for a program that was stopped for a moment, or whose
// machine is busy, must not ask its model without.
constexpr std::chrono::milliseconds kValuesTimeMax{5'000};

}  // namespace

asio::awaitable<Result<Completion>> Agent::complete(ModelRequest request, ModelSink sink) {
  if (!noted_.empty()) {  // the request follows from all of it
    std::vector<Event> none;
    const Status flushed = co_await append(std::move(none));
    PONDER_CO_CHECK(flushed);
  }
  const auto executor = co_await asio::this_coro::executor;
  TaskGroup group(executor);
  active_ = &group;
  if (is_stopping() || log_.error()) group.cancel();
  request.deadline = turn_deadline_;
  request.on_void = [this](const Usage& usage) { return take_void(usage); };
  auto work = parts_.model->complete(std::move(request), std::move(sink));
  auto result = co_await with_deadline(group, std::move(work), turn_deadline_);
  active_ = nullptr;
  if (result) {
    void_usage_ = {};  // it has what the tries before it cost
    result->usage.cost_pico = cost_of(result->usage, parts_.prices);
    result->usage_void.cost_pico = cost_of(result->usage_void, parts_.prices);
  }
  co_return result;
}

Status Agent::take_void(const Usage& usage) {
  Usage priced = usage;
  priced.cost_pico = cost_of(usage, parts_.prices);
  add_usage(void_usage_, priced);
  const std::int64_t cost_max = state_.started().limits.cost_pico_max;
  const bool is_paid_up = cost_max > 0 && state_.cost_pico() + void_usage_.cost_pico >= cost_max;
  if (!is_paid_up && !stop_for_tokens()) return {};
  return fail(Errc::exhausted, "the budget does not allow for another try");
}

asio::awaitable<Result<std::optional<TurnEnded>>> Agent::ask_model() {
  std::vector<Event> events;
  std::uint32_t attempt = state_.attempt;
  std::uint32_t step = state_.step;
  if (state_.completion && state_.completion->says_nothing) {
    events.emplace_back(ModelRetried{--step, "nothing but reasoning"});
    ++attempt;
  }
  auto values = co_await changed_values();
  if (is_stopping()) co_return std::optional(ended(TurnEnd::cancelled, ""));
  events.emplace_back(ModelStarted{step, attempt, std::move(values)});
  const Status status = co_await append(std::move(events));
  PONDER_CO_CHECK(status);
  ModelSink sink = [this](const ModelDelta& delta) {
    tell_all(parts_.sinks, [&](EventSink& subscriber) { subscriber.on_delta(id_, delta); });
  };
  auto result = co_await complete(next_request(state_), std::move(sink));
  if (!result) {
    TurnEnded end = end_of_error(result.error());
    auto limit = stop_for_tokens();
    if (!limit) limit = stop_for_cost();
    if (limit && end.reason == TurnEnd::model_failed) end = std::move(*limit);
    co_return std::optional(std::move(end));
  }
  note(event_of(std::move(*result), state_));  // what follows from it is decided and written now
  co_return std::nullopt;
}

asio::awaitable<std::optional<ToolValues>> Agent::changed_values() {
  ToolValues values;
  if (can_have_values(*parts_.tools, parts_.grants)) {
    const auto executor = co_await asio::this_coro::executor;
    const auto cancellation = co_await asio::this_coro::cancellation_state;
    TaskGroup group(executor);
    active_ = &group;
    group.spawn(ask_tools(&values));
    // Tools may take their time: the outcomes of the last step must not wait for them.
    if (!noted_.empty()) group.spawn(write_noted());
    if (is_stopping() || log_.error()) group.cancel();
    co_await group.join();
    active_ = nullptr;
    if (cancellation.cancelled() != asio::cancellation_type::none) is_cancelled_ = true;
  }
  if (values == state_.tool_values) co_return std::nullopt;
  co_return std::optional(std::move(values));
}

asio::awaitable<void> Agent::ask_tools(ToolValues* values) {
  const Deadline own = Deadline::after(*parts_.clock, kValuesTimeMax);
  auto said = co_await ask_for_values(*parts_.tools, parts_.grants, *parts_.clock,
                                      Deadline::earlier(own, turn_deadline_));
  *values = std::move(said);
}

}  // namespace ponder::runtime
