#include "engine/prefix_cache.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <map>
#include <random>
#include <string>

#include "tests/engine/support.h"

namespace ponder::engine {
namespace {

using Tokens = std::vector<TokenId>;

Tokens range(std::size_t length, TokenId first = 100) {
  Tokens tokens(length);
  for (std::size_t i = 0; i < length; ++i) tokens[i] = first + static_cast<TokenId>(i);
  return tokens;
}

class PrefixCacheTest : public ::testing::Test {
 protected:
  static constexpr std::size_t kPages = 12;

  void SetUp() override {
    const CacheLayout layout(testing::tiny_config(), kernels::DType::bf16);
    auto pool = PagePool::create(layout, kPages * layout.page_bytes);
    ASSERT_TRUE(pool.has_value());
    pool_ = std::make_unique<PagePool>(std::move(*pool));
    cache_ = std::make_unique<PrefixCache>(*pool_);
  }

  /// As the engine does: match, "compute" the rest (each row remembers its token), insert.
  std::size_t use(const Tokens& tokens, bool keep_table = false) {
    auto table = std::make_unique<BlockTable>(*pool_);
    const std::size_t num_cached = cache_->match(tokens, *table).num_tokens;
    check_rows(tokens, num_cached, *table);
    if (!table->is_writable_at(num_cached) && cache_->num_available() == 0) return num_cached;
    if (num_cached < tokens.size()) cache_->make_writable(*table, num_cached);
    while (table->capacity() < tokens.size()) {
      const auto page = cache_->acquire();
      if (!page) return num_cached;
      table->append(*page);
    }
    for (std::size_t i = num_cached; i < tokens.size(); ++i) {
      std::memcpy(table->latent_row(5, i), &tokens[i], sizeof(TokenId));
    }
    cache_->insert(tokens, *table, !keep_table);
    check_rows(tokens, tokens.size(), *table);
    if (keep_table) kept_.push_back(std::move(table));
    return num_cached;
  }

  static void check_rows(const Tokens& tokens, std::size_t length, const BlockTable& table) {
    for (std::size_t i = 0; i < length; ++i) {
      TokenId stored = 0;
      std::memcpy(&stored, table.latent_row(5, i), sizeof stored);
      ASSERT_EQ(stored, tokens[i]) << "row " << i;
    }
  }

