#pragma once

#include <boost/asio/any_io_executor.hpp>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "base/async/task_group.h"
#include "base/http/http_client.h"
#include "tools/mcp/detail/transport.h"

namespace ponder::mcp {

/// Where a server is, and what opens its door.
struct HttpPlace {
  explicit HttpPlace(http::Url url) : url(std::move(url)) {}
  http::Url url;
  std::string bearer_token;  // empty: none
  std::vector<std::pair<std::string, std::string>> headers;
  std::size_t message_bytes_max = 16 << 20;
};

/// A server that is reached over Streamable HTTP: each message is a POST, each answer JSON or a
/// stream of events (specification 2026-07-28 basic/transports/streamable-http, 2025-11-25
/// basic/transports#streamable-http).
///
/// A legacy stream that breaks off before the answer is taken up again where the server names its
/// events: after the time that the server asks for, and a bounded number of times.
class HttpTransport final : public Transport {
 public:
  /// `client` and `listener` outlive it.
  HttpTransport(HttpPlace place, http::Client& client, boost::asio::any_io_executor executor,
                Listener& listener);

  boost::asio::awaitable<Result<Message>> exchange(Outgoing request) override;
  boost::asio::awaitable<Status> send(Outgoing message) override;
  boost::asio::awaitable<void> listen() override;
  boost::asio::awaitable<void> close() override;
  void agree(Era era, const std::string& version) override;
  bool cancels_by_closing() const override { return era_ == Era::modern; }
  bool has_headers() const override { return era_ == Era::modern; }
  bool is_closed() const override { return is_closed_; }

 private:
  class Stream;
  http::Request request_of(const std::string& method) const;
  boost::asio::awaitable<Status> resume(Stream* stream);
  Result<Message> refusal(const http::Response& response);

  HttpPlace place_;
  http::Client* client_;
  boost::asio::any_io_executor executor_;
  Listener* listener_;
  Era era_ = Era::modern;
  std::string version_;  // empty: not agreed on yet
  std::string session_;  // legacy; empty: the server opened none
  bool is_closed_ = false;
};

}  // namespace ponder::mcp
