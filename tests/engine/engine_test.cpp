#include "engine/engine.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <optional>
#include <thread>

#include "engine/grammar_matcher.h"
#include "tests/engine/golden_model.h"

namespace ponder::engine {
namespace {

/// The golden model's greedy continuation of its prompt.
const std::vector<TokenId> kContinuation = {1939, 1554, 1847, 2699, 1189, 1451, 234, 2936};
constexpr std::uint64_t kCacheBytes = std::uint64_t{64} << 20;

std::unique_ptr<Engine> open_engine(EngineOptions options = {}) {
  if (options.cache_bytes_max == 0) options.cache_bytes_max = kCacheBytes;
  auto engine = Engine::open(golden_dir(), options);
  EXPECT_TRUE(engine.has_value()) << engine.error().message;
  return engine ? std::move(*engine) : nullptr;
}

GenerationRequest request(std::vector<TokenId> prompt, std::uint32_t num_tokens,
                          float temperature = 0.0F, std::uint64_t seed = 1) {
  GenerationRequest r;
  r.prompt = std::move(prompt);
  r.sampling = {.temperature = temperature, .top_p = 0.95F, .seed = seed};
  r.tokens_generated_max = num_tokens;
  r.stop_tokens = {1};
  return r;
}

struct Outcome {
  std::vector<TokenId> tokens;
  std::optional<FinishReason> reason;
  RequestStats stats;
  std::string error;
};

RequestCallbacks into(Outcome& outcome) {
  return {.on_token = [&outcome](TokenId token) { outcome.tokens.push_back(token); },
          .on_finish =
              [&outcome](FinishReason reason, const RequestStats& stats, const std::string& error) {
                EXPECT_FALSE(outcome.reason.has_value()) << "finished twice";
                outcome.reason = reason;
                outcome.stats = stats;
                outcome.error = error;
              }};
}

void run_all(Engine& engine) {
  while (engine.has_work()) engine.step();
}

Outcome run(Engine& engine, GenerationRequest r) {
  Outcome outcome;
  EXPECT_TRUE(engine.submit(std::move(r), into(outcome)).has_value());
  run_all(engine);
  return outcome;
}

std::vector<TokenId> joined(std::vector<TokenId> a, const std::vector<TokenId>& b) {
  a.insert(a.end(), b.begin(), b.end());
  return a;
}

TEST(Engine, GreedyGenerationGivesTheGoldenContinuation) {
  const auto engine = open_engine();
  const Outcome outcome = run(*engine, request(golden_prompt(), 8));
  EXPECT_EQ(outcome.tokens, kContinuation);
  EXPECT_EQ(outcome.reason, FinishReason::length);
  EXPECT_EQ(outcome.stats.tokens_prompt, 96U);
  EXPECT_EQ(outcome.stats.tokens_cached, 0U);
  EXPECT_EQ(outcome.stats.tokens_generated, 8U);
  EXPECT_GT(outcome.stats.prefill_ms, 0.0);
  EXPECT_GT(outcome.stats.decode_ms, 0.0);
  const EngineStats stats = engine->stats();
  EXPECT_EQ(stats.rows_prefill, 96U);
  EXPECT_EQ(stats.rows_decode, 7U);
  EXPECT_EQ(stats.tokens_generated, 8U);
  EXPECT_EQ(stats.nan_scores, 0U);
}

TEST(Engine, AStopTokenIsDeliveredAndEndsTheRequest) {
  const auto engine = open_engine();
  for (const bool ends_at_stop : {true, false}) {  // which is about the model's own
    GenerationRequest r = request(golden_prompt(), 8);
    r.stop_tokens = {kContinuation[2]};
    r.ends_at_stop = ends_at_stop;
    const Outcome outcome = run(*engine, std::move(r));
    EXPECT_EQ(outcome.reason, FinishReason::stop);
    EXPECT_EQ(outcome.tokens,
              std::vector<TokenId>(kContinuation.begin(), kContinuation.begin() + 3));
  }
}

TEST(Engine, TheModelsOwnStopTokensEndARequestThatListsNoneUnlessToldOtherwise) {
  const testing::TempDir dir;
  for (const char* file : {"tokenizer.json", "model.safetensors"}) {
    std::filesystem::create_symlink(golden_dir() / file, dir.path() / file);
  }
  auto config = nlohmann::json::parse(testing::read_file(golden_dir() / "config.json"));
  config["eos_token_id"] = kContinuation[2];
  testing::write_file(dir.path() / "config.json", config.dump());
  EngineOptions options;
  options.cache_bytes_max = kCacheBytes;
  const auto engine = Engine::open(dir.path(), options);
  ASSERT_TRUE(engine.has_value()) << engine.error().message;
  for (const bool ends_at_stop : {true, false}) {
    GenerationRequest r = request(golden_prompt(), 8);
    r.stop_tokens = {};
    r.ends_at_stop = ends_at_stop;
    const Outcome outcome = run(**engine, std::move(r));
    EXPECT_EQ(outcome.tokens.size(), ends_at_stop ? 3U : 8U);
    EXPECT_EQ(outcome.reason, ends_at_stop ? FinishReason::stop : FinishReason::length);
  }
}

TEST(Engine, TheNextPromptOfAToolLoopComputesOnlyWhatIsNew) {
  const auto engine = open_engine();
  const Outcome first = run(*engine, request(golden_prompt(), 40));
  const auto second = joined(joined(golden_prompt(), first.tokens), {5, 6, 7});
  const Outcome again = run(*engine, request(second, 20));
  EXPECT_EQ(again.stats.tokens_cached, 96U + 39U);  // the last sampled token was never computed
  EXPECT_EQ(again.tokens, run(*open_engine(), request(second, 20)).tokens);
}

TEST(Engine, ADivergingPromptReusesUpToTheDifference) {
  const auto engine = open_engine();
  run(*engine, request(golden_prompt(), 1));
  auto other = golden_prompt();
  other[80] = 9;
  const Outcome outcome = run(*engine, request(other, 10));
  EXPECT_EQ(outcome.stats.tokens_cached, 80U);
  EXPECT_EQ(outcome.tokens, run(*open_engine(), request(other, 10)).tokens);
}

TEST(Engine, AKnownPromptStillComputesItsLastToken) {
  const auto engine = open_engine();
  run(*engine, request(golden_prompt(), 8));
  const Outcome again = run(*engine, request(golden_prompt(), 8));
  EXPECT_EQ(again.stats.tokens_cached, 95U);
  EXPECT_EQ(again.tokens, kContinuation);
}

TEST(Engine, SampledTokensDoNotDependOnBatchingChunksOrThreads) {
  std::vector<GenerationRequest> requests;
  for (std::uint64_t i = 0; i < 6; ++i) {
    auto prompt = golden_prompt(30 + 25 * i);
    prompt[0] = static_cast<TokenId>(i);
    requests.push_back(request(prompt, 12 + static_cast<std::uint32_t>(i), 1.0F, i));
  }
  std::vector<std::vector<TokenId>> alone;
  for (const GenerationRequest& r : requests) alone.push_back(run(*open_engine(), r).tokens);
  for (const std::uint32_t rows : {5U, 48U, 512U}) {
    EngineOptions options;
    options.batch_rows_max = rows;
    options.num_threads = rows == 48 ? 1 : 2;
    const auto engine = open_engine(options);
    std::vector<Outcome> outcomes(requests.size());
    for (std::size_t i = 0; i < requests.size(); ++i) {
      ASSERT_TRUE(engine->submit(requests[i], into(outcomes[i])).has_value());
      engine->step();
    }
    run_all(*engine);
    for (std::size_t i = 0; i < requests.size(); ++i) {
      EXPECT_EQ(outcomes[i].tokens, alone[i]) << "request " << i << ", batches of " << rows;
    }
  }
}

TEST(Engine, ALongPromptDoesNotStopTheOthersTokens) {
  EngineOptions options;
  options.batch_rows_max = 16;
  const auto engine = open_engine(options);
  Outcome quick;
  Outcome slow;
  ASSERT_TRUE(engine->submit(request(golden_prompt(10), 20), into(quick)).has_value());
  engine->step();
  ASSERT_EQ(quick.tokens.size(), 1U);
  auto prompt = golden_prompt(300);
  prompt[0] = 2;
  ASSERT_TRUE(engine->submit(request(prompt, 4), into(slow)).has_value());
  for (std::size_t step = 2; step < 18; ++step) {
    engine->step();
    EXPECT_EQ(quick.tokens.size(), step);
    EXPECT_TRUE(slow.tokens.empty());
  }
  run_all(*engine);
  EXPECT_EQ(slow.tokens.size(), 4U);
}

TEST(Engine, CancellationEndsWaitingAndRunningRequestsBeforeTheirNextToken) {
  const auto engine = open_engine();
  Outcome running;
  Outcome waiting;
  const auto first = engine->submit(request(golden_prompt(), 50), into(running));
  engine->step();
  const auto second = engine->submit(request(golden_prompt(), 50), into(waiting));
  ASSERT_TRUE(first.has_value() && second.has_value());
  engine->cancel(*second);
  engine->cancel(*first);
  engine->cancel(*first);
  engine->step();
  EXPECT_EQ(running.reason, FinishReason::cancelled);
  EXPECT_EQ(running.tokens.size(), 1U);
  EXPECT_EQ(waiting.reason, FinishReason::cancelled);
  EXPECT_TRUE(waiting.tokens.empty());
  EXPECT_FALSE(engine->has_work());
  engine->cancel(*first);  // already gone: nothing happens
  engine->step();
  EXPECT_EQ(run(*engine, request(golden_prompt(), 8)).tokens, kContinuation);
}

TEST(Engine, ACallbackMayCancelItsOwnRequestAndSubmitAnother) {
  const auto engine = open_engine();
  Outcome outcome;
  Outcome next;
  RequestId id{};
  RequestCallbacks callbacks = into(outcome);
  callbacks.on_token = [&](TokenId token) {
    outcome.tokens.push_back(token);
    if (outcome.tokens.size() != 3) return;
    engine->cancel(id);
    ASSERT_TRUE(engine->submit(request(golden_prompt(), 8), into(next)).has_value());
  };
  const auto submitted = engine->submit(request(golden_prompt(), 50), callbacks);
  ASSERT_TRUE(submitted.has_value());
  id = *submitted;
  run_all(*engine);
  EXPECT_EQ(outcome.reason, FinishReason::cancelled);
  EXPECT_EQ(outcome.tokens.size(), 3U);
  EXPECT_EQ(next.tokens, kContinuation);
}

TEST(Engine, RequestsComeInFromOtherThreads) {
  const auto engine = open_engine();
  std::vector<Outcome> outcomes(8);
  std::vector<std::thread> threads;
  for (std::size_t t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      for (const std::size_t i : {2 * t, 2 * t + 1}) {
        EXPECT_TRUE(engine->submit(request(golden_prompt(), 8), into(outcomes[i])).has_value());
      }
    });
  }
  for (int i = 0; i < 3; ++i) engine->step();
  for (std::thread& thread : threads) thread.join();
  run_all(*engine);
  for (const Outcome& outcome : outcomes) EXPECT_EQ(outcome.tokens, kContinuation);
}

