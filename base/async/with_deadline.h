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
struct Alarm;
}

/// Moves the deadline of one with_deadline() while that waits; at other times it does nothing.
///
/// Thread: that of the executor. Lifetime: outlives the with_deadline() that it was given to.
class DeadlineMover {
 public:
  void move_to(Deadline deadline);

 private:
  friend struct detail::Alarm;
  detail::Alarm* alarm_ = nullptr;
};

namespace detail {

/// What a work and its alarm know of each other.
struct Alarm {
  Alarm(const boost::asio::any_io_executor& executor, Deadline deadline,
        DeadlineMover* mover = nullptr);
  ~Alarm();
  Alarm(const Alarm&) = delete;
  Alarm& operator=(const Alarm&) = delete;

  boost::asio::any_io_executor executor;
  TaskGroup group;
  Deadline deadline;
  DeadlineMover* mover;        // may be nullptr
  std::optional<Timer> timer;  // while it is waited for
  bool is_work_done = false;
  bool has_rung = false;
};

/// Cancels the group at the deadline, unless the work ends before.
boost::asio::awaitable<void> ring(Alarm* alarm);


template <class T>
boost::asio::awaitable<void> run_into(std::optional<Result<T>>* out,
                                      boost::asio::awaitable<Result<T>> work, Alarm* alarm) {
  try {
    Result<T> result = co_await std::move(work);
    out->emplace(std::move(result));
  } catch (...) {
    out->emplace(tl::unexpected<Error>(error_of_current_exception()));
  }
  alarm->is_work_done = true;
  if (alarm->timer) alarm->timer->cancel();
}

}  // namespace detail

/// Awaits `work`, and cancels it when `deadline` passes. Either way it waits until `work` has
/// ended; a work that was cancelled by the deadline gives Errc::deadline, one that was cancelled
/// from outside Errc::cancelled, one that threw Errc::internal with the exception's text.
/// `mover` may move the deadline meanwhile.
template <class T>
boost::asio::awaitable<Result<T>> with_deadline(boost::asio::awaitable<Result<T>> work,
                                                Deadline deadline,
                                                DeadlineMover* mover = nullptr) {
  const auto executor = co_await boost::asio::this_coro::executor;
  const bool throws_if_cancelled = co_await boost::asio::this_coro::throw_if_cancelled();
  co_await boost::asio::this_coro::throw_if_cancelled(false);
  detail::Alarm alarm(executor, deadline, mover);
  std::optional<Result<T>> result;
  alarm.group.spawn(detail::run_into<T>(&result, std::move(work), &alarm));
  alarm.group.spawn(detail::ring(&alarm));
  co_await alarm.group.join();
  co_await boost::asio::this_coro::throw_if_cancelled(throws_if_cancelled);
  const bool was_stopped = !result || (!*result && result->error().code == Errc::cancelled);
  if (alarm.has_rung && was_stopped) co_return fail(Errc::deadline, "the deadline passed");
  if (!result) co_return fail(Errc::cancelled, "cancelled before it began");
  co_return std::move(*result);
}

}  // namespace ponder
