#pragma once

#include <boost/asio/awaitable.hpp>
#include <optional>
#include <utility>

#include "base/assert.h"
#include "base/async/with_deadline.h"
#include "base/result.h"

/// Borders that no exception crosses: what one piece of work throws must not end those beside it.
namespace ponder {

/// Calls `work()`. An exception becomes the error that it stands for, mostly Errc::internal.
template <class Work>
Status guarded_call(Work work) noexcept {
  try {
    work();
    return {};
  } catch (...) {
    return tl::unexpected<Error>(error_of_current_exception());
  }
}

/// What `work` gives. The same for what it throws; only where it was cancelled and threw that, the
/// error is Errc::cancelled.
template <class T>
boost::asio::awaitable<Result<T>> guarded(boost::asio::awaitable<Result<T>> work) {
  std::optional<Result<T>> result;
  co_await detail::run_into(&result, std::move(work));
  PONDER_ASSERT(result);
  co_return std::move(*result);
}

}  // namespace ponder
