// Drafts change no token: whatever the temperature, the grammar, the cache and the other requests.

#include "engine/speculation.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>

#include "engine/checkpoint.h"
#include "tests/engine/golden_model.h"

namespace ponder::engine {
namespace {

/// The golden model with layers that add nothing and MTP weights that pass the embedding on: the
/// next token follows from the last one alone, so every draft is right.
const std::filesystem::path& predictable_dir() {
  static const testing::TempDir dir;
  if (std::filesystem::exists(dir.path() / "config.json")) return dir.path();
  const auto checkpoint = Checkpoint::open(golden_dir());
  if (!checkpoint) std::abort();
  std::vector<testing::StoredTensor> tensors;
  for (const TensorView& tensor : checkpoint->tensors()) {
    auto values = *checkpoint->load_f32(tensor.name, tensor.shape);
    const auto is = [&](const char* part) { return tensor.name.find(part) != std::string::npos; };
    if (is("o_proj") || is("down_proj") || is("eh_proj")) std::ranges::fill(values, 0.0F);
    if (is("enorm") || is("model.norm") || is("shared_head.norm")) {
      std::ranges::fill(values, 1.0F);
    }
    if (is("eh_proj")) {
      for (std::size_t i = 0; i < tensor.shape[0]; ++i) values[i * tensor.shape[1] + i] = 1.0F;
    }
    tensors.push_back({tensor.name, "F32", tensor.shape, testing::bytes_of(values)});
  }
  testing::write_file(dir.path() / "model.safetensors", testing::safetensors_bytes(tensors));
  for (const char* file : {"tokenizer.json", "config.json"}) {
    std::filesystem::copy_file(golden_dir() / file, dir.path() / file);
  }
  return dir.path();
}

std::unique_ptr<Engine> open_engine(std::uint32_t num_drafts,
                                    const std::filesystem::path& dir = golden_dir(),
                                    std::uint32_t batch_rows = 512,
                                    std::uint64_t cache_bytes = std::uint64_t{64} << 20) {
  EngineOptions options;
  options.cache_bytes_max = cache_bytes;
  options.batch_rows_max = batch_rows;
  options.draft_tokens_max = num_drafts;
  auto engine = Engine::open(dir, options);
  EXPECT_TRUE(engine.has_value()) << engine.error().message;
  return engine ? std::move(*engine) : nullptr;
}

GenerationRequest request(std::vector<TokenId> prompt, std::uint32_t num_tokens,
                          SamplingParams sampling = {.temperature = 0.0F}) {
  GenerationRequest r;
  r.prompt = std::move(prompt);
  r.sampling = sampling;
  r.tokens_generated_max = num_tokens;
  r.stop_tokens = {1};
  return r;
}

/// Hot enough that all tokens are about as likely, so that model and drafts often agree by the
/// random number of the position, and often do not.
SamplingParams hot(std::uint64_t seed, float temperature = 300.0F) {
  return {.temperature = temperature, .top_p = 1.0F, .seed = seed};
}

struct Outcome {
  std::vector<TokenId> tokens;
  FinishReason reason = FinishReason::failed;
  RequestStats stats;
};

RequestCallbacks into(Outcome& outcome) {
  return {.on_token = [&outcome](TokenId token) { outcome.tokens.push_back(token); },
          .on_finish =
              [&outcome](FinishReason reason, const RequestStats& stats, const std::string&) {
                outcome.reason = reason;
                outcome.stats = stats;
              }};
}

Outcome run(Engine& engine, GenerationRequest r) {
  Outcome outcome;
  EXPECT_TRUE(engine.submit(std::move(r), into(outcome)).has_value());
  while (engine.has_work()) engine.step();
  return outcome;
}

/// Whatever way a prompt came into the cache, a request that finds it there drafts as a cold one.
void expect_same(const Outcome& warm, const Outcome& cold) {
  EXPECT_EQ(warm.tokens, cold.tokens);
  EXPECT_EQ(warm.stats.tokens_drafted, cold.stats.tokens_drafted);
  EXPECT_EQ(warm.stats.tokens_accepted, cold.stats.tokens_accepted);
}

class Drafts : public ::testing::TestWithParam<std::uint32_t> {};

TEST_P(Drafts, GreedyTokensAreThoseOfPlainDecoding) {
  const auto plain = run(*open_engine(0), request(golden_prompt(), 60));
  const auto drafted = run(*open_engine(GetParam()), request(golden_prompt(), 60));
  EXPECT_EQ(drafted.tokens, plain.tokens);
  EXPECT_EQ(drafted.reason, FinishReason::length);
  EXPECT_GT(drafted.stats.tokens_drafted, 0U);
  EXPECT_EQ(plain.stats.tokens_drafted, 0U);
}

TEST_P(Drafts, SampledTokensAreThoseOfPlainDecodingWhereSomeDraftsAreRightAndSomeWrong) {
  const auto plain = open_engine(0);
  const auto drafting = open_engine(GetParam());
  RequestStats sum;
  for (std::uint64_t seed = 0; seed < 12; ++seed) {
    const auto want = run(*plain, request(golden_prompt(70 + seed), 50, hot(seed)));
    const auto got = run(*drafting, request(golden_prompt(70 + seed), 50, hot(seed)));
    EXPECT_EQ(got.tokens, want.tokens) << "seed " << seed;
    EXPECT_EQ(got.stats.tokens_generated, want.stats.tokens_generated);
    sum.tokens_drafted += got.stats.tokens_drafted;
    sum.tokens_accepted += got.stats.tokens_accepted;
  }
  EXPECT_GT(sum.tokens_accepted, sum.tokens_drafted / 10);
  EXPECT_LT(sum.tokens_accepted, sum.tokens_drafted * 9 / 10);
  EXPECT_EQ(drafting->stats().tokens_drafted, sum.tokens_drafted);
  EXPECT_EQ(drafting->stats().tokens_accepted, sum.tokens_accepted);
  EXPECT_EQ(drafting->stats().nan_scores, 0U);
}

TEST_P(Drafts, PenaltiesCountDraftsAsPlainDecodingCountsTokens) {
  const auto plain = open_engine(0);
  const auto drafting = open_engine(GetParam());
  std::uint32_t num_accepted = 0;
  for (std::uint64_t seed = 0; seed < 6; ++seed) {
    SamplingParams sampling = hot(seed);
    sampling.repetition_penalty = 1.3F;
    sampling.frequency_penalty = 40.0F;
    sampling.presence_penalty = 80.0F;
    const auto want = run(*plain, request(golden_prompt(70), 50, sampling));
    const auto got = run(*drafting, request(golden_prompt(70), 50, sampling));
    EXPECT_EQ(got.tokens, want.tokens) << "seed " << seed;
    EXPECT_NE(got.tokens, run(*plain, request(golden_prompt(70), 50, hot(seed))).tokens);
    num_accepted += got.stats.tokens_accepted;
  }
  EXPECT_GT(num_accepted, 0U);
}

TEST_P(Drafts, WhereEveryDraftIsRightAStepGivesAllOfThemAndOneMore) {
  const auto engine = open_engine(GetParam(), predictable_dir());
  const auto outcome = run(*engine, request(golden_prompt(), 1 + 12 * (GetParam() + 1)));
  EXPECT_EQ(outcome.tokens, run(*open_engine(0, predictable_dir()),
                                request(golden_prompt(), 1 + 12 * (GetParam() + 1)))
                                .tokens);
  EXPECT_EQ(engine->stats().steps, 1U + 12U);
  EXPECT_EQ(outcome.stats.tokens_drafted, 12 * GetParam());
  EXPECT_EQ(outcome.stats.tokens_accepted, 12 * GetParam());
}

TEST_P(Drafts, AStopTokenAmongTheDraftsEndsTheRequestThere) {
  const auto all = run(*open_engine(0, predictable_dir()), request(golden_prompt(), 20)).tokens;
  for (std::size_t i = 1; i < 8; ++i) {
    GenerationRequest r = request(golden_prompt(), 20);
    r.stop_tokens = {all[i]};
    const auto engine = open_engine(GetParam(), predictable_dir());
    const auto outcome = run(*engine, std::move(r));
    const auto end = std::ranges::find(all, all[i]) + 1;
    EXPECT_EQ(outcome.tokens, std::vector<TokenId>(all.begin(), end));
    EXPECT_EQ(outcome.reason, FinishReason::stop);
  }
}

TEST_P(Drafts, TheLimitHoldsInTheMiddleOfAStep) {
  const auto all = run(*open_engine(0, predictable_dir()), request(golden_prompt(), 12)).tokens;
  const auto engine = open_engine(GetParam(), predictable_dir());
  for (std::uint32_t limit = 1; limit <= 12; ++limit) {
    const auto outcome = run(*engine, request(golden_prompt(), limit));
    EXPECT_EQ(outcome.tokens, std::vector<TokenId>(all.begin(), all.begin() + limit));
  }
}

TEST_P(Drafts, AGrammarMasksDraftsToo) {
  GrammarBuilder b;
  const RuleId item =
      b.sequence({b.one_of({"left", "right"}), b.literal("="), b.json_value(JsonType::boolean)});
  const auto grammar = b.compile("", b.repeat(item, b.literal(" the "), 3, 9));
  ASSERT_TRUE(grammar.has_value());
  const auto plain = open_engine(0);
  const auto drafting = open_engine(GetParam());
  std::uint64_t num_accepted = 0;
  for (std::uint64_t seed = 0; seed < 12; ++seed) {
    GenerationRequest r = request(golden_prompt(20), 200, {.temperature = 1.0F, .seed = seed});
    r.grammar = *grammar;
    const auto want = run(*plain, r);
    const auto got = run(*drafting, r);
    EXPECT_EQ(got.tokens, want.tokens) << "seed " << seed;
    EXPECT_EQ(got.reason, FinishReason::stop);
    num_accepted += got.stats.tokens_accepted;
  }
  EXPECT_GT(num_accepted, 0U);  // where the grammar leaves one token, a masked draft is right
}

/// The mask goes along with the drafts: where both layers agree, they do so under every mask.
TEST_P(Drafts, EachDraftIsMaskedByTheOnesBeforeIt) {
  GrammarBuilder b;
  std::vector<RuleId> digits;
  for (int i = 0; i < 6; ++i) {
    digits.push_back(b.one_of({"0", "1", "2"}));
    digits.push_back(b.one_of({"5", "6", "7"}));
  }
  const auto grammar = b.compile("", b.sequence(digits));
  ASSERT_TRUE(grammar.has_value());
  GenerationRequest r = request(golden_prompt(20), 12, {.temperature = 1.0F, .seed = 3});
  r.grammar = *grammar;
  const auto outcome = run(*open_engine(GetParam(), predictable_dir()), std::move(r));
  EXPECT_EQ(outcome.tokens.size(), 12U);
  EXPECT_GE(outcome.stats.tokens_drafted, 5U);
  EXPECT_EQ(outcome.stats.tokens_accepted, outcome.stats.tokens_drafted);
}

TEST_P(Drafts, RequestsInOneBatchDraftEachForItself) {
  for (const std::uint32_t batch_rows : {5U, 40U, 512U}) {
    const auto engine = open_engine(GetParam(), golden_dir(), batch_rows);
    std::vector<GenerationRequest> requests;
    for (std::uint64_t i = 0; i < 6; ++i) {
      requests.push_back(
          request(golden_prompt(30 + 25 * i), 20, hot(i, i % 2 == 0 ? 300.0F : 3e6F)));
      requests.back().prompt[0] = static_cast<TokenId>(i);
    }
    std::vector<Outcome> outcomes(requests.size());
    for (std::size_t i = 0; i < requests.size(); ++i) {
      ASSERT_TRUE(engine->submit(requests[i], into(outcomes[i])).has_value());
      engine->step();
    }
    while (engine->has_work()) engine->step();
    for (std::size_t i = 0; i < requests.size(); ++i) {
      EXPECT_EQ(outcomes[i].tokens, run(*open_engine(0), requests[i]).tokens) << "request " << i;
    }
  }
}

/// The drafts after a cached prefix are those of a request that computed everything itself, so the
/// MTP layer's cache has come along, also where the prefix ends with a page.
TEST_P(Drafts, ACachedPrefixLeadsToTheSameDrafts) {
  for (const std::size_t length : {1U, 63U, 64U, 65U, 100U, 128U}) {
    const auto engine = open_engine(GetParam());
    auto first = golden_prompt(140);
    first[length] = 9;
    run(*engine, request(first, 3, hot(1)));
    const auto warm = run(*engine, request(golden_prompt(140), 40, hot(2)));
    const auto cold = run(*open_engine(GetParam()), request(golden_prompt(140), 40, hot(2)));
    EXPECT_EQ(warm.stats.tokens_cached, length);
    expect_same(warm, cold);
    const auto again = run(*engine, request(golden_prompt(140), 40, hot(2)));
    EXPECT_EQ(again.stats.tokens_cached, 139U);
    expect_same(again, cold);
  }
}

TEST_P(Drafts, AForkLeadsToTheSameDrafts) {
  for (const std::size_t length : {64U, 100U, 143U}) {
    const auto engine = open_engine(GetParam());
    Outcome parent;
    Outcome branch;
    const auto id = engine->submit(request(golden_prompt(140), 30, hot(1)), into(parent));
    ASSERT_TRUE(id.has_value());
    while (parent.tokens.size() < 6) engine->step();
    auto prompt = golden_prompt(140);
    prompt.insert(prompt.end(), parent.tokens.begin(), parent.tokens.end());
    prompt.resize(length);
    prompt.push_back(9);
    ASSERT_TRUE(engine->fork(*id, length, request({9}, 30, hot(2)), into(branch)).has_value());
    while (engine->has_work()) engine->step();
    EXPECT_EQ(branch.stats.tokens_cached, length);
    expect_same(branch, run(*open_engine(GetParam()), request(prompt, 30, hot(2))));
    expect_same(parent, run(*open_engine(GetParam()), request(golden_prompt(140), 30, hot(1))));
  }
}

TEST_P(Drafts, APromptComputedInIdleTimeLeadsToTheSameDrafts) {
  const auto engine = open_engine(GetParam());
  ASSERT_TRUE(engine->prefill_when_idle(golden_prompt(300)).has_value());
  ASSERT_TRUE(engine->prefill_when_idle(golden_prompt(150)).has_value());
  while (engine->has_idle_work()) engine->step();
  const auto warm = run(*engine, request(golden_prompt(300), 30, hot(2)));
  EXPECT_EQ(warm.stats.tokens_cached, 299U);
  expect_same(warm, run(*open_engine(GetParam()), request(golden_prompt(300), 30, hot(2))));
}

/// It comes back with pages for its tokens alone, which end just where the drafts would begin.
TEST_P(Drafts, ARequestThatIsPreemptedWithDraftsPendingGoesOnAsPlainDecoding) {
  const CacheLayout layout(testing::tiny_config(), kernels::DType::f32, true);
  const auto engine = open_engine(GetParam(), predictable_dir(), 512, 4 * layout.page_bytes);
  Outcome preempted;
  Outcome other;
  ASSERT_TRUE(engine->submit(request(golden_prompt(103), 60), into(preempted)).has_value());
  while (preempted.tokens.size() < 25) engine->step();
  ASSERT_EQ(preempted.tokens.size(), 25U);  // 128 with the prompt: two pages
  GenerationRequest urgent = request(golden_prompt(200), 40);
  urgent.prompt[0] = 9;
  urgent.priority = Priority::high;
  ASSERT_TRUE(engine->submit(urgent, into(other)).has_value());
  while (engine->has_work()) engine->step();
  EXPECT_EQ(engine->stats().preemptions, 1U);
  const auto plain = open_engine(0, predictable_dir());
  EXPECT_EQ(preempted.tokens, run(*plain, request(golden_prompt(103), 60)).tokens);
  EXPECT_EQ(other.tokens, run(*plain, urgent).tokens);
}

INSTANTIATE_TEST_SUITE_P(EveryDepth, Drafts, ::testing::Values(1U, 2U, 3U),
                         ::testing::PrintToStringParamName());

TEST(DraftDepth, WithoutSuccessDraftsBecomeRare) {
  const auto engine = open_engine(3);
  const auto outcome = run(*engine, request(golden_prompt(), 200));
  EXPECT_LE(outcome.stats.tokens_accepted, 2U);
  EXPECT_LT(outcome.stats.tokens_drafted, 20U);  // 3 + 2 + 1, then one after 8, 16, 32, 64 tokens
  EXPECT_GT(outcome.stats.tokens_drafted, 6U);   // it has tried again
}

TEST(DraftDepth, WithManyRequestsAtOnceThereAreNone) {
  const auto engine = open_engine(2);
  std::vector<Outcome> outcomes(12);
  for (std::size_t i = 0; i < outcomes.size(); ++i) {
    ASSERT_TRUE(
        engine->submit(request(golden_prompt(10), 5, hot(i)), into(outcomes[i])).has_value());
  }
  while (engine->has_work()) engine->step();
  EXPECT_EQ(engine->stats().tokens_drafted, 0U);
}

/// The random number of a position meets the same token in the model's distribution and in the
/// drafts', so over many seeds the first tokens have the model's frequencies.
TEST(DraftDistribution, FrequenciesAreTheModels) {
  GrammarBuilder b;
  const auto grammar = b.compile("", b.one_of({"a", "b", "ab"}));
  ASSERT_TRUE(grammar.has_value());
  const auto count = [&](std::uint32_t num_drafts) {
    const auto engine = open_engine(num_drafts);
    std::map<std::vector<TokenId>, int> counts;
    for (std::uint64_t seed = 0; seed < 300; ++seed) {
      GenerationRequest r = request(golden_prompt(5), 4, {.temperature = 2.0F, .seed = seed});
      r.grammar = *grammar;
      ++counts[run(*engine, std::move(r)).tokens];
    }
    return counts;
  };
  const auto plain = count(0);
  EXPECT_GE(plain.size(), 3U);
  EXPECT_EQ(count(2), plain);
}

TEST(DraftOptions, AModelWithoutAnMtpLayerAndTooManyDraftsAreRefused) {
  const testing::TempDir dir;
  for (const char* file : {"model.safetensors", "tokenizer.json"}) {
    std::filesystem::create_symlink(golden_dir() / file, dir.path() / file);
  }
  auto config = nlohmann::json::parse(testing::tiny_config_json());
  config["num_nextn_predict_layers"] = 0;
  testing::write_file(dir.path() / "config.json", config.dump());
  const auto fault = [](const std::filesystem::path& model, std::uint32_t num_drafts) {
    EngineOptions options;
    options.draft_tokens_max = num_drafts;
    const auto engine = Engine::open(model, options);
    return engine ? std::string("opened") : engine.error().message;
  };
  EXPECT_EQ(fault(dir.path(), 0), "opened");
  EXPECT_EQ(fault(dir.path(), 1), "drafts: num_nextn_predict_layers is 0: no MTP layer");
  // What others ask before they open an engine is what it refuses itself.
  constexpr std::uint32_t kMost = Speculation::kTokensMax;
  EXPECT_EQ(fault(golden_dir(), kMost), "opened");
  EXPECT_TRUE(Speculation::check(kMost));
  EXPECT_EQ(fault(golden_dir(), kMost + 1), "draft_tokens_max: 9 is more than 8");
  EXPECT_EQ(Speculation::check(kMost + 1).error().message, fault(golden_dir(), kMost + 1));
}

}  // namespace
}  // namespace ponder::engine
