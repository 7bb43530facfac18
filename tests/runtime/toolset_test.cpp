#include "runtime/workflow/toolset.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <boost/asio/thread_pool.hpp>

#include "runtime/agent/agent_tool.h"
#include "runtime/workflow/assistant_workflow.h"
#include "tests/tools/temporary_folder.h"
#include "tools/process/sandbox_support.h"

namespace ponder::runtime {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::UnorderedElementsAre;

class ToolsetTest : public ::testing::Test {
 protected:
  ToolsetTest() {
    options_.state_folder = folder_.path() / "state";
    options_.tell = [this](const std::string& line) { told_.push_back(line); };
  }
  ~ToolsetTest() override { pool_.join(); }

  void write_tool(const std::string& name, const std::string& capabilities) {
    const std::string file = name + ".lua";
    folder_.write(file, "return { name = '" + name + "', description = 'Does " + name +
                            ".', effect = 'pure', capabilities = {" + capabilities +
                            "}, parameters = { type = 'object' }, run = function() return 1 end }");
    options_.config.tools.files.push_back(folder_.path() / file);
  }
  Result<std::vector<std::string>> add() {
    return add_toolset(registry_, options_, system_clock(), pool_.get_executor());
  }
  std::vector<std::string> names() const {
    std::vector<std::string> out;
    for (const auto& spec : registry_.specs()) out.push_back(spec.name);
    return out;
  }

