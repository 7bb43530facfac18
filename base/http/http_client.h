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

#include "base/clock.h"
#include "base/http/address_policy.h"
#include "base/http/resolver.h"
#include "base/http/url.h"
#include "base/result.h"

namespace ponder::http {

struct Request {
  Request(std::string method, Url url) : method(std::move(method)), url(std::move(url)) {}
  std::string method;
  Url url;
  std::vector<std::pair<std::string, std::string>> headers;  // Host, Connection and the like not
  std::string body;
  Deadline deadline = Deadline::never();  // of the whole, redirects and body included
  /// What the sink gets at most, after decompression.
  std::uint64_t body_bytes_max = std::uint64_t{256} << 20;
  std::uint32_t redirects_max = 0;  // 0: a redirect is an answer like any other
  bool takes_compressed = false;    // asks for gzip or deflate; what comes is decoded either way
  bool sinks_any_status = false;    // the sink gets the body of every status
};

struct Response {
  int status = 0;
  std::map<std::string, std::string> headers;  // names in lower case; repeated ones joined by ", "
  std::string body;  // of a status other than 2xx, its beginning; otherwise empty
  Url url;           // what was asked last, after redirects
};

struct ClientOptions {
  std::chrono::milliseconds connect_ms_max{15'000};  // for the look-up, TCP and TLS each
  std::chrono::milliseconds idle_ms_max{300'000};    // without a byte; long prefills are silent
  std::size_t error_body_bytes_max = 16 * 1024;
  std::filesystem::path ca_file;  // more certificates to trust than the system's
  AddressPolicy addresses;        // empty: any host, as for endpoints that a person has named
  std::string user_agent = "ponder";
  Resolver* resolver = nullptr;  // outlives the client; null: system_resolver()
};

/// Receives the body of a 2xx response piece by piece; an error ends the request with it.
using BodySink = std::function<Status(const Response& head, std::string_view piece)>;

/// HTTP/1.1 over TCP or TLS, one connection for each request.
///
/// TLS verifies the certificate and the host's name. Every connection, also of a redirect, keeps
/// the options' AddressPolicy. Redirects lead from https to https only, and take no secrets to
/// another origin. Cancelling the coroutine closes the connection and gives `cancelled`.
///
/// Errors: `unavailable` when the host cannot be found or reached, hangs up or stays silent;
/// `invalid_argument` when TLS or the policy refuses, or the request is malformed; `exhausted` when
/// the body is too long or the redirects are too many; `deadline`; `corrupt` when a compressed body
/// is damaged.
/// Thread: send() runs on the caller's executor; several may run at once.
class Client {
 public:
  /// `not_found` or `corrupt` when the certificate file cannot be used.
  static Result<std::unique_ptr<Client>> create(ClientOptions options);
  virtual ~Client() = default;
  virtual boost::asio::awaitable<Result<Response>> send(Request request, BodySink sink) = 0;
};

}  // namespace ponder::http
