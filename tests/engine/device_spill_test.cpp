// Cache pages of a device on disk: written and brought back through memory of the host, never when
// the device has failed, and never taken for those of another arithmetic. On the emulated device,
// or a GPU.

#include <gmock/gmock.h>

#include <algorithm>
#include <cstring>

#include "engine/prefix_cache.h"
#include "engine/scheduler.h"
#include "tests/engine/device_of_test.h"
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

/// The tree over pages that the host cannot follow.
class PagesElsewhere : public ::testing::Test {
 protected:
  /// A device's memory in a vector: what is written shows in `bytes`.
  class Memory final : public PageMemory {
   public:
    explicit Memory(std::size_t bytes) : bytes_(bytes) {}
    std::byte* data() const override { return const_cast<std::byte*>(bytes_.data()); }
    bool is_on_host() const override { return false; }
    void copy(std::byte* to, const std::byte* from, std::size_t bytes) override {
      std::memcpy(to, from, bytes);
    }
    bool read(std::span<std::byte> to, const std::byte* from) override {
      std::memcpy(to.data(), from, to.size());
      return true;
    }
    bool write(std::byte* to, std::span<const std::byte> from) override {
      if (*fails_) return false;
      std::memcpy(to, from.data(), from.size());
      return true;
    }
    std::shared_ptr<bool> fails() { return fails_; }

   private:
    std::vector<std::byte> bytes_;
    std::shared_ptr<bool> fails_ = std::make_shared<bool>(false);
  };

  static constexpr std::size_t kPages = 32;

  void make_cache(std::size_t staged_pages_max) {
    cache_.reset();
    const CacheLayout layout(testing::tiny_config(), kernels::DType::bf16);
    auto memory = std::make_unique<Memory>(kPages * layout.page_bytes);
    write_fails_ = memory->fails();
    pool_ = std::make_unique<PagePool>(layout, std::move(memory), kPages);
    auto store = PageStore::open(dir_.path() / "pages",
                                 {.bytes_max = std::uint64_t{1} << 30,
                                  .staged_bytes_max = staged_pages_max * layout.page_bytes},
                                 detail::Digest{1}, layout.page_bytes);
    ASSERT_TRUE(store.has_value());
    store_ = std::move(*store);
    cache_ = std::make_unique<PrefixCache>(*pool_, store_.get());
  }
  static std::vector<TokenId> tokens_of(TokenId first, std::size_t num_pages) {
    std::vector<TokenId> tokens(num_pages * kPageTokens);
    for (std::size_t i = 0; i < tokens.size(); ++i) tokens[i] = first + static_cast<TokenId>(i);
    return tokens;
  }
  /// Leaves the pages of a prompt on disk, each filled with a number of its own.
  void leave_on_disk(std::span<const TokenId> tokens, int value) {
    {
      BlockTable table(*pool_);
      for (std::size_t i = 0; i < tokens.size() / kPageTokens; ++i) {
        table.append(*cache_->acquire());
        std::memset(pool_->data(table.pages().back()), value + static_cast<int>(i),
                    pool_->layout().page_bytes);
      }
      cache_->insert(tokens, table, false);
    }
    cache_->clear();
    store_->finish();
  }
  std::vector<RequestId> load_all() {
    std::vector<RequestId> ended;
    while (cache_->is_loading()) {
      cache_->wait_for_load();
      const auto some = cache_->take_loaded(kPages);
      ended.insert(ended.end(), some.begin(), some.end());
    }
    return ended;
  }
  /// The first byte of each page that is known of a prompt.
  std::vector<int> known(std::span<const TokenId> tokens) {
    BlockTable table(*pool_);
    cache_->match(tokens, table);
    std::vector<int> values;
    for (const PageId page : table.pages()) {
      const std::byte* at = pool_->data(page);
      const std::size_t bytes = pool_->layout().page_bytes;
      EXPECT_TRUE(std::all_of(at, at + bytes, [&](std::byte b) { return b == *at; }));
      values.push_back(static_cast<int>(*at));
    }
    return values;
  }

