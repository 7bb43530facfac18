#pragma once

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/associated_executor.hpp>
#include <boost/asio/async_result.hpp>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <exception>
#include <optional>
#include <type_traits>
#include <utility>

#include "base/assert.h"

namespace ponder {

/// Runs `work` (blocking is fine) on `pool` and gives its value back on the caller's executor; the
/// caller's other coroutines go on meanwhile. An exception of `work` is thrown by the await.
///
/// Not cancellable: `work` runs to its end. Work that can be long looks at a stop flag of its own.
/// Lifetime: what `work` refers to must live until the await returns; the frame that awaits does.
/// Requires: the value is default-constructible in an optional, that is, movable and not void.
template <class Work>
boost::asio::awaitable<std::invoke_result_t<Work&>> offload(boost::asio::any_io_executor pool,
                                                            Work work) {
  using Value = std::invoke_result_t<Work&>;
  namespace asio = boost::asio;
  auto initiate = [](auto handler, asio::any_io_executor pool, Work work) {
    // The guard keeps the caller's context running while nothing but the pool is at work, and until
    // the pool's thread is done with it: a context whose run() has returned may be gone at once.
    auto home = asio::make_work_guard(asio::get_associated_executor(handler));
    asio::post(pool, [handler = std::move(handler), home = std::move(home),
                      work = std::move(work)]() mutable {
      std::exception_ptr error;
      std::optional<Value> value;
      try {
        value.emplace(work());
      } catch (...) {
        error = std::current_exception();
      }
      asio::post(home.get_executor(), [handler = std::move(handler), error = std::move(error),
                                       value = std::move(value)]() mutable {
        std::move(handler)(std::move(error), std::move(value));
      });
    });
  };
  std::optional<Value> value =
      co_await asio::async_initiate<const asio::use_awaitable_t<>,
                                    void(std::exception_ptr, std::optional<Value>)>(
          initiate, asio::use_awaitable, std::move(pool), std::move(work));
  PONDER_ASSERT(value);
  co_return std::move(*value);
}

}  // namespace ponder
