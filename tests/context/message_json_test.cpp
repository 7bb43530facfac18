#include "context/message_json.h"

#include <gtest/gtest.h>

#include <string>

namespace ponder::context {
namespace {

Result<Message> read(std::string_view text) { return message_from_json(*parse_json(text)); }

TEST(MessageJson, WritesWhatItReads) {
  for (const char* text :
       {R"({"role": "user", "content": "q"})",
        R"({"role": "assistant", "content": "", "reasoning_content": "r"})",
        R"({"role": "assistant", "content": "c", "reasoning_content": "", )"
        R"("tool_calls": [{"id": "1", )"
        R"("type": "function", "function": {"name": "f", "arguments": "{\"a\":1}"}}]})",
        R"({"role": "tool", "content": "out", "tool_call_id": "1"})",
        R"({"role": "system", "content": "s", "tools": [{"type": "function", "function": {)"
        R"("name": "f", )"
        R"("description": "d", "parameters": {"type": "object", "maximum": 1000.0}}}], )"
        R"("response_format": {"type": "json_object"}})"}) {
    const Result<Message> message = read(text);
    ASSERT_TRUE(message) << message.error().message;
    EXPECT_EQ(print_json(*message_to_json(*message)), text);
  }
}

TEST(MessageJson, NullContentIsEmptyAndTextPartsAreJoined) {
  EXPECT_EQ(read(R"({"role":"user","content":null})")->content, "");
  EXPECT_EQ(
      read(R"({"role":"user","content":[{"type":"text","text":"a"},{"type":"text","text":"b"}]})")
          ->content,
      "ab");
}

TEST(MessageJson, AcceptsReasoningUnderItsShortName) {
  EXPECT_EQ(read(R"({"role":"assistant","reasoning":"why"})")->reasoning, "why");
  EXPECT_EQ(
      read(R"({"role":"assistant","reasoning":"short","reasoning_content":"long"})")->reasoning,
      "long");
}

TEST(MessageJson, ArgumentsGivenAsAnObjectBecomeTheirText) {
  const auto message = read(
      R"({"role":"assistant","tool_calls":[{"function":{"name":"f","arguments":{"a":[1]}}}]})");
  ASSERT_TRUE(message);
  EXPECT_EQ(message->tool_calls.at(0).arguments, R"({"a": [1]})");
}

TEST(MessageJson, NamesWhatItCannotUse) {
  const std::pair<const char*, const char*> cases[] = {
      {"[]", "a message is not an object"},
      {"{}", "'role' is missing"},
      {R"({"role":"critic"})", "unknown role 'critic'"},
      {R"({"role":"user","content":7})", "'content' is not a string"},
      {R"({"role":"user","content":[{"type":"image_url"}]})",
       "'content' has a part that is not text"},
      {R"({"role":"assistant","tool_calls":{}})", "'tool_calls' is not a list"},
      {R"({"role":"assistant","tool_calls":[{}]})", "a tool call has no 'function'"},
      {R"({"role":"assistant","tool_calls":[{"function":{"name":"f"}}]})",
       "'arguments' is missing"},
      {R"({"role":"system","tools":[{"name":"f"}]})", "a tool has no 'function'"},
  };
  for (const auto& [text, message] : cases) {
    const Result<Message> read_message = read(text);
    ASSERT_FALSE(read_message) << text;
    EXPECT_EQ(read_message.error().message, message);
  }
}

TEST(MessageJson, ASchemaThatIsNotJsonNamesItsTool) {
  const Result<Json> json = tool_spec_to_json({"f", "", "{oops"});
  ASSERT_FALSE(json);
  EXPECT_TRUE(json.error().message.starts_with("tool 'f': ")) << json.error().message;
}

}  // namespace
}  // namespace ponder::context
