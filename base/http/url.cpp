#include "base/http/url.h"

#include <fmt/format.h>

#include <algorithm>
#include <boost/url/parse.hpp>
#include <boost/url/url.hpp>
#include <boost/url/url_view.hpp>
#include <cctype>
#include <charconv>

namespace ponder::http {
namespace {

constexpr std::size_t kAddressBytesMax = 16 * 1024;

bool is_control(char c) { return static_cast<unsigned char>(c) < 0x20 || c == 0x7F; }
bool is_hex(char c) { return std::isxdigit(static_cast<unsigned char>(c)) != 0; }

std::string_view trimmed(std::string_view text) {
  constexpr std::string_view kBlanks = " \t\r\n\f";
  const std::size_t begin = text.find_first_not_of(kBlanks);
  if (begin == std::string_view::npos) return {};
  return text.substr(begin, text.find_last_not_of(kBlanks) - begin + 1);
}

/// `text` with what RFC 3986 does not let stand in an address as %XX.
Result<std::string> encoded(std::string_view text) {
  text = trimmed(text);
  if (text.size() > kAddressBytesMax) {
    return fail(Errc::invalid_argument,
                fmt::format("an address may have at most {} bytes", kAddressBytesMax));
  }
  if (std::any_of(text.begin(), text.end(), is_control)) {
    return fail(Errc::invalid_argument, "an address may not hold control characters");
  }
  const std::size_t path =
      text.find_first_of("/?#", std::min(text.find("//"), text.size() - 1) + 2);
  std::string out;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    bool is_kept = c > 0x20 && std::string_view("\"<>\\^`{|}").find(c) == std::string_view::npos;
    if (c == '%') is_kept = i + 2 < text.size() && is_hex(text[i + 1]) && is_hex(text[i + 2]);
    if (c == '[' || c == ']') is_kept = i < path;
    if (is_kept) {
      out += c;
    } else {
      out += fmt::format("%{:02X}", static_cast<unsigned char>(c));
    }
  }
  return out;
}

bool is_host_name(std::string_view host) {
  return std::all_of(host.begin(), host.end(), [](char c) {
    return std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '.' || c == '-' || c == '_';
  });
}

/// The path without "." and ".." (RFC 3986, 5.2.4, also written %2E): what a server would make of
/// it stands in it, so that whoever judges paths (robots.txt) judges the right one.
std::string without_dots(std::string_view path) {
  std::string out;
  while (!path.empty()) {
    const std::size_t end = path.find('/', 1);  // a path begins with '/'
    std::string segment(path.substr(0, end));
    path = end == std::string_view::npos ? std::string_view() : path.substr(end);
    std::string name = segment.substr(1);
    for (std::size_t at = 0; (at = name.find("%2")) != std::string::npos;) {
      if (name.substr(at, 3) != "%2e" && name.substr(at, 3) != "%2E") break;
      name.replace(at, 3, ".");
    }
    if (name == "..") out.erase(std::min(out.rfind('/'), out.size()));
    if (name == "." || name == "..") {
      if (path.empty()) out += '/';
    } else {
      out += segment;
    }
  }
  return out.empty() ? "/" : out;
}

Result<Url> url_of(const boost::urls::url_view& view, std::string_view text) {
  Url url;
  url.is_tls = view.scheme() == "https";
  if (!url.is_tls && view.scheme() != "http") {
    return fail(Errc::invalid_argument,
                fmt::format("\"{}\": only http and https are spoken", text));
  }
  if (view.has_userinfo()) {
    return fail(Errc::invalid_argument, "an address may not hold a user name or password");
  }
  url.host = view.host_address();
  if (url.host.empty()) {
    return fail(Errc::invalid_argument, fmt::format("\"{}\" names no host", text));
  }
  const bool is_ipv6 = view.host_type() == boost::urls::host_type::ipv6;
  if (!is_ipv6 &&
      (!is_host_name(url.host) || view.host_type() == boost::urls::host_type::ipvfuture)) {
    return fail(Errc::invalid_argument,
                fmt::format("\"{}\": the host is no name in ASCII and no address", text));
  }
  std::transform(url.host.begin(), url.host.end(), url.host.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  url.port = url.is_tls ? "443" : "80";
  if (view.has_port() && !view.port().empty()) {
    unsigned port = 0;
    const std::string digits(view.port());
    std::from_chars(digits.data(), digits.data() + digits.size(), port);
    if (port == 0 || port > 65535 || digits.size() > 5) {
      return fail(Errc::invalid_argument, fmt::format("\"{}\": there is no such port", text));
    }
    url.port = std::to_string(port);
  }
  const std::string_view path = view.encoded_path();
  if (!path.empty() && path.front() != '/') {  // Boost.URL lets "host:80name/" through
    return fail(Errc::invalid_argument,
                fmt::format("\"{}\": the path after the host begins without a slash", text));
  }
  url.target = without_dots(path);
  if (view.has_query()) url.target += "?" + std::string(view.encoded_query());
  return url;
}

tl::unexpected<Error> no_address(std::string_view text, const boost::system::error_code& error) {
  return fail(Errc::invalid_argument,
              fmt::format("\"{}\" is no address: {}", text, error.message()));
}

}  // namespace

std::string Url::authority() const {
  const std::string name = host.find(':') == std::string::npos ? host : "[" + host + "]";
  const bool is_default = port == (is_tls ? "443" : "80");
  return is_default ? name : name + ":" + port;
}

std::string Url::text() const { return (is_tls ? "https://" : "http://") + authority() + target; }

bool Url::is_same_origin(const Url& other) const {
  return is_tls == other.is_tls && host == other.host && port == other.port;
}

Result<Url> parse_url(std::string_view text) {
  PONDER_TRY(const std::string address, encoded(text));
  const auto parsed = boost::urls::parse_uri(address);
  if (!parsed) return no_address(address, parsed.error());
  return url_of(*parsed, address);
}

Result<Url> resolve_url(const Url& base, std::string_view reference) {
  PONDER_TRY(const std::string address, encoded(reference));
  const auto parsed = boost::urls::parse_uri_reference(address);
  if (!parsed) return no_address(address, parsed.error());
  boost::urls::url whole(base.text());
  const auto resolved = whole.resolve(*parsed);
  if (!resolved) return no_address(address, resolved.error());
  return url_of(whole, address);
}

std::string percent_encoded(std::string_view text) {
  std::string out;
  for (const char c : text) {
    const bool is_kept = std::isalnum(static_cast<unsigned char>(c)) != 0 ||
                         std::string_view("-._~").find(c) != std::string_view::npos;
    if (is_kept) {
      out += c;
    } else {
      out += fmt::format("%{:02X}", static_cast<unsigned char>(c));
    }
  }
  return out;
}

std::string percent_decoded(std::string_view text) {
  std::string out;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const bool is_escape =
        text[i] == '%' && i + 2 < text.size() && is_hex(text[i + 1]) && is_hex(text[i + 2]);
    if (!is_escape) {
      out += text[i];
      continue;
    }
    unsigned byte = 0;
    std::from_chars(text.data() + i + 1, text.data() + i + 3, byte, 16);
    out += static_cast<char>(byte);
    i += 2;
  }
  return out;
}

}  // namespace ponder::http
