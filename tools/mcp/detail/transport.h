#pragma once

#include <boost/asio/awaitable.hpp>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "tools/mcp/detail/message.h"

namespace ponder::mcp {

/// How a server is spoken to (specification 2026-07-28, basic/versioning).
enum class Era {
  modern,  // each request says which version it speaks: 2026-07-28
  legacy,  // an `initialize` handshake opens a session: 2025-11-25 and before
};

/// A message on its way to a server, with what HTTP says of it in headers.
struct Outgoing {
  explicit Outgoing(std::string text) : text(std::move(text)) {}
  std::string text;     // one line of JSON
  std::int64_t id = 0;  // of a request; 0: it has no answer
  std::string method;   // of a request
  std::vector<std::pair<std::string, std::string>> headers;
};

/// What a server says that is no answer to a request.
class Listener {
 public:
  virtual ~Listener() = default;
  /// `owner` is the request on whose stream it came; 0: the transport cannot know.
  virtual void on_message(Message message, std::int64_t owner) = 0;
  /// Something came that is no message.
  virtual void on_garbage(const std::string& what) = 0;
};

/// Carries messages to one server and back.
///
/// Thread: one executor's. Lifetime: close() has ended before it is destroyed.
class Transport {
 public:
  virtual ~Transport() = default;
  /// Sends a request and gives its answer, also one that says that it failed. Cancelling it stops
  /// the waiting; whether the server hears of it is told by cancels_by_closing().
  /// Errors: `unavailable` when the server cannot be reached, died or hung up; `exhausted` for an
  /// answer that is too long; `not_found` when the server has forgotten the session, so that it
  /// cannot have done anything; `invalid_argument` when it does not let us in; `cancelled`.
  virtual boost::asio::awaitable<Result<Message>> exchange(Outgoing request) = 0;
  /// Sends a notification, or an answer to a request of the server's.
  virtual boost::asio::awaitable<Status> send(Outgoing message) = 0;
  /// Hears what the server says by itself, where that takes a connection of its own; ends when
  /// there is no such thing, or when it is cancelled. Legacy only.
  virtual boost::asio::awaitable<void> listen() = 0;
  /// Says goodbye, and ends all that runs. Takes bounded time.
  virtual boost::asio::awaitable<void> close() = 0;
  /// What was agreed on; requests before that speak for themselves.
  virtual void agree(Era era, const std::string& version) = 0;
  /// Whether abandoning an exchange is how the server learns that it was cancelled.
  virtual bool cancels_by_closing() const = 0;
  /// Whether parameters are repeated in headers (specification 2026-07-28, x-mcp-header).
  virtual bool has_headers() const = 0;
  /// No request can be answered any more.
  virtual bool is_closed() const = 0;
  /// The end of what the server wrote for people; empty where there is no such thing.
  virtual std::string last_words() const { return {}; }
};

}  // namespace ponder::mcp