  std::unique_ptr<PagePool> pool_;
  std::unique_ptr<PrefixCache> cache_;
  std::vector<std::unique_ptr<BlockTable>> kept_;
};

TEST_F(PrefixCacheTest, ALongerPromptReusesEverythingThatCameBefore) {
  EXPECT_EQ(use(range(150)), 0U);
  EXPECT_EQ(use(range(200)), 150U);
  EXPECT_EQ(use(range(200)), 200U);
  EXPECT_EQ(use(range(70)), 70U);
}

TEST_F(PrefixCacheTest, AChangedTokenEndsTheReuseThere) {
  use(range(200));
  for (const std::size_t changed : {0U, 1U, 63U, 64U, 130U, 199U}) {
    Tokens tokens = range(200);
    tokens[changed] = 1;
    BlockTable table(*pool_);
    EXPECT_EQ(cache_->match(tokens, table).num_tokens, changed);
  }
}

TEST_F(PrefixCacheTest, PagesAreSharedAndOnlyTheLastOneIsCopiedWhenItIsWrittenTo) {
  use(range(160), true);
  const std::size_t used = kPages - pool_->num_free();
  BlockTable table(*pool_);
  EXPECT_EQ(cache_->match(range(128), table).num_tokens, 128U);
  EXPECT_EQ(kPages - pool_->num_free(), used);
  BlockTable other(*pool_);
  EXPECT_EQ(cache_->match(range(100), other).num_tokens, 100U);
  EXPECT_EQ(kPages - pool_->num_free(), used);
  EXPECT_EQ(other.pages()[0], kept_[0]->pages()[0]);
  EXPECT_EQ(other.pages()[1], kept_[0]->pages()[1]);
  EXPECT_FALSE(other.is_writable_at(100));
  cache_->make_writable(other, 100);
  EXPECT_EQ(kPages - pool_->num_free(), used + 1);
  EXPECT_NE(other.pages()[1], kept_[0]->pages()[1]);
  EXPECT_TRUE(other.is_writable_at(100));
  check_rows(range(100), 100, other);
  const PageId own = other.pages()[1];
  cache_->make_writable(other, 100);
  EXPECT_EQ(other.pages()[1], own);
  BlockTable whole(*pool_);
  EXPECT_EQ(cache_->match(range(100), whole, PrefixCache::LastPage::whole).num_tokens, 64U);
}

TEST_F(PrefixCacheTest, TheLastOneThatReadsAPageWritesToItInPlace) {
  BlockTable trunk(*pool_);
  for (int i = 0; i < 2; ++i) trunk.append(*cache_->acquire());
  const PageId last = trunk.pages()[1];
  {
    BlockTable branch(*pool_);
    branch.share_from(trunk, 2);
    EXPECT_FALSE(trunk.is_writable_at(100));
    cache_->make_writable(trunk, 100);
    EXPECT_NE(trunk.pages()[1], last);
    EXPECT_TRUE(branch.is_writable_at(70));
    EXPECT_FALSE(branch.is_writable_at(63));  // in the first page
    EXPECT_TRUE(branch.is_writable_at(128));  // in a page that is yet to come
    cache_->make_writable(branch, 70);
    EXPECT_EQ(branch.pages()[1], last);
  }
  EXPECT_TRUE(trunk.is_writable_at(0));
}

TEST_F(PrefixCacheTest, EqualPagesComputedTwiceAreKeptOnce) {
  const Tokens tokens = range(128);
  BlockTable first(*pool_);
  BlockTable second(*pool_);
  for (BlockTable* table : {&first, &second}) {
    EXPECT_EQ(cache_->match(tokens, *table).num_tokens, 0U);
    while (table->capacity() < tokens.size()) table->append(*cache_->acquire());
  }
  cache_->insert(tokens, first, false);
  cache_->insert(tokens, second, false);
  EXPECT_EQ(pool_->num_free(), kPages - 2);
  EXPECT_EQ(first.pages()[1], second.pages()[1]);
}

TEST_F(PrefixCacheTest, TheLeastRecentlyUsedLeafGoesFirst) {
  use(range(256, 1000));  // 4 pages
  use(range(256, 2000));  // 4 pages
  use(range(256, 1000));
  EXPECT_EQ(use(range(320, 3000)), 0U);  // 5 pages: one must go
  BlockTable table(*pool_);
  EXPECT_EQ(cache_->match(range(256, 1000), table).num_tokens, 256U);
  table.clear();
  EXPECT_EQ(cache_->match(range(256, 2000), table).num_tokens, 192U);
}

TEST_F(PrefixCacheTest, PagesInUseAreNeverEvicted) {
  use(range(512, 1000), true);  // 8 of 12 pages, held
  EXPECT_EQ(cache_->num_available(), 4U);
  std::vector<PageId> taken;
  while (const auto page = cache_->acquire()) taken.push_back(*page);
  EXPECT_EQ(taken.size(), 4U);
  check_rows(range(512, 1000), 512, *kept_[0]);
  for (const PageId page : taken) pool_->release(page);
  kept_.clear();
  EXPECT_EQ(cache_->num_available(), kPages);
  cache_->clear();
  EXPECT_EQ(pool_->num_free(), kPages);
}

/// With room for everything, a match is the longest common beginning with anything seen before.
TEST_F(PrefixCacheTest, RandomTrafficMatchesComparingWithEveryEarlierSequence) {
  const auto seed = testing::test_seed();
  SCOPED_TRACE(::testing::Message() << "PONDER_TEST_SEED=" << seed);
  std::mt19937_64 rng(seed);
  const CacheLayout layout(testing::tiny_config(), kernels::DType::bf16);
  auto pool = PagePool::create(layout, 400 * layout.page_bytes);
  ASSERT_TRUE(pool.has_value());
  cache_.reset();
  pool_ = std::make_unique<PagePool>(std::move(*pool));
  cache_ = std::make_unique<PrefixCache>(*pool_);
  std::vector<Tokens> seen;
  for (int round = 0; round < 120; ++round) {
    Tokens tokens;
    if (!seen.empty() && rng() % 4 != 0) {
      tokens = seen[rng() % seen.size()];
      tokens.resize(1 + rng() % tokens.size());
    }
    const std::size_t more = 1 + rng() % 90;
    for (std::size_t i = 0; i < more; ++i) tokens.push_back(static_cast<TokenId>(rng() % 2));
    std::size_t want = 0;
    for (const Tokens& earlier : seen) {
      const std::size_t most = std::min(earlier.size(), tokens.size());
      std::size_t n = 0;
      while (n < most && earlier[n] == tokens[n]) ++n;
      want = std::max(want, n);
    }
    ASSERT_EQ(use(tokens), want) << "round " << round;
    seen.push_back(std::move(tokens));
  }
}

TEST_F(PrefixCacheTest, RandomTrafficUnderPressureNeverGivesWrongRowsOrLosesPages) {
  const auto seed = testing::test_seed();
  SCOPED_TRACE(::testing::Message() << "PONDER_TEST_SEED=" << seed);
  std::mt19937_64 rng(seed);
  for (int round = 0; round < 2000; ++round) {
    Tokens tokens;
    const std::size_t length = 1 + rng() % 300;
    const auto family = static_cast<TokenId>(rng() % 3);
    for (std::size_t i = 0; i < length; ++i) {
      tokens.push_back(rng() % 100 == 0 ? static_cast<TokenId>(rng() % 5) : 10 * family);
    }
    use(tokens, rng() % 4 == 0);
    if (kept_.size() > 1 || rng() % 3 == 0) kept_.clear();
    ASSERT_LE(cache_->num_available(), kPages);
  }
  kept_.clear();
  EXPECT_EQ(cache_->num_available(), kPages);
}

/// The tree in the plainest form: paths of whole pages, each named by a letter, with their holders
/// and the time since which nobody holds them.
class PlainTree {
 public:
  explicit PlainTree(std::size_t num_pages) : num_free(num_pages) {}

