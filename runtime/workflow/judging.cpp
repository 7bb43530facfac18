#include "runtime/workflow/judging.h"

#include <boost/asio/this_coro.hpp>
#include <stop_token>
#include <utility>

#include "base/async/offload.h"

namespace ponder::runtime {
namespace asio = boost::asio;

// NOLINTBEGIN(cppcoreguidelines-avoid-reference-coroutine-parameters): the caller waits for it
asio::awaitable<Result<WorkflowVerdict>> judge_on(asio::any_io_executor pool, Workflow& workflow,
                                                  const SessionState& state,
                                                  std::stop_token wanted) {
  const bool throws_if_cancelled = co_await asio::this_coro::throw_if_cancelled();
  co_await asio::this_coro::throw_if_cancelled(false);
  auto cancellation = co_await asio::this_coro::cancellation_state;
  std::stop_source stop;
  if (cancellation.cancelled() != asio::cancellation_type::none) stop.request_stop();
  const std::stop_callback on_wanted(std::move(wanted), [&stop] { stop.request_stop(); });
  if (cancellation.slot().is_connected()) {
    cancellation.slot().assign([&stop](asio::cancellation_type) { stop.request_stop(); });
  }
  auto judge = [&workflow, &state, token = stop.get_token()]() -> Result<WorkflowVerdict> {
    if (token.stop_requested()) return fail(Errc::cancelled, "the judgement was stopped");
    return workflow.judge(state, token);
  };
  auto verdict = co_await offload(std::move(pool), std::move(judge));
  if (cancellation.slot().is_connected()) cancellation.slot().clear();
  co_await asio::this_coro::throw_if_cancelled(throws_if_cancelled);
  co_return verdict;
}
// NOLINTEND(cppcoreguidelines-avoid-reference-coroutine-parameters)

}  // namespace ponder::runtime
