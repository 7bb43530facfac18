#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "runtime/model/chat_answer.h"
#include "runtime/model/chat_request.h"

/// The chat-completions protocol as bytes; remote_model_test.cpp has it over sockets.
namespace ponder::runtime {
namespace {

TEST(RemoteProtocol, LiveValuesStandAsEnumsInTheSchemasOfTheirTools) {
  context::Message system;
  system.role = context::Role::system;
  const std::string schema =
      R"({"type": "object", "properties": {"door": {"type": "string"}, "n": {"type": "integer"}}})";
  system.tools = {{"open", "", schema}, {"close", "", schema}};
  ModelRequest request(context::Conversation{system}, "openai", Sampling(), 100);
  request.live_values = {{"open", "door", {"red", "bl\"ue"}}, {"open", "gone", {"x"}}};
  const auto body = chat_request_body(request, "m");
  ASSERT_TRUE(body) << body.error().message;
  const auto tools = nlohmann::json::parse(*body).at("tools");
  const auto properties = [&](int i) {
    return tools.at(i).at("function").at("parameters").at("properties");
  };
  EXPECT_EQ(properties(0).at("door").at("enum"), (nlohmann::json{"red", "bl\"ue"}));
  EXPECT_FALSE(properties(0).contains("gone"));
  EXPECT_FALSE(properties(1).at("door").contains("enum"));
}

TEST(RemoteProtocol, PenaltiesAreAskedForOnlyWhereTheyDoAnything) {
  ModelRequest request(context::Conversation{}, "openai", Sampling(), 100);
  const auto plain = nlohmann::json::parse(chat_request_body(request, "m").value());
  for (const char* name : {"repetition_penalty", "frequency_penalty", "presence_penalty"}) {
    EXPECT_FALSE(plain.contains(name)) << name;
  }
  request.sampling.repetition_penalty = 1.1;
  request.sampling.frequency_penalty = -0.5;
  request.sampling.presence_penalty = 0.25;
  const auto body = nlohmann::json::parse(chat_request_body(request, "m").value());
  EXPECT_EQ(body.at("repetition_penalty"), 1.1);
  EXPECT_EQ(body.at("frequency_penalty"), -0.5);
  EXPECT_EQ(body.at("presence_penalty"), 0.25);
}

TEST(ErrorWords, WordsOfARefusalAreFoundInWhateverEnvelopeTheyHave) {
  for (const char* body :
       {"{\n  \"error\": {\n    \"message\": \"no such\\nmodel\", \"type\": \"x\"\n  }\n}",
        "[{\n \"error\": {\"code\": 404, \"message\": \"no such model\"}}]",
        "{\"error\": \"no such model\"}", "{\"object\": \"error\", \"message\": \"no such model\"}",
        "{\"detail\": \"no such model\"}", "no\n such  model"}) {
    EXPECT_EQ(error_words(body), "no such model") << body;
  }
}

TEST(ChatAnswerTest, CallsAreToldApartHoweverTheEndpointCounts) {
  struct Case {
    const char* what;
    std::vector<const char*> pieces;  // each is the list of calls of one delta
  };
  const std::vector<Case> cases = {
      {"indices that begin at 1",
       {R"([{"index":1,"id":"a","function":{"name":"look","arguments":""}}])",
        R"([{"index":1,"function":{"arguments":"{\"x\":1}"}}])",
        R"([{"index":2,"id":"b","function":{"name":"find","arguments":"{}"}}])"}},
      {"every index 0, with ids",
       {R"([{"index":0,"id":"a","function":{"name":"look","arguments":"{\"x\":1}"}}])",
        R"([{"index":0,"id":"b","function":{"name":"find","arguments":"{}"}}])"}},
      {"every index 0, without ids",
       {R"([{"index":0,"function":{"name":"look","arguments":"{\"x\":1}"}}])",
        R"([{"index":0,"function":{"name":"find","arguments":"{}"}}])"}},
      {"neither index nor id",
       {R"([{"id":"","function":{"name":"look","arguments":"{\"x\":1}"}},)"
        R"({"id":"","function":{"name":"find","arguments":"{}"}}])"}},
      {"a name in each fragment",
       {R"([{"index":0,"id":"a","function":{"name":"look","arguments":"{\"x\""}}])",
        R"([{"index":0,"id":"a","function":{"name":"look","arguments":":1}"}}])",
        R"([{"index":1,"id":"b","function":{"name":"find","arguments":"{}"}}])"}},
      {"an id for each fragment",
       {R"([{"index":0,"id":"a","function":{"name":"look","arguments":""}}])",
        R"([{"index":0,"id":"z","function":{"arguments":"{\"x\":1}"}}])",
        R"([{"index":1,"id":"b","function":{"name":"find","arguments":"{}"}}])"}},
  };
  for (const Case& c : cases) {
    SCOPED_TRACE(c.what);
    ChatAnswer answer(nullptr);
    for (const char* calls : c.pieces) {
      const std::string chunk =
          R"({"choices":[{"delta":{"tool_calls":)" + std::string(calls) + "}}]}";
      ASSERT_TRUE(answer.take_chunk(chunk));
    }
    ASSERT_TRUE(answer.take_chunk("[DONE]"));
    const auto completion = answer.finish();
    ASSERT_TRUE(completion) << completion.error().message;
    const auto& calls = completion->message.tool_calls;
    ASSERT_EQ(calls.size(), 2U);
    EXPECT_EQ(calls[0].name, "look");
    EXPECT_EQ(calls[0].arguments, R"({"x":1})");
    EXPECT_EQ(calls[1].name, "find");
    EXPECT_EQ(calls[1].arguments, "{}");
  }
}

}  // namespace
}  // namespace ponder::runtime
