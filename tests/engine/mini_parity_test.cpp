// The shipped model against what its training code computes from the same weights in fp32
// (tests/engine/data/mini_parity.json): three prompts longer than three times index_topk.

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "engine/logits.h"
#include "tests/engine/support.h"

namespace ponder::engine {
namespace {

constexpr const char* kModelDir = "engine/models/mini";

/// A selection as the file describes it.
struct SelectionDigest {
  std::int64_t count = 0;
  std::int64_t sum = 0;
  std::int64_t sum_of_squares = 0;
  std::vector<std::int32_t> first;  // ten positions
  bool operator==(const SelectionDigest&) const = default;
};

SelectionDigest digest(const std::vector<std::int32_t>& selection) {
  SelectionDigest d;
  d.count = static_cast<std::int64_t>(selection.size());
  for (const std::int64_t position : selection) {
    d.sum += position;
    d.sum_of_squares += position * position;
  }
  d.first.assign(selection.begin(), selection.begin() + 10);
  return d;
}

struct ParityPrompt {
  std::vector<TokenId> tokens;
  std::vector<TokenId> best;  // ids of the largest logits, descending
  std::vector<float> logits;  // theirs
  double log_sum_exp = 0.0;
  std::vector<SelectionDigest> selected;  // of the last row, in each layer
};

std::vector<ParityPrompt> prompts() {
  const auto data =
      nlohmann::json::parse(testing::read_file("tests/engine/data/mini_parity.json"));
  std::vector<ParityPrompt> all;
  for (const auto& p : data.at("prompts")) {
    ParityPrompt prompt{p.at("tokens"), p.at("ids"), p.at("logits"), p.at("log_sum_exp"), {}};
    for (const auto& s : p.at("selected")) {
      prompt.selected.push_back(
          {s.at("count"), s.at("sum"), s.at("sum_of_squares"), s.at("first")});
    }
    all.push_back(std::move(prompt));
  }
  return all;
}

LogitsResult run(const ParityPrompt& prompt) {
  auto runner = LogitsRunner::open(kModelDir, ModelOptions());
  EXPECT_TRUE(runner.has_value()) << runner.error().message;
  auto result = (*runner)->run(prompt.tokens, true);
  EXPECT_TRUE(result.has_value());
  EXPECT_GT(prompt.tokens.size(), 3 * (*runner)->config().index_topk);
  return std::move(*result);
}

double log_sum_exp(const std::vector<float>& logits) {
  double sum = 0.0;
  for (const float logit : logits) sum += std::exp(double{logit});
  return std::log(sum);
}

TEST(MiniParity, LogitsAndSelectionsEqualTheTrainingCodes) {
  // Both sides sum in fp32, in different orders, over all layers: most logits agree to 1e-4, and
  // a few miss it.
  constexpr float kTolerance = 1e-3F;
  ASSERT_EQ(prompts().size(), 3U);
  for (const ParityPrompt& prompt : prompts()) {
    SCOPED_TRACE(::testing::Message() << prompt.tokens.size() << " tokens");
    const LogitsResult got = run(prompt);
    for (std::size_t i = 0; i < prompt.best.size(); ++i) {
      EXPECT_NEAR(got.logits[prompt.best[i]], prompt.logits[i], kTolerance) << "rank " << i;
    }
    EXPECT_NEAR(log_sum_exp(got.logits), prompt.log_sum_exp, kTolerance);
    ASSERT_EQ(got.trace.size(), prompt.selected.size());
    for (std::size_t layer = 0; layer < got.trace.size(); ++layer) {
      EXPECT_EQ(digest(got.trace[layer].selection), prompt.selected[layer]) << "layer " << layer;
    }
  }
}

}  // namespace
}  // namespace ponder::engine
