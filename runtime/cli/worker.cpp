#include "runtime/cli/worker.h"

#include <fmt/format.h>

#include <algorithm>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <chrono>
#include <utility>

#include "base/async/guarded.h"
#include "base/async/offload.h"
#include "base/async/task_group.h"
#include "runtime/cli/compose.h"
#include "runtime/cli/go_on.h"
#include "runtime/cli/terminal.h"
#include "runtime/session/work_queue.h"

namespace ponder::cli {
namespace {

namespace asio = boost::asio;
using runtime::SessionId;

constexpr std::chrono::milliseconds kPollMs{500};  // how soon a session that became free is taken
/// How long a session that this program could not bring to its end is left to others.
constexpr std::chrono::seconds kLeftFor{30};

/// Why a session is not at its end after all that could be done for it here.
std::string why_unfinished(const Result<int>& status, const runtime::SessionState& state) {
  if (!status) return status.error().message;
  if (state.last_end && state.last_end->reason != runtime::TurnEnd::answered) {
    return fmt::format("its turn ended: {}: {}", runtime::turn_end_name(state.last_end->reason),
                       state.last_end->detail);
  }
  if (*status == kInterruptedStatus) return "its worker was stopped before the verdict";
  return "it is not at its end";
}

}  // namespace

Worker::Worker(const Environment& environment, const WorkOptions& options,
               std::filesystem::path library, runtime::ToolsetOptions toolset,
               runtime::SessionStore& store, asio::io_context& io)
    : environment_(&environment),
      options_(&options),
      library_(std::move(library)),
      toolset_(std::move(toolset)),
      store_(&store),
      wake_(io) {}

Worker::~Worker() {
  opening_.join();
  asking_.join();
}

asio::awaitable<int> Worker::run() {
  const auto executor = co_await asio::this_coro::executor;
  co_await asio::this_coro::throw_if_cancelled(false);
  TaskGroup sessions(executor);
  // In a group that was cancelled every session would end at once, as if its user had said so.
  while (!is_stopping_ && !sessions.is_cancelled()) {
    std::optional<SessionId> next;
    if (active_ < options_->concurrency_max) {
      auto taken = co_await take();
      next = std::move(taken);
    }
    if (next) {
      ++active_;
      sessions.spawn(work_on(std::move(*next)));
      continue;
    }
    if (options_->is_draining && active_ == 0) {
      const bool is_over = co_await is_empty();
      if (is_over) break;
    }
    co_await wait();
  }
  co_await sessions.join();
  co_return sessions.is_cancelled() ? 1 : 0;
}

void Worker::stop() {
  is_stopping_ = true;
  verdicts_stop_.request_stop();
  wake_.cancel();
}

asio::awaitable<void> Worker::wait() {
  boost::system::error_code ignored;
  wake_.expires_after(kPollMs);
  co_await wake_.async_wait(asio::redirect_error(asio::use_awaitable, ignored));
}

asio::awaitable<std::optional<SessionId>> Worker::take() {
  auto work = [this, left = left_now()] { return store_->queue()->take(left); };
  auto taken = co_await offload(asking_.get_executor(), std::move(work));
  if (!taken) say("waiting", taken.error().message);
  co_return taken ? std::move(*taken) : std::optional<SessionId>();
}

std::vector<SessionId> Worker::left_now() {
  const auto now = system_clock().now();
  std::erase_if(left_until_, [now](const auto& entry) { return entry.second <= now; });
  std::vector<SessionId> out;
  out.reserve(left_until_.size() + unreadable_.size());
  for (const auto& entry : left_until_) out.push_back(SessionId{entry.first});
  for (const std::string& id : unreadable_) out.push_back(SessionId{id});
  return out;
}

asio::awaitable<bool> Worker::is_empty() {
  auto work = [this] { return store_->queue()->list(); };
  const auto waiting = co_await offload(asking_.get_executor(), std::move(work));
  co_return waiting&& std::all_of(waiting->begin(), waiting->end(), [this](const auto& one) {
    return one.takes >= runtime::kTakesMax || unreadable_.contains(one.session.value);
  });
}

asio::awaitable<void> Worker::work_on(SessionId id) {
  co_await asio::this_coro::throw_if_cancelled(false);
  say(id.value, "begun");
  auto work = finish(id);
  const auto done = co_await guarded(std::move(work));
  if (done)
    say(id.value, *done == 0 ? "done" : "ended without success");
  else
    co_await leave(id, done.error());
  --active_;
  wake_.cancel();
}

asio::awaitable<void> Worker::leave(SessionId id, Error why) {
  // What this program cannot read another version may.
  if (why.code == Errc::corrupt)
    unreadable_.insert(id.value);
  else
    left_until_[id.value] = system_clock().now() + kLeftFor;
  say(id.value, "left: " + why.message);
  if (options_->json) complain(fmt::format("session {} was left: {}", id.value, why.message));
  auto work = [this, id, problem = std::move(why.message)] {
    return store_->queue()->note(id, problem);
  };
  const auto noted = co_await offload(asking_.get_executor(), std::move(work));
  if (!noted) say(id.value, noted.error().message);
}

asio::awaitable<Result<int>> Worker::finish(SessionId id) {
  // A workflow may have to run a project's tests, and a model to be loaded: others go on.
  auto work = [this, id] { return open_or_release(id); };
  auto opened = co_await offload(opening_.get_executor(), std::move(work));
  if (!opened) co_return tl::unexpected<Error>(opened.error());
  runtime::Agent& agent = *opened->agent;
  Result<int> status = 0;
  if (has_rest(agent.state(), *opened->workflow)) {
    const auto stop = verdicts_stop_.get_token();
    auto gone_on = co_await go_on(agent, *opened->workflow, /*is_quiet=*/true, stop);
    status = std::move(gone_on);
  }
  // Whatever else went wrong, a session that is at its end needs nobody; one that is not waits
  // for somebody whose store works.
  if (has_rest(agent.state(), *opened->workflow)) {
    co_return fail(Errc::unavailable, why_unfinished(status, agent.state()));
  }
  if (!status) say(id.value, status.error().message);
  co_await remove(id);
  co_return status.value_or(1);
}

Result<Worker::Opened> Worker::open_or_release(const SessionId& id) {
  Result<Opened> out = fail(Errc::internal, "not opened");
  const Status tried = guarded_call([&] { out = open(id); });
  if (!tried) out = tl::unexpected<Error>(tried.error());
  if (!out) store_->release(id);
  return out;
}

Result<Worker::Opened> Worker::open(const SessionId& id) {
  PONDER_TRY(const auto records, store_->load(id));
  const auto state = runtime::fold(records);
  if (!state.start) {
    return fail(Errc::corrupt, fmt::format("session {} has no readable beginning", id.value));
  }
  Opened out;
  runtime::ReopenOptions how;
  how.toolset = toolset_;
  PONDER_TRY(out.workflow, runtime::Workflow::reopen(library_, id, state, *store_, how));
  PONDER_TRY(runtime::ModelClient * model, model_for(state.start->model));
  runtime::AgentParts parts(*model, out.workflow->registry(), *store_, system_clock());
  parts.grants = out.workflow->grants();
  PONDER_TRY(const Money money, money_of(*environment_, MoneyOptions(), *model));
  parts.prices = money.prices;
  parts.approvals.mode = approval_mode_for(*out.workflow, options_->approve);
  if (options_->json) parts.sinks.push_back(&json_);
  PONDER_TRY(out.agent, runtime::Agent::open(std::move(parts), id));
  return out;
}

Result<runtime::ModelClient*> Worker::model_for(const std::string& logged) {
  ModelOptions wanted = options_->model;
  wanted.is_patient = true;  // an endpoint that starts again must not cost the queue its sessions
  const bool is_chosen = !wanted.model.empty() || !environment_->model.empty();
  if (!is_chosen) choose_logged_model(logged, wanted);
  auto& model = models_[is_chosen ? "" : logged];
  if (!model) {
    PONDER_TRY(model, open_model(*environment_, wanted));
  }
  return model.get();
}

asio::awaitable<void> Worker::remove(SessionId id) {
  auto work = [this, id] { return store_->queue()->remove(id); };
  const auto removed = co_await offload(asking_.get_executor(), std::move(work));
  if (!removed) say(id.value, removed.error().message);
}

void Worker::say(const std::string& who, const std::string& what) const {
  if (options_->json) return;
  put_out(fmt::format("{}: {}\n", who, printable(what)));
  flush_out();
}

}  // namespace ponder::cli
