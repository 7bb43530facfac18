#include "runtime/model/tool_grammar.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/assert.h"
#include "runtime/model/next_turn.h"
#include "runtime/session/session_state.h"

namespace ponder::runtime {
namespace {

using engine::GrammarMatch;
using ::testing::HasSubstr;

class ToolGrammarTest : public ::testing::Test {
 protected:
  ToolGrammarTest() {
    const std::vector<context::ToolSpec> specs = {{"now", "", R"({"type":"object"})"},
                                                  {"book", "", R"({"type":"object","properties":{
            "city":{"type":"string"},"size":{"enum":["S","M"]},"nights":{"type":"integer"}},
            "required":["city"]})"}};
    auto built = tool_grammar(specs, context::dsv32());
    PONDER_ASSERT(built.has_value());
    grammar_ = *built;
  }
  GrammarMatch match(const std::string& invoke) const {
    return grammar_->match("thinking</think>text\n\n<｜DSML｜function_calls>\n" + invoke +
                           "\n</｜DSML｜function_calls>");
  }
  static std::string invoke(const std::string& name, const std::string& parameters) {
    return "<｜DSML｜invoke name=\"" + name + "\">\n" + parameters + "\n</｜DSML｜invoke>";
  }
  static std::string parameter(const std::string& name, const std::string& is_string,
                               const std::string& value) {
    return "<｜DSML｜parameter name=\"" + name + "\" string=\"" + is_string + "\">" + value +
           "</｜DSML｜parameter>";
  }
  std::shared_ptr<const engine::Grammar> grammar_;
};

TEST_F(ToolGrammarTest, FreeTextIsFreeUntilTheMarkerOpens) {
  EXPECT_EQ(grammar_->match("thoughts</think>an answer < 7"), GrammarMatch::full);
  EXPECT_EQ(grammar_->match("so <｜DSML｜function_ca"), GrammarMatch::prefix);
  EXPECT_EQ(grammar_->match("so <｜DSML｜toolcalls>"), GrammarMatch::none);
}

TEST_F(ToolGrammarTest, WellFormedCallsOfKnownToolsMatch) {
  EXPECT_EQ(match(invoke("now", "")), GrammarMatch::full);
  EXPECT_EQ(match(invoke("book", parameter("city", "true", "Xi'an <b>"))), GrammarMatch::full);
  EXPECT_EQ(match(invoke("now", "") + "\n" +
                  invoke("book", parameter("nights", "false", "2") + "\n" +
                                     parameter("city", "true", "") + "\n" +
                                     parameter("size", "true", "M"))),
            GrammarMatch::full);
}

TEST_F(ToolGrammarTest, WhatTheToolsDoNotDeclareCannotBeWritten) {
  EXPECT_EQ(match(invoke("later", "")), GrammarMatch::none);
  EXPECT_EQ(match(invoke("now", parameter("x", "true", "y"))), GrammarMatch::none);
  const std::string city = parameter("city", "true", "Wuhan");
  EXPECT_EQ(match(invoke("book", "")), GrammarMatch::none);  // city is required
  EXPECT_EQ(match(invoke("book", city + "\n" + city)), GrammarMatch::none);
  EXPECT_EQ(match(invoke("book", city + "\n" + parameter("size", "true", "XL"))),
            GrammarMatch::none);
  EXPECT_EQ(match(invoke("book", city + "\n" + parameter("nights", "false", "two"))),
            GrammarMatch::none);
  EXPECT_EQ(match(invoke("book", parameter("city", "false", "1"))), GrammarMatch::none);
}

TEST_F(ToolGrammarTest, NothingFollowsTheBlock) {
  EXPECT_EQ(grammar_->match("<｜DSML｜function_calls>\n" + invoke("now", "") +
                            "\n</｜DSML｜function_calls> and more"),
            GrammarMatch::none);
}

TEST_F(ToolGrammarTest, LiveValuesAreTheOnlyOnesOfTheirParameterWhileTheyLast) {
  const std::vector<context::ToolSpec> specs = {
      {"open", "", R"({"type":"object","properties":{"door":{"type":"string"}}})"}};
  const auto matches = [&](const std::vector<LiveValues>& live, const std::string& value) {
    grammar_ = *tool_grammar(specs, context::dsv32(), live);
    return match(invoke("open", parameter("door", "true", value))) == GrammarMatch::full;
  };
  EXPECT_TRUE(matches({}, "anything"));
  EXPECT_TRUE(matches({{"open", "door", {"red", "blue"}}}, "blue"));
  EXPECT_FALSE(matches({{"open", "door", {"red", "blue"}}}, "green"));
  EXPECT_TRUE(matches({{"open", "window", {"red"}}}, "green"));
  EXPECT_TRUE(matches({{"close", "door", {"red"}}}, "green"));
  EXPECT_FALSE(matches({{"open", "door", {"red", "<think>"}}}, "<think>"));
}

/// As generators of schemas write what may be left open, or is one value only.
TEST_F(ToolGrammarTest, AValueOfSeveralKindsIsHeldToThem) {
  const auto matches = [&](const std::string& property, const std::string& is_string,
                           const std::string& value) {
    const std::string schema = R"({"type":"object","properties":{"p":)" + property + "}}";
    const auto built = tool_grammar({{"t", "", schema}}, context::dsv32());
    PONDER_ASSERT(built.has_value());
    grammar_ = *built;
    return match(invoke("t", parameter("p", is_string, value))) == GrammarMatch::full;
  };
  for (const char* nullable :
       {R"({"type":["string","null"]})", R"({"anyOf":[{"type":"string"},{"type":"null"}]})",
        R"({"oneOf":[{"anyOf":[{"type":"null"}]},{"type":"string"}]})"}) {
    EXPECT_TRUE(matches(nullable, "true", "text")) << nullable;
    EXPECT_TRUE(matches(nullable, "false", "null")) << nullable;
    EXPECT_FALSE(matches(nullable, "false", "7")) << nullable;
  }
  const char* integer_or_one = R"({"anyOf":[{"type":"integer"},{"const":"all"}]})";
  EXPECT_TRUE(matches(integer_or_one, "false", "12"));
  EXPECT_TRUE(matches(integer_or_one, "true", "all"));
  EXPECT_FALSE(matches(integer_or_one, "true", "some"));
  EXPECT_FALSE(matches(integer_or_one, "false", "1.5"));
  // What it does not know, it leaves to the check of the call.
  for (const char* open : {R"({"$ref":"#/$defs/x"})", R"({"type":[7]})", R"({"anyOf":[]})",
                           R"({"anyOf":[{"$ref":"#/$defs/x"},{"type":"null"}]})", "{}", "true"}) {
    EXPECT_TRUE(matches(open, "true", "text")) << open;
    EXPECT_TRUE(matches(open, "false", "[1]")) << open;
  }
}

TEST(ToolGrammar, AToolWithTooManyParametersIsNamed) {
  const auto with = [](int num) {
    std::string properties;
    for (int i = 0; i < num; ++i) {
      properties += (i == 0 ? "\"p" : ",\"p") + std::to_string(i) + "\":{}";
    }
    return tool_grammar({{"many", "", R"({"properties":{)" + properties + "}}"}}, context::dsv32());
  };
  EXPECT_TRUE(with(63));
  const auto refused = with(64);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().message, "many has more than 63 parameters");
}

TEST(LiveValues, TheModelIsHeldToTheHashesThatItCanRead) {
  SessionState state;
  state.start.emplace();
  state.is_turn_open = true;
  EXPECT_TRUE(next_request(state).live_values.empty());
  state.blobs = {{std::string(64, 'a'), 10, "a result"}, {std::string(64, 'b'), 10, "another"}};
  const auto live = next_request(state).live_values;
  ASSERT_EQ(live.size(), 1U);
  EXPECT_EQ(live[0].tool, context::kReadBlobTool);
  EXPECT_EQ(live[0].parameter, "hash");
  EXPECT_EQ(live[0].values, (std::vector{std::string(context::kHashShown, 'a'),
                                         std::string(context::kHashShown, 'b')}));
}

/// Whether a call with this parameter matches, where the tool has `property` under that name.
bool takes(const std::string& property, const std::string& is_string, const std::string& value,
           const std::string& definitions = "{}") {
  const auto grammar = tool_grammar(
      {{"tool", "",
        R"({"type":"object","properties":{"p":)" + property + R"(},"$defs":)" + definitions + "}"}},
      context::dsv32());
  PONDER_ASSERT(grammar.has_value());
  return (*grammar)->match(
             "<｜DSML｜function_calls>\n<｜DSML｜invoke name=\"tool\">\n"
             "<｜DSML｜parameter name=\"p\" string=\"" +
             is_string + "\">" + value +
             "</｜DSML｜parameter>\n</｜DSML｜invoke>\n</｜DSML｜function_calls>") ==
         GrammarMatch::full;
}

TEST(ToolGrammar, AlternativesAllowWhatAnyOfThemDoes) {
  const std::string property =
      R"({"anyOf":[{"enum":["red","blue"]},{"oneOf":[{"type":"integer"},{"type":"null"}]}]})";
  EXPECT_TRUE(takes(property, "true", "blue"));
  EXPECT_TRUE(takes(property, "false", "7"));
  EXPECT_TRUE(takes(property, "false", "null"));
  EXPECT_FALSE(takes(property, "true", "green"));
  EXPECT_FALSE(takes(property, "false", "{}"));
  // One that says nothing leaves it open.
  EXPECT_TRUE(takes(R"({"anyOf":[{"enum":["red"]},{"minimum":3}]})", "true", "green"));
}

TEST(ToolGrammar, ReferencesAreFollowedAndThoseThatNeverEndLeaveTheValueOpen) {
  const std::string definitions =
      R"({"colour":{"enum":["red"]},"loop":{"anyOf":[{"$ref":"#/$defs/loop"},)"
      R"({"$ref":"#/$defs/loop"},{"$ref":"#/$defs/loop"}]}})";
  EXPECT_TRUE(takes(R"({"$ref":"#/$defs/colour"})", "true", "red", definitions));
  EXPECT_FALSE(takes(R"({"$ref":"#/$defs/colour"})", "true", "blue", definitions));
  EXPECT_TRUE(takes(R"({"$ref":"#/$defs/loop"})", "true", "blue", definitions));
  EXPECT_TRUE(takes(R"({"$ref":"#/$defs/gone"})", "false", "[]", definitions));
  EXPECT_TRUE(takes(R"({"$ref":"http://example.com/"})", "false", "[]", definitions));
}

TEST(ToolGrammar, ListedValuesThatAreMarkupCannotBeWritten) {
  const std::string property = R"({"enum":["good","x</｜DSML｜parameter>y",["<think>"]]})";
  EXPECT_TRUE(takes(property, "true", "good"));
  EXPECT_FALSE(takes(property, "true", "x</｜DSML｜parameter>y"));
  EXPECT_FALSE(takes(property, "false", R"(["<think>"])"));
  const auto none =
      tool_grammar({{"tool", "", R"({"properties":{"p":{"const":"<think>"}}})"}}, context::dsv32());
  ASSERT_FALSE(none);
  EXPECT_EQ(none.error().message, "no value of tool's parameter \"p\" can stand in a tool call");
}

TEST(ToolGrammar, ThousandsOfListedValuesAreOneParameter) {
  std::string values = "\"v0\"";
  for (int i = 1; i < 20'000; ++i) values += ",\"v" + std::to_string(i) + "\"";
  EXPECT_TRUE(takes("{\"enum\":[" + values + "]}", "true", "v19999"));
  EXPECT_FALSE(takes("{\"enum\":[" + values + "]}", "true", "v20000"));
}

TEST(ToolGrammar, ASchemaThatIsNoneIsRefusedByName) {
  const auto broken = tool_grammar({{"bad", "", "[]"}}, context::dsv32());
  ASSERT_FALSE(broken);
  EXPECT_EQ(broken.error().code, Errc::invalid_argument);
  EXPECT_THAT(broken.error().message, HasSubstr("bad"));
}

}  // namespace
}  // namespace ponder::runtime
