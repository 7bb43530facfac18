#pragma once

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/cancellation_signal.hpp>
#include <cstdint>
#include <exception>
#include <list>
#include <memory>

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
  using ChildId = std::uint64_t;
  ChildId spawn(boost::asio::awaitable<void> child);
  /// Asks one child to stop, if it still runs; returns at once. It ends well as below.
  void cancel(ChildId child);
  /// Asks every child to stop; returns at once. A child that then ends by throwing
  /// operation_aborted has ended well.
  void cancel();
  bool is_cancelled() const { return is_cancelled_; }

  /// Waits for all children, then rethrows the first error. Cancelling the coroutine that waits
  /// cancels the children; join() still waits for them.
  /// Requires: one waiter at a time; the waiter has called throw_if_cancelled(false) where it can
  /// be cancelled, for an await in a cancelled coroutine throws before join() begins.
  boost::asio::awaitable<void> join();

 private:
  struct Child {
    explicit Child(ChildId id) : id(id) {}
    ChildId id;
    bool is_cancelled = false;
    boost::asio::cancellation_signal signal;
  };
  struct Waiter;
  template <class Handler>
  struct WaiterWith;
  using ChildIterator = std::list<Child>::iterator;
  void on_child_done(ChildIterator child, std::exception_ptr error);

  boost::asio::any_io_executor executor_;
  std::list<Child> children_;
  std::unique_ptr<Waiter> waiter_;  // join(), while it waits
  ChildId next_id_ = 0;
  std::exception_ptr first_error_;
  bool is_cancelled_ = false;
};

}  // namespace ponder