/// Pages of the golden model in its f32 cache.
EngineOptions pages(std::uint64_t num_pages) {
  EngineOptions options;
  options.cache_bytes_max = num_pages * open_engine()->stats().cache_page_bytes;
  return options;
}

TEST(Engine, ARequestBeyondTheWholeCacheIsRefusedAtOnce) {
  const auto engine = open_engine(pages(2));
  Outcome outcome;
  const auto refused = engine->submit(request(golden_prompt(), 40), into(outcome));
  ASSERT_FALSE(refused.has_value());
  EXPECT_EQ(refused.error().code, Errc::exhausted);
  EXPECT_EQ(refused.error().message, "136 tokens need 3 cache pages, there are 2");
  EXPECT_FALSE(engine->has_work());
  EXPECT_EQ(run(*engine, request(golden_prompt(), 8)).tokens, kContinuation);
}

TEST(Engine, RequestsWaitForPagesInOrderAndNoneFails) {
  const auto engine = open_engine(pages(3));
  std::vector<Outcome> outcomes(4);
  for (std::size_t i = 0; i < outcomes.size(); ++i) {
    auto prompt = golden_prompt(96);
    prompt[0] = static_cast<TokenId>(i);
    ASSERT_TRUE(engine->submit(request(prompt, 10), into(outcomes[i])).has_value());
  }
  run_all(*engine);
  for (std::size_t i = 0; i < outcomes.size(); ++i) {
    EXPECT_EQ(outcomes[i].reason, FinishReason::length);
    auto prompt = golden_prompt(96);
    prompt[0] = static_cast<TokenId>(i);
    EXPECT_EQ(outcomes[i].tokens, run(*open_engine(), request(prompt, 10)).tokens) << i;
  }
}

