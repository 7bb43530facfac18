#pragma once

#include "base/http/http_client.h"

namespace ponder::http {

/// 301, 302, 303, 307 or 308 with a Location.
bool is_redirect(const Response& response);

/// The request that follows a redirect, which `response` to `request` is. 303, and after POST 301
/// and 302, ask with GET and without the body (RFC 9110, 15.4). Towards another origin only headers
/// that hold no secret go along.
///
/// `invalid_argument` when the place is no address that we speak, or leads from https to http.
Result<Request> redirected(Request request, const Response& response);

}  // namespace ponder::http
