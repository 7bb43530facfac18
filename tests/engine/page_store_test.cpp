#include "engine/page_store.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <thread>

#include "engine/cache_identity.h"
#include "engine/page_file.h"
#include "tests/engine/traffic.h"

namespace ponder::engine {
namespace {

namespace fs = std::filesystem;

std::vector<TokenId> page_tokens(TokenId first) {
  std::vector<TokenId> tokens(kPageTokens);
  for (std::size_t i = 0; i < tokens.size(); ++i) tokens[i] = first + static_cast<TokenId>(i);
  return tokens;
}

std::vector<fs::path> files_in(const fs::path& dir) {
  std::vector<fs::path> files;
  for (const auto& entry : fs::directory_iterator(dir)) files.push_back(entry.path());
  return files;
}

class PageStoreTest : public ::testing::Test {
 protected:
  static constexpr std::size_t kBytes = 4096;

  std::unique_ptr<PageStore> open(std::uint8_t identity = 1,
                                  PageStore::Limits limits = {.bytes_max = 1 << 20}) {
    const detail::Digest digest{identity};
    auto store = PageStore::open(dir_.path() / "pages", limits, digest, kBytes);
    EXPECT_TRUE(store.has_value()) << store.error().message;
    return std::move(*store);
  }
  static std::vector<std::byte> rows(int value) {
    return std::vector<std::byte>(kBytes, static_cast<std::byte>(value));
  }
  static PageStore::CopyPage copy_of(std::vector<std::byte> page) {
    return [page = std::move(page)](std::span<std::byte> to) {
      std::ranges::copy(page, to.begin());
      return true;
    };
  }
  static void write(PageStore& store, const PageStore::Key& key, TokenId first, int value) {
    store.write(key, page_tokens(first), copy_of(rows(value)), PageStore::WhenBusy::wait);
    store.finish();
  }
  static bool reads(PageStore& store, const PageStore::Key& key, TokenId first, int value) {
    if (!store.contains(key)) return false;
    std::vector<std::byte> page(kBytes);
    store.start_read(key, page_tokens(first), page.data());
    store.finish();
    const auto reads = store.take_reads();
    EXPECT_EQ(reads.size(), 1U);
    return reads.front().is_right && page == rows(value);
  }

