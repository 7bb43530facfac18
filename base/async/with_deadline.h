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
struct Watch;
}

/// Moves the deadline of one with_deadline() while that waits; at other times it does nothing.
///
/// Thread: that of the executor. Lifetime: outlives the with_deadline() that it was given to.
class DeadlineMover {
 public:
  void move_to(Deadline deadline);

 private:
  friend struct detail::Watch;
  detail::Watch* watch_ = nullptr;
};

namespace detail {

/// Cancels a group at a deadline, unless somebody has done so before.
struct Watch {
  Watch(const boost::asio::any_io_executor& executor, TaskGroup& group, Deadline deadline,
        DeadlineMover* mover);
  ~Watch();
  Watch(const Watch&) = delete;
  Watch& operator=(const Watch&) = delete;
  void set(Deadline deadline);

  boost::asio::any_io_executor executor;
  TaskGroup* group;
  DeadlineMover* mover;  // may be nullptr
  std::optional<Alarm> alarm;
  bool has_rung = false;
};

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

/// Runs `work` in `group`; in one of its own for null. One coroutine for both, for each has a
/// price.
template <class T>
boost::asio::awaitable<Result<T>> run_until(TaskGroup* group,
                                            boost::asio::awaitable<Result<T>> work,
                                            Deadline deadline, DeadlineMover* mover) {
  const auto executor = co_await boost::asio::this_coro::executor;
  const bool throws_if_cancelled = co_await boost::asio::this_coro::throw_if_cancelled();
  co_await boost::asio::this_coro::throw_if_cancelled(false);
  std::optional<TaskGroup> own;
  if (group == nullptr) group = &own.emplace(executor);
  std::optional<Result<T>> result;
  group->spawn(run_into<T>(&result, std::move(work)));
  const Watch watch(executor, *group, deadline, mover);
  co_await group->join();
  co_await boost::asio::this_coro::throw_if_cancelled(throws_if_cancelled);
  const bool was_stopped = !result || (!*result && result->error().code == Errc::cancelled);
  if (watch.has_rung && was_stopped) co_return fail(Errc::deadline, "the deadline passed");
  if (!result) co_return fail(Errc::cancelled, "cancelled before it began");
  co_return std::move(*result);
}

}  // namespace detail

/// Awaits `work`, and cancels it when `deadline` passes. Either way it waits until `work` has
/// ended; a work that was cancelled by the deadline gives Errc::deadline, one that was cancelled
/// from outside Errc::cancelled, one that threw Errc::internal with the exception's text.
///
/// `work` runs in `group`, by which others may cancel it, too. Nothing else is in it. `mover` may
/// move the deadline meanwhile.
template <class T>
boost::asio::awaitable<Result<T>> with_deadline(TaskGroup& group,
                                                boost::asio::awaitable<Result<T>> work,
                                                Deadline deadline, DeadlineMover* mover = nullptr) {
  return detail::run_until<T>(&group, std::move(work), deadline, mover);
}

/// The same in a group of its own.
template <class T>
boost::asio::awaitable<Result<T>> with_deadline(boost::asio::awaitable<Result<T>> work,
                                                Deadline deadline, DeadlineMover* mover = nullptr) {
  return detail::run_until<T>(nullptr, std::move(work), deadline, mover);
}

}  // namespace ponder
