// Scheduling, prefix cache, drafts, forks, idle prefill and cancellation with the model on a
// device: they are the CPU's, and must find nothing changed. And what becomes of requests when the
// device cannot be used or is lost. On the emulated device, or the GPU where it can be that.

#include <gmock/gmock.h>

#include <limits>

#include "engine/device_memory.h"
#include "tests/engine/device_of_test.h"
#include "tests/engine/small_model.h"
#include "tests/engine/traffic.h"

namespace ponder::engine {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

class DeviceEngine : public EngineTraffic, protected DeviceOfTest {
 protected:
  void SetUp() override {
    if (!take_device()) GTEST_SKIP() << no_device();
  }
  void TearDown() override { mend_emulator(); }
  const std::filesystem::path& model_dir() const override { return small_model_dir(); }

  EngineOptions options_for(DeviceChoice choice) {
    EngineOptions options;
    options.device = choice;
    options.device_table = device_table();
    options.cache_bytes_max = std::uint64_t{1} << 20;
    options.num_threads = 1;
    options.on_notice = [this](const std::string& notice) { notices_.push_back(notice); };
    return options;
  }
  std::unique_ptr<Engine> open_on(DeviceChoice choice, std::uint32_t num_drafts = 0) {
    EngineOptions options = options_for(choice);
    options.draft_tokens_max = num_drafts;
    return open(24, 64, options);
  }
  std::unique_ptr<Engine> open_on_device(std::uint32_t num_drafts = 0) {
    return open_on(DeviceChoice::cuda, num_drafts);
  }

  static std::vector<TokenId> prompt(std::size_t length, TokenId first) {
    std::vector<TokenId> tokens = EngineTraffic::prompt(length, first);
    for (TokenId& token : tokens) token %= 320;
    return tokens;
  }

  /// The request's callbacks, of which on_token loses the device after so many tokens.
  static RequestCallbacks losing_after(std::size_t num_tokens, Outcome& outcome) {
    RequestCallbacks callbacks = into(outcome);
    callbacks.on_token = [&outcome, num_tokens](TokenId token) {
      outcome.tokens.push_back(token);
      if (outcome.tokens.size() == num_tokens) kernels::lose_emulated_device(true);
    };
    return callbacks;
  }

