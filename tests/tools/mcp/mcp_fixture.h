#pragma once

#include <gtest/gtest.h>

#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "tests/tools/call_tool.h"
#include "tools/mcp/detail/server_process.h"
#include "tools/mcp/mcp_tools.h"
#include "tools/registry.h"

namespace ponder::mcp::test {

/// A session that remembers what a call did with it, and answers questions from a list.
class FakeServices final : public tools::CallServices {
 public:
  boost::asio::awaitable<Result<std::string>> ask(tools::Question question) override {
    questions.push_back(std::move(question));
    if (answers.empty()) co_return fail(Errc::unavailable, "nobody is there");
    std::string answer = std::move(answers.front());
    answers.pop_front();
    co_return answer;
  }
  void progress(std::string_view text, std::optional<double> share) override {
    progress_texts.emplace_back(text);
    shares.push_back(share);
    if (on_progress) on_progress();
  }
  boost::asio::awaitable<Status> note(tools::Note note) override {
    notes.push_back(note.kind + ": " + note.content);
    co_return Status();
  }
  std::optional<std::string> value(std::string_view) const override { return std::nullopt; }
  boost::asio::awaitable<Status> set_value(std::string, std::optional<std::string>) override {
    co_return Status();
  }
  std::deque<std::string> answers;
  std::vector<tools::Question> questions;
  std::vector<std::string> progress_texts;
  std::vector<std::optional<double>> shares;
  std::vector<std::string> notes;
  std::function<void()> on_progress;
};

/// A machine that is busy may take its time to start a server.
inline void be_patient(ServerOptions& server) {
  server.connect_ms_max = std::chrono::minutes(2);
  server.probe_ms_max = std::chrono::minutes(1);
}

inline ServerOptions stdio_server(const std::vector<std::string>& traits) {
  ServerOptions server;
  server.name = "fake";
  be_patient(server);
  server.command = {"/usr/bin/python3", "tests/tools/mcp/fake_server.py", "stdio"};
  server.working_folder = std::filesystem::current_path();
  server.command.insert(server.command.end(), traits.begin(), traits.end());
  return server;
}

/// The fake server as a process of its own, on a port that it chose.
class HttpServer {
 public:
  explicit HttpServer(const std::vector<std::string>& traits) {
    ServerCommand command;
    command.argv = {"/usr/bin/python3", "tests/tools/mcp/fake_server.py", "http"};
    command.argv.insert(command.argv.end(), traits.begin(), traits.end());
    command.working_folder = std::filesystem::current_path();
    auto started = start_server(command);
    EXPECT_TRUE(started.has_value()) << (started ? "" : started.error().message);
    process_.emplace(std::move(*started));
    char letter = 0;
    while (::read(process_->output.get(), &letter, 1) == 1 && letter != '\n') port_ += letter;
    EXPECT_FALSE(port_.empty());
  }
  ServerOptions options() const {
    ServerOptions server;
    server.name = "fake";
    be_patient(server);
    server.url = "http://127.0.0.1:" + port_ + "/mcp";
    return server;
  }

 private:
  std::optional<ServerProcess> process_;
  std::string port_;
};

/// One session's tools, and calls of them.
class McpTest : public testing::Test {
 protected:
  Report connect(std::vector<ServerOptions> servers) {
    options_.servers = std::move(servers);
    auto report = add_mcp_tools(registry_, options_, waiting_);
    EXPECT_TRUE(report.has_value()) << (report ? "" : report.error().message);
    return report ? *report : Report();
  }
  Report connect(const ServerOptions& server) { return connect(std::vector{server}); }

  static tools::ToolContext context(tools::CallServices* services) {
    tools::ToolContext context(system_clock(),
                               Deadline::after(system_clock(), std::chrono::seconds(60)), 100'000);
    context.services = services;
    return context;
  }
  Result<tools::ToolOutput> try_call(const std::string& tool, const std::string& arguments,
                                     tools::CallServices* services) {
    context::ToolCall call;
    call.name = tool;
    call.arguments = arguments;
    return tests::run_sync(tests::call_tool(registry_, call, {kCapability}, context(services)));
  }
  /// What the model reads; errors begin with "error: ".
  std::string call(const std::string& tool, const std::string& arguments = "{}") {
    auto output = try_call(tool, arguments, &services_);
    if (!output) return "failed: " + output.error().message;
    EXPECT_EQ(output->is_error, output->content.starts_with("error: ")) << output->content;
    return output->content;
  }
  /// Begins a call and cancels it when the server has said that it works on it.
  Errc cancel_under_way(const std::string& tool) {
    boost::asio::io_context io;
    boost::asio::cancellation_signal signal;
    services_.on_progress = [&] {
      boost::asio::post(io, [&] { signal.emit(boost::asio::cancellation_type::all); });
    };
    context::ToolCall call;
    call.name = tool;
    call.arguments = "{}";
    std::optional<Result<tools::ToolOutput>> result;
    auto work = tests::call_tool(registry_, call, {kCapability}, context(&services_));
    boost::asio::co_spawn(
        io, tests::store_result<tools::ToolOutput>(std::move(work), &result),
        boost::asio::bind_cancellation_slot(signal.slot(), [](const std::exception_ptr&) {}));
    io.run();
    services_.on_progress = nullptr;
    EXPECT_TRUE(result && !*result);
    return result && !*result ? result->error().code : Errc::internal;
  }
  /// The server's list of what was cancelled, when it is no longer empty.
  std::string what_was_cancelled() {
    for (int i = 0; i < 2000; ++i) {
      std::string list = call("fake_cancelled");
      if (list != "[]") return list;
    }
    return "[]";
  }

  tools::Registry registry_;
  Options options_;
  Waiting waiting_;
  FakeServices services_;
};

}  // namespace ponder::mcp::test
