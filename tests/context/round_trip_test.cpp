#include <gtest/gtest.h>

#include <random>
#include <string>

#include "context/completion_parser.h"
#include "context/encoder.h"
#include "context/message_json.h"
#include "context/strict_parser.h"
#include "tests/context/conversations.h"

/// Encoding what was parsed gives the text back, and parsing what was encoded gives the message.
namespace ponder::context {
namespace {

/// Values that markup can carry: anything without the marker and special tokens.
std::string random_text(std::mt19937_64& rng) {
  static const std::vector<std::string> kParts = {
      "a",  "Hangzhou",     " ", "\n", "\n\n",  "\"",   "\\", "<", ">",
      "</", "<result>",     "é", "😀", "&amp;", "{\"k", "｜", "0", "1e5",
      "\t", "</parameter>", "`", "'"};
  std::string text;
  for (std::size_t i = rng() % 8; i > 0; --i) text += kParts[rng() % kParts.size()];
  return text;
}

Json random_value(std::mt19937_64& rng, int depth) {
  switch (rng() % (depth > 0 ? 8 : 6)) {
    case 0:
      return Json();
    case 1:
      return Json(rng() % 2 == 0);
    case 2:
      return Json(static_cast<int>(rng() % 2000) - 1000);
    case 3:
      return Json(static_cast<double>(rng()) / 3e15);
    case 4:
      return Json(JsonInteger{"1234567890123456789012345"});
    case 5:
      return Json(random_text(rng));
    case 6: {
      Json::Array items;
      for (std::size_t i = rng() % 4; i > 0; --i) items.push_back(random_value(rng, depth - 1));
      return items;
    }
    default: {
      Json object = Json::Object();
      for (std::size_t i = rng() % 4; i > 0; --i) {
        object.set(random_text(rng), random_value(rng, depth - 1));
      }
      return object;
    }
  }
}

Message random_assistant(std::mt19937_64& rng) {
  Message message = testing::assistant("r" + random_text(rng), random_text(rng));
  for (std::size_t i = rng() % 4; i > 0; --i) {
    Json arguments = Json::Object();
    for (std::size_t j = rng() % 4; j > 0; --j) {
      arguments.set("key" + std::to_string(rng() % 5), random_value(rng, 2));
    }
    message.tool_calls.push_back(testing::call("tool" + std::to_string(i), print_json(arguments)));
  }
  return message;
}

std::string encode_turn(const Message& message) {
  const Json::Array context = *messages_to_json({testing::user("q")});
  const Json::Array turn = *messages_to_json({message});
  const auto encoded = encode(turn, context, {.thinking_mode = "thinking"});
  return encoded ? encoded->text : "error: " + encoded.error().message;
}

void expect_same(const Message& parsed, const Message& message) {
  EXPECT_EQ(parsed.reasoning, message.reasoning);
  EXPECT_EQ(parsed.content, message.content);
  ASSERT_EQ(parsed.tool_calls.size(), message.tool_calls.size());
  for (std::size_t i = 0; i < parsed.tool_calls.size(); ++i) {
    EXPECT_EQ(parsed.tool_calls[i].name, message.tool_calls[i].name);
    EXPECT_EQ(parsed.tool_calls[i].arguments, message.tool_calls[i].arguments);
  }
}

TEST(RoundTrip, TheStrictParserGivesTheMessageBack) {
  std::mt19937_64 rng(1);
  for (int round = 0; round < 3000; ++round) {
    const Message message = random_assistant(rng);
    const std::string text = encode_turn(message);
    SCOPED_TRACE(text);
    const auto parsed = parse_strict(text, true);
    ASSERT_TRUE(parsed) << parsed.error().message;
    expect_same(*parsed, message);
    ASSERT_EQ(encode_turn(*parsed), text);
  }
}

TEST(RoundTrip, TheRobustParserGivesTheMessageBackWithoutANote) {
  std::mt19937_64 rng(2);
  for (int round = 0; round < 3000; ++round) {
    const Message message = random_assistant(rng);
    const std::string text = encode_turn(message);
    SCOPED_TRACE(text);
    const Completion completion = parse_completion(text, {.starts_in_reasoning = true});
    ASSERT_EQ(completion.verdict, Verdict::ok) << completion.notes.at(0).code;
    expect_same(completion.message(), message);
    ASSERT_EQ(encode_turn(completion.message()), text);
  }
}

}  // namespace
}  // namespace ponder::context
