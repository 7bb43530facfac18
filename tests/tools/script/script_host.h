#pragma once

#include <gtest/gtest.h>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/thread_pool.hpp>
#include <chrono>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "tests/tools/call_tool.h"
#include "tests/tools/script_folder.h"
#include "tools/script/grants.h"
#include "tools/script/lua_tools.h"

namespace ponder::tests {

/// A session of which a test sees everything.
class FakeServices final : public tools::CallServices {
 public:
  boost::asio::awaitable<Result<std::string>> ask(tools::Question question) override {
    questions.push_back(question.text);
    if (answer.empty()) co_return fail(Errc::unavailable, "nobody is here");
    co_return answer;
  }
  void progress(std::string_view text, std::optional<double>) override { shown.emplace_back(text); }
  boost::asio::awaitable<Status> note(tools::Note note) override {
    notes.push_back(note.kind + ": " + note.content);
    co_return Status();
  }
  std::optional<std::string> value(std::string_view key) const override {
    const auto found = values.find(std::string(key));
    return found == values.end() ? std::nullopt : std::optional(found->second);
  }
  boost::asio::awaitable<Status> set_value(std::string key,
                                           std::optional<std::string> value) override {
    values.erase(key);
    if (value) values.emplace(std::move(key), std::move(*value));
    co_return Status();
  }

  std::string answer;
  std::vector<std::string> questions, shown, notes;
  std::map<std::string, std::string> values;
};

/// Other agents, who say what they were told.
class FakeAgents final : public tools::AgentCaller {
 public:
  boost::asio::awaitable<Result<tools::ToolOutput>> run(tools::AgentTask task) override {
    co_return tools::ToolOutput("did: " + task.task, false);
  }
};

/// Tools in files of a test's own, called as an agent calls them.
class ScriptHost : public ::testing::Test {
 protected:
  ScriptHost() : pool_(1) {
    options_.paths = {folder_.path()};
    options_.data_folder = folder_.path() / "data";
    options_.tell = [this](const std::string& line) { told_.push_back(line); };
    options_.secrets = [](const std::string& name) -> Result<std::string> {
      if (name == "key") return "hunter2hunter2";
      return fail(Errc::not_found, "there is no secret '" + name + "'");
    };
  }
  ~ScriptHost() override {
    pool_.join();
    registry_.reset();
  }

  /// The file of a tool "probe" with this body of `run` and these capabilities.
  static std::string tool(const std::string& body, const std::string& capabilities = "") {
    return "return {\n  name = 'probe', description = 'A probe.', effect = 'pure',\n"
           "  capabilities = {" +
           capabilities +
           "},\n"
           "  run = function(args, ctx)\n" +
           body + "\nend }\n";
  }

  Status load() {
    registry_ = std::make_unique<tools::Registry>();
    PONDER_CHECK(tools::add_lua_tools(*registry_, options_, system_clock(), pool_.get_executor()));
    PONDER_TRY(capabilities_, tools::covered_capabilities(*registry_, options_.grants));
    return {};
  }

  tools::ToolContext context() {
    tools::ToolContext context(system_clock(), Deadline::after(system_clock(), time_max_),
                               output_bytes_max_);
    context.services = &services_;
    context.agents = &agents_;
    context.idempotency_key = "session-1/7";
    return context;
  }

  /// What the model reads; "ERRC: message" for a call that did not end by itself.
  std::string call(const std::string& arguments = "{}", const std::string& name = "probe") {
    context::ToolCall call;
    call.name = name;
    call.arguments = arguments;
    auto output = run_sync(call_tool(*registry_, call, capabilities_, context()));
    if (!output) return std::string(errc_name(output.error().code)) + ": " + output.error().message;
    return output->content;
  }

  /// What a tool with this body gives.
  std::string run(const std::string& body, const std::string& capabilities = "") {
    folder_.write("probe.lua", tool(body, capabilities));
    const Status status = load();
    return status ? call() : status.error().message;
  }

  ScriptFolder folder_;
  tools::LuaToolsOptions options_;
  FakeServices services_;
  FakeAgents agents_;
  std::vector<std::string> told_;
  std::vector<std::string> capabilities_;
  std::chrono::milliseconds time_max_{20'000};
  std::size_t output_bytes_max_ = 10'000;
  boost::asio::thread_pool pool_;
  std::unique_ptr<tools::Registry> registry_;
};

}  // namespace ponder::tests
