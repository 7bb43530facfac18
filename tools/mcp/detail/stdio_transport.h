#pragma once

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/local/stream_protocol.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/steady_timer.hpp>
#include <chrono>
#include <cstddef>
#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <string>

#include "base/async/task_group.h"
#include "tools/mcp/detail/line_reader.h"
#include "tools/mcp/detail/server_process.h"
#include "tools/mcp/detail/transport.h"

namespace ponder::mcp {

/// Bounds of what comes from and goes to a server.
struct TransportLimits {
  std::size_t message_bytes_max = 16 << 20;
  std::size_t outbox_bytes_max = 16 << 20;   // that the server has not read yet
  std::size_t errors_bytes_max = 8 << 10;    // of what it writes for people: the end is kept
  std::size_t garbage_lines_max = 100;       // some servers print to the wrong stream
  std::size_t garbage_lines_begin_max = 20;  // before the first message
  std::chrono::milliseconds grace{500};      // for a server to end by itself
};

/// A server that we start and speak with over its standard streams, a message a line
/// (specification 2026-07-28 basic/transports/stdio, 2025-11-25 basic/transports#stdio).
class StdioTransport final : public Transport {
 public:
  /// `listener` outlives it. Errors as start_server().
  static Result<std::unique_ptr<StdioTransport>> start(const ServerCommand& command,
                                                       TransportLimits limits,
                                                       boost::asio::any_io_executor executor,
                                                       Listener& listener);
  StdioTransport(ServerProcess process, TransportLimits limits,
                 boost::asio::any_io_executor executor, Listener& listener);

  boost::asio::awaitable<Result<Message>> exchange(Outgoing request) override;
  boost::asio::awaitable<Status> send(Outgoing message) override;
  boost::asio::awaitable<void> listen() override;
  boost::asio::awaitable<void> close() override;
  void agree(Era, const std::string&) override {}
  bool cancels_by_closing() const override { return false; }
  bool has_headers() const override { return false; }
  bool is_closed() const override { return end_ || !has_process_ || !has_output_; }
  std::string last_words() const override { return errors_; }

 private:
  struct Waiter;
  boost::asio::awaitable<void> read_output();
  boost::asio::awaitable<void> read_errors();
  boost::asio::awaitable<void> write_input();
  boost::asio::awaitable<void> attend_end();
  boost::asio::awaitable<void> urge_to_end();
  Status enqueue(std::string text);
  void begin_urging();
  void on_line(const Result<std::string_view>& line);
  void on_message(Message message);
  void on_garbage(const std::string& what);
  void fail_all(const Error& error);

  boost::asio::any_io_executor executor_;
  Listener* listener_;
  TransportLimits limits_;
  tools::SpawnedProcess process_;
  boost::asio::local::stream_protocol::socket input_;
  boost::asio::posix::stream_descriptor output_;
  boost::asio::posix::stream_descriptor error_output_;
  LineReader lines_;
  std::map<std::int64_t, Waiter*> waiters_;  // by the id of their request
  std::deque<std::string> outbox_;
  std::size_t outbox_bytes_ = 0;
  boost::asio::steady_timer outbox_filled_;  // never expires; cancelled when there is work
  boost::asio::steady_timer process_ended_;  // runs while it is urged; cancelled when it ended
  boost::asio::steady_timer output_ended_;   // runs while it is drained; cancelled at its end
  std::string errors_;
  std::size_t garbage_lines_ = 0;
  bool has_spoken_ = false;  // it has sent a message
  std::string verdict_;      // why it was killed; empty: it was not
  bool has_output_ = true;
  bool has_process_ = true;
  bool is_closing_ = false;
  bool is_urged_ = false;
  std::optional<Error> end_;  // why there will be no more answers
  TaskGroup tasks_;
};

}  // namespace ponder::mcp
