#include "base/async/task_group.h"

#include <algorithm>
#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/system/system_error.hpp>
#include <utility>

#include "base/assert.h"

namespace ponder {
namespace asio = boost::asio;
namespace {

bool is_abort(const std::exception_ptr& error) {
  try {
    std::rethrow_exception(error);
  } catch (const boost::system::system_error& e) {
    return e.code() == asio::error::operation_aborted;
  } catch (...) {
    return false;
  }
}

}  // namespace

/// Goes on with join(). A timer that never rings would do, but each takes a place among those that
/// do ring.
struct TaskGroup::Waiter {
  virtual ~Waiter() = default;
  virtual void go_on(const asio::any_io_executor& executor) = 0;
};

template <class Handler>
struct TaskGroup::WaiterWith final : Waiter {
  explicit WaiterWith(Handler handler) : handler(std::move(handler)) {}
  void go_on(const asio::any_io_executor& executor) override {
    asio::post(executor, std::move(handler));
  }
  Handler handler;
};

TaskGroup::TaskGroup(asio::any_io_executor executor) : executor_(std::move(executor)) {}

TaskGroup::~TaskGroup() { PONDER_ASSERT(children_.empty()); }

TaskGroup::ChildId TaskGroup::spawn(asio::awaitable<void> child) {
  const ChildId id = next_id_++;
  const ChildIterator it = children_.emplace(children_.end(), id);
  asio::co_spawn(
      executor_, std::move(child),
      asio::bind_cancellation_slot(it->signal.slot(), [this, it](std::exception_ptr error) {
        on_child_done(it, std::move(error));
      }));
  // co_spawn has installed its handler in the slot by now, though the child has not run yet.
  if (is_cancelled_) it->signal.emit(asio::cancellation_type::all);
  return id;
}

void TaskGroup::cancel(ChildId child) {
  const auto it = std::find_if(children_.begin(), children_.end(),
                               [&](const Child& one) { return one.id == child; });
  if (it == children_.end()) return;
  it->is_cancelled = true;
  it->signal.emit(asio::cancellation_type::all);
}

void TaskGroup::on_child_done(ChildIterator child, std::exception_ptr error) {
  const bool was_asked = is_cancelled_ || child->is_cancelled;
  const bool is_failure = error && !(was_asked && is_abort(error));
  if (is_failure && !first_error_) first_error_ = std::move(error);
  children_.erase(child);
  if (is_failure) cancel();
  if (!children_.empty() || !waiter_) return;
  std::exchange(waiter_, nullptr)->go_on(executor_);
}

void TaskGroup::cancel() {
  is_cancelled_ = true;
  // emit() may end a child on the spot, which removes it from the list: step on before.
  for (auto it = children_.begin(); it != children_.end();) {
    auto& signal = (it++)->signal;
    signal.emit(asio::cancellation_type::all);
  }
}

asio::awaitable<void> TaskGroup::join() {
  auto state = co_await asio::this_coro::cancellation_state;
  if (state.cancelled() != asio::cancellation_type::none) cancel();
  auto wait = [this]<class Handler>(Handler handler) {
    waiter_ = std::make_unique<WaiterWith<Handler>>(std::move(handler));
  };
  while (!children_.empty()) {
    if (state.slot().is_connected()) {
      state.slot().assign([this](asio::cancellation_type) { cancel(); });
    }
    // A cancellation does not end the wait; the slot passes it on.
    co_await asio::async_initiate<const asio::use_awaitable_t<>, void()>(wait, asio::use_awaitable);
  }
  if (state.slot().is_connected()) state.slot().clear();
  if (first_error_) std::rethrow_exception(std::exchange(first_error_, nullptr));
}

}  // namespace ponder
