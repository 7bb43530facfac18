// What a device gives of a row of logits is enough for the host's sampler to choose the token that
// it would choose from the whole row; where it is not, it says so.

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <optional>

#include "engine/sampler.h"
#include "tests/kernels/device/device_cases.h"

namespace ponder::kernels {
namespace {

using engine::BestLogits;
using engine::Sampler;
using engine::SamplingParams;
using engine::TokenId;
using Mask = std::vector<std::uint64_t>;

/// A row of logits and how it is to be sampled; an empty mask allows everything.
struct Row {
  std::vector<float> logits;
  Mask mask;
  float temperature = 1.0F;
  std::vector<engine::TokenPenalty> penalties = {};
  float repetition = 1.0F;
};

/// As the host takes them off, and masks what is left.
std::vector<float> penalized_logits(const Row& row) {
  std::vector<float> logits = row.logits;
  for (const auto& penalty : row.penalties) {
    logits[penalty.id] = engine::penalized(logits[penalty.id], row.repetition, penalty);
  }
  return logits;
}
std::vector<float> masked_logits(const Row& row) {
  std::vector<float> logits = penalized_logits(row);
  for (std::size_t id = 0; id < logits.size() && !row.mask.empty(); ++id) {
    if ((row.mask[id / 64] >> (id % 64) & 1) == 0) logits[id] = -kInf;
  }
  return logits;
}

/// What the device gives of it.
struct Best {
  std::vector<TokenId> ids;  // -1 left out
  std::vector<float> logits;
  std::vector<double> totals;
  bool operator==(const Best& other) const {
    const auto have_equal_bits = [](float a, float b) {
      return std::bit_cast<std::uint32_t>(a) == std::bit_cast<std::uint32_t>(b);
    };
    return ids == other.ids && totals == other.totals &&
           std::ranges::equal(logits, other.logits, have_equal_bits);
  }
};

Mask mask_of(const std::vector<std::size_t>& ids, std::size_t vocab) {
  Mask mask((vocab + 63) / 64);
  for (const std::size_t id : ids) mask[id / 64] |= std::uint64_t{1} << (id % 64);
  return mask;
}

class DeviceBestLogits : public DeviceTest {
 protected:
  std::vector<Best> run(const std::vector<Row>& rows, std::size_t k) {
    const std::size_t vocab = rows[0].logits.size();
    const std::size_t parts = logits_parts(vocab);
    std::vector<float> logits;
    std::vector<LogitsRowInfo> info;
    std::vector<std::uint64_t> masks;
    std::vector<LogitPenalty> penalties;
    std::int32_t num_masks = 0;
    for (const Row& row : rows) {
      for (const auto& [id, frequency, presence] : row.penalties) {
        penalties.push_back({static_cast<std::int32_t>(info.size()), static_cast<std::int32_t>(id),
                             row.repetition, frequency, presence});
      }
      logits.insert(logits.end(), row.logits.begin(), row.logits.end());
      masks.insert(masks.end(), row.mask.begin(), row.mask.end());
      info.push_back({row.temperature, row.mask.empty() ? -1 : num_masks++});
    }
    masks.push_back(0);  // never empty
    penalties.emplace_back();
    const DeviceArray<float> device_logits(device(), logits);
    const DeviceArray<LogitsRowInfo> device_info(device(), info);
    const DeviceArray<std::uint64_t> device_masks(device(), masks);
    const DeviceArray<LogitPenalty> device_penalties(device(), penalties);
    const DeviceArray<std::int32_t> ids(device(), rows.size() * k + 1);
    const DeviceArray<float> best(device(), rows.size() * k + 1);
    const DeviceArray<double> totals(device(), rows.size() * parts);
    const DeviceArray<float> maxima(device(), rows.size() * parts);
    const DeviceArray<std::int32_t> num_logits(device(), rows.size());
    const DeviceArray<std::int32_t> num_selected(device(), rows.size());
    const DeviceArray<std::uint32_t> workspace(device(),
                                               select_workspace_words(rows.size(), vocab) + 1);
    device().best_logits({.logits = device_logits.data(),
                          .rows = rows.size(),
                          .vocab = vocab,
                          .k = k,
                          .rows_info = device_info.data(),
                          .masks = reinterpret_cast<const std::uint32_t*>(device_masks.data()),
                          .mask_words = (vocab + 63) / 64 * 2,
                          .penalties = device_penalties.data(),
                          .num_penalties = penalties.size() - 1,
                          .ids = ids.data(),
                          .best = best.data(),
                          .totals = totals.data(),
                          .part_maxima = maxima.data(),
                          .num_logits = num_logits.data(),
                          .num_selected = num_selected.data(),
                          .workspace = workspace.data()});
    expect_masked(device_logits.download(), rows);
    EXPECT_EQ(ids.download().back(), -1);
    std::vector<Best> results;
    for (std::size_t r = 0; r < rows.size(); ++r) {
      const auto row_ids = ids.download();
      const auto row_best = best.download();
      const auto row_totals = totals.download();
      Best result;
      for (std::size_t i = r * k; i < (r + 1) * k; ++i) {
        if (std::isnan(row_best[i]) || row_best[i] == -kInf) continue;
        result.ids.push_back(static_cast<TokenId>(row_ids[i]));
        result.logits.push_back(row_best[i]);
      }
      if (rows[r].temperature > 0.0F && k > 1) {
        const auto first = row_totals.begin() + static_cast<std::ptrdiff_t>(r * parts);
        result.totals.assign(first, first + static_cast<std::ptrdiff_t>(parts));
      }
      results.push_back(std::move(result));
    }
    return results;
  }

