#include <gtest/gtest.h>

#include "tools/mcp/detail/content.h"
#include "tools/mcp/detail/line_reader.h"
#include "tools/mcp/detail/message.h"
#include "tools/mcp/detail/protocol.h"
#include "tools/mcp/detail/tool_definition.h"

namespace ponder::mcp {
namespace {

Message only(const std::string& text) {
  auto messages = parse_messages(text);
  EXPECT_TRUE(messages && messages->size() == 1) << text;
  return messages ? messages->front() : Message();
}

TEST(McpMessage, IsToldApartByItsFields) {
  EXPECT_EQ(only(R"({"jsonrpc":"2.0","id":1,"method":"ping"})").kind, Message::Kind::request);
  EXPECT_EQ(only(R"({"method":"a","params":{"x":1}})").params["x"], 1);
  EXPECT_EQ(only(R"({"method":"a","params":[1]})").params, Json::object());
  EXPECT_TRUE(only(R"({"id":7,"result":{}})").answers(7));
  EXPECT_FALSE(only(R"({"id":"7","result":{}})").answers(7));
  const Message error = only(R"({"id":null,"error":{"code":-1,"message":"no","data":[2]}})");
  EXPECT_EQ(error.kind, Message::Kind::error);
  EXPECT_EQ(error.code, -1);
  EXPECT_EQ(error.data, Json::array({2}));
  EXPECT_EQ(only(R"({"id":1,"error":{"code":"x"}})").text, "an error without a message");
}

TEST(McpMessage, WhatIsNoneIsRefused) {
  for (const char* text : {"", "1", "{}", "null", "\"x\"", R"({"id":1})", R"({"id":1,"result":3})",
                           R"({"result":{}})", R"({"id":{},"method":"a"})", R"([{"method":"a"},4])",
                           R"({"id":[],"error":{"code":1}})", R"({"id":1,"error":"x"})"}) {
    EXPECT_FALSE(parse_messages(text).has_value()) << text;
  }
  EXPECT_FALSE(parse_messages(std::string(100'000, '[')).has_value());
}

TEST(McpMessage, ABatchIsSeveral) {
  const auto messages = parse_messages(R"([{"method":"a"},{"id":1,"result":{}}])");
  ASSERT_TRUE(messages.has_value());
  EXPECT_EQ(messages->size(), 2u);
}

TEST(McpMessage, OneLineIsCleanAndCutBetweenCharacters) {
  EXPECT_EQ(one_line("a\nb\xFFz", 100), "a b\xEF\xBF\xBDz");
  EXPECT_EQ(one_line("äöü", 3), "ä");
  EXPECT_EQ(one_line("a \n", 100), "a");
}

TEST(McpLines, ComeInAnyPiecesAndLongOnesAreSkipped) {
  const std::string text = "one\r\n\n  \ntoo long a line\ntwo\n" + std::string(8, 'x') + "\nrest";
  for (std::size_t piece = 1; piece <= text.size(); ++piece) {
    LineReader reader(8);
    std::vector<std::string> lines;
    for (std::size_t i = 0; i < text.size(); i += piece) {
      reader.feed(std::string_view(text).substr(i, piece), [&lines](Result<std::string_view> line) {
        lines.emplace_back(line ? *line : std::string_view("!"));
      });
    }
    EXPECT_EQ(lines, (std::vector<std::string>{"one", "!", "two", "xxxxxxxx"})) << piece;
  }
}

// The table of specification 2026-07-28, basic/transports/streamable-http#value-encoding.
TEST(McpHeaders, AreEncodedAsTheSpecificationShows) {
  EXPECT_EQ(header_value("us-west1"), "us-west1");
  EXPECT_EQ(header_value("Hello, 世界"), "=?base64?SGVsbG8sIOS4lueVjA==?=");
  EXPECT_EQ(header_value(" padded "), "=?base64?IHBhZGRlZCA=?=");
  EXPECT_EQ(header_value("line1\nline2"), "=?base64?bGluZTEKbGluZTI=?=");
  EXPECT_EQ(header_value("=?base64?literal?="), "=?base64?PT9iYXNlNjQ/bGl0ZXJhbD89?=");
}

std::string header_fault(const std::string& schema) {
  const auto tool = read_tool({{"name", "t"}, {"inputSchema", Json::parse(schema)}});
  EXPECT_TRUE(tool.has_value());
  return tool->header_fault.value_or("");
}

TEST(McpHeaders, AnAnnotationInAnotherPlaceIsAFault) {
  const std::string x = R"({"type":"string","x-mcp-header":"X"})";
  EXPECT_EQ(header_fault(R"({"properties":{"a":)" + x + "}}"), "");
  EXPECT_EQ(header_fault(R"({"properties":{"o":{"properties":{"a":)" + x + "}}}}"), "");
  EXPECT_EQ(header_fault(R"({"properties":{"a":{"default":)" + x + "}}}"), "");
  for (const std::string& wrong :
       {R"({"properties":{"a":{"items":)" + x + "}}}",
        R"({"anyOf":[{"properties":{"a":)" + x + "}}]}", R"({"$defs":{"d":)" + x + "}}", x,
        R"({"properties":{"a":)" + x + R"(,"b":)" + x + "}}",
        std::string(R"({"properties":{"a":{"type":"number","x-mcp-header":"X"}}})"),
        std::string(R"({"properties":{"a":{"type":"string","x-mcp-header":"a b"}}})"),
        std::string(R"({"properties":{"a":{"type":"string","x-mcp-header":""}}})"),
        std::string(R"({"properties":{"a":{"type":"string","x-mcp-header":7}}})")}) {
    EXPECT_NE(header_fault(wrong), "") << wrong;
  }
}

TEST(McpHeaders, RepeatWhatIsThere) {
  const auto tool = read_tool(Json::parse(R"({"name":"t","inputSchema":{"properties":{
      "s":{"type":"string","x-mcp-header":"S"},"b":{"type":"boolean","x-mcp-header":"B"},
      "o":{"properties":{"i":{"type":"integer","x-mcp-header":"I"}}}}}})"));
  ASSERT_TRUE(tool.has_value());
  EXPECT_EQ(
      parameter_headers(*tool, Json::parse(R"({"s":"ü","b":false,"o":{"i":42}})")),
      (Headers{
          {"Mcp-Param-B", "false"}, {"Mcp-Param-I", "42"}, {"Mcp-Param-S", "=?base64?w7w=?="}}));
  EXPECT_EQ(parameter_headers(*tool, Json::parse(R"({"s":null,"o":7})")), Headers());
}

TEST(McpDefinition, IsAllThatAModelGoesBy) {
  const auto hash = [](const char* text) { return read_tool(Json::parse(text))->definition.hash; };
  const std::string plain = hash(R"({"name":"t","inputSchema":{"type":"object"}})");
  EXPECT_EQ(plain, hash(R"({"inputSchema":{"type":"object"},"name":"t","icons":[]})"));
  EXPECT_NE(plain, hash(R"({"name":"t","inputSchema":{"type":"object","title":"x"}})"));
  EXPECT_NE(plain, hash(R"({"name":"t","description":"","inputSchema":{"type":"object"}})"));
  EXPECT_NE(plain, hash(R"({"name":"t","inputSchema":{"type":"object"},"outputSchema":{"a":1}})"));
  EXPECT_NE(plain, hash(R"({"name":"t","inputSchema":{"type":"object"},
                            "annotations":{"readOnlyHint":true}})"));
}

TEST(McpContent, OfAWrongFormIsAnError) {
  for (const char* result : {R"({"content":"nonsense"})", R"({"content":{}})",
                             R"({"content":null})", R"({"content":["text"]})"}) {
    const tools::ToolOutput output = tool_output(Json::parse(result), nullptr);
    EXPECT_TRUE(output.is_error) << result;
    EXPECT_NE(output.content.find("content of a wrong form"), std::string::npos) << output.content;
  }
  EXPECT_EQ(tool_output(Json::parse(R"({"content":[]})"), nullptr).content, "(no content)");
  EXPECT_FALSE(tool_output(Json::parse("{}"), nullptr).is_error);
}

}  // namespace
}  // namespace ponder::mcp
