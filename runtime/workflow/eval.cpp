#include "runtime/workflow/eval.h"

#include <algorithm>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/thread_pool.hpp>
#include <chrono>
#include <memory>
#include <optional>
#include <thread>
#include <utility>

#include "base/async/offload.h"
#include "base/async/task_group.h"
#include "runtime/agent/agent.h"
#include "runtime/workflow/judging.h"
#include "runtime/workflow/workflow.h"

namespace ponder::runtime {
namespace asio = boost::asio;
namespace {

constexpr std::uint64_t kTasksPerWorld = 10;
constexpr std::uint64_t kFirstUnseenSeed = 1'000'000;

double ms_between(Clock::Instant begin, Clock::Instant end) {
  return std::chrono::duration<double, std::milli>(end - begin).count();
}

/// No more sessions than there are processors are opened or judged at once.
std::size_t threads_for(std::uint32_t concurrency_max) {
  return std::clamp(concurrency_max, 1U, std::max(1U, std::thread::hardware_concurrency()));
}

/// A run under way: workers take the next task until none is left or something breaks.
class EvalRun {
 public:
  EvalRun(ModelClient& model, SessionStore& store, const Clock& clock, EvalOptions options,
          std::function<void(const EvalCase&)> on_case)
      : model_(&model),
        store_(&store),
        clock_(&clock),
        options_(std::move(options)),
        on_case_(std::move(on_case)),
        cases_(options_.count),
        blocking_(threads_for(options_.concurrency_max)) {}

  asio::awaitable<Result<EvalReport>> run() {
    const auto begun_at = clock_->now();
    const auto executor = co_await asio::this_coro::executor;
    const bool throws_if_cancelled = co_await asio::this_coro::throw_if_cancelled();
    co_await asio::this_coro::throw_if_cancelled(false);
    TaskGroup workers(executor);
    const std::uint32_t count = std::max(1U, options_.concurrency_max);
    for (std::uint32_t i = 0; i < count; ++i) workers.spawn(work());
    co_await workers.join();
    co_await asio::this_coro::throw_if_cancelled(throws_if_cancelled);
    if (not_opened_ && num_opened_ == 0) {
      co_return tl::unexpected<Error>(std::move(*not_opened_));
    }
    EvalReport report;
    report.model = model_->description();
    report.options = options_;
    for (std::optional<EvalCase>& one : cases_) {
      if (one) report.cases.push_back(std::move(*one));
    }
    if (error_ && report.cases.empty()) co_return tl::unexpected<Error>(std::move(*error_));
    report.broken_off = std::move(error_);
    report.elapsed_ms = ms_between(begun_at, clock_->now());
    co_return report;
  }

 private:
  asio::awaitable<void> work() {
    co_await asio::this_coro::throw_if_cancelled(false);
    while (!error_ && next_ < options_.count) {
      const std::uint32_t index = next_++;
      auto done = co_await run_case(options_.seed + index);
      if (!done) {
        if (!error_) error_ = done.error();
        co_return;
      }
      on_case_(*done);
      cases_[index] = std::move(*done);
    }
  }

  SessionStarted start_of(const Workflow& workflow) const {
    SessionStarted start = workflow.session_start();
    start.model = model_->description();
    start.family = model_->family();
    start.sampling = options_.sampling;
    start.limits = options_.limits;
    return start;
  }

