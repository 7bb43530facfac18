#include "runtime/agent/replay.h"

#include <gtest/gtest.h>

#include "tests/runtime/token_history_fixture.h"

/// The shipped model asked again for what a log holds.
namespace ponder::runtime {
namespace {

using test::kRequest;

class ReplayTest : public test::TokenHistoryTest {
 protected:
  ReplayReport again(std::vector<Record> records) {
    const auto report = test::run(context_, replay(std::move(records), *model_));
    EXPECT_TRUE(report) << report.error().message;
    return report ? *report : ReplayReport();
  }
};

TEST_F(ReplayTest, ALogIsSampledAgainIdForIdAlsoByAFreshEngine) {
  start();
  ASSERT_NO_FATAL_FAILURE(turn(kRequest));
  ASSERT_NO_FATAL_FAILURE(turn("Make it cheaper."));
  restart();
  const auto report = again(records());
  EXPECT_EQ(report.completions, agent_->state().completions);
  EXPECT_EQ(report.same, report.completions);
  EXPECT_GT(report.tokens_compared, 0U);
  EXPECT_FALSE(report.first);
}

TEST_F(ReplayTest, TheFirstTokenThatDiffersIsNamedWithStepAndPosition) {
  start();
  ASSERT_NO_FATAL_FAILURE(turn(kRequest));
  auto changed = records();
  std::size_t completions = 0;
  Record* second = nullptr;
  for (Record& record : changed) {
    if (std::holds_alternative<ModelCompleted>(record.event) && ++completions == 2) {
      second = &record;
    }
  }
  ASSERT_NE(second, nullptr);
  auto& completed = std::get<ModelCompleted>(second->event);
  auto& ids = completed.message.sampled;
  ASSERT_GT(ids.size(), 3U);
  const auto sampled = ids[3];
  ids[3] = sampled + 1;
  auto report = again(changed);
  ASSERT_TRUE(report.first);
  EXPECT_FALSE(report.first->is_in_prompt);
  EXPECT_EQ(report.first->seq, second->seq);
  EXPECT_EQ(report.first->turn, 1U);
  EXPECT_EQ(report.first->step, completed.step);
  EXPECT_EQ(report.first->position, 3U);
  EXPECT_EQ(report.first->recorded, sampled + 1);
  EXPECT_EQ(report.first->sampled, sampled);
  EXPECT_EQ(report.same, 1U);

  ids.resize(3);
  report = again(changed);
  ASSERT_TRUE(report.first);
  EXPECT_EQ(report.first->position, 3U);
  EXPECT_FALSE(report.first->recorded);
  EXPECT_EQ(report.first->sampled, sampled);
}

TEST_F(ReplayTest, AChangedHistoryShowsInThePromptAndAnotherModelsCompletionsAreLeftOut) {
  start();
  ASSERT_NO_FATAL_FAILURE(turn(kRequest));
  auto changed = records();
  std::get<UserMessage>(changed[1].event).content = "Plan something else.";
  const auto report = again(changed);
  ASSERT_TRUE(report.first);
  EXPECT_TRUE(report.first->is_in_prompt);
  EXPECT_EQ(report.different, report.completions);

  changed = records();
  std::get<SessionStarted>(changed[0].event).vocabulary = "another's";
  EXPECT_EQ(again(changed).not_comparable, report.completions);
}

}  // namespace
}  // namespace ponder::runtime
