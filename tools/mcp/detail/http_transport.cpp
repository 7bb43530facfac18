#include "tools/mcp/detail/http_transport.h"

#include <fmt/format.h>

#include <algorithm>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <cctype>
#include <limits>
#include <optional>

#include "base/async/with_deadline.h"
#include "base/http/sse.h"

namespace ponder::mcp {
namespace {

namespace asio = boost::asio;

constexpr int kResumptionsMax = 20;  // in a row, without an event
constexpr std::chrono::milliseconds kRetryDefault{1000};
constexpr std::chrono::milliseconds kRetryMax{60'000};
constexpr std::chrono::milliseconds kGoodbyeMax{1000};
constexpr const char* kEventStream = "text/event-stream";

bool is_success(int status) { return status >= 200 && status < 300; }

bool is_event_stream(const http::Response& head) {
  const auto type = head.headers.find("content-type");
  if (type == head.headers.end()) return false;
  std::string text = type->second;
  std::transform(text.begin(), text.end(), text.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return text.starts_with(kEventStream);
}

/// What an error page says.
std::string beginning_of(const std::string& body) { return one_line(body, 200); }

/// The first error among the messages of a body.
std::optional<Message> error_in(const std::string& body) {
  const auto messages = parse_messages(body);
  if (!messages) return std::nullopt;
  for (const Message& message : *messages) {
    if (message.kind == Message::Kind::error) return message;
  }
  return std::nullopt;
}

}  // namespace

/// What one request brings, over as many connections as it takes.
class HttpTransport::Stream {
 public:
  Stream(std::int64_t id, std::size_t bytes_max, Listener& listener)
      : id_(id), bytes_max_(bytes_max), listener_(&listener), events_(bytes_max) {}

  http::BodySink sink() {
    return [this](const http::Response& head, std::string_view piece) { return take(head, piece); };
  }
  /// The end of a connection: a body that is no stream is whole now.
  void end_connection() {
    if (!body_.empty()) take_text(std::exchange(body_, {}));
    last_event_id_ = events_.last_event_id().empty() ? last_event_id_ : events_.last_event_id();
    retry_ = events_.retry().value_or(retry_);
    events_ = http::SseReader(bytes_max_);
  }
  /// Where to go on; empty: the server does not say.
  const std::string& last_event_id() const { return last_event_id_; }
  std::chrono::milliseconds retry() const { return std::clamp(retry_, retry_.zero(), kRetryMax); }
  std::optional<Message>& answer() { return answer_; }
  /// The session that the server opened; empty: none.
  const std::string& session() const { return session_; }
  /// Whether events came since the last time that this was asked.
  bool has_moved() { return std::exchange(has_moved_, false); }

 private:
  Status take(const http::Response& head, std::string_view piece) {
    const auto session = head.headers.find("mcp-session-id");
    if (session != head.headers.end()) session_ = session->second;
    if (!is_event_stream(head)) {
      if (body_.size() + piece.size() > bytes_max_) {
        return fail(Errc::exhausted, fmt::format("an answer is longer than {} bytes", bytes_max_));
      }
      body_ += piece;
      return {};
    }
    PONDER_CHECK(events_.feed(piece, [this](std::string_view data) {
      has_moved_ = true;
      take_text(data);
      return Status();
    }));
    // Nothing that follows the answer is ours: the connection need not be waited for.
    if (answer_) return fail(Errc::cancelled, "the answer is there");
    return {};
  }
  void take_text(std::string_view text) {
    if (text.empty()) return;  // such an event only names a place to go on from
    auto messages = parse_messages(text);
    if (!messages) {
      listener_->on_garbage(messages.error().message);
      return;
    }
    for (Message& message : *messages) {
      if (!message.is_answer()) {
        listener_->on_message(std::move(message), id_);
      } else if (id_ != 0 && message.answers(id_)) {
        answer_ = std::move(message);
      } else {
        listener_->on_garbage(fmt::format("an answer to {}", dump_json_short(message.id)));
      }
    }
  }

  std::int64_t id_;
  std::size_t bytes_max_;
  Listener* listener_;
  http::SseReader events_;
  std::string body_;
  std::string session_;
  std::string last_event_id_;
  std::chrono::milliseconds retry_ = kRetryDefault;
  std::optional<Message> answer_;
  bool has_moved_ = false;
};

HttpTransport::HttpTransport(HttpPlace place, http::Client& client, asio::any_io_executor executor,
                             Listener& listener)
    : place_(std::move(place)),
      client_(&client),
      executor_(std::move(executor)),
      listener_(&listener) {}

http::Request HttpTransport::request_of(const std::string& method) const {
  http::Request request(method, place_.url);
  request.headers = place_.headers;
  // A stream may go on for days; what is bounded is each of its messages.
  request.body_bytes_max = std::numeric_limits<std::uint64_t>::max();
  const bool is_post = method == "POST";
  if (is_post) request.headers.emplace_back("Content-Type", "application/json");
  if (is_post) request.headers.emplace_back("Accept", "application/json, text/event-stream");
  if (method == "GET") request.headers.emplace_back("Accept", kEventStream);
  if (!version_.empty()) request.headers.emplace_back("MCP-Protocol-Version", version_);
  if (!session_.empty()) request.headers.emplace_back("Mcp-Session-Id", session_);
  if (!place_.bearer_token.empty()) {
    request.headers.emplace_back("Authorization", "Bearer " + place_.bearer_token);
  }
  return request;
}

asio::awaitable<Result<Message>> HttpTransport::exchange(Outgoing request) {
  Stream stream(request.id, place_.message_bytes_max, *listener_);
  http::Request post = request_of("POST");
  post.headers.insert(post.headers.end(), request.headers.begin(), request.headers.end());
  post.body = std::move(request.text);
  auto response = co_await client_->send(std::move(post), stream.sink());
  stream.end_connection();
  if (response && !is_success(response->status)) {
    Result<Message> refused = refusal(*response);
    co_return refused;
  }
  if (request.method == "initialize") session_ = stream.session();
  if (!stream.answer() && !stream.last_event_id().empty() && era_ == Era::legacy) {
    const bool was_cancelled = !response && response.error().code == Errc::cancelled;
    if (!was_cancelled) {
      const Status resumed = co_await resume(&stream);
      PONDER_CO_CHECK(resumed);
    }
  }
  if (std::optional<Message>& answer = stream.answer()) co_return std::move(*answer);
  if (!response) co_return tl::unexpected<Error>(response.error());
  co_return fail(Errc::unavailable, "the server's answer ended before the result");
}

asio::awaitable<Status> HttpTransport::resume(Stream* stream) {
  for (int attempt = 0; attempt < kResumptionsMax; ++attempt) {
    boost::system::error_code error;
    asio::steady_timer pause(executor_, stream->retry());
    co_await pause.async_wait(asio::redirect_error(asio::use_awaitable, error));
    if (error) co_return fail(Errc::cancelled, "the request was cancelled");
    http::Request get = request_of("GET");
    get.headers.emplace_back("Last-Event-ID", stream->last_event_id());
    const auto response = co_await client_->send(std::move(get), stream->sink());
    stream->end_connection();
    if (stream->answer()) co_return Status();
    if (!response && response.error().code != Errc::unavailable) {
      co_return tl::unexpected<Error>(response.error());
    }
    if (response && !is_success(response->status)) {
      co_return fail(Errc::unavailable,
                     fmt::format("the stream broke off, and taking it up again gave HTTP {}",
                                 response->status));
    }
    if (stream->has_moved()) attempt = -1;
  }
  co_return fail(Errc::unavailable, "the stream broke off too often");
}

Result<Message> HttpTransport::refusal(const http::Response& response) {
  if (response.status == 401 || response.status == 403) {
    return fail(Errc::invalid_argument,
                fmt::format("the server does not let us in (HTTP {}): {}", response.status,
                            place_.bearer_token.empty() ? "it may want a bearer token"
                                                        : "the bearer token is not accepted"));
  }
  if (response.status == 404 && !session_.empty()) {
    is_closed_ = true;
    return fail(Errc::not_found, "the server has ended the session");
  }
  if (response.status >= 500) {
    return fail(Errc::unavailable,
                fmt::format("HTTP {}: {}", response.status, beginning_of(response.body)));
  }
  Message message;
  if (auto error = error_in(response.body)) {
    message = std::move(*error);
  } else {
    message.kind = Message::Kind::error;
    message.text = fmt::format("HTTP {}: {}", response.status, beginning_of(response.body));
  }
  message.http_status = response.status;
  return message;
}

asio::awaitable<Status> HttpTransport::send(Outgoing message) {
  http::Request post = request_of("POST");
  post.body = std::move(message.text);
  Stream ignored(0, place_.message_bytes_max, *listener_);
  const auto response = co_await client_->send(std::move(post), ignored.sink());
  if (!response) co_return tl::unexpected<Error>(response.error());
  if (is_success(response->status)) co_return Status();
  co_return fail(Errc::unavailable,
                 fmt::format("HTTP {}: {}", response->status, beginning_of(response->body)));
}

asio::awaitable<void> HttpTransport::listen() {
  Stream stream(0, place_.message_bytes_max, *listener_);
  for (int failures = 0; failures < kResumptionsMax; ++failures) {
    http::Request get = request_of("GET");
    if (!stream.last_event_id().empty()) {
      get.headers.emplace_back("Last-Event-ID", stream.last_event_id());
    }
    const auto response = co_await client_->send(std::move(get), stream.sink());
    stream.end_connection();
    if (!response && response.error().code != Errc::unavailable) co_return;
    if (response && !is_success(response->status)) co_return;  // there is no such stream
    if (stream.has_moved()) failures = 0;
    boost::system::error_code error;
    asio::steady_timer pause(executor_, stream.retry());
    co_await pause.async_wait(asio::redirect_error(asio::use_awaitable, error));
    if (error) co_return;
  }
}

asio::awaitable<void> HttpTransport::close() {
  is_closed_ = true;
  if (era_ == Era::modern || session_.empty()) co_return;
  http::BodySink ignore = [](const http::Response&, std::string_view) { return Status(); };
  auto goodbye = client_->send(request_of("DELETE"), std::move(ignore));
  const Deadline soon = Deadline::after(system_clock(), kGoodbyeMax);
  const auto ignored = co_await with_deadline(std::move(goodbye), soon);
  (void)ignored;  // a server may refuse to be told
}

void HttpTransport::agree(Era era, const std::string& version) {
  era_ = era;
  version_ = version;
}

}  // namespace ponder::mcp
