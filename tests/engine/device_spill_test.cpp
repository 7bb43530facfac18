// Cache pages of a device on disk: written and brought back through memory of the host, never when
// the device has failed, and never taken for those of another arithmetic. On the emulated device,
// or a GPU.

#include <gmock/gmock.h>

#include <algorithm>

#include "tests/engine/device_of_test.h"
#include "tests/engine/pages_elsewhere.h"
#include "tests/engine/small_model.h"
#include "tests/engine/traffic.h"

namespace ponder::engine {
namespace {

namespace fs = std::filesystem;
using ::testing::IsEmpty;

std::vector<fs::path> page_files(const fs::path& dir) {
  std::vector<fs::path> files;
  for (const auto& entry : fs::directory_iterator(dir)) {
    if (entry.path().extension() == ".page") files.push_back(entry.path());
  }
  std::ranges::sort(files);
  return files;
}

class DeviceSpill : public EngineTraffic, protected DeviceOfTest {
 protected:
  void SetUp() override {
    if (!take_device()) GTEST_SKIP() << no_device();
  }
  void TearDown() override { mend_emulator(); }
  const fs::path& model_dir() const override { return small_model_dir(); }
  fs::path spill_dir() const { return dir_.path() / "spill"; }

  std::unique_ptr<Engine> open_on(DeviceChoice choice, std::uint64_t num_pages = 8) {
    EngineOptions options;
    options.device = choice;
    options.device_table = device_table();
    options.spill_dir = spill_dir();
    return open(num_pages, 64, options);
  }
  static std::vector<TokenId> prompt(std::size_t length, TokenId first) {
    std::vector<TokenId> tokens = EngineTraffic::prompt(length, first);
    for (TokenId& token : tokens) token %= 320;
    return tokens;
  }
  /// Loses the device with the request's second token.
  static Outcome run_and_lose(Engine& engine, GenerationRequest request) {
    Outcome outcome;
    RequestCallbacks callbacks = into(outcome);
    callbacks.on_token = [&outcome](TokenId token) {
      outcome.tokens.push_back(token);
      if (outcome.tokens.size() == 2) kernels::lose_emulated_device(true);
    };
    EXPECT_TRUE(engine.submit(std::move(request), callbacks).has_value());
    run_all(engine);
    return outcome;
  }