TEST(Engine, GenerationEndsWhereTheModelsPositionsEnd) {
  const testing::TempDir dir;
  for (const char* file : {"model.safetensors", "tokenizer.json"}) {
    std::filesystem::create_symlink(golden_dir() / file, dir.path() / file);
  }
  auto config = nlohmann::json::parse(testing::tiny_config_json());
  config["max_position_embeddings"] = 100;
  testing::write_file(dir.path() / "config.json", config.dump());
  EngineOptions options;
  options.cache_bytes_max = kCacheBytes;
  const auto engine = Engine::open(dir.path(), options);
  ASSERT_TRUE(engine.has_value()) << engine.error().message;

  const Outcome outcome = run(**engine, request(golden_prompt(), 50));
  EXPECT_EQ(outcome.reason, FinishReason::length);
  EXPECT_EQ(outcome.tokens, std::vector<TokenId>(kContinuation.begin(), kContinuation.begin() + 4));
  Outcome none;
  const auto refused = (*engine)->submit(request(golden_prompt(100), 1), into(none));
  ASSERT_FALSE(refused.has_value());
  EXPECT_EQ(refused.error().code, Errc::exhausted);
  EXPECT_EQ(refused.error().message, "the prompt has 100 tokens, the model takes 100");
}

TEST(Engine, ImpossibleRequestsAreRefusedWithTheirFault) {
  const auto engine = open_engine();
  const auto fault = [&](auto change) {
    GenerationRequest r = request(golden_prompt(), 8);
    change(r);
    Outcome outcome;
    const auto id = engine->submit(std::move(r), into(outcome));
    return id ? std::string("accepted") : id.error().message;
  };
  EXPECT_EQ(fault([](auto& r) { r.prompt.clear(); }), "prompt: no tokens");
  EXPECT_EQ(fault([](auto& r) { r.prompt[3] = 4096; }), "token 4096 is not below vocab_size 4096");
  EXPECT_EQ(fault([](auto& r) { r.stop_tokens = {5000}; }),
            "token 5000 is not below vocab_size 4096");
  EXPECT_EQ(fault([](auto& r) { r.tokens_generated_max = 0; }), "tokens_generated_max: 0");
  EXPECT_EQ(fault([](auto& r) { r.sampling.temperature = -1.0F; }), "temperature: -1");
  EXPECT_EQ(fault([](auto& r) { r.sampling.temperature = NAN; }), "temperature: nan");
  EXPECT_EQ(fault([](auto& r) { r.sampling.top_p = 0.0F; }), "top_p: 0");
  EXPECT_EQ(fault([](auto& r) { r.sampling.repetition_penalty = 0.0F; }), "repetition_penalty: 0");
  EXPECT_EQ(fault([](auto& r) { r.sampling.presence_penalty = NAN; }), "presence_penalty: nan");
  EXPECT_FALSE(engine->has_work());
}

