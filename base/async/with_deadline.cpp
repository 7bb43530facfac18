#include "base/async/with_deadline.h"

#include <boost/system/system_error.hpp>
#include <exception>

#include "base/json_problem.h"

namespace ponder {
namespace asio = boost::asio;

Error error_of_current_exception() {
  try {
    throw;
  } catch (const boost::system::system_error& e) {
    const bool is_abort = e.code() == asio::error::operation_aborted;
    return Error(is_abort ? Errc::cancelled : Errc::internal, json_problem(e));
  } catch (const std::exception& e) {
    return Error(Errc::internal, json_problem(e));
  } catch (...) {
    return Error(Errc::internal, "an exception of unknown type");
  }
}

detail::Watch::Watch(const asio::any_io_executor& executor, TaskGroup& group, Deadline deadline,
                     DeadlineMover* mover)
    : executor(executor), group(&group), mover(mover) {
  if (mover != nullptr) mover->watch_ = this;
  set(deadline);
}

detail::Watch::~Watch() {
  if (mover != nullptr) mover->watch_ = nullptr;
}

void detail::Watch::set(Deadline deadline) {
  alarm.reset();  // before the next one takes its place among the timers
  alarm.emplace(executor, deadline.at(), [this] {
    if (group->is_cancelled()) return;
    has_rung = true;
    group->cancel();
  });
}

void DeadlineMover::move_to(Deadline deadline) {
  if (watch_ != nullptr) watch_->set(deadline);
}

}  // namespace ponder
