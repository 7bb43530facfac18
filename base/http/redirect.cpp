#include "base/http/redirect.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <boost/beast/core/string.hpp>

namespace ponder::http {
namespace {

// Keys travel in headers of many names (Authorization, Cookie, X-Subscription-Token, ...), so what
// may go on is listed, not what may not.
constexpr std::array<std::string_view, 4> kHarmless = {"accept", "accept-language", "content-type",
                                                       "user-agent"};

bool is_harmless(std::string_view header) {
  return std::any_of(kHarmless.begin(), kHarmless.end(), [header](std::string_view name) {
    return boost::beast::iequals(name, header);
  });
}

}  // namespace

bool is_redirect(const Response& response) {
  const int status = response.status;
  const bool is_one =
      status == 301 || status == 302 || status == 303 || status == 307 || status == 308;
  return is_one && response.headers.contains("location");
}

Result<Request> redirected(Request request, const Response& response) {
  PONDER_TRY(Url url, resolve_url(request.url, response.headers.at("location")));
  if (request.url.is_tls && !url.is_tls) {
    return fail(Errc::invalid_argument,
                fmt::format("{} leads from https to http", request.url.authority()));
  }
  const bool is_see_other = response.status == 303 && request.method != "HEAD";
  const bool is_old_post = response.status <= 302 && request.method == "POST";
  if (is_see_other || is_old_post) {
    request.method = "GET";
    request.body.clear();
    std::erase_if(request.headers, [](const auto& header) {
      return boost::beast::iequals(header.first, "content-type");
    });
  }
  if (!url.is_same_origin(request.url)) {
    std::erase_if(request.headers, [](const auto& header) { return !is_harmless(header.first); });
  }
  request.url = std::move(url);
  return request;
}

}  // namespace ponder::http