  testing::TempDir dir_;
  std::shared_ptr<bool> write_fails_;
  std::unique_ptr<PagePool> pool_;
  std::unique_ptr<PageStore> store_;
  std::unique_ptr<PrefixCache> cache_;
};

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

/// Requests with pages there, more than have room on the way back.
class PagesInTurn : public PagesElsewhere {
 protected:
  void SetUp() override {
    make_cache(1);
    for (TokenId id = 1; id <= 4; ++id) leave_on_disk(tokens_of(1000 * id, 3), 10);
    scheduler_ = std::make_unique<Scheduler>(*cache_);
  }
  void TearDown() override {
    for (std::uint64_t id = 1; id <= 11; ++id) scheduler_->remove(RequestId{id});
    load_all();
  }
  void add(TokenId id, Priority priority = Priority::normal,
           Deadline deadline = Deadline::never()) {
    GenerationRequest spec;
    spec.prompt = tokens_of(1000 * (id % 10), 3);
    spec.prompt.push_back(5);
    spec.tokens_generated_max = 4;
    spec.priority = priority;
    spec.deadline = deadline;
    const std::size_t tokens_max = spec.prompt.size() + 4;
    scheduler_->add(std::make_unique<Request>(RequestId{id}, std::move(spec), RequestCallbacks{},
                                              tokens_max, *pool_));
  }
  /// Those that start now, with the tokens that they need not compute.
  std::vector<std::pair<RequestId, std::size_t>> admit() {
    std::vector<std::pair<RequestId, std::size_t>> started;
    for (const Request* request : scheduler_->admit({})) {
      started.emplace_back(request->id, request->num_computed);
    }
    return started;
  }
  /// Until nothing is on its way; those that started meanwhile.
  std::vector<std::pair<RequestId, std::size_t>> admit_loaded() {
    std::vector<std::pair<RequestId, std::size_t>> started;
    while (cache_->is_loading()) {
      cache_->wait_for_load();
      scheduler_->take_loaded();
      for (const auto& one : admit()) started.push_back(one);
    }
    return started;
  }

  std::unique_ptr<Scheduler> scheduler_;
};

using ::testing::Pair;
constexpr std::size_t kAll = 3 * kPageTokens;

TEST_F(PagesInTurn, WhoFindsNoRoomWaitsForItAndComputesNothingThatIsThere) {
  for (const TokenId id : {1, 2, 3, 7}) add(id);  // of the last nothing is on disk
  EXPECT_THAT(admit(), ElementsAre(Pair(RequestId{7}, 0U)));
  EXPECT_EQ(pool_->num_free(), kPages - 1);  // one page is on its way
  EXPECT_THAT(admit(), IsEmpty());
  EXPECT_EQ(scheduler_->num_waiting(), 3U);
  EXPECT_THAT(admit_loaded(), ElementsAre(Pair(RequestId{1}, kAll), Pair(RequestId{2}, kAll),
                                          Pair(RequestId{3}, kAll)));
  EXPECT_EQ(store_->counters().pages_read, 9U);
}

TEST_F(PagesInTurn, WhoEndsWhileItWaitsForRoomIsGone) {
  const Clock::Instant soon{std::chrono::milliseconds(5)};
  for (const TokenId id : {1, 2}) add(id);
  add(3, Priority::normal, Deadline(soon));
  add(4);
  EXPECT_THAT(admit(), IsEmpty());
  ASSERT_NE(scheduler_->remove(RequestId{2}), nullptr);
  EXPECT_THAT(scheduler_->expired(soon), ElementsAre(RequestId{3}));
  ASSERT_NE(scheduler_->remove(RequestId{3}), nullptr);
  EXPECT_THAT(admit_loaded(), ElementsAre(Pair(RequestId{1}, kAll), Pair(RequestId{4}, kAll)));
  EXPECT_EQ(store_->counters().pages_read, 6U);
}

TEST_F(PagesInTurn, AHigherPriorityHasItsTurnFirst) {
  for (const TokenId id : {1, 2, 3}) add(id);
  EXPECT_THAT(admit(), IsEmpty());
  add(4, Priority::high);
  EXPECT_THAT(admit(), IsEmpty());
  EXPECT_THAT(admit_loaded(), ElementsAre(Pair(RequestId{1}, kAll), Pair(RequestId{4}, kAll),
                                          Pair(RequestId{2}, kAll), Pair(RequestId{3}, kAll)));
}