  /// Whether each of the parameters gives the token of the whole row; returns how many choices were
  /// made.
  int expect_choices(const Row& row, const Best& best, std::size_t k, std::string_view what) {
    const std::size_t vocab = row.logits.size();
    const std::vector<float> masked = masked_logits(row);
    const auto fetch_part = [&](std::size_t part) {
      const std::span<const float> rest = std::span(masked).subspan(part * kLogitsPart);
      return rest.first(std::min(kLogitsPart, rest.size()));
    };
    const BestLogits listed{.ids = best.ids,
                            .logits = best.logits,
                            .is_all = best.ids.size() < k || k == vocab,
                            .totals = best.totals,
                            .part_size = kLogitsPart,
                            .num_logits = vocab,
                            .fetch_part = fetch_part};
    int num_made = 0;
    for (const float top_p : {0.01F, 0.5F, 0.95F, 0.999F, 1.0F}) {
      for (std::uint64_t seed = 0; seed < 3; ++seed) {
        const SamplingParams params{.temperature = row.temperature, .top_p = top_p, .seed = seed};
        const auto choice = sampler_.sample(listed, params, 5);
        if (!choice.is_made) continue;
        ++num_made;
        EXPECT_EQ(choice.token, sampler_.sample(penalized_logits(row), row.mask, params, 5))
            << what << ": vocab " << vocab << ", k " << k << ", temperature " << row.temperature
            << ", top_p " << top_p << ", seed " << seed;
      }
    }
    return num_made;
  }

  /// Rows of every kind, of which each agrees with the host; each alone has the same bits.
  void expect_agreement(std::size_t vocab, std::size_t k) {
    const std::vector<Row> rows = rows_of_every_kind(vocab);
    const std::vector<Best> results = run(rows, k);
    for (std::size_t r = 0; r < rows.size(); ++r) {
      SCOPED_TRACE(r);
      expect_choices(rows[r], results[r], k, "row " + std::to_string(r));
      EXPECT_TRUE(run({rows[r]}, k)[0] == results[r]);
    }
  }

  std::vector<Row> rows_of_every_kind(std::size_t vocab) {
    std::vector<Row> rows;
    const auto add = [&](float temperature, float scale, Mask mask) -> Row& {
      rows.push_back({random_floats(vocab, rng), std::move(mask), temperature});
      for (float& logit : rows.back().logits) logit *= scale;
      return rows.back();
    };
    for (const float temperature : {0.0F, 0.3F, 1.0F, 3.0F}) {
      add(temperature, 30.0F, {});
      add(temperature, 5.0F, mask_of({vocab / 2, vocab - 1, 0, vocab / 3}, vocab));
      add(temperature, 5.0F, mask_of({}, vocab));
      Row& special = add(temperature, 8.0F, {});
      put_special_values(special.logits, rng);
      special.logits[rng() % vocab] = -kInf;
      Row& ties = add(temperature, 1.0F, {});
      for (float& logit : ties.logits) logit = std::round(2.0F * logit);
      Row& infinite = add(temperature, 1.0F, {});
      for (int i = 0; i < 5; ++i) infinite.logits[rng() % vocab] = kInf;
      Row& nothing = add(temperature, 1.0F, {});
      for (float& logit : nothing.logits) logit = rng() % 2 == 0 ? kNan : -kInf;
    }
    Mask most((vocab + 63) / 64, ~std::uint64_t{0});  // and bits beyond the vocabulary
    most[vocab / 128] &= rng();
    add(1.0F, 20.0F, most);
    for (std::size_t r = 0; r < rows.size(); r += 2) add_penalties(rows[r], vocab);
    return rows;
  }

  Sampler sampler_;

