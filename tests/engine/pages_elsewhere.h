#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <memory>
#include <span>
#include <vector>

#include "engine/page_store.h"
#include "engine/prefix_cache.h"
#include "tests/engine/support.h"

/// A prefix tree over pages in a memory that stands for a device's, with a store on disk.
namespace ponder::engine {

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

}  // namespace ponder::engine