TEST(Engine, APresencePenaltyThatOutweighsTheLogitsActsOnTheAnswerAlone) {
  const auto engine = open_engine();
  GenerationRequest r = request(golden_prompt(), 20);
  r.sampling.presence_penalty = -1e6F;  // what has been said is all that can be said
  EXPECT_EQ(run(*engine, r).tokens, std::vector<TokenId>(20, kContinuation[0]));
}

TEST(Engine, ConstrainedGenerationFollowsItsGrammarToAStopToken) {
  GrammarBuilder b;
  const RuleId item =
      b.sequence({b.one_of({"left", "right"}), b.literal("="), b.json_value(JsonType::boolean)});
  const auto grammar = b.compile("", b.repeat(item, b.literal(" the "), 2, 5));
  ASSERT_TRUE(grammar.has_value());
  const auto engine = open_engine();
  for (std::uint64_t seed = 0; seed < 10; ++seed) {
    GenerationRequest r = request(golden_prompt(20), 200, 1.0F, seed);
    r.grammar = *grammar;
    const Outcome outcome = run(*engine, std::move(r));
    EXPECT_EQ(outcome.reason, FinishReason::stop);
    ASSERT_FALSE(outcome.tokens.empty());
    EXPECT_EQ(outcome.tokens.back(), 1U);
    const auto words = std::span(outcome.tokens).first(outcome.tokens.size() - 1);
    const std::string text = engine->tokenizer().decode(words);
    EXPECT_EQ((*grammar)->match(text), GrammarMatch::full) << text;
  }
}

