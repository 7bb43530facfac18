#pragma once

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <deque>
#include <memory>
#include <mutex>
#include <optional>
#include <utility>

namespace ponder::mcp {

/// Hands values from any thread to a coroutine on its own executor.
///
/// The slot is what senders hold: it outlives the mailbox, and what is put into it afterwards is
/// dropped, so that neither side has to wait for the other's end. Thread: put() any, the rest the
/// receiver's. Bound: the senders'.
template <class T>
class Mailbox {
 public:
  class Slot {
   public:
    void put(T value) {
      const std::lock_guard lock(mutex_);
      if (receiver_ == nullptr) return;
      values_.push_back(std::move(value));
      ring();
    }
    /// Puts a value in the place of the last one, where `replaces(last)` says so.
    template <class Replaces>
    void put_or_replace(T value, Replaces replaces) {
      const std::lock_guard lock(mutex_);
      if (receiver_ == nullptr) return;
      if (!values_.empty() && replaces(values_.back())) {
        values_.back() = std::move(value);
        return;
      }
      values_.push_back(std::move(value));
      ring();
    }

   private:
    friend class Mailbox;
    /// Under the lock, while the receiver lives: its executor is alive.
    void ring() {
      boost::asio::post(receiver_->executor_, [self = self_.lock()] {
        const std::lock_guard lock(self->mutex_);
        if (self->receiver_ != nullptr) self->receiver_->arrived_.cancel();
      });
    }
    std::mutex mutex_;
    Mailbox* receiver_ = nullptr;  // null: it has gone
    std::weak_ptr<Slot> self_;
    std::deque<T> values_;
  };

  explicit Mailbox(boost::asio::any_io_executor executor)
      : executor_(executor),
        arrived_(executor, boost::asio::steady_timer::time_point::max()),
        slot_(std::make_shared<Slot>()) {
    slot_->receiver_ = this;
    slot_->self_ = slot_;
  }
  ~Mailbox() {
    const std::lock_guard lock(slot_->mutex_);
    slot_->receiver_ = nullptr;
    slot_->values_.clear();
  }
  Mailbox(const Mailbox&) = delete;
  Mailbox& operator=(const Mailbox&) = delete;

  /// Shared with the senders.
  const std::shared_ptr<Slot>& slot() const { return slot_; }

  /// The next value; none when the coroutine is cancelled while it waits.
  /// Requires: the caller has called throw_if_cancelled(false).
  boost::asio::awaitable<std::optional<T>> take() {
    while (true) {
      std::optional<T> value = pop();
      if (value) co_return value;
      boost::system::error_code error;
      co_await arrived_.async_wait(boost::asio::redirect_error(boost::asio::use_awaitable, error));
      const auto state = co_await boost::asio::this_coro::cancellation_state;
      if (state.cancelled() != boost::asio::cancellation_type::none) co_return pop();
    }
  }

 private:
  std::optional<T> pop() {
    const std::lock_guard lock(slot_->mutex_);
    if (slot_->values_.empty()) return std::nullopt;
    std::optional<T> value(std::move(slot_->values_.front()));
    slot_->values_.pop_front();
    return value;
  }
  boost::asio::any_io_executor executor_;
  boost::asio::steady_timer arrived_;  // never expires; cancelled when a value came
  std::shared_ptr<Slot> slot_;
};

}  // namespace ponder::mcp
