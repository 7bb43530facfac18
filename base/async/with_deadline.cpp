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

}  // namespace ponder
