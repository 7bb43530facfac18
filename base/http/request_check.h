#pragma once

#include "base/http/http_client.h"

namespace ponder::http {

/// `invalid_argument` when a request would not mean on the wire what its fields say: a method,
/// address or header that holds what ends a line, or a header that is the client's own to write
/// (Host, Connection, Content-Length, ...).
Status check_request(const Request& request);

}  // namespace ponder::http
