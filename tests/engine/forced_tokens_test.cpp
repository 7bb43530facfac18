#include "engine/forced_tokens.h"

#include <gtest/gtest.h>

#include <random>

#include "engine/engine.h"
#include "engine/grammar.h"
#include "tests/engine/golden_model.h"

namespace ponder::engine {
namespace {

const Tokenizer& mini() {
  static const auto loaded = Tokenizer::load("engine/models/mini/tokenizer.json");
  EXPECT_TRUE(loaded.has_value()) << loaded.error().message;
  return *loaded;
}

const Tokenizer& small() {
  static const auto parsed = Tokenizer::parse(testing::small_tokenizer_json().dump());
  return *parsed;
}

std::string forced_text(const Tokenizer& tokenizer, const std::string& before,
                        const std::string& forced) {
  return tokenizer.decode(forced_tokens(tokenizer, tokenizer.encode(before, true), forced));
}

TEST(ForcedTokens, TagsThatMustComeAreAppendedWhole) {
  EXPECT_EQ(
      forced_text(mini(), "I look.\n\n<｜DSML｜function_calls>", "\n<｜DSML｜invoke name=\"now"),
      "\n<｜DSML｜invoke name=\"");
  // The beginning of a tag could become another one.
  EXPECT_EQ(forced_text(mini(), "I look.\n\n<｜DSML｜function_calls>", "\n<｜DSML｜"), "\n");
}

TEST(ForcedTokens, TheLastPieceIsLeftOpen) {
  EXPECT_EQ(forced_text(small(), "so", " the then = \""), " the then =");
  EXPECT_EQ(forced_text(small(), "so", " the 12"), " the ");
  EXPECT_EQ(forced_text(small(), "so", " the  "), "");
  EXPECT_EQ(forced_text(small(), "so", "me"), "");
}

TEST(ForcedTokens, NothingIsAppendedInsideAPieceThatTheTokenizerWouldWriteOtherwise) {
  const auto byte = [](char c) { return small().encode(std::string(1, c), false).front(); };
  const std::vector<TokenId> by_bytes = {byte(' '), byte('t'), byte('h')};
  EXPECT_TRUE(forced_tokens(small(), by_bytes, "e = the").empty());
  EXPECT_FALSE(forced_tokens(small(), by_bytes, " = the").empty());  // a new piece begins
  const std::vector<TokenId> as_usual = small().encode(" th", false);
  EXPECT_TRUE(forced_tokens(small(), as_usual, "e = the").empty());  // " the" is one token
}

/// The whole point: whatever follows, the tokenizer makes the same tokens of the run.
TEST(ForcedTokens, RandomRunsAreTokenisedAsInEveryWholeTextThatBeginsWithThem) {
  const auto seed = testing::test_seed();
  SCOPED_TRACE(::testing::Message() << "PONDER_TEST_SEED=" << seed);
  std::mt19937_64 rng(seed);
  const std::vector<std::string> parts = {
      "a",  "b",  "ab", "the",  " the",    " ",  "  ",     "\n",       "\n\n", "\r\n",    "1",
      "23", "=",  "\"", ">",    "<",       "</", "think>", "name",     "'s",   "é",       "杭",
      "州", "。", "\t", "\xe6", "<think>", "_",  ".",      "\xcc\x81", "<｜",  "｜DSML｜"};
  const auto random_text = [&](std::size_t length) {
    std::string text;
    for (std::size_t i = 0; i < length; ++i) text += parts[rng() % parts.size()];
    return text;
  };
  std::size_t num_forced = 0;
  for (int round = 0; round < 20'000; ++round) {
    const Tokenizer& tokenizer = round % 2 == 0 ? mini() : small();
    const std::string run = random_text(1 + rng() % 8);
    const auto known = tokenizer.encode(random_text(rng() % 6) + run, true);
    if (known.empty()) continue;
    const std::size_t num_before = rng() % known.size();
    const auto before = std::span(known).first(num_before);
    const std::string forced = tokenizer.decode(std::span(known).subspan(num_before));
    const auto tokens = forced_tokens(tokenizer, before, forced);
    num_forced += tokens.size();
    std::vector<TokenId> want(before.begin(), before.end());
    want.insert(want.end(), tokens.begin(), tokens.end());
    const std::string text = tokenizer.decode(before) + forced;
    for (int i = 0; i < 4 && !tokens.empty(); ++i) {
      const std::string whole = text + random_text(rng() % 6);
      const auto ids = tokenizer.encode(whole, true);
      ASSERT_GE(ids.size(), want.size()) << whole;
      ASSERT_TRUE(std::equal(want.begin(), want.end(), ids.begin())) << whole;
    }
  }
  EXPECT_GT(num_forced, 1000U);
}

TEST(ForcedTokens, TheEngineDoesNotAskTheModelWhereTheGrammarLeavesNoChoice) {
  GrammarBuilder b;
  const RuleId value = b.one_of({"ab", "the"});
  const auto grammar = b.compile(
      "", b.sequence({b.literal("the the the the (the) = "), value, b.literal("; the end.")}));
  ASSERT_TRUE(grammar.has_value());
  EngineOptions options;
  options.cache_bytes_max = std::uint64_t{64} << 20;
  const auto engine = Engine::open(golden_dir(), options);
  ASSERT_TRUE(engine.has_value());
  std::vector<TokenId> tokens;
  RequestStats stats;
  RequestCallbacks callbacks;
  callbacks.on_token = [&](TokenId token) { tokens.push_back(token); };
  callbacks.on_finish = [&](FinishReason reason, const RequestStats& s, const std::string&) {
    EXPECT_EQ(reason, FinishReason::stop);
    stats = s;
  };
  GenerationRequest request;
  request.prompt = golden_prompt(20);
  request.sampling.temperature = 0.0F;
  request.stop_tokens = {1};
  request.grammar = *grammar;
  ASSERT_TRUE((*engine)->submit(request, callbacks).has_value());
  while ((*engine)->has_work()) (*engine)->step();
  ASSERT_FALSE(tokens.empty());
  EXPECT_EQ(tokens.back(), 1U);  // forced as well
  const std::string text =
      (*engine)->tokenizer().decode(std::span(tokens).first(tokens.size() - 1));
  EXPECT_EQ((*grammar)->match(text), GrammarMatch::full) << text;
  EXPECT_EQ(stats.tokens_generated, tokens.size());
  EXPECT_GT(stats.tokens_forced, 5U);
  EXPECT_EQ((*engine)->stats().steps, tokens.size() - stats.tokens_forced);
}

TEST(ForcedTokens, ThoseThatWereTakenBackAreCountedToo) {
  GrammarBuilder b;
  const auto grammar = b.compile("", b.literal("the the the the (the) = 7; the end."));
  ASSERT_TRUE(grammar.has_value());
  EngineOptions options;
  options.cache_bytes_max = std::uint64_t{64} << 20;
  const auto engine = Engine::open(golden_dir(), options);
  ASSERT_TRUE(engine.has_value());
  std::size_t num_tokens = 0;
  RequestStats stats;
  RequestCallbacks callbacks;
  callbacks.on_token = [&](TokenId) { ++num_tokens; };
  callbacks.on_finish = [&](FinishReason, const RequestStats& s, const std::string&) { stats = s; };
  GenerationRequest request;
  request.prompt = golden_prompt(20);
  request.stop_tokens = {1};
  request.grammar = *grammar;
  ASSERT_TRUE((*engine)->submit(request, callbacks).has_value());
  while ((*engine)->has_work()) (*engine)->step();
  const RequestStats plain = stats;
  ASSERT_GT(plain.tokens_forced, 5U);

  std::optional<RequestId> id;
  num_tokens = 0;
  callbacks.on_token = [&](TokenId) {
    if (++num_tokens == 3) EXPECT_TRUE((*engine)->truncate(*id, 21, 1).has_value());
  };
  callbacks.on_truncate = [&](std::size_t) { num_tokens = 100; };
  id = (*engine)->submit(request, callbacks).value();
  while ((*engine)->has_work()) (*engine)->step();
  ASSERT_GT(num_tokens, 100U);  // it was set back
  EXPECT_EQ(stats.tokens_generated, plain.tokens_generated);
  EXPECT_GT(stats.tokens_forced, plain.tokens_forced);
}

}  // namespace
}  // namespace ponder::engine
