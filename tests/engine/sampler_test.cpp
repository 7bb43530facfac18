#include "engine/sampler.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <map>

namespace ponder::engine {
namespace {

constexpr float kInf = std::numeric_limits<float>::infinity();
constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();

SamplingParams greedy() { return {.temperature = 0.0F, .top_p = 1.0F, .seed = 0}; }

std::vector<std::uint64_t> mask_of(std::initializer_list<TokenId> ids, std::size_t size) {
  std::vector<std::uint64_t> mask((size + 63) / 64, 0);
  for (const TokenId id : ids) mask[id / 64] |= std::uint64_t{1} << (id % 64);
  return mask;
}

/// How often each id is drawn at positions 0 .. n - 1.
std::map<TokenId, int> histogram(const std::vector<float>& logits, const SamplingParams& params,
                                 std::span<const std::uint64_t> mask, int n) {
  Sampler sampler;
  std::map<TokenId, int> counts;
  for (int i = 0; i < n; ++i) {
    ++counts[*sampler.sample(logits, mask, params, static_cast<std::uint64_t>(i))];
  }
  return counts;
}

TEST(Sampler, GreedyTakesTheLowestIdAmongTheLargest) {
  Sampler sampler;
  EXPECT_EQ(sampler.sample(std::vector{1.0F, 3.0F, 2.0F, 3.0F}, {}, greedy(), 0), 1U);
  EXPECT_EQ(sampler.sample(std::vector{kNaN, -kInf, -2.0F, kNaN}, {}, greedy(), 0), 2U);
  EXPECT_EQ(sampler.sample(std::vector{kNaN, -kInf}, {}, greedy(), 0), std::nullopt);
}

TEST(Sampler, InfiniteLogitsShareEverythingAmongThem) {
  const std::vector<float> logits = {1.0F, kInf, kNaN, kInf, -kInf};
  Sampler sampler;
  EXPECT_EQ(sampler.sample(logits, {}, greedy(), 0), 1U);
  const auto all = histogram(logits, {.temperature = 1.0F, .top_p = 1.0F, .seed = 1}, {}, 200);
  EXPECT_EQ(all.size(), 2U);
  EXPECT_EQ(all.count(1) + all.count(3), 2U);
  const auto half = histogram(logits, {.temperature = 1.0F, .top_p = 0.5F, .seed = 1}, {}, 200);
  EXPECT_EQ(half, (std::map<TokenId, int>{{1, 200}}));
}

TEST(Sampler, OnlyMaskedInTokensAreChosen) {
  std::vector<float> logits(200, 5.0F);
  logits[70] = -3.0F;
  logits[199] = -2.0F;
  const auto mask = mask_of({70, 199}, logits.size());
  Sampler sampler;
  EXPECT_EQ(sampler.sample(logits, mask, greedy(), 0), 199U);
  const auto counts = histogram(logits, {.temperature = 1.0F, .top_p = 1.0F, .seed = 1}, mask, 500);
  EXPECT_EQ(counts.size(), 2U);
  EXPECT_EQ(counts.count(70) + counts.count(199), 2U);
  const auto none = mask_of({}, logits.size());
  EXPECT_EQ(sampler.sample(logits, none, greedy(), 0), std::nullopt);
}

TEST(Sampler, TopPKeepsTheCrossingTokenAndNothingAfterIt) {
  const std::vector<float> logits = {std::log(0.1F), std::log(0.5F), std::log(0.3F),
                                     std::log(0.1F)};
  const auto kept = [&](float top_p) {
    std::vector<TokenId> ids;
    for (const auto& [id, count] :
         histogram(logits, {.temperature = 1.0F, .top_p = top_p, .seed = 9}, {}, 3000)) {
      ids.push_back(id);
    }
    return ids;
  };
  EXPECT_EQ(kept(0.01F), (std::vector<TokenId>{1}));
  EXPECT_EQ(kept(0.49F), (std::vector<TokenId>{1}));
  EXPECT_EQ(kept(0.51F), (std::vector<TokenId>{1, 2}));
  EXPECT_EQ(kept(0.85F), (std::vector<TokenId>{0, 1, 2}));  // of equal tokens the lower id first
  EXPECT_EQ(kept(1.0F), (std::vector<TokenId>{0, 1, 2, 3}));
}

TEST(Sampler, FrequenciesFollowTheTemperedSoftmax) {
  const std::vector<float> logits = {0.0F, 1.0F, 2.0F, -1.0F, kNaN, -kInf};
  constexpr int kDraws = 40'000;
  for (const float temperature : {0.5F, 1.0F, 2.0F}) {
    double total = 0.0;
    for (int i = 0; i < 4; ++i) total += std::exp(double{logits[i]} / temperature);
    auto counts =
        histogram(logits, {.temperature = temperature, .top_p = 1.0F, .seed = 4}, {}, kDraws);
    double chi2 = 0.0;
    for (TokenId id = 0; id < 4; ++id) {
      const double want = kDraws * std::exp(double{logits[id]} / temperature) / total;
      chi2 += (counts[id] - want) * (counts[id] - want) / want;
    }
    EXPECT_LT(chi2, 16.3);  // 3 degrees of freedom: exceeded by chance once in a thousand
    EXPECT_EQ(counts.size(), 4U);
  }
}

TEST(Sampler, TheChoiceDependsOnSeedAndPositionAlone) {
  const std::vector<float> logits(50, 0.0F);
  const SamplingParams params{.temperature = 1.0F, .top_p = 1.0F, .seed = 77};
  Sampler a;
  Sampler b;
  for (std::uint64_t position = 0; position < 50; ++position) {
    (void)b.sample(std::vector<float>(10, 1.0F), {}, params, position + 3);
    EXPECT_EQ(a.sample(logits, {}, params, position), b.sample(logits, {}, params, position));
  }
  SamplingParams other = params;
  other.seed = 78;
  EXPECT_NE(histogram(logits, params, {}, 20), histogram(logits, other, {}, 20));
}

TEST(CounterUniform, NumbersAreSpreadEvenlyAlongPositionsAndSeeds) {
  for (const bool along_seeds : {false, true}) {
    std::vector<int> bins(20, 0);
    for (std::uint64_t i = 0; i < 20'000; ++i) {
      const double u = along_seeds ? counter_uniform(i, 5) : counter_uniform(5, i);
      ASSERT_GE(u, 0.0);
      ASSERT_LT(u, 1.0);
      ++bins[static_cast<std::size_t>(u * 20)];
    }
    for (const int count : bins) EXPECT_NEAR(count, 1000, 160);  // five standard deviations
  }
}

}  // namespace
}  // namespace ponder::engine
