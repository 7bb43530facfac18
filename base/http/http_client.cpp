#include "base/http/http_client.h"

#include <fmt/format.h>
#include <openssl/ssl.h>

#include <algorithm>
#include <array>
#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/ip/address.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/ssl/context.hpp>
#include <boost/asio/ssl/host_name_verification.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/core/tcp_stream.hpp>
#include <boost/beast/http/buffer_body.hpp>
#include <boost/beast/http/read.hpp>
#include <boost/beast/http/string_body.hpp>
#include <boost/beast/http/write.hpp>
#include <boost/beast/ssl/ssl_stream.hpp>
#include <cctype>
#include <charconv>
#include <optional>

#include "base/async/with_deadline.h"
#include "base/http/content_decoder.h"
#include "base/http/redirect.h"
#include "base/http/request_check.h"

namespace ponder::http {
namespace {

namespace asio = boost::asio;
namespace beast = boost::beast;
namespace bhttp = boost::beast::http;
using boost::system::error_code;
using tcp = asio::ip::tcp;
using TlsStream = beast::ssl_stream<beast::tcp_stream>;
using Parser = bhttp::response_parser<bhttp::buffer_body>;

constexpr std::uint32_t kHeaderBytesMax = 64 * 1024;

/// Every operation of a request is awaited with this token: errors go to `error`, and the empty
/// slot leaves the coroutine's own slot to the Stopper.
auto into(error_code& error) {
  return asio::bind_cancellation_slot(asio::cancellation_slot(),
                                      asio::redirect_error(asio::use_awaitable, error));
}

/// Ends whatever the request waits for when its coroutine is cancelled. Beast's operations do not
/// all know cancellation slots; closing what they wait on works for each of them.
class Stopper {
 public:
  explicit Stopper(asio::cancellation_state state) : tcp_stream(nullptr), state_(state) {}
  ~Stopper() {
    if (state_.slot().is_connected()) state_.slot().clear();
  }
  Stopper(const Stopper&) = delete;
  Stopper& operator=(const Stopper&) = delete;

  /// To be called before each operation: Asio clears the coroutine's slot after each one.
  void arm() {
    if (is_stopped()) stop();
    if (!state_.slot().is_connected()) return;
    state_.slot().assign([this](asio::cancellation_type) { stop(); });
  }
  bool is_stopped() const {
    return is_stopped_ || state_.cancelled() != asio::cancellation_type::none;
  }
  beast::tcp_stream* tcp_stream;

