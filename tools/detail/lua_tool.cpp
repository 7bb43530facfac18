#include "tools/detail/lua_tool.h"

#include <atomic>
#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <exception>
#include <functional>
#include <optional>
#include <utility>

#include "base/assert.h"

namespace ponder::tools {
namespace {

namespace asio = boost::asio;

template <class Value>
using Work = std::function<Result<Value>(const std::atomic<bool>* stop)>;

/// Work on its way through the strand. Who awaits it may leave while it waits for others there;
/// once it runs it is told to stop and waited for. Shared by the two.
template <class Value>
class Call {
 public:
  Call(const asio::any_io_executor& home, Work<Value> work)
      : arrived(home, asio::steady_timer::time_point::max()), work_(std::move(work)) {}

  /// On the strand. False when nobody waits for it any more.
  bool run() {
    Phase waiting = Phase::waiting;
    if (!phase_.compare_exchange_strong(waiting, Phase::running)) return false;
    try {
      result_.emplace(work_(&stop_));
    } catch (const std::exception& e) {
      result_.emplace(fail(Errc::internal, e.what()));
    }
    return true;
  }
  /// True when it has not begun, and never will.
  bool leave() {
    Phase waiting = Phase::waiting;
    return phase_.compare_exchange_strong(waiting, Phase::left);
  }
  void stop() { stop_ = true; }
  /// Requires: has_arrived.
  Result<Value> take() {
    PONDER_ASSERT(result_);
    return std::move(*result_);
  }

  // Of the home executor:
  asio::steady_timer arrived;  // never expires; cancelled when the work has run
  bool has_arrived = false;

 private:
  enum class Phase { waiting, running, left };
  Work<Value> work_;
  std::atomic<Phase> phase_ = Phase::waiting;
  std::atomic<bool> stop_ = false;
  std::optional<Result<Value>> result_;  // written by run(), read after has_arrived
};

template <class Value>
void post_call(const asio::any_io_executor& strand, const asio::any_io_executor& home,
               const std::shared_ptr<Call<Value>>& call) {
  // The guard keeps the home context, which the call's timer needs, until the pool has let go of
  // the call: captures go in the reverse order.
  auto work = [guard = asio::make_work_guard(home), call] {
    if (!call->run()) return;
    asio::post(guard.get_executor(), [call] {
      call->has_arrived = true;
      call->arrived.cancel();
    });
  };
  asio::post(strand, std::move(work));
}

template <class Value>
asio::awaitable<Result<Value>> run_on(asio::any_io_executor strand, Work<Value> work) {
  const auto cancellation = co_await asio::this_coro::cancellation_state;
  const auto is_cancelled = [&cancellation] {
    return cancellation.cancelled() != asio::cancellation_type::none;
  };
  if (is_cancelled()) co_return fail(Errc::cancelled, "cancelled before it began");
  const auto home = co_await asio::this_coro::executor;
  const bool throws_if_cancelled = co_await asio::this_coro::throw_if_cancelled();
  co_await asio::this_coro::throw_if_cancelled(false);
  const auto call = std::make_shared<Call<Value>>(home, std::move(work));
  post_call(strand, home, call);
  bool has_left = false;
  while (!call->has_arrived && !has_left) {
    if (is_cancelled()) call->stop();
    has_left = is_cancelled() && call->leave();
    if (has_left) continue;
    boost::system::error_code ignored;
    co_await call->arrived.async_wait(asio::redirect_error(asio::use_awaitable, ignored));
  }
  co_await asio::this_coro::throw_if_cancelled(throws_if_cancelled);
  if (has_left) co_return fail(Errc::cancelled, "cancelled before it began");
  co_return call->take();
}

}  // namespace

asio::awaitable<Result<ToolOutput>> LuaTool::invoke(std::string arguments, ToolContext context) {
  Work<ToolOutput> work = [host = host_, index = index_, arguments = std::move(arguments),
                           context](const std::atomic<bool>* stop) {
    return host->run_tool(index, arguments, context, stop);
  };
  auto output = co_await run_on(host_->strand(), std::move(work));
  co_return output;
}

asio::awaitable<Result<std::vector<ParameterValues>>> LuaTool::values(ToolContext context) {
  Work<std::vector<ParameterValues>> work = [host = host_, index = index_,
                                             context](const std::atomic<bool>* stop) {
    return host->tool_values(index, context, stop);
  };
  auto values = co_await run_on(host_->strand(), std::move(work));
  co_return values;
}

}  // namespace ponder::tools