TEST(Engine, AStopTokenThatTheGrammarTakesAsTextDoesNotEndTheRequest) {
  GrammarBuilder b;
  const auto grammar = b.compile("", b.literal("axb"));
  ASSERT_TRUE(grammar.has_value());
  const auto engine = open_engine();
  GenerationRequest r = request(golden_prompt(20), 20);
  const TokenId stop = engine->tokenizer().encode("x", false).front();
  r.stop_tokens = {stop};
  r.grammar = *grammar;
  const Outcome outcome = run(*engine, std::move(r));
  EXPECT_EQ(outcome.reason, FinishReason::stop);
  EXPECT_EQ(engine->tokenizer().decode(outcome.tokens), "axbx");
}

TEST(Engine, ATokenizerWithMoreIdsThanTheModelIsRefused) {
  const testing::TempDir dir;
  for (const char* file : {"config.json", "model.safetensors"}) {
    std::filesystem::create_symlink(golden_dir() / file, dir.path() / file);
  }
  auto tokenizer = testing::small_tokenizer_json();
  tokenizer["added_tokens"].back()["id"] = 4096;
  testing::write_file(dir.path() / "tokenizer.json", tokenizer.dump());
  const auto engine = Engine::open(dir.path(), {});
  ASSERT_FALSE(engine.has_value());
  EXPECT_EQ(engine.error().code, Errc::invalid_argument);
  EXPECT_EQ(engine.error().message,
            "tokenizer.json: ids up to 4096 do not fit config.json's vocab_size 4096");
}

TEST(Engine, AMissingTokenizerIsNamed) {
  const testing::TempDir dir;
  for (const char* file : {"config.json", "model.safetensors"}) {
    std::filesystem::copy_file(golden_dir() / file, dir.path() / file);
  }
  const auto engine = Engine::open(dir.path(), {});
  ASSERT_FALSE(engine.has_value());
  EXPECT_NE(engine.error().message.find("tokenizer.json"), std::string::npos);
}

}  // namespace
}  // namespace ponder::engine
