#pragma once

#include <string>
#include <string_view>

#include "base/result.h"

namespace ponder::http {

/// An absolute http or https address, taken apart. What parse_url gives holds no blanks, control
/// characters or bytes outside of ASCII, so that it can stand in a request's head.
struct Url {
  bool is_tls = false;
  std::string host;               // in lower case; of an IPv6 address without the brackets
  std::string port;               // always set
  std::string target;             // path and query, at least "/"
  std::string authority() const;  // host[:port] as the Host header wants it
  std::string text() const;       // the whole address
  bool is_same_origin(const Url& other) const;
  bool operator==(const Url& other) const = default;
};

/// Reads an address as people and pages write it: blanks around it are dropped, and bytes that an
/// address can only hold as %XX are written so. A fragment is dropped.
///
/// `invalid_argument` names what is wrong: control characters, another scheme, a user name or
/// password, a host that is neither a name in ASCII nor an address, a port out of range.
Result<Url> parse_url(std::string_view text);

/// The address that `reference`, which stands in what `base` gave, means (RFC 3986, 5.2).
Result<Url> resolve_url(const Url& base, std::string_view reference);

/// `text` as it can stand for a value in a query or a form: everything but letters, digits and
/// "-._~" as %XX.
std::string percent_encoded(std::string_view text);
/// What `text` means with each %XX undone.
std::string percent_decoded(std::string_view text);

}  // namespace ponder::http
