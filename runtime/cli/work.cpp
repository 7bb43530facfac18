#include <fmt/core.h>

#include <boost/asio/io_context.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/thread_pool.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <chrono>
#include <cstdio>
#include <map>
#include <memory>
#include <optional>
#include <vector>

#include "base/async/offload.h"
#include "base/async/task_group.h"
#include "runtime/agent/agent.h"
#include "runtime/cli/commands.h"
#include "runtime/cli/compose.h"
#include "runtime/cli/go_on.h"
#include "runtime/cli/live_view.h"
#include "runtime/cli/toolset_flags.h"
#include "runtime/session/work_queue.h"
#include "runtime/workflow/workflow.h"

/// `ponder work`: goes on with the queued sessions of a shared store, many at once.
namespace ponder::cli {
namespace {

namespace asio = boost::asio;
using runtime::SessionId;

constexpr std::chrono::milliseconds kPollMs{500};  // how soon a session that became free is taken
/// How long a session that this program could not bring to its end is left to others.
constexpr std::chrono::seconds kLeftFor{30};

/// Takes sessions from the queue and brings each to its end.
///
/// Thread: that of the io_context that runs it.
class Worker {
 public:
  Worker(const Environment& environment, const WorkOptions& options, std::filesystem::path library,
         runtime::ToolsetOptions toolset, runtime::SessionStore& store, asio::io_context& io)
      : environment_(&environment),
        options_(&options),
        library_(std::move(library)),
        toolset_(std::move(toolset)),
        store_(&store),
        wake_(io) {}
  ~Worker() {
    opening_.join();
    asking_.join();
  }

  asio::awaitable<int> run() {
    const auto executor = co_await asio::this_coro::executor;
    co_await asio::this_coro::throw_if_cancelled(false);
    TaskGroup sessions(executor);
    while (!is_stopping_) {
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
      if (options_->is_draining) {
        const bool is_over = co_await is_empty();
        if (is_over) break;
      }
      co_await wait();
    }
    co_await sessions.join();
    co_return 0;
  }

  /// Takes no more; run() ends when what is under way has ended.
  void stop() {
    is_stopping_ = true;
    wake_.cancel();
  }

 private:
  /// Until something may have changed.
  asio::awaitable<void> wait() {
    boost::system::error_code ignored;
    wake_.expires_after(kPollMs);
    co_await wake_.async_wait(asio::redirect_error(asio::use_awaitable, ignored));
  }

  asio::awaitable<std::optional<SessionId>> take() {
    auto work = [this, left = left_now()] { return store_->queue()->take(left); };
    auto taken = co_await offload(asking_.get_executor(), std::move(work));
    if (!taken) say("waiting", taken.error().message);
    co_return taken ? std::move(*taken) : std::optional<SessionId>();
  }

  /// The sessions that are left to others for now.
  std::vector<SessionId> left_now() {
    const auto now = system_clock().now();
    std::erase_if(left_until_, [now](const auto& entry) { return entry.second <= now; });
    std::vector<SessionId> out;
    for (const auto& entry : left_until_) out.push_back(SessionId{entry.first});
    return out;
  }

  asio::awaitable<bool> is_empty() {
    auto work = [this] { return store_->queue()->size(); };
    const auto size = co_await offload(asking_.get_executor(), std::move(work));
    co_return size && *size == 0;
  }

  asio::awaitable<void> work_on(SessionId id) {
    co_await asio::this_coro::throw_if_cancelled(false);
    say(id.value, "begun");
    auto done = co_await finish(id);
    if (done) {
      say(id.value, *done == 0 ? "done" : "ended without success");
    } else {
      left_until_[id.value] = system_clock().now() + kLeftFor;
      say(id.value, "left: " + done.error().message);
    }
    --active_;
    wake_.cancel();
  }

  /// The session's exit status. What failed stays in the queue, for it may work later or on another
  /// machine, unless nobody can read it.
  asio::awaitable<Result<int>> finish(SessionId id) {
    // A workflow may have to run a project's tests, and a model to be loaded: others go on.
    auto work = [this, id] { return open(id); };
    auto opened = co_await offload(opening_.get_executor(), std::move(work));
    if (!opened) {
      store_->release(id);
      if (opened.error().code == Errc::corrupt) {
        co_await remove(id);
      }
      co_return tl::unexpected<Error>(opened.error());
    }
    runtime::Agent& agent = *opened->agent;
    int status = 0;
    if (has_rest(agent.state(), *opened->workflow)) {
      status = co_await go_on(agent, *opened->workflow, /*is_quiet=*/true);
    }
    // Whatever else went wrong, a session that is at its end needs nobody; one that is not waits
    // for somebody whose store works.
    if (has_rest(agent.state(), *opened->workflow)) {
      co_return fail(Errc::unavailable, "it is not at its end");
    }
    co_await remove(id);
    co_return status;
  }

  struct Opened {
    std::unique_ptr<runtime::Workflow> workflow;
    std::unique_ptr<runtime::Agent> agent;  // before its workflow
  };
  Result<Opened> open(const SessionId& id) {
    PONDER_TRY(const auto records, store_->load(id));
    const auto state = runtime::fold(records);
    if (!state.start) {
      return fail(Errc::corrupt, fmt::format("session {} has no readable beginning", id.value));
    }
    Opened out;
    PONDER_TRY(out.workflow, runtime::Workflow::reopen(library_, id, state, *store_, toolset_));
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

  /// The model of --model or PONDER_MODEL, else the one that the session's log names.
  Result<runtime::ModelClient*> model_for(const std::string& logged) {
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

  asio::awaitable<void> remove(SessionId id) {
    auto work = [this, id] { return store_->queue()->remove(id); };
    const auto removed = co_await offload(asking_.get_executor(), std::move(work));
    if (!removed) say(id.value, removed.error().message);
  }

  void say(const std::string& who, const std::string& what) const {
    if (options_->json) return;
    fmt::print("{}: {}\n", who, printable(what));
    std::fflush(stdout);
  }

  const Environment* environment_;
  const WorkOptions* options_;
  std::filesystem::path library_;
  runtime::ToolsetOptions toolset_;
  runtime::SessionStore* store_;
  asio::steady_timer wake_;
  std::map<std::string, std::unique_ptr<runtime::ModelClient>> models_;  // by the log's name
  JsonView json_;
  std::map<std::string, Clock::Instant> left_until_;  // by session
  std::uint32_t active_ = 0;
  bool is_stopping_ = false;
  // Last: they end before what they use.
  asio::thread_pool asking_{1};   // where the queue is waited for
  asio::thread_pool opening_{1};  // where sessions are opened, one at a time, and models_ is used
};

}  // namespace

int work(const Environment& environment, const WorkOptions& options) {
  auto library = library_dir(environment);
  if (!library) return complain(library.error().message);
  const auto store = open_store(environment);
  if (!store) return complain(store.error().message);
  if ((*store)->queue() == nullptr) return complain(kNoQueue);
  asio::io_context io(1);
  auto toolset = toolset_of(environment, options.toolset);
  if (!toolset) return complain(toolset.error().message);
  Worker worker(environment, options, std::move(*library), std::move(*toolset), **store, io);
  return run_interruptibly(io, worker.run(), [&worker] { worker.stop(); });
}

}  // namespace ponder::cli
