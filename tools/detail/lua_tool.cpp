#include "tools/detail/lua_tool.h"

#include <atomic>
#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <exception>
#include <optional>
#include <utility>

#include "base/async/offload.h"

namespace ponder::tools {
namespace {

namespace asio = boost::asio;

/// A call on its way through the strand. Who awaits it may leave while it waits for others there;
/// once it runs it is told to stop and waited for. Shared by the two.
class Call {
 public:
  Call(const asio::any_io_executor& home, std::shared_ptr<Environment::Host> host,
       std::size_t index, std::string arguments, ToolContext context)
      : arrived(home, asio::steady_timer::time_point::max()),
        host_(std::move(host)),
        index_(index),
        arguments_(std::move(arguments)),
        context_(context) {}

  /// On the strand. False when nobody waits for it any more.
  bool run() {
    Phase waiting = Phase::waiting;
    if (!phase_.compare_exchange_strong(waiting, Phase::running)) return false;
    try {
      result_.emplace(host_->run_tool(index_, arguments_, context_, &stop_));
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
  Result<ToolOutput> take() { return std::move(*result_); }

  // Of the home executor:
  asio::steady_timer arrived;  // never expires; cancelled when the call has run
  bool has_arrived = false;

 private:
  enum class Phase { waiting, running, left };
  std::shared_ptr<Environment::Host> host_;
  std::size_t index_;
  std::string arguments_;
  ToolContext context_;
  std::atomic<Phase> phase_ = Phase::waiting;
  std::atomic<bool> stop_ = false;
  std::optional<Result<ToolOutput>> result_;  // written by run(), read after has_arrived
};

void post_call(const asio::any_io_executor& strand, const asio::any_io_executor& home,
               const std::shared_ptr<Call>& call) {
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

}  // namespace

asio::awaitable<Result<ToolOutput>> LuaTool::invoke(std::string arguments, ToolContext context) {
  const auto cancellation = co_await asio::this_coro::cancellation_state;
  const auto is_cancelled = [&cancellation] {
    return cancellation.cancelled() != asio::cancellation_type::none;
  };
  if (is_cancelled()) co_return fail(Errc::cancelled, "cancelled before it began");
  const auto home = co_await asio::this_coro::executor;
  const bool throws_if_cancelled = co_await asio::this_coro::throw_if_cancelled();
  co_await asio::this_coro::throw_if_cancelled(false);
  const auto call = std::make_shared<Call>(home, host_, index_, std::move(arguments), context);
  post_call(host_->strand(), home, call);
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

boost::asio::awaitable<Result<std::vector<ParameterValues>>> LuaTool::values(ToolContext context) {
  auto cancellation = co_await boost::asio::this_coro::cancellation_state;
  auto stop = std::make_shared<std::atomic<bool>>(false);
  auto slot = cancellation.slot();
  if (slot.is_connected()) {
    slot.assign([stop](boost::asio::cancellation_type) { stop->store(true); });
  }
  auto run = [host = host_, index = index_, context, stop] {
    return host->tool_values(index, context, stop.get());
  };
  auto said = co_await offload(host_->strand(), std::move(run));
  if (slot.is_connected()) slot.clear();
  co_return said;
}

}  // namespace ponder::tools
