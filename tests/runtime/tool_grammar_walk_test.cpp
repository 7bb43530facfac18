#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <random>
#include <string>
#include <vector>

#include "base/assert.h"
#include "context/completion_parser.h"
#include "engine/grammar_matcher.h"
#include "engine/tokenizer.h"
#include "runtime/model/tool_grammar.h"
#include "tests/engine/support.h"
#include "tools/json_schema.h"

// Random schemas and random answers: whatever a mask lets through must be a call that the parser
// reads without repairs, whose arguments are JSON to another library, and which the tool's own
// check accepts.
namespace ponder::runtime {
namespace {

using engine::mask_has;
using engine::TokenId;
using nlohmann::json;
using Rng = std::mt19937_64;

template <class T>
const T& one_of(const std::vector<T>& values, Rng& rng) {
  return values[rng() % values.size()];
}

/// Values that are hard to tell from markup, from other types, or from each other.
json random_value(Rng& rng) {
  static const std::vector<json> values = {"",
                                           "a",
                                           "ab",
                                           "null",
                                           "12",
                                           "<b>",
                                           "\"",
                                           "</",
                                           "x\ny",
                                           "杭州 ☕",
                                           "\\u0041",
                                           0,
                                           -7,
                                           12,
                                           1.5,
                                           true,
                                           false,
                                           nullptr,
                                           json::array({1, "a"}),
                                           json{{"k", "</p>"}}};
  return one_of(values, rng);
}

/// Of the keywords that the grammar holds values to. Alternatives of oneOf would exclude each other
/// where several fit, so there is one.
json random_property(Rng& rng, int depth = 0) {
  static const std::vector<json> types = {"string", "integer", "number", "boolean",
                                          "array",  "object",  "null"};
  switch (rng() % (depth < 3 ? 8 : 4)) {
    case 0:
      return {{"type", one_of(types, rng)}};
    case 1:
      return {{"type", {one_of(types, rng), "null"}}};
    case 2: {
      json values = json::array();
      for (std::size_t n = 1 + rng() % 5; n-- > 0;) values.push_back(random_value(rng));
      return {{"enum", values}};
    }
    case 3:
      return {{"const", random_value(rng)}};
    case 4:
      return {{"anyOf", {random_property(rng, depth + 1), random_property(rng, depth + 1)}}};
    case 5:
      return {{"oneOf", {random_property(rng, depth + 1)}}};
    case 6:
      return {{"$ref", rng() % 2 == 0 ? "#/$defs/städte" : "#/$defs/either"}};
    default:
      return json::object();
  }
}

json random_schema(Rng& rng) {
  static const std::vector<std::string> names = {"a", "ab", "ключ", "naïve name", "x<y", "city"};
  json schema = {{"type", "object"}, {"properties", json::object()}};
  json required = json::array();
  for (std::size_t n = 1 + rng() % 4; n-- > 0;) {
    const std::string& name = one_of(names, rng);
    schema["properties"][name] = random_property(rng);
    if (rng() % 2 == 0 && std::ranges::find(required, json(name)) == required.end()) {
      required.push_back(name);
    }
  }
  schema["required"] = required;
  schema["$defs"] = {
      {"städte", {{"enum", {"Wien", "København", 3}}}},
      {"either", {{"anyOf", {{{"type", "integer"}}, {{"$ref", "#/$defs/städte"}}}}}}};
  return schema;
}

/// A tokenizer and a walk through masks over its tokens.
class Walker {
 public:
  Walker()
      : tokenizer_(*engine::Tokenizer::load("engine/models/mini/tokenizer.json")),
        vocabulary_(engine::GrammarVocabulary::from(tokenizer_, tokenizer_.vocab_size())) {}

