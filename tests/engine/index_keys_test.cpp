// The kinds of index keys: rounded keys select nearly what floating keys select, and keep every
// promise about bits.

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <iterator>
#include <nlohmann/json.hpp>
#include <random>

#include "engine/index_fp8.h"
#include "engine/logits.h"
#include "engine/numeric_formats.h"
#include "kernels/dispatch.h"
#include "kernels/index_select.h"
#include "tests/engine/golden_model.h"

namespace ponder::engine {
namespace {

LogitsResult run(const std::filesystem::path& dir, IndexKeys index_keys,
                 std::span<const TokenId> tokens, std::size_t chunk_rows = 0) {
  ModelOptions options;
  options.index_keys = index_keys;
  auto runner = LogitsRunner::open(dir, options);
  EXPECT_TRUE(runner.has_value()) << runner.error().message;
  auto result = (*runner)->run(tokens, true, chunk_rows);
  EXPECT_TRUE(result.has_value());
  return std::move(*result);
}

/// The share of one selection that the other holds too.
double overlap(const std::vector<std::int32_t>& a, const std::vector<std::int32_t>& b) {
  EXPECT_EQ(a.size(), b.size());
  std::vector<std::int32_t> both;
  std::set_intersection(a.begin(), a.end(), b.begin(), b.end(), std::back_inserter(both));
  return static_cast<double>(both.size()) / static_cast<double>(a.size());
}

/// The overlap of the last row's selections in each layer.
std::vector<double> overlaps(const std::filesystem::path& dir, IndexKeys rounded,
                             std::span<const TokenId> tokens) {
  const LogitsResult floating = run(dir, IndexKeys::floating, tokens);
  const LogitsResult other = run(dir, rounded, tokens);
  EXPECT_NE(floating.trace[0].index_scores, other.trace[0].index_scores) << "the same kind of keys";
  std::vector<double> result;
  for (std::size_t layer = 0; layer < floating.trace.size(); ++layer) {
    result.push_back(overlap(floating.trace[layer].selection, other.trace[layer].selection));
  }
  return result;
}

/// A kind of rounded keys, and the share of its selections that floating keys select too: on the
/// shipped model, in the first layer of the tiny one, and in those above it.
struct Rounded {
  IndexKeys index_keys;
  double shipped;
  double first;
  double later;
};

class RoundedIndexKeys : public ::testing::TestWithParam<Rounded> {};

INSTANTIATE_TEST_SUITE_P(Kinds, RoundedIndexKeys,
                         ::testing::Values(Rounded{IndexKeys::int8, 0.97, 0.98, 0.8},
                                           Rounded{IndexKeys::fp8, 0.93, 0.95, 0.5}),
                         [](const auto& info) { return index_keys_name(info.param.index_keys); });

TEST_P(RoundedIndexKeys, SelectNearlyTheSameTokensOnTheShippedModel) {
  const auto data = nlohmann::json::parse(testing::read_file("tests/engine/data/mini_parity.json"));
  for (const auto& prompt : data.at("prompts")) {
    const std::vector<TokenId> tokens = prompt.at("tokens");
    for (const double share : overlaps("engine/models/mini", GetParam().index_keys, tokens)) {
      EXPECT_GE(share, GetParam().shipped) << tokens.size();
    }
  }
}

TEST_P(RoundedIndexKeys, SelectNearlyTheSameTokensOnTheTinyModel) {
  // Random weights rank the 192 candidates for 64 places almost evenly, so that a few near the
  // border change places; each layer then passes its difference on to those above it.
  const auto shares = overlaps(golden_dir(), GetParam().index_keys, golden_prompt(192));
  EXPECT_GE(shares.front(), GetParam().first);
  for (const double share : shares) {
    EXPECT_GE(share, GetParam().later) << ::testing::PrintToString(shares);
  }
}

TEST_P(RoundedIndexKeys, ChunksDoNotChangeBits) {
  const auto tokens = golden_prompt(140);
  const LogitsResult want = run(golden_dir(), GetParam().index_keys, tokens);
  for (const std::size_t chunk : {1U, 7U, 64U}) {
    const LogitsResult got = run(golden_dir(), GetParam().index_keys, tokens, chunk);
    EXPECT_EQ(got.logits, want.logits) << chunk;
    for (std::size_t layer = 0; layer < want.trace.size(); ++layer) {
      EXPECT_EQ(got.trace[layer].selection, want.trace[layer].selection) << chunk;
      EXPECT_EQ(got.trace[layer].index_scores, want.trace[layer].index_scores) << chunk;
    }
  }
}

TEST_P(RoundedIndexKeys, WhatIsSelectedIsTheBestOfTheScoresShown) {
  const auto tokens = golden_prompt(140);
  const LogitsResult result = run(golden_dir(), GetParam().index_keys, tokens);
  std::size_t num_scored = 0;
  for (const LayerTrace& layer : result.trace) {
    if (layer.index_scores.empty()) continue;
    ++num_scored;
    std::vector<std::int32_t> best(layer.selection.size());
    std::vector<std::uint32_t> scratch(layer.index_scores.size());
    kernels::scalar_table().topk({layer.index_scores.data(), layer.index_scores.size(), best.size(),
                                  best.data(), scratch.data()});
    EXPECT_EQ(layer.selection, best);
  }
  EXPECT_GT(num_scored, 0U);
}

TEST_P(RoundedIndexKeys, TakeTheirOwnRoomInAPage) {
  const ModelConfig config = testing::tiny_config();
  const CacheLayout floating(config, kernels::DType::bf16);
  const CacheLayout rounded(config, kernels::DType::bf16, false, GetParam().index_keys);
  EXPECT_LT(rounded.page_bytes, floating.page_bytes);
  for (std::size_t layer = 0; layer + 1 < config.num_hidden_layers; ++layer) {
    EXPECT_EQ(rounded.latent_offsets[layer + 1] - rounded.index_offsets[layer],
              kPageTokens * (config.index_head_dim + 4));
  }
}

TEST_P(RoundedIndexKeys, AHeadDimThatIsNoPowerOfTwoFromFourOnIsRefused) {
  for (const std::size_t dim : {1, 2, 96}) {
    ModelConfig config = testing::tiny_config();
    config.index_head_dim = dim;
    ModelOptions options;
    options.index_keys = GetParam().index_keys;
    const auto model = Model::load(golden_dir(), config, options);
    ASSERT_FALSE(model.has_value());
    const std::string want = fmt::format("index_head_dim {} is not a power of two from 4 on", dim);
    EXPECT_NE(model.error().message.find(want), std::string::npos) << model.error().message;
  }
}

std::vector<float> random_row(std::size_t n, std::uint64_t seed) {
  std::mt19937_64 rng(seed);
  std::normal_distribution<float> normal(0.0F, 3.0F);
  std::vector<float> row(n);
  for (float& x : row) x = normal(rng);
  return row;
}

float as_bf16(double x) { return bf16_to_float(float_to_bf16(static_cast<float>(x))); }

TEST(Fp8IndexKeys, AreTurnedByTheSylvesterMatrix) {
  constexpr std::size_t kDim = 128;
  const std::vector<float> row = random_row(kDim, 1);
  std::vector<float> got = row;
  rotate_index_row(got.data(), kDim);
  for (std::size_t i = 0; i < kDim; ++i) {
    double sum = 0.0;
    for (std::size_t j = 0; j < kDim; ++j) {
      sum += (std::popcount(i & j) % 2 == 0 ? 1.0 : -1.0) * as_bf16(row[j]);
    }
    // The butterflies round in fp32, which may tip a bf16 the other way: half a unit of bf16,
    // twice.
    EXPECT_NEAR(got[i], sum / std::sqrt(double{kDim}), std::fabs(got[i]) / 128 + 1e-5) << i;
    EXPECT_EQ(got[i], as_bf16(got[i])) << "rounded to bf16";
  }
}

TEST(Fp8IndexKeys, APageHasAllCodesAndThenAllScales) {
  constexpr std::size_t kDim = 128;
  std::vector<std::byte> page(kPageTokens * (kDim + sizeof(float)), std::byte{0xEE});
  for (const std::size_t token : {0U, 1U, 63U}) {
    const std::vector<float> row = random_row(kDim, token);
    write_fp8_index_key(page.data(), token, row.data(), kDim);
    float largest = 0.0F;
    for (const float x : row) largest = std::max(largest, std::fabs(x));
    float scale = 0.0F;
    std::memcpy(&scale, page.data() + kPageTokens * kDim + token * sizeof scale, sizeof scale);
    EXPECT_EQ(scale, std::exp2(std::ceil(std::log2(largest / 448.0F))));
    std::vector<float> rounded = row;
    round_index_query(rounded.data(), kDim);
    for (std::size_t d = 0; d < kDim; ++d) {
      const auto code = std::to_integer<std::uint8_t>(page[token * kDim + d]);
      EXPECT_EQ(e4m3_to_float(code) * scale, rounded[d]) << "queries are rounded as keys are";
      EXPECT_NEAR(rounded[d], row[d], std::fabs(row[d]) / 16 + scale / 512);
    }
  }
  EXPECT_EQ(page[2 * kDim], std::byte{0xEE}) << "the neighbour's row";
}

}  // namespace
}  // namespace ponder::engine
