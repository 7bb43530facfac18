#include "runtime/agent/agent.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <boost/asio/this_coro.hpp>
#include <iterator>
#include <string_view>
#include <utility>

#include "base/assert.h"
#include "base/async/with_deadline.h"
#include "context/normalize.h"
#include "context/transitions.h"
#include "runtime/agent/agent_tool.h"
#include "runtime/agent/blob_tool.h"
#include "runtime/agent/call_gate.h"
#include "runtime/agent/sub_agents.h"
#include "runtime/agent/turn_rules.h"
#include "runtime/model/next_turn.h"
#include "runtime/text.h"
#include "tools/registry.h"

namespace ponder::runtime {
namespace asio = boost::asio;
namespace {

constexpr const char* kChatModeReason =
    "tool output comes in user messages, each of which would drop the reasoning: chat mode is used "
    "from here on; real tool messages would keep it";

/// A cancelled coroutine must still write down how its turn ended, so its awaits do not throw.
/// Gives what was set before.
asio::awaitable<bool> stop_throwing() {
  const bool throws_if_cancelled = co_await asio::this_coro::throw_if_cancelled();
  co_await asio::this_coro::throw_if_cancelled(false);
  co_return throws_if_cancelled;
}

/// A summary is the agent's own business: subscribers see the cut that it is for.
void no_listener(const ModelDelta&) {}

/// The thinking policy as the log names it. An endpoint that makes its own prompts has its own.
std::string policy_name(const SessionStarted& start) {
  const auto policy = policy_of(ModelRequest({}, start.family, start.sampling, 0));
  return policy ? fmt::format("{}/{}", policy->name, policy->version) : "endpoint";
}

struct Begun {
  SessionId id;
  Record record;
};

/// Writes a session's first event, under an id that nobody has.
// NOLINTNEXTLINE(cppcoreguidelines-avoid-reference-coroutine-parameters): the caller waits for it
asio::awaitable<Result<Begun>> begin_session(SessionStore& store, SessionStarted start) {
  for (int tried = 1;; ++tried) {
    Begun begun;
    begun.id = store.new_id();
    LogWriter log(store, begun.id, 0, [&begun](const Record& record) { begun.record = record; });
    std::vector<Event> events;
    events.emplace_back(start);
    std::vector<Blob> no_blobs;
    const Status written = co_await log.append(std::move(events), std::move(no_blobs));
    if (written) co_return begun;
    const bool is_id_taken = written.error().code == Errc::invalid_argument;
    if (!is_id_taken || tried == kIdsTriedMax) co_return tl::unexpected<Error>(written.error());
  }
}

}  // namespace

Agent::Agent(AgentParts parts, SessionId id, SessionState state)
    : parts_(std::move(parts)),
      id_(std::move(id)),
      state_(std::move(state)),
      keeper_(*parts_.model),
      log_(
          *parts_.store, id_, state_.last_seq,
          [this](const Record& record) {
            tell_all(parts_.sinks, [&](EventSink& sink) { sink.on_event(id_, record); });
          },
          parts_.log_above) {
  const Status has_reader = builtin_tools_.add(std::make_unique<BlobTool>(state_, *parts_.store));
  PONDER_ASSERT(has_reader.has_value());
  const Status has_agent = builtin_tools_.add(std::make_unique<AgentTool>());
  PONDER_ASSERT(has_agent.has_value());
}

Agent::~Agent() { parts_.store->release(id_); }

asio::awaitable<Result<std::unique_ptr<Agent>>> Agent::start(AgentParts parts,
                                                             SessionStarted start) {
  const bool has_sub_agents = start.limits.agent_depth_max > 0;
  std::vector<std::string_view> own_names = {context::kReadBlobTool};
  if (has_sub_agents) own_names.emplace_back(kAgentTool);
  for (const std::string_view name : own_names) {
    if (parts.tools->find(name) == nullptr) continue;
    co_return fail(Errc::invalid_argument, fmt::format("the tool name {} is ponder's own", name));
  }
  if (has_sub_agents) start.tools.push_back(agent_tool_spec());
  if (start.policy.empty()) start.policy = policy_name(start);
  start.vocabulary = parts.model->vocabulary();
  // Only what is this program's may be made an agent, which gives it back at its end.
  auto first = co_await begin_session(*parts.store, std::move(start));
  PONDER_CO_CHECK(first);
  const SessionState state = fold(std::span(&first->record, 1));
  std::unique_ptr<Agent> agent(new Agent(std::move(parts), first->id, state));
  PONDER_CO_CHECK(agent->parts_.store->lease(agent->id_));
  tell_all(agent->parts_.sinks, [&](EventSink& sink) { sink.on_event(agent->id_, first->record); });
  co_return agent;
}

Result<std::unique_ptr<Agent>> Agent::open(AgentParts parts, const SessionId& id) {
  PONDER_TRY(SessionId whole_id, parts.store->resolve(id.value));
  PONDER_CHECK(parts.store->lease(whole_id));
  const auto records = parts.store->load(whole_id);
  if (!records) {
    parts.store->release(whole_id);
    return tl::unexpected<Error>(records.error());
  }
  // From here on the agent gives the lease back.
  std::unique_ptr<Agent> agent(new Agent(std::move(parts), std::move(whole_id), fold(*records)));
  if (!agent->state_.start) {
    return fail(Errc::corrupt, fmt::format("session {} does not begin with session_started; "
                                           "`ponder sessions export` still shows what it holds",
                                           agent->id_.value));
  }
  return agent;
}

asio::awaitable<Result<TurnEnded>> Agent::run_turn(std::string user_text) {
  is_cancelled_ = false;
  const bool throws_if_cancelled = co_await stop_throwing();
  Status begun = co_await close_open_turn();
  if (begun) {
    auto status = co_await begin_turn(std::move(user_text));
    begun = std::move(status);
  }
  Result<TurnEnded> result = TurnEnded();
  if (begun) {
    auto driven = co_await drive();
    result = std::move(driven);
  } else {
    result = tl::unexpected<Error>(begun.error());
  }
  co_await asio::this_coro::throw_if_cancelled(throws_if_cancelled);
  co_return result;
}

asio::awaitable<Result<TurnEnded>> Agent::resume() {
  is_cancelled_ = false;
  if (!state_.wants_resume()) {
    co_return fail(Errc::invalid_argument,
                   fmt::format("session {} has no open turn to resume", id_.value));
  }
  const bool throws_if_cancelled = co_await stop_throwing();
  Status begun;
  if (!state_.is_turn_open) {
    auto status = co_await begin_turn("");
    begun = std::move(status);
  }
  Result<TurnEnded> result = TurnEnded();
  if (begun) {
    auto driven = co_await drive();
    result = std::move(driven);
  } else {
    result = tl::unexpected<Error>(begun.error());
  }
  co_await asio::this_coro::throw_if_cancelled(throws_if_cancelled);
  co_return result;
}

asio::awaitable<Status> Agent::begin_turn(std::string text) {
  std::vector<std::string> parts = state_.interjected;
  if (!text.empty()) parts.push_back(clean_utf8(text));
  std::vector<Event> events;
  events.emplace_back(UserMessage{fmt::format("{}", fmt::join(parts, "\n\n"))});
  takes_words_ = true;  // what is given from now on comes after the message
  const Status status = co_await append(std::move(events));
  co_return status;
}

asio::awaitable<Status> Agent::steer(std::string words) {
  auto status = co_await interject(std::move(words), /*ends_turn=*/false);
  co_return status;
}

asio::awaitable<Status> Agent::send(std::string words) {
  auto status = co_await interject(std::move(words), /*ends_turn=*/true);
  co_return status;
}

asio::awaitable<Status> Agent::interject(std::string words, bool ends_turn) {
  if (!takes_words_) co_return fail(Errc::invalid_argument, "no turn is running");
  std::vector<Event> events;
  events.emplace_back(UserInterjected{clean_utf8(words), ends_turn});
  const Status status = co_await append(std::move(events));
  PONDER_CO_CHECK(status);
  if (state_.is_superseded && active_ != nullptr) active_->cancel();
  if (!state_.is_superseded) expect_results(*parts_.model, state_);
  co_return Status();
}

asio::awaitable<Status> Agent::pin(std::int64_t message_seq, bool is_pinned) {
  std::vector<Event> events;
  events.emplace_back(MessagePinned{message_seq, is_pinned});
  const Status status = co_await append(std::move(events));
  co_return status;
}

void Agent::cancel() {
  is_cancelled_ = true;
  if (active_ != nullptr) active_->cancel();
}

asio::awaitable<Status> Agent::set_budget(Limits limits) {
  const Limits& now = state_.started().limits;
  BudgetChanged changed;
  changed.cost_pico_max = limits.cost_pico_max;
  if (limits.steps_max != now.steps_max) changed.steps_max = limits.steps_max;
  if (limits.tokens_turn_max != now.tokens_turn_max) {
    changed.tokens_turn_max = limits.tokens_turn_max;
  }
  if (limits.turn_ms_max != now.turn_ms_max) changed.turn_ms_max = limits.turn_ms_max;
  const bool is_as_before = limits.cost_pico_max == now.cost_pico_max && !changed.steps_max &&
                            !changed.tokens_turn_max && !changed.turn_ms_max;
  if (is_as_before) co_return Status();
  std::vector<Event> events;
  events.emplace_back(changed);
  const Status status = co_await append(std::move(events));
  co_return status;
}

asio::awaitable<Status> Agent::record(WorkflowFinished finished) {
  finished.detail = clean_utf8(finished.detail);
  std::vector<Event> events;
  events.emplace_back(std::move(finished));
  const Status status = co_await append(std::move(events));
  co_return status;
}

asio::awaitable<Status> Agent::note_model() {
  const SessionStarted& start = state_.started();
  const ModelClient& model = *parts_.model;
  const bool speaks_otherwise = !start.vocabulary.empty() && !model.vocabulary().empty() &&
                                start.vocabulary != model.vocabulary();
  const bool is_of_other_family = !start.family.empty() && start.family != model.family();
  if (!is_of_other_family && !speaks_otherwise) co_return Status();
  SessionStarted changed;
  changed.family = model.family();
  changed.sampling = start.sampling;
  std::vector<Event> events;
  events.emplace_back(
      ModelChanged{model.description(), changed.family, policy_name(changed), model.vocabulary()});
  const Status status = co_await append(std::move(events));
  keeper_ = ContextKeeper(model);
  co_return status;
}

asio::awaitable<Status> Agent::note_mode() {
  const SessionStarted& start = state_.started();
  if (!start.sampling.is_thinking || !start.tools.empty()) co_return Status();
  if (!context::feeds_results_as_user_text(state_.history())) co_return Status();
  SessionStarted chat;
  chat.family = start.family;
  chat.sampling.is_thinking = false;
  // An endpoint that makes its own prompts has its own modes.
  if (!policy_of(ModelRequest({}, chat.family, chat.sampling, 0))) co_return Status();
  std::vector<Event> events;
  events.emplace_back(ModeChanged{false, policy_name(chat), kChatModeReason});
  const Status status = co_await append(std::move(events));
  keeper_ = ContextKeeper(*parts_.model);
  co_return status;
}

asio::awaitable<Status> Agent::close_open_turn() {
  if (!state_.is_turn_open) co_return Status();
  const Status closed = co_await SubAgentCaller::close(*this);
  PONDER_CO_CHECK(closed);
  std::vector<Event> events = interrupt_open_calls(state_);
  events.emplace_back(ended(TurnEnd::cancelled, "left open by an earlier run"));
  const Status status = co_await append(std::move(events));
  co_return status;
}

asio::awaitable<Result<TurnEnded>> Agent::drive() {
  takes_words_ = true;
  auto result = co_await run_rounds();
  while (result && goes_on_after(*result)) {
    const Status begun = co_await begin_turn("");
    if (!begun) {
      result = tl::unexpected<Error>(begun.error());
      break;
    }
    auto next = co_await run_rounds();
    result = std::move(next);
  }
  takes_words_ = false;
  co_return result;
}

bool Agent::goes_on_after(const TurnEnded& end) const {
  const bool wants_words = end.reason == TurnEnd::answered || state_.is_superseded;
  return wants_words && !is_cancelled_ && !state_.interjected.empty();
}

asio::awaitable<Result<TurnEnded>> Agent::run_rounds() {
  const std::chrono::milliseconds budget(state_.started().limits.turn_ms_max);
  turn_deadline_ = Deadline::earlier(Deadline::after(*parts_.clock, budget), parts_.deadline);
  const Status noted = co_await note_model();
  PONDER_CO_CHECK(noted);
  const Status mode_noted = co_await note_mode();
  PONDER_CO_CHECK(mode_noted);
  while (true) {
    const auto cancellation = co_await asio::this_coro::cancellation_state;
    if (cancellation.cancelled() != asio::cancellation_type::none) is_cancelled_ = true;
    if (state_.has_open_calls()) {
      // Also when cancelled: each call is owed its one outcome.
      const Status answered = co_await answer_calls();
      PONDER_CO_CHECK(answered);
      continue;
    }
    auto stop = end_after_completion(state_);
    if (!stop) stop = stop_before_round();
    if (!stop) {
      auto decision = keeper_.decide(state_);
      if (!decision) {
        stop = end_of_error(decision.error());
      } else if (decision->reduction) {
        auto cut = co_await cut_context(std::move(*decision));
        PONDER_CO_CHECK(cut);
        stop = std::move(*cut);
        if (!stop) continue;  // it may not fit yet, and a summary costs as well
      } else {
        stop = decision->stop;
      }
    }
    if (!stop) {
      auto asked = co_await ask_model();
      PONDER_CO_CHECK(asked);
      stop = std::move(*asked);
    }
    if (stop) {
      auto result = co_await end_turn(std::move(*stop));
      co_return result;
    }
  }
}

std::optional<TurnEnded> Agent::stop_before_round() const {
  const Limits& limits = state_.started().limits;
  if (is_stopping()) return ended(TurnEnd::cancelled, "");
  if (turn_deadline_.passed(*parts_.clock)) {
    return ended(TurnEnd::deadline, fmt::format("the turn took over {} ms", limits.turn_ms_max));
  }
  if (const auto repeated = repeated_beyond_warning(state_)) {
    return ended(
        TurnEnd::repeated_call,
        fmt::format("{} was called again with the same arguments after a warning", *repeated));
  }
  if (limits.stale_steps_max > 0 && state_.stale_steps > limits.stale_steps_max) {
    return ended(TurnEnd::no_progress,
                 fmt::format("{} steps in a row brought nothing new, the last after a warning",
                             state_.stale_steps));
  }
  if (state_.steps_turn() >= limits.steps_max) {
    return ended(TurnEnd::step_limit,
                 fmt::format("{} steps without an answer", state_.steps_turn()));
  }
  if (auto stop = stop_for_tokens()) return stop;
  return stop_for_cost();
}

std::optional<TurnEnded> Agent::stop_for_tokens() const {
  const std::uint64_t tokens = state_.tokens_generated_turn + void_usage_.tokens_generated;
  if (tokens < state_.started().limits.tokens_turn_max) return std::nullopt;
  return ended(TurnEnd::token_limit, fmt::format("{} tokens without an answer", tokens));
}

std::optional<TurnEnded> Agent::stop_for_cost() const {
  const std::int64_t cost_max = state_.started().limits.cost_pico_max;
  if (cost_max == 0) return std::nullopt;
  const std::string& currency = state_.started().currency;
  const std::int64_t cost = state_.cost_pico() + void_usage_.cost_pico;
  if (cost >= cost_max) {
    return ended(TurnEnd::money_limit,
                 fmt::format("the session has cost {} {} of {}", format_money(cost), currency,
                             format_money(cost_max)));
  }
  // What is not known could be anything.
  if (!parts_.prices.are_known) {
    return ended(TurnEnd::money_limit,
                 fmt::format("no price of {} is known", parts_.model->description()));
  }
  const Usage& last = state_.usage_last;
  if (state_.completions > 0 && last.tokens_prompt == 0 && last.tokens_generated == 0) {
    return ended(TurnEnd::money_limit, "the model does not say how many tokens it took");
  }
  return std::nullopt;
}

asio::awaitable<Result<std::optional<TurnEnded>>> Agent::cut_context(
    ContextKeeper::Decision decision) {
  auto request = keeper_.summary_request(state_, decision);
  if (!request) co_return std::optional(end_of_error(request.error()));
  std::optional<Result<Completion>> summary;
  if (std::optional<ModelRequest>& asked = *request) {
    auto completion = co_await complete(std::move(*asked), no_listener);
    const bool has_ended = !completion && (completion.error().code == Errc::cancelled ||
                                           completion.error().code == Errc::deadline);
    if (has_ended) co_return std::optional(end_of_error(completion.error()));
    summary.emplace(std::move(completion));
  }
  auto cut = keeper_.cut(state_, decision, summary);
  if (!cut) co_return std::optional(end_of_error(cut.error()));
  add_usage(cut->event.summary_usage, std::exchange(void_usage_, {}));
  std::vector<Event> events;
  events.emplace_back(std::move(cut->event));
  const Status status = co_await append(std::move(events), std::move(cut->blobs));
  PONDER_CO_CHECK(status);
  co_return std::nullopt;
}

asio::awaitable<Result<TurnEnded>> Agent::end_turn(TurnEnded end) {
  takes_words_ = false;
  const bool was_sent = end.reason == TurnEnd::cancelled && state_.is_superseded && !is_cancelled_;
  if (was_sent) end.detail = "the user began a new turn";
  end.usage_void = std::exchange(void_usage_, {});
  std::vector<Event> events;
  events.emplace_back(end);
  const Status status = co_await append(std::move(events));
  PONDER_CO_CHECK(status);
  co_return end;
}

void Agent::note(Event event) {
  constexpr std::size_t kUsual = 4;  // in one write: an event is large to move
  if (noted_.empty()) noted_.reserve(kUsual);
  Record record{state_.last_seq + 1, 0, std::move(event)};
  apply(state_, record);
  noted_.push_back(std::move(record.event));
}

asio::awaitable<Status> Agent::append(std::vector<Event> events, std::vector<Blob> blobs) {
  if (const auto& error = log_.error()) co_return tl::unexpected<Error>(*error);
  for (Event& event : events) note(std::move(event));
  std::vector<Event> all = std::exchange(noted_, {});
  std::vector<Blob> texts = std::exchange(noted_blobs_, {});
  std::move(blobs.begin(), blobs.end(), std::back_inserter(texts));
  const Status status = co_await log_.append(std::move(all), std::move(texts));
  // What is under way could not be written down: nobody is to wait for it.
  if (!status && active_ != nullptr) active_->cancel();
  co_return status;
}

asio::awaitable<void> Agent::write_noted() {
  std::vector<Event> none;
  const Status ignored = co_await append(std::move(none));  // log_.error() keeps it
  (void)ignored;
}

}  // namespace ponder::runtime
