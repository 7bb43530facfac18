#include "base/async/with_deadline.h"

#include <boost/system/system_error.hpp>
#include <exception>

namespace ponder {
namespace asio = boost::asio;

Error error_of_current_exception() {
  try {
    throw;
  } catch (const boost::system::system_error& e) {
    const bool is_abort = e.code() == asio::error::operation_aborted;
    return Error(is_abort ? Errc::cancelled : Errc::internal, e.what());
  } catch (const std::exception& e) {
    return Error(Errc::internal, e.what());
  } catch (...) {
    return Error(Errc::internal, "an exception of unknown type");
  }
}

detail::Alarm::Alarm(const asio::any_io_executor& executor, Deadline deadline, DeadlineMover* mover)
    : executor(executor), group(executor), deadline(deadline), mover(mover) {
  if (mover != nullptr) mover->alarm_ = this;
}

detail::Alarm::~Alarm() {
  if (mover != nullptr) mover->alarm_ = nullptr;
}

asio::awaitable<void> detail::ring(Alarm* alarm) {
  while (!alarm->is_work_done) {
    const Clock::Instant at = alarm->deadline.at();
    alarm->timer.emplace(alarm->executor, at);
    const bool has_come = co_await alarm->timer->wait();
    if (alarm->is_work_done || alarm->group.is_cancelled()) co_return;
    if (alarm->deadline.at() != at) continue;  // it was moved meanwhile
    if (!has_come) co_return;
    alarm->has_rung = true;
    alarm->group.cancel();
    co_return;
  }
}

void DeadlineMover::move_to(Deadline deadline) {
  if (alarm_ == nullptr) return;
  alarm_->deadline = deadline;
  if (alarm_->timer) alarm_->timer->cancel();
}

}  // namespace ponder
