#pragma once

#include <boost/asio/awaitable.hpp>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/result.h"

namespace ponder::http {

/// An absolute http or https address, taken apart.
struct Url {
  bool is_tls = false;
  std::string host;
  std::string port;               // always set
  std::string target;             // path and query, at least "/"
  std::string authority() const;  // host[:port] as the Host header wants it
};
/// `invalid_argument` names what is wrong.
Result<Url> parse_url(std::string_view text);

struct Request {
  Request(std::string method, Url url) : method(std::move(method)), url(std::move(url)) {}
  std::string method;
  Url url;
  std::vector<std::pair<std::string, std::string>> headers;
  std::string body;
};

struct Response {
  int status = 0;
  std::map<std::string, std::string> headers;  // names in lower case
  std::string body;  // of a status other than 2xx, its beginning; otherwise empty
};

struct ClientOptions {
  std::chrono::milliseconds connect_ms_max{15'000};
  std::chrono::milliseconds idle_ms_max{300'000};  // without a byte; long prefills are silent
  std::size_t error_body_bytes_max = 16 * 1024;
  std::filesystem::path ca_file;  // more certificates to trust than the system's
};

/// Receives the body of a 2xx response piece by piece; an error ends the request with it.
using BodySink = std::function<Status(const Response& head, std::string_view piece)>;

/// HTTP/1.1 over TCP or TLS, one connection for each request.
///
/// TLS verifies the certificate and the host's name. Cancelling the coroutine closes the
/// connection and gives `cancelled`. Errors: `unavailable` when the host cannot be found or
/// reached, hangs up or stays silent; `invalid_argument` when TLS refuses.
/// Thread: send() runs on the caller's executor; several may run at once.
class Client {
 public:
  /// `not_found` or `corrupt` when the certificate file cannot be used.
  static Result<std::unique_ptr<Client>> create(ClientOptions options);
  virtual ~Client() = default;
  virtual boost::asio::awaitable<Result<Response>> send(Request request, BodySink sink) = 0;
};

}  // namespace ponder::http
