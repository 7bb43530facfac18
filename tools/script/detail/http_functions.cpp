#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <memory>
#include <string>
#include <utility>

#include "tools/script/detail/arguments.h"
#include "tools/script/detail/context_functions.h"

/// ctx.http: requests to the hosts that were granted. The client keeps the address policy for every
/// connection, also for those that redirects lead to.
namespace ponder::tools {
namespace {

namespace asio = boost::asio;

constexpr std::int64_t kSeconds = 30;
constexpr std::int64_t kSecondsMax = 600;
constexpr std::int64_t kBodyBytes = 1 << 20;
constexpr std::int64_t kBodyBytesMax = 16 << 20;
constexpr std::uint32_t kRedirectsMax = 5;

asio::awaitable<Answer> send(std::shared_ptr<http::Client> client, http::Request request,
                             Deadline call_deadline) {
  if (!client) co_return fail(Errc::unavailable, "there is no HTTP client here");
  std::string body;
  http::BodySink sink = [&body](const http::Response&, std::string_view piece) -> Status {
    body += piece;
    return {};
  };
  const Deadline own = request.deadline;
  auto response = co_await client->send(std::move(request), std::move(sink));
  if (!response) {
    // Its own time is up, not the call's: something the script can deal with.
    const bool is_timeout =
        response.error().code == Errc::deadline && own.at() < call_deadline.at();
    if (is_timeout) co_return fail(Errc::unavailable, "no answer in time");
    co_return tl::unexpected(response.error());
  }
  Json headers = Json::object();
  for (const auto& [name, value] : response->headers) headers[name] = value;
  Json out = {{"status", response->status},
              {"headers", std::move(headers)},
              {"body", std::move(body)},
              {"url", response->url.text()}};
  co_return out;
}

Status add_headers(const Json& options, http::Request& request) {
  const auto found = options.find("headers");
  if (found == options.end()) return {};
  if (!found->is_object()) {
    return fail(Errc::invalid_argument, "option 'headers' must be a table of named strings");
  }
  for (const auto& [name, value] : found->items()) {
    auto text = text_or_secret(value);
    if (!text) {
      return fail(Errc::invalid_argument,
                  fmt::format("the header '{}' must be a string or a secret", name));
    }
    request.headers.emplace_back(name, std::move(*text));
  }
  return {};
}

Status add_body(const Json& options, http::Request& request) {
  PONDER_TRY(request.body, text_option(options, "body", ""));
  const auto found = options.find("json");
  if (found == options.end()) return {};
  if (options.contains("body")) {
    return fail(Errc::invalid_argument, "options 'body' and 'json' exclude each other");
  }
  request.body = dump_json(*found);
  request.headers.emplace_back("Content-Type", "application/json");
  return {};
}

Result<std::string> method_of(const Json& options, const std::string& otherwise) {
  constexpr std::array<std::string_view, 6> kMethods = {"GET", "HEAD",  "POST",
                                                        "PUT", "PATCH", "DELETE"};
  PONDER_TRY(std::string method, text_option(options, "method", otherwise));
  if (std::find(kMethods.begin(), kMethods.end(), method) != kMethods.end()) return method;
  return fail(Errc::invalid_argument, fmt::format("'{}' is no method; there are: GET, HEAD, POST, "
                                                  "PUT, PATCH, DELETE",
                                                  method));
}

/// A secret is bytes among the options; where it may stand, it has been taken out before.
bool holds_secret(const Json& value) {
  if (value.is_structured()) return std::any_of(value.begin(), value.end(), holds_secret);
  return is_secret(value);
}

Result<Reply> request(const std::string& address, const Json& options, const std::string& method,
                      ScriptCall& call) {
  auto url = http::parse_url(address);
  if (!url) return Reply(Answer(tl::unexpected(url.error())));
  http::AddressPolicy own;
  own.allowed = call.resources().grants.only_hosts;
  const Status is_allowed = own.check_host(*url);
  if (!is_allowed) return Reply(Answer(tl::unexpected(is_allowed.error())));
  if (options.contains("json") && holds_secret(options["json"])) {
    return fail(Errc::invalid_argument, "a secret may stand in headers only");
  }
  PONDER_TRY(std::string verb, method_of(options, method));
  http::Request out(std::move(verb), std::move(*url));
  PONDER_CHECK(add_headers(options, out));
  PONDER_CHECK(add_body(options, out));
  PONDER_TRY(const std::int64_t seconds,
             count_option(options, "seconds_max", kSeconds, kSecondsMax));
  PONDER_TRY(const std::int64_t bytes,
             count_option(options, "bytes_max", kBodyBytes, kBodyBytesMax));
  const Deadline limit = Deadline::after(*call.context().clock, std::chrono::seconds(seconds));
  out.deadline = Deadline::earlier(limit, call.deadline());
  out.body_bytes_max = static_cast<std::uint64_t>(bytes);
  // A tool that limits itself to hosts follows no redirect to others.
  out.redirects_max = own.allowed.empty() && out.method == "GET" ? kRedirectsMax : 0;
  out.takes_compressed = true;
  out.sinks_any_status = true;
  return Reply(send(call.resources().client, std::move(out), call.deadline()));
}

/// (address, options)
Result<Reply> request_to(lua_State* L, ScriptCall& call, const std::string& method) {
  const Arguments arguments(L);
  PONDER_TRY(const std::string address, arguments.text(1));
  PONDER_TRY(const Json options,
             arguments.options(2, {"headers", "body", "json", "seconds_max", "bytes_max"}));
  return request(address, options, method, call);
}

}  // namespace

Result<Reply> http_get(lua_State* L, ScriptCall& call) { return request_to(L, call, "GET"); }

Result<Reply> http_post(lua_State* L, ScriptCall& call) { return request_to(L, call, "POST"); }

Result<Reply> http_request(lua_State* L, ScriptCall& call) {
  PONDER_TRY(const Json options, Arguments(L).options(1, {"url", "method", "headers", "body",
                                                          "json", "seconds_max", "bytes_max"}));
  PONDER_TRY(const std::string address, text_option(options, "url", ""));
  return request(address, options, "GET", call);
}

}  // namespace ponder::tools
