// Engines whose prompts' attention is expanded on a device: requests have the bits that they have
// alone, whoever gave or generated the text before them, and whatever was cached, drafted, shared,
// taken away or lost on the way. On the emulated device, or a GPU.

#include <gmock/gmock.h>

#include "tests/engine/device_of_test.h"
#include "tests/engine/small_model.h"
#include "tests/engine/traffic.h"

namespace ponder::engine {
namespace {

using ::testing::HasSubstr;

/// Engines, with a model of which a prompt's first 16 rows are expanded.
class ExpandedEngine : public EngineTraffic, protected DeviceOfTest {
 protected:
  void SetUp() override {
    if (!take_device()) GTEST_SKIP() << no_device();
  }
  void TearDown() override { mend_emulator(); }
  const std::filesystem::path& model_dir() const override { return small_model_dir(); }

  EngineOptions options_on(DeviceChoice choice) const {
    EngineOptions options;
    options.device = choice;
    options.device_table = device_table();
    options.num_threads = 1;
    options.prompt_attention = PromptAttention::expanded;
    return options;
  }
  std::unique_ptr<Engine> open_with(std::uint32_t rows = 64, std::uint32_t num_drafts = 0,
                                    DeviceChoice choice = DeviceChoice::cuda,
                                    std::uint64_t num_pages = 24) {
    EngineOptions options = options_on(choice);
    options.draft_tokens_max = num_drafts;
    return open(num_pages, rows, options);
  }
  static std::vector<TokenId> prompt(std::size_t length, TokenId first) {
    std::vector<TokenId> tokens = EngineTraffic::prompt(length, first);
    for (TokenId& token : tokens) token %= 320;
    return tokens;
  }
  static std::vector<TokenId> joined(std::vector<TokenId> a, std::span<const TokenId> b) {
    a.insert(a.end(), b.begin(), b.end());
    return a;
  }
};

TEST_F(ExpandedEngine, ItIsRefusedForTheCpu) {
  const auto engine = Engine::open(model_dir(), options_on(DeviceChoice::cpu));
  ASSERT_FALSE(engine.has_value());
  EXPECT_EQ(engine.error().code, Errc::invalid_argument);
  EXPECT_THAT(engine.error().message, HasSubstr("the device is cpu"));
}

TEST_F(ExpandedEngine, BatchesChunksAndCacheHitsChangeNoBit) {
  for (const std::size_t length : {9U, 40U, 70U}) {
    const Outcome alone = run(*open_with(), request(prompt(length, 7), 6));
    const auto other = open_with(5);
    Outcome first;
    Outcome second;
    ASSERT_TRUE(other->submit(request(prompt(66, 9), 6, 2), into(first)).has_value());
    ASSERT_TRUE(other->submit(request(prompt(length, 7), 6), into(second)).has_value());
    run_all(*other);
    EXPECT_TRUE(same_bits(second.logits, alone.logits)) << length;
    const Outcome again = run(*other, request(prompt(length, 7), 6));
    EXPECT_EQ(again.stats.tokens_cached, length - 1);
    EXPECT_TRUE(same_bits(again.logits, alone.logits)) << length;
  }
}

/// A turn that follows on an answer: the same whether the engine has just given it or never saw it.
TEST_F(ExpandedEngine, ATextThatWasGeneratedHasAPromptsBitsWhenItComesAsOne) {
  for (const std::size_t length : {6U, 20U}) {
    const auto engine = open_with();
    const Outcome answer = run(*engine, request(prompt(length, 7), 30));
    const auto next = joined(joined(prompt(length, 7), answer.tokens), prompt(5, 3));
    const Outcome warm = run(*engine, request(next, 4));
    const Outcome cold = run(*open_with(), request(next, 4));
    EXPECT_EQ(cold.stats.tokens_cached, 0U);
    // Of a prompt that reaches the form's end what was generated is as good as a prompt's.
    EXPECT_EQ(warm.stats.tokens_cached, length < 16 ? length : length + 29);
    EXPECT_TRUE(same_bits(warm.logits, cold.logits)) << length;
  }
}

TEST_F(ExpandedEngine, DraftsChangeNoToken) {
  for (const std::size_t length : {5U, 40U}) {
    const Outcome plain = run(*open_with(), request(prompt(length, 7), 20));
    const Outcome drafted = run(*open_with(64, 2), request(prompt(length, 7), 20));
    EXPECT_GT(drafted.stats.tokens_drafted, 0U);
    EXPECT_EQ(drafted.tokens, plain.tokens);
    EXPECT_TRUE(same_bits(drafted.logits, plain.logits)) << length;
  }
}

/// It gives its pages up while it answers, others use them, and its rows are computed again.
TEST_F(ExpandedEngine, APreemptedRequestGoesOnWithItsBits) {
  GenerationRequest wanted = request(prompt(6, 7), 60);
  wanted.priority = Priority::low;
  const Outcome undisturbed = run(*open_with(), wanted);
  const auto engine = open_with(64, 0, DeviceChoice::cuda, 3);
  Outcome low;
  ASSERT_TRUE(engine->submit(wanted, into(low)).has_value());
  while (low.tokens.size() < 20) engine->step();
  // One whose prompt is what the first has generated so far: the tree knows its rows then.
  GenerationRequest urgent = request(joined(prompt(6, 7), low.tokens), 120);
  urgent.priority = Priority::high;
  Outcome high;
  ASSERT_TRUE(engine->submit(urgent, into(high)).has_value());
  run_all(*engine);
  EXPECT_GT(engine->stats().preemptions, 0U);
  EXPECT_EQ(low.tokens, undisturbed.tokens);
  EXPECT_TRUE(same_bits(low.logits, undisturbed.logits));
}

/// A branch goes on with the bits of its parent's rows, whether it shares or computes them.
TEST_F(ExpandedEngine, ABranchHasItsParentsBitsAlsoWhenItComputesThemAgain) {
  std::vector<Outcome> outcomes(2);
  for (const bool has_room : {true, false}) {
    const auto engine = open_with(64, 0, DeviceChoice::cuda, has_room ? 24 : 2);
    Outcome parent;
    Outcome& branch = outcomes[has_room ? 1 : 0];
    const auto id = engine->submit(request(prompt(6, 7), 90), into(parent));
    ASSERT_TRUE(id.has_value());
    while (parent.tokens.size() < 8) engine->step();
    ASSERT_TRUE(engine->fork(*id, 12, request({5}, 8, 9), into(branch)).has_value());
    run_all(*engine);
    EXPECT_EQ(branch.stats.tokens_cached, has_room ? 12U : 6U);
  }
  EXPECT_TRUE(same_bits(outcomes[0].logits, outcomes[1].logits));
}

TEST_F(ExpandedEngine, ARequestThatIsSetBackIntoItsPromptGoesOnAsOneThatEndedThere) {
  const Outcome alone = run(*open_with(), request(prompt(10, 7), 8, 5));
  const auto engine = open_with();
  Outcome outcome;
  GenerationRequest longer = request(joined(prompt(10, 7), prompt(4, 3)), 4, 2);
  const auto id = engine->submit(longer, into(outcome));
  ASSERT_TRUE(id.has_value());
  while (outcome.tokens.size() < 2) engine->step();
  ASSERT_TRUE(engine->truncate(*id, 10, 5).has_value());
  run_all(*engine);
  EXPECT_EQ(outcome.tokens, alone.tokens);
  EXPECT_TRUE(same_bits(outcome.logits, alone.logits));
}

TEST_F(ExpandedEngine, StepsOfDecodingAreStillGraphsAndAPromptsLastRowIsNone) {
  use_emulator();
  const auto engine = open_with();
  const std::uint64_t graphs = kernels::emulated_launches().graphs;
  run(*engine, request(prompt(15, 7), 1));
  for (const std::size_t length : {12U, 9U, 15U, 5U}) {
    // All but the last row is there: a step of one row, which is a prompt's.
    const Outcome warm = run(*engine, request(prompt(length, 7), 6));
    EXPECT_EQ(warm.stats.tokens_cached, length - 1);
    EXPECT_TRUE(same_bits(warm.logits, run(*open_with(), request(prompt(length, 7), 6)).logits))
        << length;
  }
  EXPECT_GT(kernels::emulated_launches().graphs, graphs);
}

TEST_F(ExpandedEngine, TheCpuThatTakesOverGathers) {
  use_emulator();
  const auto engine = open_with(64, 0, DeviceChoice::automatic);
  Outcome outcome;
  RequestCallbacks callbacks = into(outcome);
  callbacks.on_token = [&outcome](TokenId token) {
    outcome.tokens.push_back(token);
    if (outcome.tokens.size() == 3) kernels::lose_emulated_device(true);
  };
  ASSERT_TRUE(engine->submit(request(prompt(8, 7), 20), callbacks).has_value());
  run_all(*engine);
  EXPECT_EQ(outcome.reason, FinishReason::length);
  ASSERT_EQ(outcome.tokens.size(), 20U);
  EngineOptions on_cpu;
  on_cpu.num_threads = 1;
  const std::vector<TokenId> answered(outcome.tokens.begin(), outcome.tokens.begin() + 3);
  const Outcome want = run(*open(24, 64, on_cpu), request(joined(prompt(8, 7), answered), 17));
  EXPECT_EQ(std::vector<TokenId>(outcome.tokens.begin() + 3, outcome.tokens.end()), want.tokens);
  // There is one form again: what was generated is found as a prompt's beginning.
  const auto next = joined(prompt(8, 7), outcome.tokens);
  EXPECT_EQ(run(*engine, request(next, 2)).stats.tokens_cached, 27U);
}

TEST_F(ExpandedEngine, PagesOnDiskAreOfOneForm) {
  testing::TempDir dir;
  const auto tokens_cached = [&](PromptAttention attention) {
    EngineOptions options = options_on(DeviceChoice::cuda);
    options.prompt_attention = attention;
    options.spill_dir = dir.path() / "spill";
    return run(*open(8, 64, options), request(prompt(140, 7), 2)).stats.tokens_cached;
  };
  EXPECT_EQ(tokens_cached(PromptAttention::expanded), 0U);
  EXPECT_EQ(tokens_cached(PromptAttention::gathered), 0U);
  EXPECT_EQ(tokens_cached(PromptAttention::expanded), 128U);
  EXPECT_EQ(tokens_cached(PromptAttention::gathered), 128U);
}

}  // namespace
}  // namespace ponder::engine