  asio::awaitable<Result<EvalCase>> run_case(std::uint64_t task_seed) {
    WorkflowOptions how;
    how.name = options_.workflow;
    how.library = options_.library;
    how.world_seed = world_seed_of(task_seed);
    how.size = options_.size;
    how.task_seed = task_seed;
    how.fix = options_.fix;
    how.project.isolation = options_.isolation;
    how.project.readable = options_.readable;
    how.task_kind = options_.kind;
    // Projects are laid out and tested for minutes: other sessions go on meanwhile.
    auto open = [&how] { return Workflow::open(how); };
    auto workflow = co_await offload(blocking_.get_executor(), std::move(open));
    if (!workflow) co_return not_opened(task_seed, workflow.error());
    ++num_opened_;
    AgentParts parts(*model_, (*workflow)->registry(), *store_, *clock_);
    parts.grants = (*workflow)->grants();
    // Generated tasks live in a world of their own, and nobody is there to be asked.
    parts.approvals.mode = ApprovalMode::always;
    const auto begun_at = clock_->now();
    auto agent = co_await Agent::start(std::move(parts), start_of(**workflow));
    if (!agent) co_return tl::unexpected<Error>(agent.error());
    const auto end = co_await (*agent)->run_turn((*workflow)->request());
    PONDER_CO_CHECK(end);
    if (end->reason == TurnEnd::cancelled) co_return fail(Errc::cancelled, "interrupted");
    const auto judged = co_await judge_on(blocking_.get_executor(), **workflow, (*agent)->state());
    if (!judged && judged.error().code == Errc::cancelled) {
      co_return tl::unexpected<Error>(judged.error());
    }
    const WorkflowVerdict verdict = judged ? *judged : not_judged(judged.error());
    WorkflowFinished finished;
    finished.is_solved = verdict.is_solved;
    finished.detail = verdict.detail;
    const Status recorded = co_await (*agent)->record(std::move(finished));
    PONDER_CO_CHECK(recorded);
    EvalCase out = case_of(**agent, *end, verdict);
    if (!judged) out.reason = "not judged";
    out.task_seed = task_seed;
    out.kind = (*workflow)->task_kind();
    out.elapsed_ms = ms_between(begun_at, clock_->now());
    co_return out;
  }

  EvalCase not_opened(std::uint64_t task_seed, const Error& error) {
    if (!not_opened_) not_opened_ = error;
    EvalCase out;
    out.task_seed = task_seed;
    out.kind = out.reason = "not opened";
    out.failure = error.message;
    return out;
  }

  static WorkflowVerdict not_judged(const Error& error) {
    WorkflowVerdict verdict;
    verdict.detail = error.message;
    return verdict;
  }

  static EvalCase case_of(const Agent& agent, const TurnEnded& end,
                          const WorkflowVerdict& verdict) {
    EvalCase out;
    const SessionState& state = agent.state();
    out.session = agent.id();
    out.is_solved = verdict.is_solved && end.reason == TurnEnd::answered;
    out.end = end.reason;
    out.steps = state.completions;
    out.tool_calls = state.tool_calls;
    out.malformed_calls = state.malformed_calls;
    out.damaged_completions = state.damaged_completions;
    out.usage = state.usage_total;
    if (out.is_solved) return out;
    if (end.reason != TurnEnd::answered) {
      out.reason = turn_end_name(end.reason);
      out.failure = end.detail;
    } else {
      out.reason = verdict.has_answer ? "wrong answer" : "no answer";
      out.failure = verdict.detail;
    }
    return out;
  }

  ModelClient* model_;
  SessionStore* store_;
  const Clock* clock_;
  EvalOptions options_;
  std::function<void(const EvalCase&)> on_case_;
  std::vector<std::optional<EvalCase>> cases_;  // those that are done
  std::uint32_t next_ = 0;
  std::uint32_t num_opened_ = 0;
  std::optional<Error> not_opened_;  // why the first task that was not opened was not
  std::optional<Error> error_;
  asio::thread_pool blocking_;  // last: it ends before what it uses
};

}  // namespace

std::uint64_t world_seed_of(std::uint64_t task_seed) {
  const std::uint64_t base = task_seed >= kFirstUnseenSeed ? kFirstUnseenSeed : 0;
  return base + task_seed / kTasksPerWorld % kFirstUnseenSeed;
}

// NOLINTBEGIN(cppcoreguidelines-avoid-reference-coroutine-parameters): the caller waits for it
asio::awaitable<Result<EvalReport>> run_eval(ModelClient& model, SessionStore& store,
                                             const Clock& clock, EvalOptions options,
                                             std::function<void(const EvalCase&)> on_case) {
  EvalRun run(model, store, clock, std::move(options), std::move(on_case));
  auto report = co_await run.run();
  co_return report;
}
// NOLINTEND(cppcoreguidelines-avoid-reference-coroutine-parameters)

}  // namespace ponder::runtime
