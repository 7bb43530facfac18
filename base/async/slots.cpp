#include "base/async/slots.h"

#include <algorithm>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/use_awaitable.hpp>

#include "base/assert.h"

namespace ponder {
namespace asio = boost::asio;

Slots::Slots(asio::any_io_executor executor, std::uint32_t count)
    : executor_(std::move(executor)), free_(count) {
  PONDER_ASSERT(count > 0);
}

Slots::~Slots() { PONDER_ASSERT(waiters_.empty()); }

asio::awaitable<std::optional<Slots::Lease>> Slots::take() {
  const auto cancellation = co_await asio::this_coro::cancellation_state;
  const auto is_cancelled = [&] {
    return cancellation.cancelled() != asio::cancellation_type::none;
  };
  if (is_cancelled()) co_return std::nullopt;
  if (free_ > 0) {
    --free_;
    co_return Lease(*this);
  }
  const auto here = waiters_.emplace(waiters_.end(), executor_);
  while (!here->has_place && !is_cancelled()) {
    boost::system::error_code ignored;
    co_await here->called.async_wait(asio::redirect_error(asio::use_awaitable, ignored));
  }
  std::optional<Lease> lease;
  if (here->has_place) lease.emplace(Lease(*this));
  waiters_.erase(here);
  if (is_cancelled()) co_return std::nullopt;  // the lease passes its place on
  co_return std::move(lease);
}

void Slots::give_back() {
  const auto next = std::find_if(waiters_.begin(), waiters_.end(),
                                 [](const Waiter& waiter) { return !waiter.has_place; });
  if (next == waiters_.end()) {
    ++free_;
    return;
  }
  next->has_place = true;
  next->called.cancel();
}

}  // namespace ponder