  std::vector<std::string> notices_;
};

TEST_F(DeviceEngine, ARequestAmongOthersAndAfterACacheHitHasTheBitsOfOneAlone) {
  const Outcome alone = run(*open_on_device(), request(prompt(70, 7), 4));
  ASSERT_EQ(alone.logits.size(), 4U);
  const auto other = open_on_device();
  Outcome first;
  Outcome second;
  ASSERT_TRUE(other->submit(request(prompt(66, 9), 6, 2), into(first)).has_value());
  ASSERT_TRUE(other->submit(request(prompt(70, 7), 4), into(second)).has_value());
  run_all(*other);
  EXPECT_EQ(second.tokens, alone.tokens);
  EXPECT_TRUE(same_bits(second.logits, alone.logits));
  EXPECT_EQ(first.tokens.size(), 6U);
  const Outcome again = run(*other, request(prompt(70, 7), 4));
  EXPECT_EQ(again.stats.tokens_cached, 69U);
  EXPECT_TRUE(same_bits(again.logits, alone.logits));
}

TEST_F(DeviceEngine, DraftsChangeNoToken) {
  const Outcome plain = run(*open_on_device(), request(prompt(68, 7), 5));
  const Outcome drafted = run(*open_on_device(2), request(prompt(68, 7), 5));
  EXPECT_GT(drafted.stats.tokens_drafted, 0U);
  EXPECT_EQ(drafted.tokens, plain.tokens);
  EXPECT_TRUE(same_bits(drafted.logits, plain.logits));
}

TEST_F(DeviceEngine, AForkGoesOnAsTheWholeWouldAndLeavesItsParentAlone) {
  const Outcome alone = run(*open_on_device(), request(prompt(70, 7), 6));
  auto branch_tokens = prompt(70, 7);
  branch_tokens.insert(branch_tokens.end(), alone.tokens.begin(), alone.tokens.begin() + 2);
  branch_tokens.push_back(5);
  const Outcome whole = run(*open_on_device(), request(branch_tokens, 3, 9));

  const auto engine = open_on_device();
  Outcome parent;
  Outcome branch;
  const auto id = engine->submit(request(prompt(70, 7), 6), into(parent));
  ASSERT_TRUE(id.has_value());
  while (parent.tokens.size() < 3) engine->step();
  ASSERT_TRUE(engine->fork(*id, 72, request({5}, 3, 9), into(branch)).has_value());
  run_all(*engine);
  EXPECT_EQ(parent.tokens, alone.tokens);
  EXPECT_EQ(branch.tokens, whole.tokens);
  EXPECT_TRUE(same_bits(branch.logits, whole.logits));
  EXPECT_GE(branch.stats.tokens_cached, 72U);
}

TEST_F(DeviceEngine, IdleTimeMakesTheNextPromptWarm) {
  const Outcome cold = run(*open_on_device(), request(prompt(80, 7), 3));
  const auto engine = open_on_device();
  ASSERT_TRUE(engine->prefill_when_idle(prompt(75, 7)).has_value());
  run_idle(*engine);
  const Outcome warm = run(*engine, request(prompt(80, 7), 3));
  EXPECT_EQ(warm.stats.tokens_shadow, 75U);
  EXPECT_TRUE(same_bits(warm.logits, cold.logits));
}

TEST_F(DeviceEngine, ACancelledRequestGivesItsPagesBack) {
  const auto engine = open_on_device();
  Outcome outcome;
  const auto id = engine->submit(request(prompt(20, 7), 50), into(outcome));
  ASSERT_TRUE(id.has_value());
  engine->step();
  engine->cancel(*id);
  run_all(*engine);
  EXPECT_EQ(outcome.reason, FinishReason::cancelled);
  EXPECT_EQ(run(*engine, request(prompt(10, 3), 2)).tokens.size(), 2U);
}

TEST_F(DeviceEngine, ARequestThatTheCacheCannotHoldIsRefusedWhenItComes) {
  const auto engine = open_on_device();
  Outcome outcome;
  const auto id = engine->submit(request(prompt(64, 7), 64 * 24), into(outcome));
  ASSERT_FALSE(id.has_value());
  EXPECT_EQ(id.error().code, Errc::exhausted);
}

TEST_F(DeviceEngine, OfSeveralDevicesTheOneWithTheMostFreeMemoryIsTaken) {
  use_emulator();
  kernels::set_emulated_devices({5'000'000, 1'000'000, 9'000'000});
  const auto found = find_device(kernels::emulated_device());
  ASSERT_TRUE(found.has_value());
  EXPECT_THAT(found->description(), HasSubstr("device 1 of 0..2: emulated device"));
  const auto engine = open_on_device();
  EXPECT_EQ(kernels::emulated_device_in_use(), 1);
}

TEST_F(DeviceEngine, GraphsChangeNoTokenAndNoBit) {
  std::vector<Outcome> outcomes[2];
  for (const bool has_graphs : {true, false}) {
    EngineOptions options = options_for(DeviceChoice::cuda);
    options.device_graphs = has_graphs;
    const auto engine = open(24, 64, options);
    const std::uint64_t before = kernels::emulated_launches().graphs;
    std::vector<Outcome>& of = outcomes[has_graphs ? 1 : 0];
    of.resize(3);
    // They come and go at different times, so steps have one to three rows, and prompts between.
    for (std::size_t i = 0; i < of.size(); ++i) {
      const auto length = static_cast<std::size_t>(58 + 4 * i);
      ASSERT_TRUE(engine
                      ->submit(request(prompt(length, static_cast<TokenId>(i + 1)),
                                       static_cast<std::uint32_t>(6 + 3 * i), i),
                               into(of[i]))
                      .has_value());
      for (int step = 0; step < 3; ++step) engine->step();
    }
    run_all(*engine);
    const std::uint64_t launched = kernels::emulated_launches().graphs - before;
    if (is_emulated()) {
      EXPECT_EQ(launched > 0, has_graphs);
    }
  }
  for (std::size_t i = 0; i < outcomes[0].size(); ++i) {
    EXPECT_EQ(outcomes[1][i].tokens, outcomes[0][i].tokens);
    EXPECT_TRUE(same_bits(outcomes[1][i].logits, outcomes[0][i].logits)) << i;
  }
}

// Failures.

class DeviceEngineFailures : public DeviceEngine {
 protected:
  void SetUp() override {
    DeviceEngine::SetUp();
    use_emulator();
  }
};

TEST_F(DeviceEngineFailures, WhereNoGraphCanBeMadeTheEngineSaysSoOnceAndGoesOn) {
  const Outcome want = run(*open_on_device(), request(prompt(30, 7), 8));
  const auto engine = open_on_device();
  kernels::limit_emulated_graphs(0);
  const Outcome got = run(*engine, request(prompt(30, 7), 8));
  run(*engine, request(prompt(100, 3), 5));
  kernels::limit_emulated_graphs(std::numeric_limits<std::size_t>::max());
  EXPECT_TRUE(same_bits(got.logits, want.logits));
  EXPECT_THAT(notices_, ElementsAre(HasSubstr("one operation at a time")));
}

TEST_F(DeviceEngineFailures, ALostDeviceFailsTheRequestsWithItsErrorWhereOnlyItIsWanted) {
  const auto engine = open_on(DeviceChoice::cuda);
  Outcome outcome;
  const std::uint64_t graphs = kernels::emulated_launches().graphs;
  ASSERT_TRUE(engine->submit(request(prompt(20, 7), 50), losing_after(5, outcome)).has_value());
  run_all(*engine);
  EXPECT_EQ(outcome.reason, FinishReason::failed);
  EXPECT_THAT(outcome.error, HasSubstr("device lost"));
  EXPECT_EQ(outcome.tokens.size(), 5U);
  EXPECT_GT(kernels::emulated_launches().graphs, graphs + 2);  // in the middle of them
  kernels::lose_emulated_device(false);                        // it stays lost for who has met it
  EXPECT_EQ(run(*engine, request(prompt(5, 3), 2)).reason, FinishReason::failed);
  EXPECT_EQ(engine->stats().device_losses, 0U);
}

TEST_F(DeviceEngineFailures, WhenTheDeviceIsLostTheCpuGoesOnWithTheTokensSoFar) {
  const Outcome undisturbed = run(*open_on_device(), request(prompt(70, 7), 8));
  const auto engine = open_on(DeviceChoice::automatic);
  EXPECT_STREQ(engine->isa_name(), "emulated");
  Outcome lost;
  Outcome beside;
  ASSERT_TRUE(engine->prefill_when_idle(prompt(50, 2)).has_value());
  ASSERT_TRUE(engine->submit(request(prompt(30, 9), 9, 4), into(beside)).has_value());
  ASSERT_TRUE(engine->submit(request(prompt(70, 7), 8), losing_after(3, lost)).has_value());
  run_all(*engine);
  run_idle(*engine);

  EXPECT_EQ(lost.reason, FinishReason::length);
  EXPECT_TRUE(lost.stats.was_moved);
  EXPECT_EQ(beside.reason, FinishReason::length);
  EXPECT_EQ(beside.tokens.size(), 9U);
  EXPECT_EQ(engine->stats().device_losses, 1U);
  EXPECT_STRNE(engine->isa_name(), "emulated");
  EXPECT_THAT(notices_, ElementsAre(AllOf(HasSubstr("device lost"), HasSubstr("the CPU goes on"))));

  // The same as if the CPU had been asked to continue what the device had answered.
  ASSERT_EQ(lost.tokens.size(), 8U);
  const std::vector<TokenId> answered(lost.tokens.begin(), lost.tokens.begin() + 3);
  EXPECT_THAT(answered, ::testing::ElementsAreArray(undisturbed.tokens.begin(),
                                                    undisturbed.tokens.begin() + 3));
  auto continued = prompt(70, 7);
  continued.insert(continued.end(), answered.begin(), answered.end());
  const Outcome on_cpu = run(*open_on(DeviceChoice::cpu), request(continued, 5));
  EXPECT_EQ(std::vector<TokenId>(lost.tokens.begin() + 3, lost.tokens.end()), on_cpu.tokens);

  const Outcome next = run(*engine, request(prompt(40, 5), 3));
  EXPECT_EQ(next.reason, FinishReason::length);
  EXPECT_FALSE(next.stats.was_moved);
}

TEST_F(DeviceEngineFailures, ACpuThatCannotTakeOverIsAskedOnceAndTheErrorLasts) {
  const testing::TempDir dir;
  std::filesystem::copy(small_model_dir(), dir.path());
  const auto engine = Engine::open(dir.path(), options_for(DeviceChoice::automatic));
  ASSERT_TRUE(engine.has_value()) << engine.error().message;
  const auto weights = dir.path() / "model.safetensors";
  std::filesystem::rename(weights, dir.path() / "away");
  Outcome lost;
  ASSERT_TRUE((*engine)->submit(request(prompt(20, 7), 9), losing_after(5, lost)).has_value());
  run_all(**engine);
  EXPECT_EQ(lost.reason, FinishReason::failed);
  EXPECT_EQ(lost.tokens.size(), 5U);
  EXPECT_THAT(lost.error, AllOf(HasSubstr("device lost"), HasSubstr("the CPU cannot go on: "),
                                HasSubstr("model.safetensors"), HasSubstr("restart")));

  std::filesystem::rename(dir.path() / "away", weights);  // it could be loaded now
  const Outcome later = run(**engine, request(prompt(5, 3), 2));
  EXPECT_EQ(later.reason, FinishReason::failed);
  EXPECT_EQ(later.error, lost.error);
  EXPECT_EQ((*engine)->stats().device_losses, 0U);
  EXPECT_THAT(notices_, IsEmpty());
}

TEST_F(DeviceEngineFailures, DraftsGoOnOnTheCpuToo) {
  const auto engine = open_on(DeviceChoice::automatic, 2);
  Outcome outcome;
  ASSERT_TRUE(engine->submit(request(prompt(30, 7), 30), losing_after(4, outcome)).has_value());
  run_all(*engine);
  EXPECT_EQ(outcome.reason, FinishReason::length);
  EXPECT_EQ(outcome.tokens.size(), 30U);
  EXPECT_EQ(engine->stats().device_losses, 1U);
}

TEST_F(DeviceEngineFailures, WhatDoesNotFitOnTheDeviceRunsOnTheCpuOrNotAtAll) {
  kernels::set_emulated_memory(kernels::emulated_memory_used() + 10'000);
  const auto refused = Engine::open(model_dir(), options_for(DeviceChoice::cuda));
  ASSERT_FALSE(refused.has_value());
  EXPECT_EQ(refused.error().code, Errc::exhausted);
  EXPECT_THAT(notices_, IsEmpty());
  const auto engine = open_on(DeviceChoice::automatic);
  EXPECT_THAT(notices_, ElementsAre(AllOf(HasSubstr("the CPU computes"), HasSubstr("no memory"))));
  EXPECT_EQ(run(*engine, request(prompt(10, 3), 2)).tokens.size(), 2U);
}

}  // namespace
}  // namespace ponder::engine
