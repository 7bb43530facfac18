#include "tools/session/session_tools.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/tools/call_tool.h"
#include "tests/tools/session/fake_services.h"

namespace ponder::tools {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::StartsWith;

class SessionToolsTest : public ::testing::Test {
 protected:
  SessionToolsTest() {
    SessionToolOptions options;
    options.has_person = true;
    const Status added = add_session_tools(registry_, options);
    EXPECT_TRUE(added) << added.error().message;
  }
  Result<ToolOutput> call(const char* tool, const char* arguments) {
    ToolContext context(system_clock(), Deadline::never(), 10'000);
    context.services = &services_;
    return tests::run_sync(
        tests::call_tool(registry_, {"", tool, arguments}, /*grants=*/{}, context));
  }
  std::string content(const char* tool, const char* arguments) {
    const auto output = call(tool, arguments);
    return output ? output->content : errc_name(output.error().code);
  }

  Registry registry_;
  tests::FakeServices services_;
};

TEST_F(SessionToolsTest, AskUserGivesTheUsersWords) {
  services_.answer = "the blue one";
  EXPECT_EQ(content(kAskUserTool, R"({"question":"which?","choices":["the blue one","none"]})"),
            "the blue one");
  ASSERT_EQ(services_.questions.size(), 1U);
  EXPECT_EQ(services_.questions[0].text, "which?");
  EXPECT_THAT(services_.questions[0].choices, ElementsAre("the blue one", "none"));
}

TEST_F(SessionToolsTest, WithoutAnAnswerAskUserSaysHowToGoOn) {
  services_.answer = fail(Errc::unavailable, "nobody is here to be asked");
  EXPECT_THAT(content(kAskUserTool, R"({"question":"which?"})"),
              StartsWith("error: nobody is here to be asked; decide for yourself"));
  services_.answer = fail(Errc::deadline, "nobody answered in time");
  EXPECT_THAT(content(kAskUserTool, R"({"question":"which?"})"),
              StartsWith("error: nobody answered in time; go on without"));
  services_.answer = fail(Errc::invalid_argument, "too long");
  EXPECT_EQ(content(kAskUserTool, R"({"question":"which?"})"), "error: too long");
  services_.answer = fail(Errc::cancelled, "withdrawn");
  EXPECT_EQ(content(kAskUserTool, R"({"question":"which?"})"), "cancelled");
}

TEST_F(SessionToolsTest, TodoKeepsTheListAndShowsIt) {
  EXPECT_EQ(content(kTodoTool, "{}"), "the list is empty\n");
  const std::string list = "[x] look\n[>] change it\n[ ] test it\n";
  EXPECT_EQ(content(kTodoTool, R"({"items":[{"text":"look","status":"done"},
      {"text":"change\nit","status":"in_progress"},{"text":"test it","status":"pending"}]})"),
            list);
  EXPECT_EQ(services_.values.at(kTodoKey), list);
  EXPECT_EQ(content(kTodoTool, "{}"), list);
  EXPECT_EQ(content(kTodoTool, R"({"items":[]})"), "the list is empty\n");
  EXPECT_TRUE(services_.values.empty());
}

TEST_F(SessionToolsTest, WhatCannotBeKeptIsAnError) {
  services_.refusal.emplace(Errc::exhausted, "no room");
  EXPECT_EQ(content(kTodoTool, R"({"items":[{"text":"a","status":"done"}]})"), "error: no room");
}

TEST_F(SessionToolsTest, ArgumentsHaveBounds) {
  for (const char* wrong :
       {R"({"items":[{"text":"a"}]})", R"({"items":[{"text":"","status":"done"}]})",
        R"({"items":[{"text":"a","status":"perhaps"}]})", R"({"list":[]})"}) {
    EXPECT_THAT(content(kTodoTool, wrong), StartsWith("error: ")) << wrong;
  }
  for (const char* wrong : {"{}", R"({"question":""})", R"({"question":"a","choices":["one"]})"}) {
    EXPECT_THAT(content(kAskUserTool, wrong), StartsWith("error: ")) << wrong;
  }
  EXPECT_TRUE(services_.questions.empty());
}

TEST_F(SessionToolsTest, BothAreIdempotentAndNeedNoGrant) {
  for (const char* name : {kAskUserTool, kTodoTool}) {
    EXPECT_EQ(registry_.find(name)->effect(), Effect::idempotent);
    EXPECT_TRUE(registry_.find(name)->capabilities().empty());
  }
}

TEST(SessionTools, WithoutAPersonThereIsNobodyToAsk) {
  Registry registry;
  ASSERT_TRUE(add_session_tools(registry, {}));
  EXPECT_EQ(registry.find(kAskUserTool), nullptr);
  EXPECT_NE(registry.find(kTodoTool), nullptr);
}

TEST(SessionTools, OutsideOfASessionTheySaySo) {
  Registry registry;
  ASSERT_TRUE(add_session_tools(registry, {}));
  const ToolContext context(system_clock(), Deadline::never(), 10'000);
  const auto output =
      tests::run_sync(tests::call_tool(registry, {"", kTodoTool, "{}"}, {}, context));
  EXPECT_THAT(output->content, HasSubstr("belongs to no session"));
}

}  // namespace
}  // namespace ponder::tools