  testing::TempDir dir_;
};

TEST_F(PageStoreTest, WhatWasWrittenIsReadBackNowAndByALaterRun) {
  const auto tokens = page_tokens(5);
  auto store = open();
  const auto key = PageStore::child(store->root(), tokens);
  EXPECT_FALSE(store->contains(key));
  write(*store, key, 5, 7);
  EXPECT_TRUE(reads(*store, key, 5, 7));
  const auto next = PageStore::child(key, page_tokens(9));
  write(*store, next, 9, 8);
  store = open();
  EXPECT_TRUE(reads(*store, key, 5, 7));
  EXPECT_TRUE(reads(*store, next, 9, 8));
  EXPECT_EQ(store->counters().pages_read, 2U);
  for (const fs::path& file : files_in(dir_.path() / "pages")) {
    EXPECT_EQ(fs::status(file).permissions(), fs::perms::owner_read | fs::perms::owner_write);
  }
}

TEST_F(PageStoreTest, AnotherIdentityOrOtherTokensBeforeFindNothing) {
  auto store = open(1);
  const auto key = PageStore::child(store->root(), page_tokens(5));
  write(*store, key, 5, 7);
  auto other = open(2);
  EXPECT_FALSE(other->contains(PageStore::child(other->root(), page_tokens(5))));
  EXPECT_FALSE(store->contains(PageStore::child(key, page_tokens(5))));
  // Even under the right name a page of another identity is refused.
  EXPECT_FALSE(reads(*other, key, 5, 7));
  EXPECT_EQ(other->counters().pages_refused, 1U);
}

TEST_F(PageStoreTest, AFileThatVanishesWhileTheFolderIsReadIsNotCounted) {
  testing::write_file(dir_.path() / "a", "12345");
  const fs::directory_entry entry(dir_.path() / "a");
  EXPECT_EQ(find_page_file(entry).value().num_bytes, 5U);
  EXPECT_FALSE(find_page_file(fs::directory_entry(dir_.path())).has_value());
  fs::remove(entry.path());
  ASSERT_TRUE(entry.is_regular_file());  // as the folder said
  EXPECT_FALSE(find_page_file(entry).has_value());
}

TEST_F(PageStoreTest, TornDamagedAndSwappedFilesAreRefusedAndRemoved) {
  for (const int fault : {0, 1, 2, 3, 4}) {
    auto store = open();
    const auto key = PageStore::child(store->root(), page_tokens(5));
    const auto other = PageStore::child(store->root(), page_tokens(6));
    write(*store, key, 5, 7);
    write(*store, other, 6, 8);
    const fs::path file = dir_.path() / "pages" / (detail::hex(key) + ".page");
    std::string bytes = testing::read_file(file);
    if (fault == 0) bytes.resize(bytes.size() / 2);
    if (fault == 1) bytes[bytes.size() / 2] ^= 1;
    if (fault == 2) bytes.back() ^= 1;
    if (fault == 3) bytes += 'x';
    if (fault == 4) bytes = testing::read_file(file.parent_path() / (detail::hex(other) + ".page"));
    testing::write_file(file, bytes);
    EXPECT_FALSE(reads(*store, key, 5, 7)) << fault;
    EXPECT_EQ(store->counters().pages_refused, 1U);
    EXPECT_FALSE(fs::exists(file));
    EXPECT_FALSE(store->contains(key));
    EXPECT_TRUE(reads(*store, other, 6, 8));
  }
}

TEST_F(PageStoreTest, TheLeastRecentlyUsedGoAtTheLimitAndStrangersStay) {
  fs::create_directories(dir_.path() / "pages");
  testing::write_file(dir_.path() / "pages" / "notes.txt", "mine");
  testing::write_file(dir_.path() / "pages" / "1-1.writing", "left behind");
  auto store = open(1, {.bytes_max = 4 * (kBytes + 512)});
  std::vector<PageStore::Key> keys;
  for (TokenId i = 0; i < 4; ++i) {
    keys.push_back(PageStore::child(store->root(), page_tokens(i)));
    write(*store, keys.back(), i, static_cast<int>(i));
  }
  EXPECT_TRUE(reads(*store, keys[0], 0, 0));
  const auto more = PageStore::child(store->root(), page_tokens(50));
  write(*store, more, 50, 50);
  EXPECT_TRUE(store->contains(keys[0]));
  EXPECT_FALSE(store->contains(keys[1]));
  EXPECT_LE(store->counters().bytes, 4 * (kBytes + 512));
  EXPECT_EQ(files_in(dir_.path() / "pages").size(), 5U);
  EXPECT_TRUE(fs::exists(dir_.path() / "pages" / "notes.txt"));
}

TEST_F(PageStoreTest, ANewFolderIsItsOwnersAndOneThatWasThereKeepsItsMode) {
  const fs::path dir = dir_.path() / "pages";
  open();
  EXPECT_EQ(fs::status(dir).permissions(), fs::perms::owner_all);
  const auto shared = fs::perms::owner_all | fs::perms::group_read | fs::perms::group_exec;
  fs::permissions(dir, shared);
  open();
  EXPECT_EQ(fs::status(dir).permissions(), shared);
}

TEST_F(PageStoreTest, AFileThatAnotherProcessIsWritingStaysUntilThatOneIsGone) {
  const fs::path dir = dir_.path() / "pages";
  open();
  testing::write_file(dir / "5-1.writing", "half a page");
  const int writer = ::open((dir / "5-1.writing").c_str(), O_WRONLY | O_CLOEXEC);
  ASSERT_GE(writer, 0);
  ASSERT_EQ(::flock(writer, LOCK_EX), 0);  // as write_page_file() does
  open();
  EXPECT_TRUE(fs::exists(dir / "5-1.writing"));
  ::close(writer);
  open();
  EXPECT_FALSE(fs::exists(dir / "5-1.writing"));
}

TEST_F(PageStoreTest, WhatIsAskedForIsDoneInThatOrder) {
  auto store = open(1, {.bytes_max = 2 * (kBytes + 512)});
  std::vector<PageStore::ReadId> asked;
  std::vector<std::vector<std::byte>> pages(6, std::vector<std::byte>(kBytes));
  std::vector<PageStore::Key> keys;
  for (TokenId i = 0; i < 6; ++i) {
    keys.push_back(PageStore::child(store->root(), page_tokens(i)));
    // Each write but the first two makes the oldest file go, which was read before.
    store->write(keys[i], page_tokens(i), copy_of(rows(static_cast<int>(i))),
                 PageStore::WhenBusy::wait);
    EXPECT_TRUE(store->contains(keys[i]));
    asked.push_back(store->start_read(keys[i], page_tokens(i), pages[i].data()));
  }
  store->finish();
  const auto reads = store->take_reads();
  ASSERT_EQ(reads.size(), 6U);
  for (std::size_t i = 0; i < 6; ++i) {
    EXPECT_EQ(reads[i].id, asked[i]);
    EXPECT_TRUE(reads[i].is_right);
    EXPECT_EQ(pages[i], rows(static_cast<int>(i)));
  }
  EXPECT_FALSE(store->contains(keys[3]));
  EXPECT_EQ(files_in(dir_.path() / "pages").size(), 2U);
}

TEST_F(PageStoreTest, PagesThatTheDiskIsTooSlowForAreLeftOutUnlessTheyAreWaitedFor) {
  auto store = open(1, {.bytes_max = 1 << 20, .queue_bytes_max = 0});
  const auto key = PageStore::child(store->root(), page_tokens(5));
  store->write(key, page_tokens(5), copy_of(rows(7)), PageStore::WhenBusy::leave_out);
  EXPECT_FALSE(store->contains(key));
  EXPECT_EQ(store->counters().pages_left_out, 1U);
  write(*store, key, 5, 7);
  EXPECT_TRUE(reads(*store, key, 5, 7));
}

TEST_F(PageStoreTest, APageThatCannotBeReadIsNotWrittenAndOneThatIsThereNotAskedFor) {
  auto store = open();
  const auto key = PageStore::child(store->root(), page_tokens(5));
  const auto fails_halfway = [](std::span<std::byte> to) {
    std::ranges::fill(to.first(kBytes / 2), std::byte{7});
    return false;
  };
  store->write(key, page_tokens(5), fails_halfway, PageStore::WhenBusy::wait);
  store->finish();
  EXPECT_FALSE(store->contains(key));
  EXPECT_EQ(store->counters().pages_left_out, 1U);
  EXPECT_EQ(store->counters().bytes, 0U);
  EXPECT_TRUE(files_in(dir_.path() / "pages").empty());

  write(*store, key, 5, 7);
  store->write(key, page_tokens(5), fails_halfway, PageStore::WhenBusy::wait);
  EXPECT_EQ(store->counters().pages_left_out, 1U);
  EXPECT_TRUE(reads(*store, key, 5, 7));
}

TEST_F(PageStoreTest, AfterAChangeOfIdentityOtherPagesAreWrittenAndRead) {
  auto store = open(1);
  const auto before = PageStore::child(store->root(), page_tokens(5));
  write(*store, before, 5, 7);
  store->set_identity({2});
  EXPECT_FALSE(store->contains(PageStore::child(store->root(), page_tokens(5))));
  const auto after = PageStore::child(store->root(), page_tokens(5));
  write(*store, after, 5, 8);
  EXPECT_TRUE(reads(*store, after, 5, 8));
  EXPECT_TRUE(reads(*open(2), after, 5, 8));
  EXPECT_TRUE(reads(*open(1), before, 5, 7));
}

/// A process that writes pages dies at any moment; a later one reads what is whole, nothing else.
TEST_F(PageStoreTest, ACrashWhileWritingLeavesNoWrongPage) {
  const fs::path dir = dir_.path() / "pages";
  const detail::Digest identity{1};
  for (int round = 0; round < 8; ++round) {
    open();  // makes the folder
    const pid_t child = ::fork();
    ASSERT_GE(child, 0);
    if (child == 0) {
      // Without the store, whose thread a forked process may not start; its files as it makes them,
      // again and again: a folder that grew while it is listed might have no end.
      for (TokenId i = 0;; i = (i + 1) % 40) {
        const auto key = PageStore::child(identity, page_tokens(i));
        const auto header = page_file_header(identity, key, page_tokens(i), kBytes);
        const auto page = rows(static_cast<int>(i));
        if (!write_page_file(dir / (detail::hex(key) + ".page"), dir / "9-9.writing", header, page))
          ::_exit(1);
      }
    }
    const auto wanted = 20 + static_cast<std::size_t>(round);
    while (files_in(dir).size() < wanted) std::this_thread::yield();
    ::kill(child, SIGKILL);
    int status = 0;
    ::waitpid(child, &status, 0);
    ASSERT_TRUE(WIFSIGNALED(status));
    auto store = open();
    std::size_t num_read = 0;
    for (TokenId i = 0; i < 20; ++i) {
      const auto key = PageStore::child(identity, page_tokens(i));
      num_read += reads(*store, key, i, static_cast<int>(i)) ? 1 : 0;
    }
    EXPECT_GT(num_read, 0U);
    EXPECT_EQ(store->counters().pages_refused, 0U);
    for (const fs::path& file : files_in(dir)) EXPECT_EQ(file.extension(), ".page");
    store.reset();
    fs::remove_all(dir);
  }
}

TEST_F(PageStoreTest, AFolderThatCannotBeMadeIsNamed) {
  testing::write_file(dir_.path() / "pages", "a file");
  const auto store = PageStore::open(dir_.path() / "pages", {.bytes_max = 1}, {}, kBytes);
  ASSERT_FALSE(store.has_value());
  EXPECT_EQ(store.error().code, Errc::unavailable);
  EXPECT_NE(store.error().message.find("pages"), std::string::npos);
}

TEST(CacheIdentity, ChangesWithEverythingThatRowsDependOn) {
  const testing::TempDir dir;
  for (const char* file : {"config.json", "model.safetensors"}) {
    fs::copy_file(golden_dir() / file, dir.path() / file);
  }
  const ModelConfig config = testing::tiny_config();
  const CacheLayout f32(config, kernels::DType::f32);
  const auto identity = *cache_identity(dir.path(), config, f32, "avx2");
  EXPECT_EQ(*cache_identity(dir.path(), config, f32, "avx2"), identity);
  EXPECT_NE(*cache_identity(dir.path(), config, f32, "scalar"), identity);
  const CacheLayout bf16(config, kernels::DType::bf16);
  EXPECT_NE(*cache_identity(dir.path(), config, bf16, "avx2"), identity);
  CacheLayout other_keys = f32;
  other_keys.index_keys = IndexKeys::int8;
  EXPECT_NE(*cache_identity(dir.path(), config, other_keys, "avx2"), identity);
  ModelConfig other = config;
  other.inv_freq[1] *= 2;
  EXPECT_NE(*cache_identity(dir.path(), other, f32, "avx2"), identity);
  other = config;
  other.layers[2].indexer_rope_layout = RopeLayout::interleaved;
  EXPECT_NE(*cache_identity(dir.path(), other, f32, "avx2"), identity);
  // A byte of the weights, with the old time.
  const fs::path weights = dir.path() / "model.safetensors";
  const auto time = fs::last_write_time(weights);
  std::string bytes = testing::read_file(weights);
  bytes[200'000] ^= 1;
  testing::write_file(weights, bytes);
  fs::last_write_time(weights, time);
  EXPECT_NE(*cache_identity(dir.path(), config, f32, "avx2"), identity);
}

/// Runs a request and returns its tokens and how many of its prompt came from the cache.
struct Served {
  std::vector<TokenId> tokens;
  std::uint32_t tokens_cached = 0;
};
Served serve(Engine& engine, std::vector<TokenId> prompt) {
  Served served;
  GenerationRequest request;
  request.prompt = std::move(prompt);
  request.sampling.temperature = 0.0F;
  request.tokens_generated_max = 8;
  RequestCallbacks callbacks;
  callbacks.on_token = [&](TokenId token) { served.tokens.push_back(token); };
  callbacks.on_finish = [&](FinishReason, const RequestStats& stats, const std::string&) {
    served.tokens_cached = stats.tokens_cached;
  };
  EXPECT_TRUE(engine.submit(std::move(request), callbacks).has_value());
  while (engine.has_work()) engine.step();
  return served;
}

TEST(Spill, ColdSequencesComeBackFromDiskInThisRunAndTheNext) {
  const testing::TempDir dir;
  EngineOptions options;
  const CacheLayout layout(testing::tiny_config(), kernels::DType::f32);
  options.cache_bytes_max = 6 * layout.page_bytes;
  options.spill_dir = dir.path() / "spill";
  auto engine = *Engine::open(golden_dir(), options);
  auto prompt = golden_prompt(200);
  const Served first = serve(*engine, prompt);
  auto other = golden_prompt(300);
  other[0] = 1;
  serve(*engine, other);                                            // takes the pages away
  while (engine->stats().spill_pages_written == 0) engine->step();  // in the store's own time
  const Served again = serve(*engine, prompt);
  EXPECT_EQ(again.tokens_cached, 192U);
  EXPECT_EQ(again.tokens, first.tokens);
  engine.reset();

  engine = *Engine::open(golden_dir(), options);
  const Served later = serve(*engine, prompt);
  EXPECT_EQ(later.tokens_cached, 192U);
  EXPECT_EQ(later.tokens, first.tokens);
  EXPECT_EQ(engine->stats().spill_pages_read, 3U);
  engine.reset();

  for (const fs::path& file : files_in(options.spill_dir)) {
    fs::resize_file(file, fs::file_size(file) - 1);
  }
  engine = *Engine::open(golden_dir(), options);
  const Served torn = serve(*engine, prompt);
  EXPECT_EQ(torn.tokens_cached, 0U);
  EXPECT_EQ(torn.tokens, first.tokens);
  EXPECT_GT(engine->stats().spill_pages_refused, 0U);
}

class SlowDisk : public EngineTraffic {
 protected:
  /// Makes a pipe of the file of a prompt's page: nothing can be read until somebody writes to it.
  struct Held {
    fs::path path;
    std::string bytes;
    /// Comes back when the page's turn has come to be read, and those before it have been.
    void let_go() const { testing::write_file(path, bytes); }
  };
  static Held hold_page(const Engine& engine, const fs::path& dir, std::span<const TokenId> prompt,
                        std::size_t page_idx) {
    const CacheLayout layout(testing::tiny_config(), kernels::DType::f32);
    auto key = *cache_identity(golden_dir(), testing::tiny_config(), layout, engine.isa_name());
    for (std::size_t i = 0; i <= page_idx; ++i) {
      key = PageStore::child(key, prompt.subspan(i * kPageTokens, kPageTokens));
    }
    const fs::path path = dir / (detail::hex(key) + ".page");
    const Held held{path, testing::read_file(path)};
    fs::remove(path);
    EXPECT_EQ(::mkfifo(path.c_str(), 0600), 0);
    return held;
  }
  testing::TempDir dir_;
};

TEST_F(SlowDisk, OthersGoOnWhileARequestWaitsForItsPages) {
  EngineOptions options;
  options.spill_dir = dir_.path() / "spill";
  const auto cold = prompt(200, 1);
  const Outcome want = run(*open(6, 64, options), request(cold, 8));  // leaves its pages there
  const auto engine = open(6, 64, options);
  const Held page = hold_page(*engine, options.spill_dir, cold, 0);

  Outcome waiting;
  Outcome quick;
  ASSERT_TRUE(engine->submit(request(cold, 8), into(waiting)).has_value());
  engine->step();
  ASSERT_TRUE(engine->submit(request(prompt(20, 2), 5), into(quick)).has_value());
  while (!quick.reason) engine->step();
  EXPECT_EQ(quick.reason, FinishReason::length);
  EXPECT_TRUE(waiting.tokens.empty());
  EXPECT_EQ(engine->stats().requests_waiting, 1U);

  page.let_go();
  run_all(*engine);
  EXPECT_EQ(waiting.stats.tokens_cached, 192U);
  EXPECT_EQ(waiting.tokens, want.tokens);
  EXPECT_TRUE(same_bits(waiting.logits, want.logits));
}

TEST_F(SlowDisk, ARequestThatEndsWhileItWaitsLeavesNothingBehind) {
  EngineOptions options;
  options.spill_dir = dir_.path() / "spill";
  const auto cold = prompt(200, 1);
  run(*open(6, 64, options), request(cold, 8));
  const auto engine = open(6, 64, options);
  Outcome gone;
  const auto id = engine->submit(request(cold, 8), into(gone));
  engine->step();
  engine->cancel(*id);
  engine->step();
  EXPECT_EQ(gone.reason, FinishReason::cancelled);
  // All six pages can be had.
  const Outcome large = run(*engine, request(prompt(370, 2), 10));
  EXPECT_EQ(large.reason, FinishReason::length);
}

TEST_F(SlowDisk, WhatACancelledRequestWaitedForTakesNoPageFromIdleWork) {
  EngineOptions options;
  options.spill_dir = dir_.path() / "spill";
  const auto cold = prompt(7 * kPageTokens + 1, 1);
  run(*open(8, 128, options), request(cold, 8));
  const auto engine = open(8, 128, options);
  const Held first = hold_page(*engine, options.spill_dir, cold, 0);
  const Held fourth = hold_page(*engine, options.spill_dir, cold, 3);

  Outcome gone;
  const auto id = engine->submit(request(cold, 8), into(gone));
  engine->step();  // asks for four pages
  engine->cancel(*id);
  ASSERT_TRUE(engine->prefill_when_idle(prompt(4 * kPageTokens, 2)).has_value());
  engine->step();  // the idle prompt needs the other four, and has two of them now
  EXPECT_EQ(gone.reason, FinishReason::cancelled);
  EXPECT_EQ(engine->stats().rows_shadow, 128U);
  first.let_go();
  fourth.let_go();  // three pages have come
  while (engine->stats().spill_pages_read < 4) engine->step();
  run_idle(*engine);
  EXPECT_EQ(engine->stats().rows_shadow, 4 * kPageTokens);
  EXPECT_EQ(engine->stats().spill_pages_read, 4U);  // and no more: nobody waits for them
  EXPECT_EQ(run(*engine, request(prompt(8 * kPageTokens - 1, 3), 1)).reason, FinishReason::length);
}

TEST_F(SlowDisk, IdleTimeBringsPagesBackToo) {
  EngineOptions options;
  options.spill_dir = dir_.path() / "spill";
  const auto cold = prompt(200, 1);
  run(*open(6, 64, options), request(cold, 8));
  const auto engine = open(6, 64, options);
  ASSERT_TRUE(engine->prefill_when_idle(cold).has_value());
  run_idle(*engine);
  EXPECT_EQ(engine->stats().spill_pages_read, 3U);
  EXPECT_EQ(engine->stats().rows_shadow, 8U);  // beyond the three pages
}

}  // namespace
}  // namespace ponder::engine