  boost::asio::thread_pool pool_{1};
  tests::TemporaryFolder folder_;
  ToolsetOptions options_;
  tools::Registry registry_;
  std::vector<std::string> told_;
};

TEST_F(ToolsetTest, NothingConfiguredAddsNothing) {
  const auto granted = add();
  ASSERT_TRUE(granted) << granted.error().message;
  EXPECT_THAT(*granted, IsEmpty());
  EXPECT_THAT(names(), IsEmpty());
}

TEST_F(ToolsetTest, WhatAToolDeclaresAndThePersonGrantsIsGranted) {
  write_tool("keeps", "'kv', 'sql'");
  options_.config.tools.grants = {"kv", "ask"};
  const auto granted = add();
  ASSERT_TRUE(granted) << granted.error().message;
  EXPECT_THAT(names(), ElementsAre("keeps"));
  EXPECT_THAT(*granted, ElementsAre("kv"));
  EXPECT_THAT(told_, ElementsAre(HasSubstr("keeps needs sql, which is not granted")));
}

TEST_F(ToolsetTest, AFileWithFaultsIsNamed) {
  folder_.write("bad.lua", "return {");
  options_.config.tools.files = {folder_.path() / "bad.lua"};
  const auto granted = add();
  ASSERT_FALSE(granted);
  EXPECT_THAT(granted.error().message, HasSubstr("bad.lua"));
}

TEST_F(ToolsetTest, AFolderWithoutToolsIsALine) {
  std::filesystem::create_directories(folder_.path() / "empty");
  options_.config.tools.files = {folder_.path() / "empty"};
  ASSERT_TRUE(add());
  EXPECT_THAT(told_, ElementsAre(HasSubstr("empty: no tool is in there (*.lua)")));
}

TEST_F(ToolsetTest, TheWebIsThereWhenItIsConfigured) {
  options_.config.web.emplace();
  options_.config.web->search = "duckduckgo";
  const auto granted = add();
  ASSERT_TRUE(granted) << granted.error().message;
  EXPECT_THAT(names(), UnorderedElementsAre("web_search", "web_fetch"));
  EXPECT_EQ(granted->size(), 1U);
}

TEST_F(ToolsetTest, AKeyThatIsNotSetIsNamed) {
  options_.config.web.emplace();
  options_.config.web->search = "brave";
  options_.config.web->key = SecretSource{"BRAVE_API_KEY", {}};
  const auto granted = add();
  ASSERT_FALSE(granted);
  EXPECT_THAT(granted.error().message, HasSubstr("BRAVE_API_KEY"));
}

TEST_F(ToolsetTest, AServerThatDoesNotStartIsALineAndNoFault) {
  McpServerConfig server;
  server.name = "gone";
  server.command = {"/nowhere/server"};
  options_.config.mcp.push_back(server);
  const auto granted = add();
  ASSERT_TRUE(granted) << granted.error().message;
  EXPECT_THAT(names(), IsEmpty());
  EXPECT_THAT(told_, ElementsAre(HasSubstr("mcp gone: ")));
}

TEST_F(ToolsetTest, ASessionThatGoesOnIsToldOfToolsThatAreGoneOrOthers) {
  write_tool("first", "");
  write_tool("second", "");
  WorkflowOptions how;
  how.name = kAssistantWorkflow;
  how.request = "hello";
  how.toolset = options_;
  const auto workflow = open_assistant_workflow(how);
  ASSERT_TRUE(workflow) << workflow.error().message;
  SessionStarted start = (*workflow)->session_start();
  start.tools.push_back(agent_tool_spec());  // which every agent that may use it has

  options_.config.tools.files = {folder_.path() / "second.lua"};
  folder_.write("second.lua",
                "return { name = 'second', description = 'Does harm.', "
                "effect = 'pure', parameters = { type = 'object' }, "
                "run = function() return 2 end }");
  const auto again = reopen_assistant_workflow(start, options_);
  ASSERT_TRUE(again) << again.error().message;
  EXPECT_EQ((*again)->request(), "hello");
  EXPECT_THAT(told_, ElementsAre(HasSubstr("first of this session is not here"),
                                 HasSubstr("second has changed")));
}

TEST_F(ToolsetTest, TheLogSaysWhatKeepsTheProgramsOfToolsIn) {
  WorkflowOptions how;
  how.name = kAssistantWorkflow;
  write_tool("thinks", "'kv'");
  how.toolset = options_;
  const auto without = open_assistant_workflow(how);
  ASSERT_TRUE(without) << without.error().message;
  EXPECT_THAT((*without)->session_start().environment, Not(HasSubstr("protections")))
      << "nothing in it starts a program";

  write_tool("runs", "'exec:git'");
  McpServerConfig server;
  server.name = "gone";
  server.command = {"/nowhere/server"};
  options_.config.mcp.push_back(server);
  how.toolset = options_;
  const auto with = open_assistant_workflow(how);
  ASSERT_TRUE(with) << with.error().message;
  const std::string environment = (*with)->session_start().environment;
  EXPECT_THAT(environment, HasSubstr("\"protections\":["
                                     "\"programs of tools in Lua files: isolated\","
                                     "\"mcp gone: the user's rights, in a process "));
  for (const std::string& line : tools::describe(tools::sandbox_support())) {
    EXPECT_THAT(environment, HasSubstr(line.substr(0, line.find('"'))));
  }
}

TEST_F(ToolsetTest, AnAssistantWritesItsLastAnswerAndClaimsNoProof) {
  WorkflowOptions how;
  how.name = kAssistantWorkflow;
  const auto workflow = open_assistant_workflow(how);
  ASSERT_TRUE(workflow) << workflow.error().message;
  SessionState state;
  context::Conversation said(3);
  said[0].role = context::Role::assistant;
  said[0].content = "let me see";
  said[1].role = context::Role::tool;
  said[2].role = context::Role::assistant;
  said[2].content = "42";
  state.conversation = said;
  const auto files = (*workflow)->write_artefacts(folder_.path() / "out", {}, state);
  ASSERT_TRUE(files) << files.error().message;
  EXPECT_THAT(*files, ElementsAre("answer.md"));
  EXPECT_EQ(folder_.read("out/answer.md"), "42\n");
  const auto verdict = (*workflow)->judge(state);
  ASSERT_TRUE(verdict);
  EXPECT_TRUE(verdict->is_solved);
  EXPECT_FALSE(verdict->is_checked);
}

}  // namespace
}  // namespace ponder::runtime
