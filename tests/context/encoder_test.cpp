#include "context/encoder.h"

#include <gtest/gtest.h>

#include <string>

#include "context/json_lines.h"
#include "tests/context/vectors.h"

namespace ponder::context {
namespace {

using testing::read_data;
using testing::read_json;
using testing::string_at;
using testing::worked_examples;

std::string strip(std::string text) {
  constexpr const char* kSpace = " \t\r\n";
  text.erase(text.find_last_not_of(kSpace) + 1);
  text.erase(0, text.find_first_not_of(kSpace));
  return text;
}

void expect_official_vector(const std::string& input, const std::string& output) {
  Json document = read_json(input);
  Json::Array messages =
      document.is_array() ? *document.as_array() : *document.find("messages")->as_array();
  if (const Json* tools = document.find("tools")) messages[0].set("tools", *tools);
  const auto encoded = encode(messages, {}, {.thinking_mode = "thinking"});
  ASSERT_TRUE(encoded) << encoded.error().message;
  EXPECT_EQ(encoded->text, strip(read_data(output)));
  EXPECT_EQ(encoded->message_ends.size(), messages.size());
}

TEST(Encoder, ReproducesTheOfficialVectorWithToolsAndTwoUserTurns) {
  expect_official_vector("test_input.json", "test_output.txt");
}

TEST(Encoder, ReproducesTheOfficialSearchVectorWithoutDate) {
  expect_official_vector("test_input_search_wo_date.json", "test_output_search_wo_date.txt");
}

TEST(Encoder, ReproducesTheOfficialSearchVectorWithDate) {
  expect_official_vector("test_input_search_w_date.json", "test_output_search_w_date.txt");
}

TEST(Encoder, ReproducesEveryWorkedExampleAndItsErrorClass) {
  const Json::Array cases = worked_examples("encode");
  ASSERT_EQ(cases.size(), 68u);
  for (const Json& example : cases) {
    SCOPED_TRACE(string_at(example, "id"));
    const Result<Json> answer = parse_json(encode_line(print_json(example)));
    ASSERT_TRUE(answer);
    if (const Json* error = example.find("error")) {
      ASSERT_NE(answer->find("error"), nullptr) << print_json(*answer);
      EXPECT_EQ(string_at(*answer, "error"), string_at(*error, "class"));
      EXPECT_FALSE(string_at(*answer, "message").empty());
    } else {
      ASSERT_NE(answer->find("ok"), nullptr) << print_json(*answer);
      EXPECT_EQ(string_at(*answer, "ok"), string_at(example, "expect"));
    }
  }
}

Json::Array messages_of(std::string_view text) { return *parse_json(text)->as_array(); }

TEST(Encoder, MarksExactlyTheBytesThatCameFromTheCaller) {
  const auto messages = messages_of(R"([
      {"role":"system","content":"sys"},
      {"role":"user","content":"ask"},
      {"role":"assistant","content":"say","reasoning_content":"why","tool_calls":[
        {"function":{"name":"f","arguments":"{\"k\":\"v\",\"n\":7}"}}]},
      {"role":"tool","content":"res"}])");
  const auto encoded = encode(messages, {}, {.thinking_mode = "thinking"});
  ASSERT_TRUE(encoded);
  std::vector<std::string> found;
  for (const ByteSpan span : encoded->content) {
    found.push_back(encoded->text.substr(span.begin, span.end - span.begin));
  }
  EXPECT_EQ(found,
            (std::vector<std::string>{"sys", "ask", "why", "say", "f", "k", "v", "n", "7", "res"}));
}

TEST(Encoder, SaysWhereEachMessageEnds) {
  const auto messages =
      messages_of(R"([{"role":"user","content":"a"},)"
                  R"({"role":"assistant","content":"b","reasoning_content":"r"}])");
  const auto encoded = encode(messages, {}, {.thinking_mode = "thinking"});
  ASSERT_TRUE(encoded);
  ASSERT_EQ(encoded->message_ends.size(), 2u);
  EXPECT_TRUE(encoded->text.substr(0, encoded->message_ends[0]).ends_with("<think>"));
  EXPECT_EQ(encoded->message_ends[1], encoded->text.size());
}

TEST(Encoder, ErrorsNameTheMessage) {
  const auto messages = messages_of(R"([{"role":"user","content":"q"},{"role":"critic"}])");
  const auto encoded = encode(messages, {}, {.thinking_mode = "chat"});
  ASSERT_FALSE(encoded);
  EXPECT_EQ(encoded.error().to_error().message, "ROLE: message 1 has the unknown role 'critic'");
  EXPECT_EQ(encoded.error().to_error().code, Errc::invalid_argument);
}

TEST(Encoder, RefusesContentThatIsNoString) {
  for (const char* role : {"system", "user", "developer", "tool", "assistant"}) {
    Json::Array messages = messages_of(
        R"([{"role":"user","content":"q"},
            {"role":"assistant","tool_calls":[{"function":{"name":"f","arguments":"{}"}}]}])");
    messages.push_back(Json::Object{
        {"role", role}, {"content", Json::Array{Json("part")}}, {"reasoning_content", "r"}});
    const auto encoded = encode(messages, {}, {.thinking_mode = "chat"});
    ASSERT_FALSE(encoded) << role;
    EXPECT_EQ(encoded.error().fault, EncodeFault::shape) << role;
  }
}

TEST(Encoder, AManyTimesParallelCallIsLinear) {
  Json::Array calls;
  Json::Array messages{Json(Json::Object{{"role", "user"}, {"content", "q"}})};
  constexpr int kNumCalls = 5000;
  for (int i = 0; i < kNumCalls; ++i) {
    calls.push_back(*parse_json(R"({"function":{"name":"f","arguments":"{}"}})"));
  }
  messages.push_back(Json::Object{{"role", "assistant"}, {"tool_calls", calls}});
  for (int i = 0; i < kNumCalls; ++i) {
    messages.push_back(Json::Object{{"role", "tool"}, {"content", std::to_string(i)}});
  }
  const auto encoded = encode(messages, {}, {.thinking_mode = "thinking"});
  ASSERT_TRUE(encoded);
  EXPECT_TRUE(encoded->text.ends_with("<result>4999</result>\n</function_results>\n\n<think>"));
}

TEST(EncodeLine, ExplainsAnUnusableLine) {
  for (const char* line :
       {"", "[]", "{", "{}", R"({"messages":[]})", R"({"messages":{},"thinking_mode":"chat"})",
        R"({"messages":[],"thinking_mode":1})",
        R"({"messages":[],"thinking_mode":"chat","drop_thinking":"yes"})"}) {
    const Result<Json> answer = parse_json(encode_line(line));
    ASSERT_TRUE(answer) << line;
    EXPECT_EQ(string_at(*answer, "error"), "REQUEST") << line;
  }
}

}  // namespace
}  // namespace ponder::context
