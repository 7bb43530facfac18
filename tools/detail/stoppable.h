#pragma once

#include <atomic>
#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/this_coro.hpp>
#include <memory>
#include <type_traits>
#include <utility>

#include "base/async/offload.h"

namespace ponder::tools {

/// offload() of work that looks at a flag: it is set when the coroutine that waits is cancelled.
/// The work then ends soon, and says so in its value.
template <class Work>
boost::asio::awaitable<std::invoke_result_t<Work&, const std::atomic<bool>&>> offload_stoppable(
    boost::asio::any_io_executor pool, Work work) {
  auto cancellation = co_await boost::asio::this_coro::cancellation_state;
  const bool is_cancelled = cancellation.cancelled() != boost::asio::cancellation_type::none;
  auto stop = std::make_shared<std::atomic<bool>>(is_cancelled);
  auto slot = cancellation.slot();
  if (slot.is_connected()) {
    slot.assign([stop](boost::asio::cancellation_type) { stop->store(true); });
  }
  auto run = [work = std::move(work), stop]() mutable { return work(*stop); };
  auto value = co_await offload(std::move(pool), std::move(run));
  if (slot.is_connected()) slot.clear();
  co_return value;
}

}  // namespace ponder::tools