 private:
  void stop() {
    is_stopped_ = true;
    error_code ignored;
    if (tcp_stream != nullptr) tcp_stream->socket().close(ignored);
  }
  asio::cancellation_state state_;
  bool is_stopped_ = false;
};

Error error_of(const Stopper& stopper, const Url& url, const char* doing, error_code error) {
  if (stopper.is_stopped()) return Error(Errc::cancelled, "the request was cancelled");
  const bool is_tls = error.category() == asio::error::get_ssl_category();
  std::string what = error.message();
  if (error == beast::error::timeout) what = "no answer in time";
  if (error == bhttp::error::end_of_stream || error == asio::error::eof ||
      error == bhttp::error::partial_message || error == asio::ssl::error::stream_truncated) {
    what = "the connection was closed";
  }
  Errc code = is_tls ? Errc::invalid_argument : Errc::unavailable;
  if (error == bhttp::error::body_limit) code = Errc::exhausted, what = "the body is too long";
  if (error == bhttp::error::header_limit) code = Errc::exhausted, what = "the head is too long";
  return Error(code, fmt::format("{} {}: {}", doing, url.authority(), what));
}

bhttp::request<bhttp::string_body> message_of(const Request& request,
                                              const std::string& user_agent) {
  bhttp::request<bhttp::string_body> message;
  message.version(11);
  message.method_string(request.method);
  message.target(request.url.target);
  message.set(bhttp::field::host, request.url.authority());
  message.set(bhttp::field::user_agent, user_agent);
  message.set(bhttp::field::connection, "close");
  if (request.takes_compressed) message.set(bhttp::field::accept_encoding, "gzip, deflate");
  for (const auto& [name, value] : request.headers) message.set(name, value);
  message.body() = request.body;
  message.prepare_payload();
  return message;
}

Response head_of(const Parser& parser) {
  Response head;
  head.status = static_cast<int>(parser.get().result_int());
  for (const auto& field : parser.get()) {
    std::string name(field.name_string());
    std::transform(name.begin(), name.end(), name.begin(),
                   [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
    std::string& value = head.headers[name];
    if (!value.empty()) value += ", ";
    value += field.value();
  }
  return head;
}

/// One request over an open stream.
template <class Stream>
class Exchange {
 public:
  Exchange(Stream& stream, Stopper& stopper, const ClientOptions& options, const Request& request)
      : stream_(&stream), stopper_(&stopper), options_(&options), request_(&request) {
    parser_.body_limit(request.body_bytes_max);
    parser_.header_limit(kHeaderBytesMax);
    parser_.skip(request.method == "HEAD");
  }

  asio::awaitable<Result<Response>> run(BodySink sink) {
    auto message = message_of(*request_, options_->user_agent);
    error_code error;
    begin_operation();
    co_await bhttp::async_write(*stream_, message, into(error));
    if (error) co_return failure("sending to", error);
    begin_operation();
    co_await bhttp::async_read_header(*stream_, buffer_, parser_, into(error));
    if (error) co_return failure("waiting for", error);
    Response response = head_of(parser_);
    response.url = request_->url;
    if (request_->redirects_max > 0 && is_redirect(response)) co_return response;
    auto body = co_await read_body(&response, &sink);
    PONDER_CO_CHECK(body);
    co_return response;
  }

 private:
  asio::awaitable<Status> read_body(Response* response, const BodySink* sink) {
    const bool is_success = response->status >= 200 && response->status < 300;
    const bool is_handed_on = is_success || request_->sinks_any_status;
    const auto encoding = response->headers.find("content-encoding");
    auto created =
        ContentDecoder::create(encoding == response->headers.end() ? "" : encoding->second);
    PONDER_CO_TRY(ContentDecoder decoder, std::move(created));
    const ContentDecoder::Sink take = [&](std::string_view piece) -> Status {
      return is_handed_on ? hand_on(*response, piece, *sink) : keep_error_body(response, piece);
    };
    error_code error;
    while (!parser_.is_done()) {
      parser_.get().body().data = piece_.data();
      parser_.get().body().size = piece_.size();
      begin_operation();
      // One read, not as many as fill the piece: a stream is handed on as it comes.
      co_await bhttp::async_read_some(*stream_, buffer_, parser_, into(error));
      if (error == bhttp::error::need_buffer) error = {};
      const std::string_view piece(piece_.data(), piece_.size() - parser_.get().body().size);
      const Status taken = decoder.feed(piece, take);
      PONDER_CO_CHECK(taken);
      if (error) co_return failure("reading from", error);
      if (stopper_->is_stopped()) co_return failure("reading from", error);
      if (!is_handed_on && response->body.size() >= options_->error_body_bytes_max) {
        co_return Status();
      }
    }
    co_return decoder.finish();
  }
  tl::unexpected<Error> failure(const char* doing, error_code error) const {
    return tl::unexpected<Error>(error_of(*stopper_, request_->url, doing, error));
  }
  void begin_operation() {
    stopper_->arm();
    beast::get_lowest_layer(*stream_).expires_after(options_->idle_ms_max);
  }
  Status hand_on(const Response& response, std::string_view piece, const BodySink& sink) {
    bytes_handed_on_ += piece.size();
    if (bytes_handed_on_ > request_->body_bytes_max) {
      return fail(Errc::exhausted,
                  fmt::format("the body is longer than {} bytes", request_->body_bytes_max));
    }
    return sink(response, piece);
  }
  Status keep_error_body(Response* response, std::string_view piece) const {
    const std::size_t room = options_->error_body_bytes_max - response->body.size();
    response->body.append(piece.substr(0, room));
    return {};
  }

  Stream* stream_;
  Stopper* stopper_;
  const ClientOptions* options_;
  const Request* request_;
  beast::flat_buffer buffer_;
  Parser parser_;
  std::array<char, 16 * 1024> piece_;
  std::uint64_t bytes_handed_on_ = 0;
};

class BeastClient final : public Client {
 public:
  BeastClient(ClientOptions options, asio::ssl::context tls)
      : options_(std::move(options)), tls_(std::move(tls)) {}

  asio::awaitable<Result<Response>> send(Request request, BodySink sink) override {
    const Deadline deadline = request.deadline;
    auto work = follow(std::move(request), std::move(sink));
    if (deadline.is_never()) {
      auto result = co_await std::move(work);
      co_return result;
    }
    auto result = co_await with_deadline(std::move(work), deadline);
    co_return result;
  }

 private:
  /// Sends the request, and those that redirects lead to.
  asio::awaitable<Result<Response>> follow(Request request, BodySink sink) {
    const auto executor = co_await asio::this_coro::executor;
    const bool throws_if_cancelled = co_await asio::this_coro::throw_if_cancelled();
    co_await asio::this_coro::throw_if_cancelled(false);
    Result<Response> result = fail(Errc::internal, "nothing was sent");
    for (std::uint32_t redirects = 0;; ++redirects) {
      result = co_await send_on(executor, &request, &sink);
      if (!result || request.redirects_max == 0 || !is_redirect(*result)) break;
      if (redirects == request.redirects_max) {
        result = fail(Errc::exhausted, fmt::format("more than {} redirects", redirects));
        break;
      }
      auto next = redirected(std::move(request), *result);
      if (!next) {
        result = tl::unexpected<Error>(next.error());
        break;
      }
      request = std::move(*next);
    }
    co_await asio::this_coro::throw_if_cancelled(throws_if_cancelled);
    co_return result;
  }

  asio::awaitable<Result<Response>> send_on(asio::any_io_executor executor, const Request* request,
                                            const BodySink* sink) {
    const Status checked = check_request(*request);
    PONDER_CO_CHECK(checked);
    const auto state = co_await asio::this_coro::cancellation_state;
    Stopper stopper(state);
    TlsStream stream(executor, tls_);
    auto& tcp_stream = beast::get_lowest_layer(stream);
    stopper.tcp_stream = &tcp_stream;
    const Status connected = co_await connect(&stopper, &tcp_stream, request->url);
    PONDER_CO_CHECK(connected);
    if (!request->url.is_tls) {
      Exchange<beast::tcp_stream> exchange(tcp_stream, stopper, options_, *request);
      auto result = co_await exchange.run(*sink);
      co_return result;
    }
    const Status secured = co_await secure(&stopper, &stream, request->url);
    PONDER_CO_CHECK(secured);
    Exchange<TlsStream> exchange(stream, stopper, options_, *request);
    auto result = co_await exchange.run(*sink);
    co_return result;
  }

  asio::awaitable<Status> connect(Stopper* stopper, beast::tcp_stream* stream, Url url) {
    error_code error;
    if (stopper->is_stopped()) co_return fail(Errc::cancelled, "the request was cancelled");
    const Status allowed = options_.addresses.check_host(url);
    PONDER_CO_CHECK(allowed);
    auto found = co_await look_up(url);
    PONDER_CO_TRY(const Addresses addresses, std::move(found));
    // A cancellation that came together with the answer is not told again.
    if (stopper->is_stopped()) co_return fail(Errc::cancelled, "the request was cancelled");
    const std::vector<tcp::endpoint> places = admitted(addresses, url);
    if (places.empty()) {
      co_return fail(Errc::invalid_argument,
                     fmt::format("{} is at no public address", url.authority()));
    }
    stopper->arm();
    stream->expires_after(options_.connect_ms_max);
    co_await stream->async_connect(places, into(error));
    if (error || stopper->is_stopped()) {
      co_return tl::unexpected<Error>(error_of(*stopper, url, "connecting to", error));
    }
    error_code ignored;
    stream->socket().set_option(tcp::no_delay(true), ignored);
    co_return Status();
  }

  /// The addresses of the host. It must be known in the time for a connection; the coroutine's own
  /// cancellation ends the wait.
  asio::awaitable<Result<Addresses>> look_up(Url url) {
    Resolver& resolver = options_.resolver == nullptr ? system_resolver() : *options_.resolver;
    const Deadline deadline = Deadline::after(system_clock(), options_.connect_ms_max);
    auto found = co_await resolver.find(url.host, deadline);
    if (found) co_return found;
    Error error = found.error();
    if (error.code == Errc::cancelled) co_return fail(error.code, "the request was cancelled");
    if (error.code == Errc::deadline) error.code = Errc::unavailable;  // not the request's own
    co_return fail(error.code, fmt::format("finding {}: {}", url.authority(), error.message));
  }

  /// Where of the host may be connected to.
  std::vector<tcp::endpoint> admitted(const Addresses& addresses, const Url& url) const {
    std::uint16_t port = 0;
    std::from_chars(url.port.data(), url.port.data() + url.port.size(), port);
    std::vector<tcp::endpoint> places;
    for (const asio::ip::address& address : addresses) {
      if (options_.addresses.admits(url, address)) places.emplace_back(address, port);
    }
    return places;
  }

  asio::awaitable<Status> secure(Stopper* stopper, TlsStream* stream, Url url) {
    stream->set_verify_mode(asio::ssl::verify_peer);
    stream->set_verify_callback(asio::ssl::host_name_verification(url.host));
    error_code no_address;
    asio::ip::make_address(url.host, no_address);  // RFC 6066, 3: addresses are no server names
    if (no_address && SSL_set_tlsext_host_name(stream->native_handle(), url.host.c_str()) != 1) {
      co_return fail(Errc::invalid_argument, fmt::format("{} is no host name", url.host));
    }
    error_code error;
    stopper->arm();
    stopper->tcp_stream->expires_after(options_.connect_ms_max);
    co_await stream->async_handshake(asio::ssl::stream_base::client, into(error));
    if (error || stopper->is_stopped()) {
      co_return tl::unexpected<Error>(error_of(*stopper, url, "securing", error));
    }
    co_return Status();
  }

  ClientOptions options_;
  asio::ssl::context tls_;
};

}  // namespace

Result<std::unique_ptr<Client>> Client::create(ClientOptions options) {
  asio::ssl::context tls(asio::ssl::context::tls_client);
  tls.set_options(asio::ssl::context::default_workarounds | asio::ssl::context::no_tlsv1 |
                  asio::ssl::context::no_tlsv1_1);
  error_code error;
  tls.set_default_verify_paths(error);
  if (!error && !options.ca_file.empty()) tls.load_verify_file(options.ca_file.string(), error);
  if (error) {
    return fail(Errc::not_found,
                fmt::format("certificates {}: {}", options.ca_file.string(), error.message()));
  }
  return std::unique_ptr<Client>(new BeastClient(std::move(options), std::move(tls)));
}

}  // namespace ponder::http
