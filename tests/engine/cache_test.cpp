#include "engine/cache.h"

#include <gtest/gtest.h>

#include <map>
#include <random>

#include "engine/huge_pages.h"
#include "tests/engine/support.h"

namespace ponder::engine {
namespace {

CacheLayout layout() { return CacheLayout(testing::tiny_config(), kernels::DType::f32); }

TEST(CacheLayout, BlocksOfAllLayersLieApartInsideOnePage) {
  for (const auto dtype : {kernels::DType::f32, kernels::DType::bf16, kernels::DType::fp8_e4m3}) {
    const CacheLayout l(testing::tiny_config(), dtype);
    const std::size_t latent_bytes = kPageTokens * l.latent_stride * l.latent_bytes;
    const std::size_t index_bytes = kPageTokens * l.index_stride * l.key_bytes;
    EXPECT_GE(l.latent_stride, 160U);
    EXPECT_GE(l.index_stride, 128U);
    std::size_t at = 0;
    for (std::size_t layer = 0; layer < 6; ++layer) {
      EXPECT_GE(l.latent_offsets[layer], at);
      EXPECT_GE(l.index_offsets[layer], l.latent_offsets[layer] + latent_bytes);
      at = l.index_offsets[layer] + index_bytes;
    }
    EXPECT_GE(l.page_bytes, at);
  }
}

TEST(CacheLayout, LayersThatShareASelectionKeepNoIndexKeys) {
  ModelConfig config = testing::tiny_config();
  config.layers[3].indexer = IndexerKind::shared;
  const CacheLayout l(config, kernels::DType::f32);
  EXPECT_EQ(l.index_offsets[3], CacheLayout::kNoBlock);
  EXPECT_LT(l.page_bytes, layout().page_bytes);
}

TEST(PagePool, ALimitBelowOnePageIsRefused) {
  const auto pool = PagePool::create(layout(), layout().page_bytes - 1);
  ASSERT_FALSE(pool.has_value());
  EXPECT_EQ(pool.error().code, Errc::exhausted);
}

TEST(HugePages, ARangeLargerThanTheAddressSpaceIsRefused) {
  for (const std::size_t missing : {std::size_t{0}, std::size_t{4096}, std::size_t{1} << 21}) {
    const auto pages = HugePages::reserve(~std::size_t{0} - missing);
    ASSERT_FALSE(pages.has_value()) << "2^64 - 1 - " << missing;
    EXPECT_EQ(pages.error().code, Errc::exhausted);
  }
}

TEST(PagePool, ALimitBeyondTheAddressSpaceIsRefused) {
  const auto pool = PagePool::create(layout(), ~std::uint64_t{0});
  ASSERT_FALSE(pool.has_value());
  EXPECT_EQ(pool.error().code, Errc::exhausted);
}

TEST(PagePool, RandomTrafficMatchesAPlainMapOfCounts) {
  const auto seed = testing::test_seed();
  SCOPED_TRACE(::testing::Message() << "PONDER_TEST_SEED=" << seed);
  std::mt19937_64 rng(seed);
  auto pool = PagePool::create(layout(), 16 * layout().page_bytes);
  ASSERT_TRUE(pool.has_value());
  std::map<PageId, std::uint32_t> held;
  for (int step = 0; step < 20'000; ++step) {
    auto it = held.begin();
    if (!held.empty()) std::advance(it, rng() % held.size());
    switch (rng() % 3) {
      case 0:
        if (const auto page = pool->acquire()) {
          ASSERT_TRUE(held.emplace(*page, 1).second);
        } else {
          ASSERT_EQ(held.size(), 16U);
        }
        break;
      case 1:
        if (it == held.end()) break;
        pool->share(it->first);
        ++it->second;
        break;
      default:
        if (it == held.end()) break;
        pool->release(it->first);
        if (--it->second == 0) held.erase(it);
    }
    ASSERT_EQ(pool->num_free(), 16 - held.size());
  }
  for (const auto& [page, count] : held) EXPECT_EQ(pool->num_holders(page), count);
}

TEST(BlockTable, RowsLieWhereTheKernelsLookForThem) {
  auto pool = PagePool::create(layout(), 4 * layout().page_bytes);
  ASSERT_TRUE(pool.has_value());
  const CacheLayout& l = pool->layout();
  {
    BlockTable table(*pool);
    for (int i = 0; i < 3; ++i) table.append(*pool->acquire());
    EXPECT_EQ(table.capacity(), 192U);
    for (std::size_t layer = 0; layer < 6; ++layer) {
      for (const std::size_t position : {0U, 63U, 64U, 191U}) {
        const auto* page = static_cast<const std::byte*>(table.addresses()[position / 64]);
        EXPECT_EQ(table.latent_row(layer, position),
                  page + l.latent_offsets[layer] + position % 64 * l.latent_stride * 4);
        EXPECT_EQ(table.index_row(layer, position),
                  page + l.index_offsets[layer] + position % 64 * l.index_stride * 4);
      }
    }
    const PageId other = *pool->acquire();
    table.replace(1, other);
    EXPECT_EQ(table.latent_row(0, 64), pool->data(other));
    EXPECT_EQ(pool->num_free(), 1U);
  }
  EXPECT_EQ(pool->num_free(), 4U);
}

}  // namespace
}  // namespace ponder::engine