 private:
  /// For every third token, among them the best, with numbers that do not come out even.
  void add_penalties(Row& row, std::size_t vocab) {
    row.repetition = rng() % 2 == 0 ? 1.3F : 0.7F;
    const auto best = std::ranges::max_element(row.logits) - row.logits.begin();
    for (std::size_t id = static_cast<std::size_t>(best) % 3; id < vocab; id += 3) {
      const bool is_in_prompt_alone = rng() % 4 == 0;
      const float n = is_in_prompt_alone ? 0.0F : static_cast<float>(rng() % 7 + 1);
      row.penalties.push_back(
          {static_cast<TokenId>(id), 0.37F * n, is_in_prompt_alone ? 0.0F : -1.1F});
    }
  }
  static void expect_masked(const std::vector<float>& logits, const std::vector<Row>& rows) {
    std::vector<float> want;
    for (const Row& row : rows) {
      const std::vector<float> masked = masked_logits(row);
      want.insert(want.end(), masked.begin(), masked.end());
    }
    for (std::size_t i = 0; i < want.size(); ++i) {
      const bool are_nan = std::isnan(logits[i]) && std::isnan(want[i]);
      const bool have_equal_bits =
          std::bit_cast<std::uint32_t>(logits[i]) == std::bit_cast<std::uint32_t>(want[i]);
      ASSERT_TRUE(are_nan || have_equal_bits) << i << ": " << logits[i] << ", not " << want[i];
    }
  }
};

TEST_F(DeviceBestLogits, ChooseTheTokenOfTheWholeRow) {
  for (const std::size_t vocab : {1U, 2U, 63U, 65U, 1000U, 4097U}) {
    for (const std::size_t k : {std::size_t{1}, std::min<std::size_t>(vocab, 40), vocab}) {
      expect_agreement(vocab, k);
    }
  }
}

TEST_F(DeviceBestLogits, ChooseTheTokenOfARowThatSeveralBlocksSelectFrom) {
  expect_agreement(kSelectSplitKeysMin + 77, 300);
}

TEST_F(DeviceBestLogits, OfAWholeVocabularyTheNucleusIsAmongTheBest) {
  constexpr std::size_t kVocab = 129'280;
  constexpr std::size_t kBest = 512;
  std::vector<Row> rows;
  for (const float temperature : {1.0F, 0.6F, 0.0F}) {
    Row row{random_floats(kVocab, rng), {}, temperature};
    // A few stand out of many, as in a language model's answer.
    for (float& logit : row.logits) logit = 4.0F * logit;
    for (int i = 0; i < 60; ++i) row.logits[rng() % kVocab] += 12.0F + static_cast<float>(i) / 10;
    rows.push_back(std::move(row));
  }
  rows[1].mask.assign(kVocab / 64, 0x5555555555555555U);
  const std::vector<Best> results = run(rows, kBest);
  for (std::size_t r = 0; r < rows.size(); ++r) {
    SCOPED_TRACE(r);
    // All but perhaps those at 0.999 are made.
    EXPECT_GE(expect_choices(rows[r], results[r], kBest, "vocabulary"), 12);
    if (rows[r].temperature == 0.0F) continue;
    double want = 0.0;
    const float largest = std::ranges::max(results[r].logits);
    for (std::size_t id = 0; id < kVocab; ++id) {
      if (!rows[r].mask.empty() && (rows[r].mask[id / 64] >> (id % 64) & 1) == 0) continue;
      const double exponent = (double{rows[r].logits[id]} - largest) / rows[r].temperature;
      if (exponent > -40.0) want += std::exp(exponent);
    }
    double total = 0.0;
    for (const double part : results[r].totals) total += part;
    EXPECT_NEAR(total, want, want * kVocab * 0x1p-51);
  }
}

TEST_F(DeviceBestLogits, OfAFlatRowNoNucleusIsKnown) {
  const Row row{std::vector<float>(1000, 2.0F), {}, 1.0F};
  const Best best = run({row}, 100)[0];
  const BestLogits listed{.ids = best.ids,
                          .logits = best.logits,
                          .totals = best.totals,
                          .part_size = kLogitsPart,
                          .num_logits = 1000,
                          .fetch_part = [&](std::size_t) { return std::span(row.logits); }};
  EXPECT_EQ(best.totals[0], 1000.0);
  for (const float top_p : {0.05F, 0.5F, 0.95F}) {
    // Not even the first ones: a smaller logit that is not listed might weigh the same by rounding.
    EXPECT_FALSE(sampler_.sample(listed, {.top_p = top_p, .seed = 1}, 0).is_made) << top_p;
  }
  EXPECT_EQ(sampler_.sample(listed, {.temperature = 0.0F}, 0).token, TokenId{0});
  const SamplingParams all{.top_p = 1.0F, .seed = 1};
  EXPECT_EQ(sampler_.sample(listed, all, 0).token, sampler_.sample(row.logits, {}, all, 0));
}

}  // namespace
}  // namespace ponder::kernels