TEST_F(PagesInTurn, WhoHasItsPagesWhenItsTurnComesStartsAtOnce) {
  for (const TokenId id : {1, 11}) add(id);  // the same prompt
  EXPECT_THAT(admit(), IsEmpty());
  EXPECT_THAT(admit_loaded(), ElementsAre(Pair(RequestId{1}, kAll), Pair(RequestId{11}, kAll)));
  EXPECT_EQ(store_->counters().pages_read, 3U);
}

TEST_F(PagesInTurn, APromptForIdleTimeGivesWayAndGoesOnLater) {
  GenerationRequest spec;
  spec.prompt = tokens_of(1000, 3);
  auto idle = std::make_unique<Request>(RequestId{20}, std::move(spec), RequestCallbacks{},
                                        3 * kPageTokens, *pool_);
  idle->is_shadow = true;
  scheduler_->add_shadow(std::move(idle));
  std::vector<Scheduler::Work> work;
  std::vector<BatchSegment> segments;
  scheduler_->plan(64, work, segments);
  EXPECT_TRUE(cache_->is_loading());
  add(2);
  EXPECT_THAT(admit(), IsEmpty());
  EXPECT_THAT(admit_loaded(), ElementsAre(Pair(RequestId{2}, kAll)));
  EXPECT_EQ(store_->counters().pages_read, 1U + 3U);  // the one that was on its way, and its own
  scheduler_->remove(RequestId{2});
  while (scheduler_->num_shadow() > 0) {  // whose pages all come back: nothing is to be computed
    scheduler_->plan(64, work, segments);
    if (cache_->is_loading()) cache_->wait_for_load();
    scheduler_->take_loaded();
  }
  EXPECT_THAT(work, IsEmpty());
  EXPECT_EQ(store_->counters().pages_read, 4U + 3U);
}

TEST_F(PagesInTurn, WhenAllStartsOverTheyStandInTheirOrderBehindThoseThatRan) {
  add(7);
  add(8);
  for (const TokenId id : {1, 2, 3}) add(id);
  EXPECT_EQ(admit().size(), 2U);
  EXPECT_EQ(scheduler_->start_over().size(), 2U);
  EXPECT_FALSE(cache_->is_loading());
  EXPECT_EQ(pool_->num_free(), kPages);
  cache_->set_identity({2});  // under which nothing is on disk
  EXPECT_THAT(admit(),
              ElementsAre(Pair(RequestId{7}, 0U), Pair(RequestId{8}, 0U), Pair(RequestId{1}, 0U),
                          Pair(RequestId{2}, 0U), Pair(RequestId{3}, 0U)));
}

TEST_F(PagesElsewhere, WhoWaitsForPagesWhenAllStartsOverStandsInTheQueueAgain) {
  make_cache(8);
  Scheduler scheduler(*cache_);
  const auto tokens = tokens_of(1000, 3);
  leave_on_disk(tokens, 10);
  GenerationRequest spec;
  spec.prompt = tokens;
  spec.prompt.push_back(5);
  spec.tokens_generated_max = 4;
  scheduler.add(std::make_unique<Request>(RequestId{1}, std::move(spec), RequestCallbacks{},
                                          tokens.size() + 5, *pool_));
  EXPECT_THAT(scheduler.admit({}), IsEmpty());
  EXPECT_TRUE(cache_->is_loading());
  EXPECT_LT(pool_->num_free(), kPages);

  EXPECT_THAT(scheduler.start_over(), IsEmpty());  // nobody has run
  EXPECT_FALSE(cache_->is_loading());
  EXPECT_EQ(pool_->num_free(), kPages);
  cache_->set_identity({2});
  const auto admitted = scheduler.admit({});
  ASSERT_EQ(admitted.size(), 1U);
  EXPECT_EQ(admitted.front()->id, RequestId{1});
  EXPECT_EQ(admitted.front()->num_computed, 0U);
  scheduler.remove(RequestId{1});
}

}  // namespace
}  // namespace ponder::engine
