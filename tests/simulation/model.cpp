#include "tests/simulation/model.h"

#include <algorithm>
#include <boost/asio/this_coro.hpp>
#include <stdexcept>
#include <utility>
#include <variant>

#include "base/assert.h"
#include "runtime/model/remote_model.h"
#include "tests/simulation/draft.h"
#include "tests/simulation/endpoint.h"

namespace ponder::simulation {
namespace asio = boost::asio;
using namespace runtime;
using std::chrono::milliseconds;

namespace {

std::unique_ptr<ModelClient> remote_model(Run& run) {
  RemoteOptions options;
  options.base_url = "http://model/v1";
  options.model = "simulated";
  options.idle_ms_max = SimulatedEndpoint::kIdleMax;
  options.clock = &run.scene->clock;
  options.jitter_seed = run.random.next();
  auto model = RemoteModel::create(std::move(options), std::make_unique<SimulatedEndpoint>(run));
  PONDER_ASSERT(model.has_value());
  return std::move(*model);
}

}  // namespace

SimulatedModel::SimulatedModel(Run& run, Kind kind) : run_(&run), kind_(kind) {
  if (kind == Kind::remote) remote_ = remote_model(run);
  if (kind == Kind::dsv32) format_ = *context::chat_format("dsv32");
  if (kind == Kind::dsv4) format_ = *context::chat_format("dsv4");
}

std::string SimulatedModel::description() const {
  return remote_ ? remote_->description() : "simulated " + family();
}
std::string SimulatedModel::family() const {
  return format_ == nullptr ? "openai" : std::string(format_->name);
}
std::uint32_t SimulatedModel::tokens_context_max() const {
  return format_ == nullptr ? 0 : run_->scene->plan.window;
}
std::string SimulatedModel::vocabulary() const { return format_ == nullptr ? "" : "bytes"; }
context::TokenizeFn SimulatedModel::tokenizer() const {
  if (format_ == nullptr) return {};
  return byte_tokens;
}

asio::awaitable<Result<Completion>> SimulatedModel::complete(ModelRequest request, ModelSink sink) {
  co_await asio::this_coro::throw_if_cancelled(false);
  Inside inside(run_->live_requests);
  const SessionFacts* asker = nullptr;
  if (!run_->is_dead()) {
    asker = run_->witness->asked(*run_->session, run_->process->number, request);
  }
  const Deadline deadline = request.deadline;
  const auto began = run_->scene->clock.now();
  if (remote_) {
    auto work = remote_->complete(std::move(request), std::move(sink));
    auto result = co_await std::move(work);
    run_->expect_in_time(deadline, began, "an endpoint");
    co_return result;
  }
  auto work = think(asker, std::move(request), std::move(sink));
  auto result = co_await std::move(work);
  co_return result;
}

asio::awaitable<Result<Completion>> SimulatedModel::think(const SessionFacts* asker,
                                                          ModelRequest request, ModelSink sink) {
  Random& random = run_->random;
  const auto began = run_->scene->clock.now();
  bool was_cancelled = false;
  const bool is_dead = run_->strikes(Fault::dead_model);
  const bool is_slow = run_->strikes(Fault::slow_model);
  if (is_dead) {
    Timer never(run_->scene->home.get_executor(), Clock::Instant::max());
    co_await never.wait();
    was_cancelled = true;
  } else if (is_slow || random.chance(80)) {
    const milliseconds longest(is_slow ? 2 * run_->scene->plan.limits.turn_ms_max : 2000);
    const bool has_come = co_await run_->scene->pause(random.time_to(longest));
    was_cancelled = !has_come;
  }
  run_->expect_in_time(request.deadline, began, "a model");
  if (was_cancelled) co_return fail(Errc::cancelled, "stopped");
  if (run_->strikes(Fault::failing_model)) {
    if (random.chance(30)) throw std::runtime_error("broken " + foreign_text(random));
    co_return fail(static_cast<Errc>(random.below(8)), "failed\n" + foreign_text(random));
  }
  co_return answer(asker, request, sink);
}

Result<Completion> SimulatedModel::answer(const SessionFacts* asker, const ModelRequest& request,
                                          const ModelSink& sink) {
  const Draft draft = make_draft(*run_);
  if (sink) sink(ModelDelta{ModelDelta::Kind::reasoning, draft.reasoning});
  if (format_ == nullptr) return completion_of(draft, *run_);
  return sample(asker, draft, request);
}

void SimulatedModel::check_goes_on(const SessionFacts& asker,
                                   const std::vector<context::TokenId>& prompt) {
  const auto& path = prompts_[asker.number].path;
  const auto parting = std::mismatch(path.begin(), path.end(), prompt.begin(), prompt.end()).first;
  if (parting == path.end()) return;
  run_->scene->story.violated("tokens",
                              "session {}: at {} of {} the prompt parts from what came "
                              "before it and was sampled",
                              asker.number, parting - path.begin(), path.size());
}

Result<Completion> SimulatedModel::sample(const SessionFacts* asker, const Draft& draft,
                                          const ModelRequest& request) {
  PONDER_TRY(const auto policy, policy_of(request));
  PONDER_TRY(auto prompt, context::assemble(request.conversation, policy, byte_tokens));
  const bool is_summary = !request.sampling.is_thinking;
  // Without tools, dsv4 takes a result for a user's turn, which drops the reasoning before it.
  const bool has_tools = !request.conversation.front().tools.empty();
  const bool keeps_reasoning = has_tools || kind_ != Kind::dsv4;
  const bool follows = keeps_reasoning && !is_summary && !run_->is_dead();
  if (follows && asker != nullptr) check_goes_on(*asker, prompt.ids);
  const bool starts_in_reasoning = prompt.continuation == context::Continuation::reasoning;
  Completion out = sampled_completion(draft, *run_, *format_, request, starts_in_reasoning);
  out.usage.tokens_prompt = static_cast<std::uint32_t>(prompt.ids.size());
  if (prompt.ids.size() + out.usage.tokens_generated > tokens_context_max()) {
    return fail(Errc::exhausted, "the prompt does not fit");
  }
  if (asker != nullptr) prompts_[asker->number].latest = std::move(prompt.ids);
  return out;
}

void SimulatedModel::saw(const SessionFacts& session, const Event& event) {
  Prompts& prompts = prompts_[session.number];
  const bool begins_anew =
      std::holds_alternative<UserMessage>(event) || std::holds_alternative<ContextReduced>(event) ||
      std::holds_alternative<ModelRetried>(event) || std::holds_alternative<ModeChanged>(event) ||
      std::holds_alternative<ModelChanged>(event);
  // From then on a tool more is offered.
  const auto* outcome = std::get_if<ToolFinished>(&event);
  if (begins_anew || (outcome != nullptr && outcome->reader)) prompts.path.clear();
  // Beside a rival it can be unknown whose request comes next; its prompt is not compared then.
  if (std::holds_alternative<ModelStarted>(event)) prompts.latest.clear();
  const auto* completed = std::get_if<ModelCompleted>(&event);
  if (completed == nullptr || format_ == nullptr) return;
  prompts.path.clear();
  const bool is_whole =
      completed->finish == Finish::stop && completed->verdict != Verdict::truncated;
  const auto& sampled = completed->message.sampled;
  if (!is_whole || sampled.empty() || prompts.latest.empty()) return;
  prompts.path = prompts.latest;
  prompts.path.insert(prompts.path.end(), sampled.begin(), sampled.end());
}

}  // namespace ponder::simulation