  std::size_t match(const std::string& path) const {
    std::size_t length = 0;
    while (length < path.size() && pages_.contains(path.substr(0, length + 1))) ++length;
    return length;
  }
  void hold(const std::string& path, std::size_t length, std::size_t first = 0) {
    for (std::size_t n = first + 1; n <= length; ++n) ++pages_[path.substr(0, n)].holders;
  }
  void release(const std::string& path, std::size_t length) {
    for (std::size_t n = length; n > 0; --n) {
      Page& page = pages_[path.substr(0, n)];
      if (--page.holders == 0) page.idle_since = ++time_;
    }
  }
  bool acquire() {
    if (num_free > 0) {
      --num_free;
      return true;
    }
    auto oldest = pages_.end();
    for (auto it = pages_.begin(); it != pages_.end(); ++it) {
      if (it->second.holders > 0) continue;
      if (oldest == pages_.end() || it->second.idle_since < oldest->second.idle_since) oldest = it;
    }
    if (oldest == pages_.end()) return false;
    pages_.erase(oldest);
    return true;
  }
  std::size_t num_idle() const {
    return static_cast<std::size_t>(std::count_if(
        pages_.begin(), pages_.end(), [](const auto& page) { return page.second.holders == 0; }));
  }
  std::size_t num_free;

 private:
  struct Page {
    int holders = 0;
    std::uint64_t idle_since = 0;
  };
  std::map<std::string, Page> pages_;
  std::uint64_t time_ = 0;
};

TEST_F(PrefixCacheTest, RandomTrafficKeepsAndEvictsWhatAPlainModelDoes) {
  const auto seed = testing::test_seed();
  SCOPED_TRACE(::testing::Message() << "PONDER_TEST_SEED=" << seed);
  std::mt19937_64 rng(seed);
  PlainTree model(kPages);
  std::vector<std::pair<std::string, std::unique_ptr<BlockTable>>> held;
  const auto tokens_of = [](const std::string& path) {
    Tokens tokens;
    for (const char c : path) tokens.insert(tokens.end(), kPageTokens, static_cast<TokenId>(c));
    return tokens;
  };
  for (int round = 0; round < 5000; ++round) {
    if (!held.empty() && (held.size() > 4 || rng() % 2 == 0)) {
      const std::size_t i = rng() % held.size();
      model.release(held[i].first, held[i].first.size());
      held.erase(held.begin() + static_cast<std::ptrdiff_t>(i));
    } else {
      std::string path;
      for (std::size_t n = 1 + rng() % 5; n > 0; --n) path += static_cast<char>('a' + rng() % 2);
      auto table = std::make_unique<BlockTable>(*pool_);
      const std::size_t length = model.match(path);
      ASSERT_EQ(cache_->match(tokens_of(path), *table).num_tokens, length * kPageTokens);
      model.hold(path, length);
      bool has_all = true;
      while (has_all && table->pages().size() < path.size()) {
        const auto page = cache_->acquire();
        has_all = model.acquire();
        ASSERT_EQ(page.has_value(), has_all);
        if (page) table->append(*page);
      }
      if (has_all) {
        cache_->insert(tokens_of(path), *table, false);
        model.hold(path, path.size(), length);
        held.emplace_back(path, std::move(table));
      } else {
        model.num_free += table->pages().size() - length;
        table->clear();
        model.release(path, length);
      }
    }
    ASSERT_EQ(pool_->num_free(), model.num_free) << "round " << round;
    ASSERT_EQ(pool_->num_idle(), model.num_idle()) << "round " << round;
  }
}

}  // namespace
}  // namespace ponder::engine
