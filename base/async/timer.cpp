#include "base/async/timer.h"

#include <boost/asio/execution/context.hpp>
#include <boost/asio/query.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <utility>

namespace ponder {
namespace asio = boost::asio;
namespace {

ManualTime* manual_time_of(const asio::any_io_executor& executor) {
  asio::execution_context& context = asio::query(executor, asio::execution::context);
  if (!asio::has_service<ManualTime>(context)) return nullptr;
  return &asio::use_service<ManualTime>(context);
}

}  // namespace

Timer::Timer(const asio::any_io_executor& executor, Clock::Instant at)
    : timer_(executor), time_(manual_time_of(executor)) {
  timer_.expires_at(time_ == nullptr ? at : Clock::Instant::max());
  if (time_ == nullptr || at == Clock::Instant::max()) return;
  place_.emplace(at, ++time_->made_);
  time_->timers_.emplace(*place_, this);
}

Timer::~Timer() {
  if (place_) time_->timers_.erase(*place_);
}

asio::awaitable<bool> Timer::wait() {
  if (has_rung_) co_return true;
  const auto cancellation = co_await asio::this_coro::cancellation_state;
  if (cancellation.cancelled() != asio::cancellation_type::none) co_return false;
  boost::system::error_code error;
  co_await timer_.async_wait(asio::redirect_error(asio::use_awaitable, error));
  co_return !error || has_rung_;
}

void Timer::cancel() { timer_.cancel(); }

Alarm::Alarm(const asio::any_io_executor& executor, Clock::Instant at, std::function<void()> ring)
    : timer_(executor, at), is_off_(std::make_shared<bool>(false)) {
  if (at == Clock::Instant::max()) return;
  timer_.timer_.async_wait([is_off = is_off_, timer = &timer_, ring = std::move(ring)](
                               const boost::system::error_code& error) {
    if (*is_off || (error && !timer->has_rung_)) return;
    ring();
  });
}

Alarm::~Alarm() { *is_off_ = true; }

std::optional<Clock::Instant> ManualTime::next() const {
  if (timers_.empty()) return std::nullopt;
  return timers_.begin()->first.first;
}

bool ManualTime::ring_one(Clock::Instant now) {
  if (timers_.empty() || timers_.begin()->first.first > now) return false;
  Timer& timer = *timers_.begin()->second;
  timers_.erase(timers_.begin());
  timer.place_.reset();
  timer.has_rung_ = true;
  timer.timer_.cancel();
  return true;
}

}  // namespace ponder
