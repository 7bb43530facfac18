#pragma once

#include <boost/asio/awaitable.hpp>
#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/cancellation_signal.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>
#include <exception>
#include <optional>
#include <stop_token>
#include <utility>

#include "base/async/with_deadline.h"
#include "base/result.h"

namespace ponder {

/// Runs a coroutine to its end on a context of its own; blocks. A stop request, of any thread,
/// cancels the coroutine; it is waited for all the same, and says itself what that makes of it:
/// Errc::cancelled as a rule. What it throws is an Error (error_of_current_exception).
template <class T>
Result<T> run_blocking(boost::asio::awaitable<Result<T>> work, std::stop_token stop = {}) {
  namespace asio = boost::asio;
  asio::io_context io(1);
  asio::cancellation_signal cancellation;
  std::optional<Result<T>> result;
  asio::co_spawn(io, detail::run_into<T>(&result, std::move(work)),
                 asio::bind_cancellation_slot(cancellation.slot(), [](std::exception_ptr) {}));
  // Last: no callback runs when what it uses is gone.
  const std::stop_callback on_stop(std::move(stop), [&] {
    asio::post(io, [&] {
      if (!result) cancellation.emit(asio::cancellation_type::all);
    });
  });
  io.run();
  if (!result) return fail(Errc::cancelled, "cancelled before it began");
  return std::move(*result);
}

}  // namespace ponder