  /// A completion of allowed tokens; after some of them it takes the way out wherever there is one.
  /// Empty if it does not come to an end.
  std::string walk(std::shared_ptr<const engine::Grammar> grammar, Rng& rng) const {
    const TokenId stop = *tokenizer_.added_token(context::dsv32().eos);
    engine::GrammarMatcher matcher(
        std::make_shared<engine::GrammarMasks>(std::move(grammar), vocabulary_), {stop});
    std::string text;
    const auto take = [&](TokenId id) {
      matcher.accept(id);
      text += vocabulary_.bytes(id);
    };
    for (const TokenId id : tokenizer_.encode("\n\n<｜DSML｜", false)) take(id);
    const std::size_t num_wild = rng() % 60;
    for (std::size_t step = 0; step < 2000; ++step) {
      const auto mask = matcher.allowed();
      if (mask_has(mask, stop)) return text;
      take(step < num_wild ? any_allowed(mask, rng) : way_out(mask, text, rng));
    }
    ADD_FAILURE() << "no end after " << text.substr(0, 400);
    return "";
  }

 private:
  TokenId any_allowed(std::span<const std::uint64_t> mask, Rng& rng) const {
    std::vector<TokenId> allowed;
    for (TokenId id = 0; id < vocabulary_.size(); ++id) {
      if (mask_has(mask, id)) allowed.push_back(id);
    }
    PONDER_ASSERT(!allowed.empty());
    return one_of(allowed, rng);
  }

  /// What comes next in the end of a value or its tag, if it is allowed; else any token.
  TokenId way_out(std::span<const std::uint64_t> mask, const std::string& text, Rng& rng) const {
    static constexpr std::string_view kClose = "</｜DSML｜";
    std::string_view begun = kClose;
    while (!text.ends_with(begun)) begun.remove_suffix(1);
    const std::string tag(kClose.substr(begun.size() % kClose.size(), 1));
    const std::size_t value_at = text.rfind("string=\"");
    const bool is_text =
        value_at != std::string::npos && text.compare(value_at + 8, 4, "true") == 0;
    std::vector<std::string> wanted = {"\"", "}", "]", "0"};
    wanted.insert(is_text ? wanted.begin() : wanted.end() - 1, tag);
    for (const std::string& bytes : wanted) {
      const auto ids = tokenizer_.encode(bytes, false);
      if (ids.size() == 1 && mask_has(mask, ids[0])) return ids[0];
    }
    return any_allowed(mask, rng);
  }

  engine::Tokenizer tokenizer_;
  engine::GrammarVocabulary vocabulary_;
};

TEST(ToolGrammarWalk, WhateverTheMasksAllowIsACallThatTheToolTakes) {
  const auto seed = engine::testing::test_seed();
  SCOPED_TRACE(::testing::Message() << "PONDER_TEST_SEED=" << seed);
  Rng rng(seed);
  const Walker walker;
  int num_calls = 0;
  for (int round = 0; round < 150; ++round) {
    const json schema = random_schema(rng);
    SCOPED_TRACE(schema.dump());
    const std::vector<context::ToolSpec> specs = {{"tool", "", schema.dump()}};
    const auto grammar = tool_grammar(specs, context::dsv32());
    ASSERT_TRUE(grammar) << grammar.error().message;
    const auto check = tools::JsonSchema::compile(schema.dump());
    ASSERT_TRUE(check) << check.error().message;
    const std::string text = walker.walk(*grammar, rng);
    ASSERT_NE(text, "");
    context::CompletionOptions options;
    options.tools = &specs;
    context::CompletionParser parser(options);
    parser.feed(text);
    const context::Completion completion = parser.finish(context::FinishReason::stop);
    ASSERT_EQ(completion.verdict, context::Verdict::ok) << text;
    ASSERT_FALSE(completion.calls.empty()) << text;
    for (const context::ParsedCall& call : completion.calls) {
      ASSERT_EQ(call.call_class, context::CallClass::lossless) << text << "\n" << call.problem;
      ASSERT_TRUE(json::accept(call.call.arguments)) << call.call.arguments;
      const Status accepted = check->check(call.call.arguments);
      ASSERT_TRUE(accepted) << accepted.error().message << "\n" << call.call.arguments;
      ++num_calls;
    }
  }
  EXPECT_GE(num_calls, 150);
}

}  // namespace
}  // namespace ponder::runtime
