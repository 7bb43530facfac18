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

asio::awaitable<void> detail::ring(Alarm* alarm) {
  if (alarm->is_work_done) co_return;
  const bool has_come = co_await alarm->timer.wait();
  if (!has_come || alarm->is_work_done || alarm->group.is_cancelled()) co_return;
  alarm->has_rung = true;
  alarm->group.cancel();
}

}  // namespace ponder
