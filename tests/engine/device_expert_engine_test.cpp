// The engine with a model on a device whose routed experts stay in host memory: what is chosen and
// said when memory is short, drafts, graphs, and a device that is lost. On the emulated device, or
// a GPU.

#include <gmock/gmock.h>

#include "tests/engine/device_of_test.h"
#include "tests/engine/traffic.h"
#include "tests/engine/wide_model.h"

namespace ponder::engine {
namespace {

namespace fs = std::filesystem;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

/// The engine: what is chosen and said, drafts, and a device that is lost.
class DeviceExpertEngine : public EngineTraffic, protected DeviceOfTest {
 protected:
  void SetUp() override {
    if (!take_device()) GTEST_SKIP() << no_device();
  }
  void TearDown() override { mend_emulator(); }
  const fs::path& model_dir() const override {
    return is_golden_ ? golden_dir() : wide_model_dir("f32");
  }

  std::unique_ptr<Engine> open_with(ExpertPlacement experts,
                                    DeviceChoice device = DeviceChoice::cuda,
                                    std::uint32_t num_drafts = 0) {
    EngineOptions options;
    options.device = device;
    options.device_table = device_table();
    options.experts = experts;
    options.draft_tokens_max = num_drafts;
    options.on_notice = [this](const std::string& notice) { notices_.push_back(notice); };
    return open(12, 48, options);
  }
  static std::vector<TokenId> prompt(std::size_t length) { return prompt_below(length, 320); }

