#include "tools/detail/lua_tool.h"

#include <atomic>
#include <boost/asio/cancellation_signal.hpp>
#include <boost/asio/this_coro.hpp>
#include <utility>

#include "base/async/offload.h"

namespace ponder::tools {
namespace {

/// Runs work(stop flag) on the strand; the flag is raised when the coroutine is cancelled. The work
/// owns what it uses: it may outlive the coroutine.
template <class Output, class Work>
boost::asio::awaitable<Result<Output>> on_strand(boost::asio::any_io_executor strand, Work work) {
  auto cancellation = co_await boost::asio::this_coro::cancellation_state;
  if (cancellation.cancelled() != boost::asio::cancellation_type::none) {
    co_return fail(Errc::cancelled, "cancelled before it began");
  }
  auto stop = std::make_shared<std::atomic<bool>>(false);
  auto slot = cancellation.slot();
  if (slot.is_connected()) {
    slot.assign([stop](boost::asio::cancellation_type) { stop->store(true); });
  }
  auto run = [work = std::move(work), stop]() mutable { return work(stop.get()); };
  auto output = co_await offload(std::move(strand), std::move(run));
  if (slot.is_connected()) slot.clear();
  co_return output;
}

}  // namespace

boost::asio::awaitable<Result<ToolOutput>> LuaTool::invoke(std::string arguments,
                                                           ToolContext context) {
  auto run = [host = host_, index = index_, arguments = std::move(arguments),
              context](const std::atomic<bool>* stop) {
    return host->run_tool(index, arguments, context, stop);
  };
  return on_strand<ToolOutput>(host_->strand(), std::move(run));
}

boost::asio::awaitable<Result<std::vector<ParameterValues>>> LuaTool::values(ToolContext context) {
  auto run = [host = host_, index = index_, context](const std::atomic<bool>* stop) {
    return host->tool_values(index, context, stop);
  };
  return on_strand<std::vector<ParameterValues>>(host_->strand(), std::move(run));
}

}  // namespace ponder::tools
