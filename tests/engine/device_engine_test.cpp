// Scheduling, prefix cache, drafts and cancellation with the model on a device: they are the CPU's,
// and must find nothing changed. On the emulated device.

#include <gmock/gmock.h>

#include "kernels/cuda/emulator/emulated_device.h"
#include "tests/engine/small_model.h"
#include "tests/engine/traffic.h"

namespace ponder::engine {
namespace {

class DeviceEngine : public EngineTraffic {
 protected:
  void SetUp() override { kernels::watch_emulated_memory(false); }
  void TearDown() override {
    kernels::watch_emulated_memory(true);
    kernels::lose_emulated_device(false);
  }
  const std::filesystem::path& model_dir() const override { return small_model_dir(); }

  std::unique_ptr<Engine> open_on_device(std::uint32_t num_drafts = 0,
                                         std::uint64_t num_pages = 24) {
    EngineOptions options;
    options.device = &kernels::emulated_device();
    options.draft_tokens_max = num_drafts;
    return open(num_pages, 64, options);
  }
  static std::vector<TokenId> prompt(std::size_t length, TokenId first) {
    std::vector<TokenId> tokens = EngineTraffic::prompt(length, first);
    for (TokenId& token : tokens) token %= 320;
    return tokens;
  }
};

TEST_F(DeviceEngine, ARequestAmongOthersAndAfterACacheHitHasTheBitsOfOneAlone) {
  const auto engine = open_on_device();
  const Outcome alone = run(*engine, request(prompt(70, 7), 4));
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

TEST_F(DeviceEngine, ALostDeviceFailsTheRequestsWithItsError) {
  const auto engine = open_on_device();
  Outcome outcome;
  ASSERT_TRUE(engine->submit(request(prompt(20, 7), 50), into(outcome)).has_value());
  engine->step();
  kernels::lose_emulated_device(true);
  run_all(*engine);
  EXPECT_EQ(outcome.reason, FinishReason::failed);
  EXPECT_THAT(outcome.error, ::testing::HasSubstr("device lost"));
  const Outcome next = run(*engine, request(prompt(5, 3), 2));
  EXPECT_EQ(next.reason, FinishReason::failed);
}

TEST_F(DeviceEngine, SpillingIsRefused) {
  const testing::TempDir dir;
  EngineOptions options;
  options.device = &kernels::emulated_device();
  options.spill_dir = dir.path();
  options.cache_bytes_max = std::uint64_t{1} << 20;
  const auto engine = Engine::open(model_dir(), options);
  ASSERT_FALSE(engine.has_value());
  EXPECT_EQ(engine.error().message, "spill_dir: pages on a device are not spilled");
}

}  // namespace
}  // namespace ponder::engine
