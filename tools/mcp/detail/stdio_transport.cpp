#include "tools/mcp/detail/stdio_transport.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <boost/asio/buffer.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/asio/write.hpp>
#include <csignal>
#include <cstring>
#include <utility>

namespace ponder::mcp {
namespace {

namespace asio = boost::asio;
using asio::redirect_error;
using asio::use_awaitable;
using boost::system::error_code;

constexpr std::size_t kReadBytes = 64 * 1024;

std::string end_text(const siginfo_t& end) {
  if (end.si_code == CLD_EXITED) return fmt::format("it ended with exit code {}", end.si_status);
  return fmt::format("it was ended by signal {} ({})", end.si_status, strsignal(end.si_status));
}

/// True when the time went by, false when the timer was cancelled.
asio::awaitable<bool> went_by(asio::steady_timer* timer, std::chrono::milliseconds time) {
  error_code error;
  timer->expires_after(time);
  co_await timer->async_wait(redirect_error(use_awaitable, error));
  co_return !error;
}

asio::steady_timer never(const asio::any_io_executor& executor) {
  return asio::steady_timer(executor, asio::steady_timer::time_point::max());
}

}  // namespace

/// A request that has no answer yet.
struct StdioTransport::Waiter {
  explicit Waiter(const asio::any_io_executor& executor) : done(never(executor)) {}
  asio::steady_timer done;
  std::optional<Result<Message>> answer;
};

Result<std::unique_ptr<StdioTransport>> StdioTransport::start(const ServerCommand& command,
                                                              TransportLimits limits,
                                                              asio::any_io_executor executor,
                                                              Listener& listener) {
  PONDER_TRY(ServerProcess process, start_server(command));
  return std::make_unique<StdioTransport>(std::move(process), limits, std::move(executor),
                                          listener);
}

StdioTransport::StdioTransport(ServerProcess process, TransportLimits limits,
                               asio::any_io_executor executor, Listener& listener)
    : executor_(std::move(executor)),
      listener_(&listener),
      limits_(limits),
      process_(std::move(process.process)),
      input_(executor_, asio::local::stream_protocol(), process.input.release()),
      output_(executor_, process.output.release()),
      error_output_(executor_, process.errors.release()),
      lines_(limits.message_bytes_max),
      outbox_filled_(never(executor_)),
      process_ended_(executor_),
      output_ended_(executor_),
      tasks_(executor_) {
  tasks_.spawn(read_output());
  tasks_.spawn(read_errors());
  tasks_.spawn(write_input());
  tasks_.spawn(attend_end());
}

asio::awaitable<Result<Message>> StdioTransport::exchange(Outgoing request) {
  const auto cancellation = co_await asio::this_coro::cancellation_state;
  if (cancellation.cancelled() != asio::cancellation_type::none) {
    co_return fail(Errc::cancelled, "cancelled before it was sent");
  }
  if (end_) co_return tl::unexpected<Error>(*end_);
  PONDER_CO_CHECK(enqueue(std::move(request.text)));
  Waiter waiter(executor_);
  waiters_[request.id] = &waiter;
  error_code ignored;
  co_await waiter.done.async_wait(redirect_error(use_awaitable, ignored));
  waiters_.erase(request.id);
  if (!waiter.answer) co_return fail(Errc::cancelled, "the request was cancelled");
  co_return std::move(*waiter.answer);
}

asio::awaitable<Status> StdioTransport::send(Outgoing message) {
  if (end_) co_return tl::unexpected<Error>(*end_);
  co_return enqueue(std::move(message.text));
}

asio::awaitable<void> StdioTransport::listen() { co_return; }  // one stream carries everything

asio::awaitable<void> StdioTransport::close() {
  is_closing_ = true;
  outbox_filled_.cancel();
  begin_urging();
  co_await tasks_.join();
}

Status StdioTransport::enqueue(std::string text) {
  if (outbox_bytes_ + text.size() > limits_.outbox_bytes_max) {
    return fail(Errc::exhausted,
                fmt::format("the server has not read {} bytes that were sent", outbox_bytes_));
  }
  text += '\n';
  outbox_bytes_ += text.size();
  outbox_.push_back(std::move(text));
  outbox_filled_.cancel();
  return {};
}

asio::awaitable<void> StdioTransport::write_input() {
  error_code error;
  while (!error && !end_) {
    if (!outbox_.empty()) {
      co_await asio::async_write(input_, asio::buffer(outbox_.front()),
                                 redirect_error(use_awaitable, error));
      outbox_bytes_ -= outbox_.front().size();
      outbox_.pop_front();
      continue;
    }
    if (is_closing_) break;
    error_code ignored;
    co_await outbox_filled_.async_wait(redirect_error(use_awaitable, ignored));
  }
  error_code ignored;
  if (input_.is_open()) input_.close(ignored);
  if (error) begin_urging();  // it reads no more: requests would wait for answers in vain
}

asio::awaitable<void> StdioTransport::read_output() {
  std::array<char, kReadBytes> buffer;
  error_code error;
  while (!error) {
    const std::size_t bytes = co_await output_.async_read_some(
        asio::buffer(buffer), redirect_error(use_awaitable, error));
    lines_.feed({buffer.data(), bytes},
                [this](const Result<std::string_view>& line) { on_line(line); });
  }
  has_output_ = false;
  output_ended_.cancel();
  begin_urging();  // nobody can speak with it any more
}

asio::awaitable<void> StdioTransport::read_errors() {
  std::array<char, 4096> buffer;
  error_code error;
  while (!error) {
    const std::size_t bytes = co_await error_output_.async_read_some(
        asio::buffer(buffer), redirect_error(use_awaitable, error));
    errors_.append(buffer.data(), bytes);
    if (errors_.size() > 2 * limits_.errors_bytes_max) {
      errors_.erase(0, errors_.size() - limits_.errors_bytes_max);
    }
  }
}

asio::awaitable<void> StdioTransport::attend_end() {
  error_code ignored;
  asio::posix::stream_descriptor pidfd(executor_, process_.pidfd());
  co_await pidfd.async_wait(asio::posix::stream_descriptor::wait_read,
                            redirect_error(use_awaitable, ignored));
  pidfd.release();  // the process owns it
  const siginfo_t end = process_.reap();
  has_process_ = false;
  process_ended_.cancel();
  // What it wrote last is still in the pipe. A process that left its group may hold the other end.
  if (has_output_) {
    co_await went_by(&output_ended_, limits_.grace);
  }
  if (output_.is_open()) output_.close(ignored);
  if (error_output_.is_open()) error_output_.close(ignored);
  if (input_.is_open()) input_.close(ignored);
  end_.emplace(Errc::unavailable, verdict_.empty() ? end_text(end) : verdict_);
  outbox_filled_.cancel();
  fail_all(*end_);
}

void StdioTransport::begin_urging() {
  if (is_urged_ || !has_process_) return;
  is_urged_ = true;
  tasks_.spawn(urge_to_end());
}

asio::awaitable<void> StdioTransport::urge_to_end() {
  const bool is_late = co_await went_by(&process_ended_, limits_.grace);
  if (!is_late || !has_process_) co_return;
  process_.signal_group(SIGTERM);
  const bool is_deaf = co_await went_by(&process_ended_, limits_.grace);
  if (is_deaf && has_process_) process_.kill_group();
}

void StdioTransport::on_line(const Result<std::string_view>& line) {
  if (!verdict_.empty()) return;
  if (!line) {
    // It was the answer to one of them, and nobody can say which.
    fail_all(line.error());
    on_garbage(line.error().message);
    return;
  }
  auto messages = parse_messages(*line);
  if (!messages) {
    constexpr std::size_t kShownMax = 200;
    on_garbage(fmt::format("'{}' ({})", one_line(*line, kShownMax), messages.error().message));
    return;
  }
  has_spoken_ = true;
  for (Message& message : *messages) on_message(std::move(message));
}

void StdioTransport::on_message(Message message) {
  if (!message.is_answer()) {
    listener_->on_message(std::move(message), 0);
    return;
  }
  const bool is_ours = message.id.is_number_integer();
  auto it = is_ours ? waiters_.find(message.id.get<std::int64_t>()) : waiters_.end();
  // A server that cannot read a request answers null.
  if (message.id.is_null() && waiters_.size() == 1) it = waiters_.begin();
  if (it == waiters_.end() || it->second->answer) {
    // An answer to a request that was cancelled comes late by right; it is not counted.
    if (!is_ours) on_garbage(fmt::format("an answer to {}", dump_json_short(message.id)));
    return;
  }
  it->second->answer.emplace(std::move(message));
  it->second->done.cancel();
}

void StdioTransport::on_garbage(const std::string& what) {
  listener_->on_garbage(what);
  const std::size_t lines_max =
      has_spoken_ ? limits_.garbage_lines_max : limits_.garbage_lines_begin_max;
  if (++garbage_lines_ <= lines_max || !has_process_) return;
  verdict_ = fmt::format("it was ended: {} of its lines were no messages, the last: {}",
                         garbage_lines_, what);
  process_.kill_group();
}

void StdioTransport::fail_all(const Error& error) {
  for (const auto& [id, waiter] : waiters_) {
    if (waiter->answer) continue;
    waiter->answer.emplace(tl::unexpected<Error>(error));
    waiter->done.cancel();
  }
}

}  // namespace ponder::mcp
