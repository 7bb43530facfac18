#pragma once

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/awaitable.hpp>
#include <chrono>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/async/task_group.h"
#include "tools/mcp/detail/transport.h"

namespace ponder::mcp {

/// Whoever waits for an answer: hears how far it is, and answers what the server asks meanwhile.
/// Thread: the connection's. Shared by the request and by the questions that came during it, which
/// may end after it.
class Caller {
 public:
  virtual ~Caller() = default;
  virtual void on_progress(std::string text, std::optional<double> share) = 0;
  virtual void on_log(std::string line) = 0;
  /// Whether elicit() can reach a person.
  virtual bool can_be_asked() const = 0;
  /// The result of `elicitation/create` with these parameters.
  virtual boost::asio::awaitable<Json> elicit(Json params) = 0;
};

/// What a server says of itself.
struct ServerIdentity {
  Era era = Era::modern;
  std::string protocol_version;
  std::string name;
  std::string version;
  std::string instructions;
  Json capabilities = Json::object();
};

using Headers = std::vector<std::pair<std::string, std::string>>;

struct ConnectionOptions {
  std::optional<Era> era;                        // none: it is found out
  std::chrono::milliseconds probe_ms_max{5000};  // for a server to say that it is modern
  std::vector<std::filesystem::path> roots;
  std::string client_version = "1";
};

/// Speaks MCP over a transport, in whichever era the server lives: finds out which, sends requests
/// with all that they must carry, hands on progress, and answers what the server asks.
///
/// Thread: one executor's. Lifetime: close() has ended before it is destroyed.
class Connection final : public Listener {
 public:
  /// Makes a transport that speaks to this connection; called again when a server died of the
  /// question which era it lives in.
  using Dial = std::function<Result<std::unique_ptr<Transport>>(Listener& listener)>;

  Connection(ConnectionOptions options, Dial dial, boost::asio::any_io_executor executor);

  /// Connects and agrees on a version. Errors: those of the transport, and `invalid_argument` when
  /// there is no version that both speak. Once.
  boost::asio::awaitable<Status> open();
  const ServerIdentity& identity() const { return identity_; }

  /// The result of a request, after all rounds of questions that the server has. `caller` may be
  /// null. Cancelling it tells the server. Errors: those of the transport, and `internal` with the
  /// server's words when it answers with an error.
  boost::asio::awaitable<Result<Json>> request(std::string method, Json params,
                                               std::shared_ptr<Caller> caller, Headers headers);
  /// All pages of a list; at most a bounded number of entries.
  boost::asio::awaitable<Result<std::vector<Json>>> list(std::string method, std::string field);

  boost::asio::awaitable<void> close();
  bool is_closed() const { return transport_ == nullptr || transport_->is_closed(); }
  bool has_headers() const { return transport_ != nullptr && transport_->has_headers(); }
  /// The end of what the server wrote for people, in one line; empty: nothing.
  std::string last_words() const;
  /// What the server said that was no message, in one line; empty: nothing.
  std::string garbage() const;
  /// Whether the server has said, since this was asked the last time, that its tools changed. Its
  /// prompts and resources are asked for when they are needed.
  bool take_tool_change() { return std::exchange(has_tool_change_, false); }

  void on_message(Message message, std::int64_t owner) override;
  void on_garbage(const std::string& what) override;

 private:
  /// What a server's answer to `server/discover` tells.
  struct Probe {
    Era era = Era::legacy;
    std::string version;  // to be spoken
  };
  // connection_open.cpp: which version, and what the server is.
  boost::asio::awaitable<Status> dial();
  boost::asio::awaitable<Result<Probe>> discover(std::chrono::milliseconds ms_max);
  boost::asio::awaitable<Result<Message>> probe();
  Result<Probe> probe_of(const Message& answer);
  boost::asio::awaitable<Status> initialize(std::string version);
  boost::asio::awaitable<Status> find_out_era();
  void take_identity(const Json& result, Era era, const std::string& version);
  boost::asio::awaitable<void> subscribe();
  boost::asio::awaitable<Result<Message>> ask(std::string method, Json params,
                                              std::shared_ptr<Caller> caller, Headers headers);
  boost::asio::awaitable<void> tell_cancelled(std::int64_t id);
  boost::asio::awaitable<void> answer(Message request, std::int64_t owner);
  boost::asio::awaitable<std::string> answer_text(Message request, std::int64_t owner);
  boost::asio::awaitable<Result<Json>> answers_to(Json requests, std::shared_ptr<Caller> caller);
  std::shared_ptr<Caller> caller_of(std::int64_t owner) const;
  Json parameters(Json params, std::int64_t id, const Caller* caller) const;
  Headers headers_of(const std::string& method, const Json& params) const;
  void on_progress(const Json& params);
  void on_log(const Json& params, std::int64_t owner);

  ConnectionOptions options_;
  Dial dial_;
  boost::asio::any_io_executor executor_;
  std::unique_ptr<Transport> transport_;
  ServerIdentity identity_;
  std::int64_t next_id_ = 1;
  std::map<std::int64_t, std::shared_ptr<Caller>> callers_;  // of the requests under way
  bool is_closing_ = false;
  std::size_t num_answering_ = 0;
  bool has_tool_change_ = false;
  std::size_t garbage_lines_ = 0;
  std::string last_garbage_;
  TaskGroup tasks_;
};

}  // namespace ponder::mcp
