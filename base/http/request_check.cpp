#include "base/http/request_check.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <boost/beast/core/string.hpp>
#include <cctype>

namespace ponder::http {
namespace {

constexpr std::array<std::string_view, 11> kOurs = {"host",
                                                    "connection",
                                                    "content-length",
                                                    "transfer-encoding",
                                                    "upgrade",
                                                    "te",
                                                    "trailer",
                                                    "keep-alive",
                                                    "proxy-connection",
                                                    "expect",
                                                    "accept-encoding"};

bool is_token(std::string_view text) {  // RFC 9110, 5.6.2
  return !text.empty() && std::all_of(text.begin(), text.end(), [](char c) {
    return std::isalnum(static_cast<unsigned char>(c)) != 0 ||
           std::string_view("!#$%&'*+-.^_`|~").find(c) != std::string_view::npos;
  });
}

bool is_visible(std::string_view text) {
  return std::all_of(text.begin(), text.end(), [](char c) { return c > 0x20 && c < 0x7F; });
}

bool is_field_value(std::string_view text) {
  return std::none_of(text.begin(), text.end(), [](char c) {
    return (static_cast<unsigned char>(c) < 0x20 && c != '\t') || c == 0x7F;
  });
}

}  // namespace

Status check_request(const Request& request) {
  const Url& url = request.url;
  if (!is_token(request.method)) return fail(Errc::invalid_argument, "there is no such method");
  if (!is_visible(url.host) || !is_visible(url.port) || !is_visible(url.target) ||
      url.host.empty() || !url.target.starts_with('/')) {
    return fail(Errc::invalid_argument, "the request's address is malformed");
  }
  for (const auto& [name, value] : request.headers) {
    if (!is_token(name)) return fail(Errc::invalid_argument, "a header's name is malformed");
    if (!is_field_value(value)) {
      return fail(Errc::invalid_argument,
                  fmt::format("the header {} holds a control character", name));
    }
    const bool is_ours = std::any_of(kOurs.begin(), kOurs.end(), [&name](std::string_view own) {
      return boost::beast::iequals(own, name);
    });
    if (is_ours) {
      return fail(Errc::invalid_argument, fmt::format("the header {} cannot be set", name));
    }
  }
  return {};
}

}  // namespace ponder::http
