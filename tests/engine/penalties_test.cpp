#include "engine/penalties.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

namespace ponder::engine {
namespace {

using Ids = std::vector<TokenId>;

std::vector<float> apply(Penalties& penalties, const std::vector<float>& logits,
                         const SamplingParams& params, const Ids& prompt, const Ids& answer,
                         const Ids& drafts = {}) {
  Ids tokens = prompt;
  tokens.insert(tokens.end(), answer.begin(), answer.end());
  const auto out = penalties.apply(logits, params, tokens, prompt.size(), drafts);
  return {out.begin(), out.end()};
}

TEST(Penalties, WithoutAnyTheLogitsAreNotEvenCopied) {
  Penalties penalties;
  const std::vector<float> logits = {1.0F, 2.0F};
  EXPECT_EQ(penalties.apply(logits, SamplingParams{}, Ids{0, 1}, 1).data(), logits.data());
}

TEST(Penalties, RepetitionWeakensEachTokenOfPromptAndAnswerOnce) {
  Penalties penalties;
  SamplingParams params;
  params.repetition_penalty = 2.0F;
  const std::vector<float> logits = {4.0F, -4.0F, 3.0F, -3.0F, 1.0F};
  EXPECT_EQ(apply(penalties, logits, params, {0, 0, 1}, {0, 2}),
            (std::vector<float>{2.0F, -8.0F, 1.5F, -3.0F, 1.0F}));
}

TEST(Penalties, FrequencyAndPresenceCountTheAnswerAlone) {
  Penalties penalties;
  SamplingParams params;
  params.frequency_penalty = 0.5F;
  params.presence_penalty = 1.0F;
  const std::vector<float> logits(5, 10.0F);
  EXPECT_EQ(apply(penalties, logits, params, {0, 1, 1}, {1, 2, 2, 2}),
            (std::vector<float>{10.0F, 8.5F, 7.5F, 10.0F, 10.0F}));
  params.frequency_penalty = -0.5F;  // favours what has been said
  params.presence_penalty = 0.0F;
  EXPECT_EQ(apply(penalties, logits, params, {}, {4, 4}),
            (std::vector<float>{10.0F, 10.0F, 10.0F, 10.0F, 11.0F}));
}

TEST(Penalties, AreListedOnceForEachTokenWhoseLogitChanges) {
  Penalties penalties;
  SamplingParams params;
  params.frequency_penalty = 0.5F;
  params.presence_penalty = 1.0F;
  const auto ids = [&](const SamplingParams& how) {
    Ids found;
    for (const auto& penalty : penalties.list(how, Ids{7, 7, 8, 9, 9}, 3)) {
      found.push_back(penalty.id);
    }
    return found;
  };
  EXPECT_EQ(ids(params), Ids{9});  // what is in the prompt alone keeps its logit
  const auto listed = penalties.list(params, Ids{7, 7, 8, 9, 9}, 3);
  EXPECT_EQ(listed[0].frequency, 1.0F);
  EXPECT_EQ(listed[0].presence, 1.0F);
  params.repetition_penalty = 2.0F;
  EXPECT_EQ(ids(params), (Ids{7, 8, 9}));
  EXPECT_EQ(ids(SamplingParams{}), Ids{});
}

TEST(Penalties, DraftsCountAsTheAnswerThatTheyWouldBe) {
  Penalties penalties;
  SamplingParams params;
  params.repetition_penalty = 1.5F;
  params.frequency_penalty = 0.25F;
  const std::vector<float> logits = {3.0F, 3.0F, -2.0F, 0.0F};
  EXPECT_EQ(apply(penalties, logits, params, {0}, {1}, {1, 2}),
            apply(penalties, logits, params, {0}, {1, 1, 2}));
}

TEST(Penalties, RepetitionComesFirst) {
  Penalties penalties;
  SamplingParams params;
  params.repetition_penalty = 2.0F;
  params.presence_penalty = 3.0F;
  EXPECT_EQ(apply(penalties, {4.0F}, params, {}, {0}), std::vector<float>{-1.0F});  // not -2
}

TEST(Penalties, NothingIsLeftFromTheCallBefore) {
  Penalties penalties;
  SamplingParams params;
  params.presence_penalty = 1.0F;
  apply(penalties, {1.0F, 1.0F, 1.0F, 1.0F}, params, {3}, {0, 1, 2});
  EXPECT_EQ(apply(penalties, {1.0F, 1.0F, 1.0F, 1.0F}, params, {}, {3}),
            (std::vector<float>{1.0F, 1.0F, 1.0F, 0.0F}));
}

TEST(Penalties, WhatCannotBeChosenStaysSo) {
  Penalties penalties;
  SamplingParams params;
  params.repetition_penalty = 2.0F;
  params.presence_penalty = -5.0F;
  const auto out = apply(
      penalties, {std::numeric_limits<float>::quiet_NaN(), -std::numeric_limits<float>::infinity()},
      params, {}, {0, 1});
  EXPECT_TRUE(std::isnan(out[0]));
  EXPECT_EQ(out[1], -std::numeric_limits<float>::infinity());
}

}  // namespace
}  // namespace ponder::engine
