#pragma once

#include <boost/asio/awaitable.hpp>
#include <boost/asio/this_coro.hpp>
#include <optional>
#include <string>
#include <utility>

#include "base/async/task_group.h"
#include "base/async/timer.h"
#include "base/clock.h"
#include "base/result.h"

namespace ponder {

/// The Error that the exception being handled stands for. Requires: called in a catch block.
Error error_of_current_exception();

namespace detail {

template <class T>
boost::asio::awaitable<void> run_into(std::optional<Result<T>>* out,
                                      boost::asio::awaitable<Result<T>> work) {
  try {
    Result<T> result = co_await std::move(work);
    out->emplace(std::move(result));
  } catch (...) {
    out->emplace(tl::unexpected<Error>(error_of_current_exception()));
  }
}

}  // namespace detail

/// Awaits `work`, and cancels it when `deadline` passes. Either way it waits until `work` has
/// ended; a work that was cancelled by the deadline gives Errc::deadline, one that was cancelled
/// from outside Errc::cancelled, one that threw Errc::internal with the exception's text.
///
/// `work` runs in `group`, by which others may cancel it, too. Nothing else is in it.
template <class T>
boost::asio::awaitable<Result<T>> with_deadline(TaskGroup& group,
                                                boost::asio::awaitable<Result<T>> work,
                                                Deadline deadline) {
  const auto executor = co_await boost::asio::this_coro::executor;
  const bool throws_if_cancelled = co_await boost::asio::this_coro::throw_if_cancelled();
  co_await boost::asio::this_coro::throw_if_cancelled(false);
  std::optional<Result<T>> result;
  bool has_rung = false;
  group.spawn(detail::run_into<T>(&result, std::move(work)));
  Alarm alarm(executor, deadline.at(), [&group, &has_rung] {
    if (group.is_cancelled()) return;
    has_rung = true;
    group.cancel();
  });
  co_await group.join();
  co_await boost::asio::this_coro::throw_if_cancelled(throws_if_cancelled);
  const bool was_stopped = !result || (!*result && result->error().code == Errc::cancelled);
  if (has_rung && was_stopped) co_return fail(Errc::deadline, "the deadline passed");
  if (!result) co_return fail(Errc::cancelled, "cancelled before it began");
  co_return std::move(*result);
}

/// The same in a group of its own.
template <class T>
boost::asio::awaitable<Result<T>> with_deadline(boost::asio::awaitable<Result<T>> work,
                                                Deadline deadline) {
  const auto executor = co_await boost::asio::this_coro::executor;
  TaskGroup group(executor);
  auto result = co_await with_deadline(group, std::move(work), deadline);
  co_return result;
}

}  // namespace ponder
