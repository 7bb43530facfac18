#pragma once

#include <boost/asio/awaitable.hpp>
#include <string>

#include "tools/mcp/detail/message.h"
#include "tools/tool.h"

namespace ponder::mcp {

/// Puts what a server wants to know to a person, field by field, and gives the result of
/// `elicitation/create` (specification 2026-07-28, client/elicitation; both modes).
///
/// Each question names the server and can be declined. An empty answer takes a field's default, or
/// leaves out what is not required. An answer that does not fit its field is asked for again, a few
/// times. When nobody can be asked, or the form is none, the action is "cancel".
/// Thread: the services'.
boost::asio::awaitable<Json> elicit(tools::CallServices* services, std::string server, Json params);

}  // namespace ponder::mcp
