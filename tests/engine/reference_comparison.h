#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "engine/logits.h"
#include "tests/engine/reference_model.h"

namespace ponder::engine::testing {

/// The engine against the float64 reference on the same checkpoint: equal selections and experts in
/// every layer, residual norms to `tolerance` relative, logits to `tolerance` of the largest.
inline void expect_reference(const std::filesystem::path& dir, const std::vector<TokenId>& tokens,
                             double tolerance, CacheDType cache_dtype = CacheDType::automatic) {
  const auto checkpoint = Checkpoint::open(dir);
  ASSERT_TRUE(checkpoint) << checkpoint.error().message;
  const auto config = load_config(dir);
  ASSERT_TRUE(config) << config.error().message;
  ASSERT_GT(tokens.size(), config->index_topk) << "nothing would be selected";
  const ReferenceResult want = ReferenceModel(*checkpoint, *config, cache_dtype).run(tokens);

  ModelOptions options;
  options.cache_dtype = cache_dtype;
  auto runner = LogitsRunner::open(dir, options);
  ASSERT_TRUE(runner) << runner.error().message;
  const auto got = (*runner)->run(tokens, true);
  ASSERT_TRUE(got) << got.error().message;
  for (std::size_t i = 0; i < want.layers.size(); ++i) {
    SCOPED_TRACE(::testing::Message() << "layer " << i);
    const ReferenceLayer& layer = want.layers[i];
    EXPECT_EQ(got->trace[i].selection, layer.selection) << "margin " << layer.selection_margin;
    EXPECT_EQ(got->trace[i].experts, layer.experts);
    EXPECT_NEAR(got->trace[i].residual_norm, layer.residual_norm, tolerance * layer.residual_norm);
  }
  double largest = 0.0;
  double worst = 0.0;
  for (std::size_t i = 0; i < want.logits.size(); ++i) {
    largest = std::max(largest, std::fabs(want.logits[i]));
    worst = std::max(worst, std::fabs(got->logits[i] - want.logits[i]));
  }
  EXPECT_LE(worst, tolerance * largest);
  ::testing::Test::RecordProperty("worst_logit_error", std::to_string(worst / largest));
}

}  // namespace ponder::engine::testing
