#include "engine/sampler.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <map>
#include <numeric>
#include <random>

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

/// The best `n` of a row, as a device would give them: the totals are off by `error` of them.
/// Lifetime: the logits must outlive it.
class BestOf {
 public:
  BestOf(const std::vector<float>& logits, std::size_t n, const SamplingParams& params,
         double error) {
    std::vector<TokenId> order(logits.size());
    std::iota(order.begin(), order.end(), TokenId{0});
    std::ranges::sort(order, [&](TokenId a, TokenId b) {
      return logits[a] != logits[b] ? logits[a] > logits[b] : a < b;
    });
    const float largest = logits[order.front()];
    totals_.resize((logits.size() + kPart - 1) / kPart);
    for (std::size_t id = 0; id < logits.size(); ++id) {
      const double exponent = (double{logits[id]} - largest) / params.temperature;
      if (exponent > -40.0) totals_[id / kPart] += std::exp(exponent) * (1.0 + error);
    }
    ids_.assign(order.begin(), order.begin() + static_cast<std::ptrdiff_t>(n));
    std::ranges::sort(ids_);
    for (const TokenId id : ids_) logits_.push_back(logits[id]);
    best = {.ids = ids_,
            .logits = logits_,
            .is_all = n == logits.size(),
            .totals = totals_,
            .part_size = kPart,
            .num_logits = logits.size(),
            .fetch_part = [&logits](std::size_t part) {
              const std::span<const float> rest = std::span(logits).subspan(part * kPart);
              return rest.first(std::min(kPart, rest.size()));
            }};
  }
  BestOf(const BestOf&) = delete;

  BestLogits best;

 private:
  static constexpr std::size_t kPart = 20;
  std::vector<TokenId> ids_;
  std::vector<float> logits_;
  std::vector<double> totals_;
};

TEST(SamplerOfTheBest, ChoosesWhatItWouldOfTheWholeRowOrNothing) {
  std::mt19937_64 rng(5);
  std::normal_distribution<float> normal;
  Sampler sampler;
  int num_made = 0;
  for (int round = 0; round < 3000; ++round) {
    const std::size_t vocab = 2 + rng() % 300;
    std::vector<float> logits(vocab);
    const bool has_ties = round % 3 == 0;
    for (float& logit : logits) {
      logit = 3.0F * normal(rng);
      if (has_ties) logit = std::round(logit);
    }
    const SamplingParams params{.temperature = round % 7 == 0 ? 0.0F : 0.2F + normal(rng) / 20,
                                .top_p = std::array{0.01F, 0.3F, 0.9F, 0.999F, 1.0F}[rng() % 5],
                                .seed = rng()};
    const double error = (static_cast<double>(rng() % 3) - 1.0) * 0x1p-51 * double(vocab);
    const BestOf listed(logits, 1 + rng() % vocab, params, error);
    const RowChoice choice = sampler.sample(listed.best, params, 3);
    if (!choice.is_made) continue;
    ++num_made;
    ASSERT_EQ(choice.token, sampler.sample(logits, {}, params, 3)) << "round " << round;
  }
  EXPECT_GT(num_made, 1500);
}

TEST(SamplerOfTheBest, ACloseDecisionIsLeftToTheWholeRow) {
  const std::vector<float> logits = {1.0F, 1.0F, 1.0F, 1.0F, -0.2F, -9.0F};
  Sampler sampler;
  const auto is_made = [&](std::size_t n, float temperature, float top_p) {
    const SamplingParams params{.temperature = temperature, .top_p = top_p, .seed = 1};
    return sampler.sample(BestOf(logits, n, params, 0.0).best, params, 0).is_made;
  };
  // At this temperature four tokens have everything: two of them reach one half, exactly.
  EXPECT_FALSE(is_made(5, 0.01F, 0.5F));
  EXPECT_TRUE(is_made(5, 0.01F, 0.49F));
  EXPECT_TRUE(is_made(5, 0.01F, 0.51F));
  // Who is not listed might have the weight of the last that is.
  EXPECT_FALSE(is_made(4, 0.1F, 0.49F));
  EXPECT_TRUE(is_made(5, 0.1F, 0.49F));
}

TEST(SamplerOfTheBest, WithoutTopPADrawOnABorderIsLeftToTheWholeRow) {
  const SamplingParams params{.temperature = 1.0F, .top_p = 1.0F, .seed = 3};
  const std::vector<float> logits(30, 0.0F);  // each has the weight 1
  Sampler sampler;
  // With this total the random number ends after so many of them.
  const auto sample_at = [&](double end) {
    BestOf listed(logits, 4, params, 0.0);
    const std::vector<double> totals = {20.0, end / counter_uniform(params.seed, 0) - 20.0};
    listed.best.totals = totals;
    return sampler.sample(listed.best, params, 0);
  };
  for (const double end : {2.0, 2.0 + 1e-14, 2.0 - 1e-14}) EXPECT_FALSE(sample_at(end).is_made);
  EXPECT_FALSE(sample_at(20.0).is_made);
  EXPECT_EQ(sample_at(2.5).token, TokenId{2});
  EXPECT_TRUE(sample_at(2.5).is_made);
  EXPECT_EQ(sample_at(20.5).token, TokenId{20});
  EXPECT_TRUE(sample_at(20.5).is_made);
  EXPECT_FALSE(sample_at(30.5).is_made);  // the totals do not fit the logits
}

TEST(SamplerOfTheBest, NothingToChooseFromIsAChoice) {
  Sampler sampler;
  const RowChoice choice = sampler.sample({.is_all = true, .num_logits = 9}, {}, 0);
  EXPECT_TRUE(choice.is_made);
  EXPECT_EQ(choice.token, std::nullopt);
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
