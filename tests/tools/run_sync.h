#pragma once

#include <boost/asio/awaitable.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>
#include <exception>
#include <optional>
#include <utility>

#include "base/result.h"

namespace ponder::tests {

template <class T>
boost::asio::awaitable<void> store_result(boost::asio::awaitable<Result<T>> work,
                                          std::optional<Result<T>>* out) {
  auto result = co_await std::move(work);
  out->emplace(std::move(result));
}

/// Runs a coroutine to its end on an executor of its own.
template <class T>
Result<T> run_sync(boost::asio::awaitable<Result<T>> work) {
  boost::asio::io_context io;
  std::optional<Result<T>> result;
  std::exception_ptr thrown;
  boost::asio::co_spawn(io, store_result<T>(std::move(work), &result),
                        [&thrown](std::exception_ptr error) { thrown = std::move(error); });
  io.run();
  if (thrown) std::rethrow_exception(thrown);
  return std::move(*result);
}

}  // namespace ponder::tests
