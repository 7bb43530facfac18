#pragma once

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/cancellation_signal.hpp>
#include <boost/asio/steady_timer.hpp>
#include <exception>
#include <list>

namespace ponder {

/// Owns child coroutines, so that nothing an agent starts outlives the agent.
///
/// Invariant: none outlives join(); destroying a group with live children aborts.
/// Thread: one executor only, whose handlers never run at the same time.
class TaskGroup {
 public:
  explicit TaskGroup(boost::asio::any_io_executor executor);
  ~TaskGroup();
  TaskGroup(const TaskGroup&) = delete;
  TaskGroup& operator=(const TaskGroup&) = delete;

  /// Starts a child. The first child to throw cancels its siblings. A child of a cancelled group
  /// starts cancelled: its first suspension ends at once.
  void spawn(boost::asio::awaitable<void> child);
  /// Asks every child to stop; returns at once. A child that then ends by throwing
  /// operation_aborted has ended well. Requires: a handler of the executor runs; from elsewhere,
  /// post it there (Asio would, and find a child gone that ended before).
  void cancel();
  bool is_cancelled() const { return is_cancelled_; }

  /// Waits for all children, then rethrows the first error. Cancelling the coroutine that waits
  /// cancels the children; join() still waits for them.
  /// Requires: one waiter at a time; the waiter has called throw_if_cancelled(false) where it can
  /// be cancelled, for an await in a cancelled coroutine throws before join() begins.
  boost::asio::awaitable<void> join();

 private:
  struct Child {
    boost::asio::cancellation_signal signal;
  };
  using ChildIterator = std::list<Child>::iterator;
  void on_child_done(ChildIterator child, std::exception_ptr error);

  boost::asio::any_io_executor executor_;
  boost::asio::steady_timer all_done_;  // never expires; cancelled when the last child has ended
  std::list<Child> children_;
  std::exception_ptr first_error_;
  bool is_cancelled_ = false;
};

}  // namespace ponder
