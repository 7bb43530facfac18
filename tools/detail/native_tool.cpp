#include "tools/detail/native_tool.h"

#include <boost/asio/cancellation_signal.hpp>
#include <boost/asio/this_coro.hpp>
#include <utility>

#include "base/async/offload.h"
#include "tools/registry.h"

namespace ponder::tools {
namespace {

/// The call as the pool runs it.
class Call {
 public:
  Call(NativeWork work, std::string arguments, ToolContext context, StopFlag stop)
      : work_(std::move(work)),
        arguments_(std::move(arguments)),
        context_(std::move(context)),
        stop_(std::move(stop)) {}

  Result<ToolOutput> operator()() {
    const auto arguments = parse_json(arguments_);
    if (!arguments) return error_output(arguments.error().message);
    return output_of(work_(*arguments, context_, *stop_), context_.output_kept_max);
  }

 private:
  NativeWork work_;
  std::string arguments_;
  ToolContext context_;
  StopFlag stop_;
};

}  // namespace

Result<ToolOutput> output_of(Result<std::string> result, std::size_t output_kept_max) {
  if (result) return cap_output(ToolOutput(std::move(*result), false), output_kept_max);
  const Error& error = result.error();
  if (error.code == Errc::cancelled || error.code == Errc::deadline) return tl::unexpected(error);
  return error_output(error.message);
}

boost::asio::awaitable<Result<ToolOutput>> NativeTool::invoke(std::string arguments,
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
  Call call(work_, std::move(arguments), std::move(context), stop);
  boost::asio::any_io_executor pool = pool_;
  auto output = co_await offload(std::move(pool), std::move(call));
  if (slot.is_connected()) slot.clear();
  co_return output;
}

}  // namespace ponder::tools
