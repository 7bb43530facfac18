#include <fmt/format.h>

#include <boost/url/parse.hpp>
#include <boost/url/url_view.hpp>

#include "base/http/http_client.h"

namespace ponder::http {

std::string Url::authority() const {
  const std::string name = host.find(':') == std::string::npos ? host : "[" + host + "]";
  const bool is_default = port == (is_tls ? "443" : "80");
  return is_default ? name : name + ":" + port;
}

Result<Url> parse_url(std::string_view text) {
  const auto parsed = boost::urls::parse_uri(text);
  if (!parsed) {
    return fail(Errc::invalid_argument,
                fmt::format("\"{}\" is no address: {}", text, parsed.error().message()));
  }
  const auto& view = *parsed;
  Url url;
  url.is_tls = view.scheme() == "https";
  if (!url.is_tls && view.scheme() != "http") {
    return fail(Errc::invalid_argument,
                fmt::format("\"{}\": only http and https are spoken", text));
  }
  url.host = view.host_address();
  if (url.host.empty()) {
    return fail(Errc::invalid_argument, fmt::format("\"{}\" names no host", text));
  }
  if (view.has_userinfo()) {
    return fail(Errc::invalid_argument, "an address may not hold a user name or password");
  }
  url.port = view.has_port() && !view.port().empty() ? std::string(view.port())
                                                     : std::string(url.is_tls ? "443" : "80");
  url.target = std::string(view.encoded_path());
  if (url.target.empty()) url.target = "/";
  if (view.has_query()) url.target += "?" + std::string(view.encoded_query());
  return url;
}

}  // namespace ponder::http
