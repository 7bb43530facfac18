#include "tools/detail/lua_tool.h"

#include <atomic>
#include <boost/asio/cancellation_signal.hpp>
#include <boost/asio/this_coro.hpp>
#include <utility>

#include "base/async/offload.h"

namespace ponder::tools {
namespace {

using StopFlag = std::shared_ptr<std::atomic<bool>>;  // shared by the work and the one who cancels

/// The call as the pool runs it.
class Call {
 public:
  Call(std::shared_ptr<Environment::Host> host, std::size_t index, std::string arguments,
       ToolContext context, StopFlag stop)
      : host_(std::move(host)),
        index_(index),
        arguments_(std::move(arguments)),
        context_(context),
        stop_(std::move(stop)) {}
  Result<ToolOutput> operator()() {
    return host_->run_tool(index_, arguments_, context_, stop_.get());
  }

 private:
  std::shared_ptr<Environment::Host> host_;
  std::size_t index_;
  std::string arguments_;
  ToolContext context_;
  StopFlag stop_;
};

}  // namespace

boost::asio::awaitable<Result<ToolOutput>> LuaTool::invoke(std::string arguments,
                                                           ToolContext context) {
  auto cancellation = co_await boost::asio::this_coro::cancellation_state;
  if (cancellation.cancelled() != boost::asio::cancellation_type::none) {
    co_return fail(Errc::cancelled, "cancelled before it began");
  }
  auto stop = std::make_shared<std::atomic<bool>>(false);
  auto slot = cancellation.slot();
  if (slot.is_connected()) {
    slot.assign([stop](boost::asio::cancellation_type) { stop->store(true); });
  }
  Call call(host_, index_, std::move(arguments), context, stop);
  boost::asio::any_io_executor strand = host_->strand();
  auto output = co_await offload(std::move(strand), std::move(call));
  if (slot.is_connected()) slot.clear();
  co_return output;
}

}  // namespace ponder::tools
