#pragma once

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/steady_timer.hpp>
#include <cstdint>
#include <list>
#include <optional>
#include <utility>

namespace ponder {

/// So many places, each for one coroutine at a time; the others wait, first come, first served.
///
/// Thread: one executor only, whose handlers never run at the same time. Lifetime: outlives its
/// leases and whoever waits.
class Slots {
 public:
  /// Requires: count > 0.
  Slots(boost::asio::any_io_executor executor, std::uint32_t count);
  ~Slots();
  Slots(const Slots&) = delete;
  Slots& operator=(const Slots&) = delete;

  /// A place, until it is destroyed.
  class Lease {
   public:
    Lease(Lease&& other) noexcept : slots_(std::exchange(other.slots_, nullptr)) {}
    Lease& operator=(Lease&&) = delete;
    ~Lease() {
      if (slots_ != nullptr) slots_->give_back();
    }

   private:
    friend class Slots;
    explicit Lease(Slots& slots) : slots_(&slots) {}
    Slots* slots_;
  };
  /// Waits for a place; none when the coroutine is cancelled, before or while it waits.
  /// Requires: the caller has called throw_if_cancelled(false).
  boost::asio::awaitable<std::optional<Lease>> take();

 private:
  struct Waiter {
    explicit Waiter(const boost::asio::any_io_executor& executor)
        : called(executor, boost::asio::steady_timer::time_point::max()) {}
    boost::asio::steady_timer called;  // never expires; cancelled when a place is there
    bool has_place = false;
  };
  void give_back();

  boost::asio::any_io_executor executor_;
  std::uint32_t free_;
  std::list<Waiter> waiters_;
};

}  // namespace ponder
