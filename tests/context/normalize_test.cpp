#include "context/normalize.h"

#include <gtest/gtest.h>

#include "context/thinking_policy.h"
#include "tests/context/conversations.h"

namespace ponder::context {
namespace {

using testing::assistant;
using testing::call;
using testing::result;
using testing::system;
using testing::user;

std::vector<std::string> contents(const Conversation& conversation) {
  std::vector<std::string> texts;
  for (const Message& message : conversation) texts.push_back(message.content);
  return texts;
}

using Texts = std::vector<std::string>;

TEST(Normalize, LeavesAFitConversationAlone) {
  const auto normal = normalize({system("s"), user("q"), assistant("r", "", {call("f")}),
                                 result("1"), assistant("r", "done")},
                                {});
  ASSERT_TRUE(normal);
  EXPECT_EQ(contents(normal->conversation), (Texts{"s", "q", "", "1", "done"}));
  EXPECT_TRUE(normal->notes.empty());
}

TEST(Normalize, PutsToolsOnTheLeadingSystemMessage) {
  const auto normal = normalize({system("s"), user("q")}, {{"f", "", ""}});
  ASSERT_TRUE(normal);
  EXPECT_EQ(normal->conversation.size(), 2u);
  EXPECT_EQ(normal->conversation[0].tools.at(0).name, "f");
}

TEST(Normalize, MakesASystemMessageForToolsOnlyWhereNoneLeads) {
  const auto normal = normalize({user("q")}, {{"f", "", ""}});
  ASSERT_TRUE(normal);
  EXPECT_EQ(contents(normal->conversation), (Texts{"", "q"}));
  EXPECT_EQ(normal->conversation[0].tools.size(), 1u);
  Message developer = user("q");
  developer.role = Role::developer;
  const auto with_developer = normalize({developer}, {{"f", "", ""}});
  ASSERT_TRUE(with_developer);
  EXPECT_EQ(with_developer->conversation.size(), 1u);
  EXPECT_EQ(with_developer->conversation[0].tools.size(), 1u);
}

TEST(Normalize, MovesResultsToThePlaceOfTheirCalls) {
  const auto normal =
      normalize({user("q"), assistant("r", "", {call("f", "{}", "a"), call("g", "{}", "b")}),
                 result("of b", "b"), result("of a", "a")},
                {});
  ASSERT_TRUE(normal);
  EXPECT_EQ(contents(normal->conversation), (Texts{"q", "", "of a", "of b"}));
  EXPECT_EQ(normal->notes, (Texts{"message 2: a tool result was moved to the place of its call"}));
}

TEST(Normalize, FillsInAMissingResultSoThatTheBlockCloses) {
  const auto normal =
      normalize({user("q"), assistant("r", "", {call("f", "{}", "a"), call("g", "{}", "b")}),
                 result("of b", "b"), user("n")},
                {});
  ASSERT_TRUE(normal);
  EXPECT_EQ(contents(normal->conversation), (Texts{"q", "", kMissingResult, "of b", "n"}));
  EXPECT_EQ(normal->conversation[2].tool_call_id, "a");
}

TEST(Normalize, CallsThatAreStillRunningStayOpen) {
  const auto normal = normalize({user("q"), assistant("r", "", {call("f")})}, {});
  ASSERT_TRUE(normal);
  EXPECT_EQ(normal->conversation.size(), 2u);
}

TEST(Normalize, RefusesAResultWithoutACall) {
  for (const Conversation& conversation :
       {Conversation{result("1")}, Conversation{user("q"), result("1")},
        Conversation{user("q"), assistant("r", "", {call("f", "{}", "a")}), result("1", "z")},
        Conversation{user("q"), assistant("r", "", {call("f")}), result("1"), result("2")}}) {
    EXPECT_FALSE(normalize(conversation, {}));
  }
}

TEST(Normalize, MergesLateSystemMessagesIntoTheFirst) {
  const auto normal = normalize({user("q"), system("be brief"), system("be kind")}, {});
  ASSERT_TRUE(normal);
  EXPECT_EQ(contents(normal->conversation), (Texts{"be brief\n\nbe kind", "q"}));
  EXPECT_TRUE(lint(normal->conversation, *thinking_policy("dsv32")));
}

TEST(Normalize, RefusesArgumentsThatAreNoObject) {
  for (const char* arguments : {"[]", "oops", "", "null"}) {
    EXPECT_FALSE(normalize({user("q"), assistant("r", "", {call("f", arguments)})}, {}));
  }
}

TEST(Normalize, RefusesNamesTheMarkupCannotCarry) {
  EXPECT_FALSE(normalize({user("q"), assistant("r", "", {call("f\"g")})}, {}));
  EXPECT_FALSE(normalize({user("q"), assistant("r", "", {call("f", R"({"a\nb":1})")})}, {}));
  EXPECT_FALSE(normalize({user("q")}, {{"a｜DSML｜b", "", ""}}));
}

TEST(Normalize, FlagsAValueThatCannotBeParsedBack) {
  const auto normal = normalize(
      {user("q"), assistant("r", "", {call("f", R"({"a":"</｜DSML｜parameter>"})")})}, {});
  ASSERT_TRUE(normal);
  EXPECT_EQ(normal->notes,
            (Texts{"message 1: a value of 'f' holds markup; the message cannot be parsed back"}));
}

}  // namespace
}  // namespace ponder::context
