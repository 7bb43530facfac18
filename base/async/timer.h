#pragma once

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/execution_context.hpp>
#include <boost/asio/steady_timer.hpp>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <utility>

#include "base/clock.h"

namespace ponder {

class ManualTime;

/// Waits for an instant of the runtime's clock. Everything that waits for time to pass waits here,
/// so that time can be simulated: on a context with a ManualTime the timer rings when that says so,
/// on any other when the machine's clock does.
///
/// Thread: the executor's. Lifetime: outlives its wait().
class Timer {
 public:
  /// An instant that has passed rings at once, Instant::max() never.
  Timer(const boost::asio::any_io_executor& executor, Clock::Instant at);
  ~Timer();
  Timer(const Timer&) = delete;
  Timer& operator=(const Timer&) = delete;

  /// True when the instant came; false when cancel() was called while it waited, or the coroutine
  /// was cancelled, now or before.
  boost::asio::awaitable<bool> wait();
  void cancel();

 private:
  friend class Alarm;
  friend class ManualTime;
  using Place = std::pair<Clock::Instant, std::uint64_t>;  // when, and in order of making

  boost::asio::steady_timer timer_;
  ManualTime* time_;  // null: the machine's
  std::optional<Place> place_;
  bool has_rung_ = false;
};

/// Calls somebody at an instant of the runtime's clock, unless it is destroyed before. A Timer for
/// what no coroutine waits for.
///
/// Thread: the executor's, which also calls.
class Alarm {
 public:
  /// An instant that has passed rings soon, but not before this returns; Instant::max() never.
  Alarm(const boost::asio::any_io_executor& executor, Clock::Instant at,
        std::function<void()> ring);
  ~Alarm();
  Alarm(const Alarm&) = delete;
  Alarm& operator=(const Alarm&) = delete;

 private:
  Timer timer_;
  std::shared_ptr<bool> is_off_;  // shared with the handler, which may come after the end
};

/// The time of a context that is moved by hand: asio::make_service<ManualTime>(context) before the
/// first Timer there.
///
/// Thread: the one that runs the context. Lifetime: the context's, which outlives its timers.
class ManualTime final : public boost::asio::execution_context::service {
 public:
  static inline boost::asio::execution_context::id id;
  explicit ManualTime(boost::asio::execution_context& context) : service(context) {}

  /// When the next timer is to ring; nothing when none waits.
  std::optional<Clock::Instant> next() const;
  /// Rings the next timer if it is due at `now`; false when none is. Its waiter goes on when the
  /// context runs.
  bool ring_one(Clock::Instant now);
  std::size_t num_timers() const { return timers_.size(); }

 private:
  friend class Timer;
  void shutdown() override {}
  std::map<Timer::Place, Timer*> timers_;
  std::uint64_t made_ = 0;
};

}  // namespace ponder