  testing::TempDir dir_;
};

TEST_F(DeviceSpill, PagesComeBackInThisRunAndTheNextWithTheBitsThatTheyHad) {
  auto engine = open_on(DeviceChoice::cuda, 4);
  const auto cold = prompt(140, 7);
  const Outcome first = run(*engine, request(cold, 4));
  run(*engine, request(prompt(200, 9), 2));  // takes the pages away
  while (engine->stats().spill_pages_written == 0) engine->step();
  const Outcome again = run(*engine, request(cold, 4));
  EXPECT_EQ(again.stats.tokens_cached, 128U);
  EXPECT_EQ(again.tokens, first.tokens);
  EXPECT_TRUE(same_bits(again.logits, first.logits));
  engine.reset();

  engine = open_on(DeviceChoice::cuda, 4);
  const Outcome later = run(*engine, request(cold, 4));
  EXPECT_EQ(later.stats.tokens_cached, 128U);
  EXPECT_TRUE(same_bits(later.logits, first.logits));
  EXPECT_EQ(engine->stats().spill_pages_read, 2U);
  engine.reset();

  for (const fs::path& file : page_files(spill_dir())) {
    std::string bytes = testing::read_file(file);
    bytes[bytes.size() / 2] ^= 1;
    testing::write_file(file, bytes);
  }
  engine = open_on(DeviceChoice::cuda, 4);
  const Outcome damaged = run(*engine, request(cold, 4));
  EXPECT_EQ(damaged.stats.tokens_cached, 0U);
  EXPECT_TRUE(same_bits(damaged.logits, first.logits));
  EXPECT_GT(engine->stats().spill_pages_refused, 0U);
}

TEST_F(DeviceSpill, NoPageOfALostDeviceIsWritten) {
  use_emulator();
  auto engine = open_on(DeviceChoice::cuda);
  const Outcome lost = run_and_lose(*engine, request(prompt(140, 7), 9));
  EXPECT_EQ(lost.reason, FinishReason::failed);
  kernels::lose_emulated_device(false);  // it stays lost for who has met it
  engine.reset();                        // would write what is in memory
  EXPECT_THAT(page_files(spill_dir()), IsEmpty());
}

TEST_F(DeviceSpill, ADeviceThatIsLostWhilePagesAreWrittenFailsTheNextStep) {
  use_emulator();
  auto engine = open_on(DeviceChoice::cuda, 2);
  run(*engine, request(prompt(128, 7), 1));  // two full pages
  kernels::lose_emulated_device(true);
  const Outcome next = run(*engine, request(prompt(100, 9), 2));  // wants them
  EXPECT_EQ(next.reason, FinishReason::failed);
  EXPECT_GT(engine->stats().spill_pages_left_out, 0U);
  engine.reset();
  EXPECT_THAT(page_files(spill_dir()), IsEmpty());
}

TEST_F(DeviceSpill, PagesOfTheCpuAndOfADeviceAreKeptApart) {
  const auto tokens = prompt(140, 7);
  const Outcome on_device = run(*open_on(DeviceChoice::cuda), request(tokens, 4));
  const auto of_device = page_files(spill_dir());
  EXPECT_EQ(of_device.size(), 2U);
  const Outcome on_cpu = run(*open_on(DeviceChoice::cpu), request(tokens, 4));
  EXPECT_EQ(on_cpu.stats.tokens_cached, 0U);
  EXPECT_EQ(page_files(spill_dir()).size(), 4U);
  for (const fs::path& file : of_device) fs::remove(file);
  EXPECT_EQ(run(*open_on(DeviceChoice::cuda), request(tokens, 4)).stats.tokens_cached, 0U);

  const Outcome device_again = run(*open_on(DeviceChoice::cuda), request(tokens, 4));
  EXPECT_EQ(device_again.stats.tokens_cached, 128U);
  EXPECT_TRUE(same_bits(device_again.logits, on_device.logits));
  const Outcome cpu_again = run(*open_on(DeviceChoice::cpu), request(tokens, 4));
  EXPECT_EQ(cpu_again.stats.tokens_cached, 128U);
  EXPECT_TRUE(same_bits(cpu_again.logits, on_cpu.logits));
}

TEST_F(DeviceSpill, WhatTheCpuComputesAfterTheLossIsWrittenAsItsOwn) {
  use_emulator();
  const auto tokens = prompt(140, 7);
  const auto want = run(*open_on(DeviceChoice::cpu), request(tokens, 4));
  fs::remove_all(spill_dir());

  auto engine = open_on(DeviceChoice::automatic);
  EXPECT_EQ(run_and_lose(*engine, request(prompt(70, 3), 6)).reason, FinishReason::length);
  EXPECT_EQ(engine->stats().device_losses, 1U);
  EXPECT_TRUE(same_bits(run(*engine, request(tokens, 4)).logits, want.logits));
  engine.reset();
  EXPECT_FALSE(page_files(spill_dir()).empty());

  kernels::lose_emulated_device(false);
  EXPECT_EQ(run(*open_on(DeviceChoice::cuda), request(tokens, 4)).stats.tokens_cached, 0U);
  const Outcome warm = run(*open_on(DeviceChoice::cpu), request(tokens, 4));
  EXPECT_EQ(warm.stats.tokens_cached, 128U);
  EXPECT_TRUE(same_bits(warm.logits, want.logits));
}

using ::testing::ElementsAre;
using LoadStart = PrefixCache::LoadStart;

TEST_F(PagesElsewhere, WhatIsOnItsWayTakesABoundedAmountOfMemory) {
  make_cache(3);
  const auto first = tokens_of(1000, 5);
  const auto second = tokens_of(5000, 5);
  leave_on_disk(first, 10);
  leave_on_disk(second, 20);
  EXPECT_EQ(pool_->num_free(), kPages);
  ASSERT_EQ(cache_->start_load(RequestId{1}, first, kPages), LoadStart::begun);
  EXPECT_EQ(pool_->num_free(), kPages - 3);  // three pages are under way, not four
  EXPECT_EQ(cache_->start_load(RequestId{2}, second, kPages), LoadStart::later);
  EXPECT_EQ(cache_->start_load(RequestId{3}, tokens_of(9000, 5), kPages), LoadStart::nothing);
  EXPECT_THAT(load_all(), ElementsAre(RequestId{1}));
  EXPECT_THAT(known(first), ElementsAre(10, 11, 12, 13, 14));
  ASSERT_EQ(cache_->start_load(RequestId{2}, second, kPages), LoadStart::begun);
  load_all();
  EXPECT_THAT(known(second), ElementsAre(20, 21, 22, 23, 24));
}

TEST_F(PagesElsewhere, ALoadThatHasBegunGoesOnBesideOnesThatTakeAllRoom) {
  make_cache(2);
  const auto first = tokens_of(1000, 6);
  const auto second = tokens_of(5000, 6);
  leave_on_disk(first, 10);
  leave_on_disk(second, 20);
  ASSERT_EQ(cache_->start_load(RequestId{1}, first, 1), LoadStart::begun);  // one page under way
  ASSERT_EQ(cache_->start_load(RequestId{2}, second, kPages), LoadStart::begun);
  load_all();
  EXPECT_THAT(known(second), ElementsAre(20, 21, 22, 23, 24, 25));
}

TEST_F(PagesElsewhere, APageThatTheDeviceDoesNotTakeEndsTheLoad) {
  make_cache(8);
  const auto tokens = tokens_of(1000, 4);
  leave_on_disk(tokens, 10);
  *write_fails_ = true;
  ASSERT_EQ(cache_->start_load(RequestId{1}, tokens, kPages), LoadStart::begun);
  EXPECT_THAT(load_all(), ElementsAre(RequestId{1}));
  EXPECT_THAT(known(tokens), IsEmpty());
  EXPECT_EQ(pool_->num_free(), kPages);
}

}  // namespace
}  // namespace ponder::engine