  bool is_golden_ = false;  // whose experts fill more than the pieces that memory is taken in
  std::vector<std::string> notices_;
};

TEST_F(DeviceExpertEngine, WhereTheDeviceDoesNotHoldTheExpertsAutoLeavesThemOnTheHostAndSaysSo) {
  use_emulator();
  is_golden_ = true;
  const std::size_t before = kernels::emulated_memory_used();
  std::size_t taken = 0;
  Outcome on_device;
  {
    const auto engine = open_with(ExpertPlacement::automatic);
    taken = kernels::emulated_memory_used() - before;
    on_device = run(*engine, request(prompt(20), 3));
  }
  EXPECT_THAT(notices_, IsEmpty());
  kernels::set_emulated_memory(before + taken - 1);
  const auto engine = open_with(ExpertPlacement::automatic);
  EXPECT_THAT(notices_, ElementsAre(AllOf(HasSubstr("routed experts of layer"),
                                          HasSubstr("in host memory; on the GPU "),
                                          HasSubstr("cache"), HasSubstr("free on emulated"))));
  EXPECT_STREQ(engine->isa_name(), "emulated");
  const Outcome on_host = run(*engine, request(prompt(20), 3));
  EXPECT_EQ(on_host.tokens, on_device.tokens);
  EXPECT_FALSE(on_host.stats.was_moved);
}

TEST_F(DeviceExpertEngine, DraftsOfALayerWithExpertsOnTheHostChangeNoToken) {
  const Outcome plain = run(*open_with(ExpertPlacement::host), request(prompt(40), 5));
  const auto engine = open_with(ExpertPlacement::host, DeviceChoice::cuda, 2);
  EXPECT_THAT(notices_.back(), HasSubstr("layers 1..4"));  // 4 is the MTP layer
  const Outcome drafted = run(*engine, request(prompt(40), 5));
  EXPECT_GT(drafted.stats.tokens_drafted, 0U);
  EXPECT_EQ(drafted.tokens, plain.tokens);
  EXPECT_TRUE(same_bits(drafted.logits, plain.logits));
}

TEST_F(DeviceExpertEngine, StepsOfDecodingAreNoGraphsForTheHostIsInTheMiddle) {
  use_emulator();
  // A graph would be tried when its shape comes for the second time, fail, and be complained of.
  const auto engine = open_with(ExpertPlacement::host);
  const auto graphs = kernels::emulated_launches().graphs;
  const Outcome outcome = run(*engine, request(prompt(10), 6));
  EXPECT_EQ(outcome.tokens.size(), 6U);
  EXPECT_EQ(kernels::emulated_launches().graphs, graphs);
  EXPECT_THAT(notices_, ElementsAre(HasSubstr("in host memory")));
}

TEST_F(DeviceExpertEngine, WhereOnlyTheDraftsLayerHasExpertsOnTheHostTheOthersAreGraphs) {
  use_emulator();
  is_golden_ = true;
  const std::size_t before = kernels::emulated_memory_used();
  std::size_t taken = 0;
  Outcome on_device;
  const auto sampled = [](Engine& engine) {
    Outcome outcome;
    RequestCallbacks callbacks = into(outcome);
    callbacks.on_logits = {};
    EXPECT_TRUE(engine.submit(request(prompt(20), 16), std::move(callbacks)).has_value());
    run_all(engine);
    return outcome;
  };
  {
    const auto engine = open_with(ExpertPlacement::device, DeviceChoice::cuda, 1);
    taken = kernels::emulated_memory_used() - before;
    on_device = sampled(*engine);
  }
  kernels::set_emulated_memory(before + taken - 1'000'000);
  const auto engine = open_with(ExpertPlacement::automatic, DeviceChoice::cuda, 1);
  ASSERT_THAT(notices_, ElementsAre(HasSubstr("on the GPU, of layer 6 (8.4 MB) in host memory")));
  const auto graphs = kernels::emulated_launches().graphs;
  const Outcome outcome = sampled(*engine);
  EXPECT_GT(kernels::emulated_launches().graphs, graphs);  // in the pauses between drafts
  EXPECT_GT(outcome.stats.tokens_drafted, 0U);
  EXPECT_EQ(outcome.tokens, on_device.tokens);
  EXPECT_EQ(notices_.size(), 1U);
}

TEST_F(DeviceExpertEngine, WhenTheDeviceIsLostTheCpuGoesOn) {
  use_emulator();
  const auto engine = open_with(ExpertPlacement::host, DeviceChoice::automatic);
  Outcome outcome;
  RequestCallbacks callbacks = into(outcome);
  callbacks.on_token = [&outcome](TokenId token) {
    outcome.tokens.push_back(token);
    if (outcome.tokens.size() == 3) kernels::lose_emulated_device(true);
  };
  ASSERT_TRUE(engine->submit(request(prompt(30), 8), std::move(callbacks)).has_value());
  run_all(*engine);
  EXPECT_EQ(outcome.reason, FinishReason::length);
  EXPECT_TRUE(outcome.stats.was_moved);
  EXPECT_EQ(engine->stats().device_losses, 1U);
  EXPECT_THAT(notices_, ElementsAre(HasSubstr("in host memory"), HasSubstr("the CPU goes on")));
  auto continued = prompt(30);
  continued.insert(continued.end(), outcome.tokens.begin(), outcome.tokens.begin() + 3);
  const Outcome on_cpu =
      run(*open_with(ExpertPlacement::host, DeviceChoice::cpu), request(continued, 5));
  EXPECT_EQ(std::vector<TokenId>(outcome.tokens.begin() + 3, outcome.tokens.end()), on_cpu.tokens);
}

TEST_F(DeviceExpertEngine, WhatALostDevicesExpertsHoldIsFreeBeforeTheCpuLoadsItsOwn) {
  use_emulator();
  // Where it cannot load them, what was let go of stays gone.
  const testing::TempDir dir;
  for (const char* file : {"config.json", "model.safetensors", "tokenizer.json"}) {
    fs::copy_file(wide_model_dir("bf16") / file, dir.path() / file);
  }
  const fs::path weights = dir.path() / "model.safetensors";
  const auto is_mapped = [&] {
    return testing::read_file("/proc/self/maps").find(weights.string()) != std::string::npos;
  };
  EngineOptions options;
  options.device = DeviceChoice::automatic;
  options.device_table = device_table();
  options.experts = ExpertPlacement::host;
  options.copied_bytes_max = 0;  // experts are read where they are
  options.num_threads = 2;
  options.cache_bytes_max = 1 << 20;
  const auto engine = Engine::open(dir.path(), options);
  ASSERT_TRUE(engine.has_value()) << engine.error().message;
  ASSERT_TRUE(is_mapped());
  Outcome lost;
  RequestCallbacks callbacks = into(lost);
  callbacks.on_token = [&](TokenId) {
    kernels::lose_emulated_device(true);
    fs::remove(weights);
  };
  ASSERT_TRUE((*engine)->submit(request(prompt(30), 8), std::move(callbacks)).has_value());
  run_all(**engine);
  EXPECT_EQ(lost.reason, FinishReason::failed);
  EXPECT_THAT(lost.error, HasSubstr("the CPU cannot go on"));
  EXPECT_FALSE(is_mapped());
  const Outcome later = run(**engine, request(prompt(20), 2));
  EXPECT_EQ(later.reason, FinishReason::failed);
  EXPECT_THAT(later.error, HasSubstr("device"));
}

TEST_F(DeviceExpertEngine, OnTheCpuThePlacementSaysNothing) {
  const auto engine = open_with(ExpertPlacement::device, DeviceChoice::cpu);
  EXPECT_THAT(notices_, IsEmpty());
  EXPECT_EQ(run(*engine, request(prompt(10), 2)).tokens.size(), 2U);
}

}  // namespace
}  // namespace ponder::engine
