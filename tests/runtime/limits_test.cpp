#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <boost/asio/post.hpp>

#include "runtime/agent/agent.h"
#include "tests/runtime/agent_fixture.h"

/// What ends a turn, or keeps a call waiting, before the model says so.
namespace ponder::runtime {
namespace {

namespace asio = boost::asio;
using test::says;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::StartsWith;
using tools::Effect;

class LimitsTest : public test::AgentFixture {
 protected:
  /// A step that calls each of these tools once, with these arguments.
  static ScriptedStep calls(std::vector<std::pair<std::string, std::string>> calls) {
    return ScriptedStep(says("", std::move(calls)));
  }
  static std::string arguments_of(int x) { return R"({"x":)" + std::to_string(x) + "}"; }
  /// A tool whose answer is the number of its calls so far.
  void add_poll(int& count) {
    add_tool("poll", Effect::pure, [&count](std::string) {
      return test::answer_after(std::chrono::milliseconds(0), std::to_string(++count), false);
    });
  }
  void limit_concurrency(const std::string& tool, std::uint32_t max) {
    static_cast<test::FakeTool*>(registry_.find(tool))->limit_concurrency(max);
  }
};

TEST_F(LimitsTest, CallsThatOnlyRepeatEachOtherAreWarnedOnceAndThenEndTheTurn) {
  limits_.stale_steps_max = 2;
  add_tool("a", Effect::pure, test::echo);
  add_tool("b", Effect::pure, test::echo);
  const ScriptedStep a = calls({{"a", "{}"}});
  const ScriptedStep b = calls({{"b", "{}"}});
  start({a, b, a, b, a, ScriptedStep(says("too late"))});
  const TurnEnded end = turn();
  EXPECT_EQ(end.reason, TurnEnd::no_progress);
  EXPECT_THAT(end.detail, HasSubstr("3 steps"));
  EXPECT_EQ(journal_.size(), 8U);  // four calls ran
  EXPECT_THAT(outcomes()[4].content, HasSubstr("the last 2 steps brought nothing"));
  EXPECT_EQ(model_->steps_left(), 1U);
}

TEST_F(LimitsTest, AfterTheWarningANewCallIsProgress) {
  limits_.stale_steps_max = 2;
  limits_.repeats_max = 10;
  add_tool("a", Effect::pure, test::echo);
  add_tool("b", Effect::pure, test::echo);
  const ScriptedStep a = calls({{"a", "{}"}});
  const ScriptedStep b = calls({{"b", "{}"}});
  start({a, b, a, b, calls({{"a", "{}"}, {"b", R"({"x":1})"}}), a, ScriptedStep(says("done"))});
  EXPECT_EQ(turn().reason, TurnEnd::answered);
  EXPECT_THAT(outcomes()[4].content, HasSubstr("brought nothing"));
  EXPECT_EQ(outcomes()[5].outcome, Outcome::success);
  EXPECT_EQ(outcomes()[6].content, "echo {}");  // once more, for the count began anew
}

TEST_F(LimitsTest, TheSameCallWithAnotherResultIsProgress) {
  limits_.stale_steps_max = 1;
  int count = 0;
  add_poll(count);
  const ScriptedStep poll = calls({{"poll", "{}"}});
  start({poll, poll, poll, poll, poll, ScriptedStep(says("done"))});
  EXPECT_EQ(turn().reason, TurnEnd::answered);
  EXPECT_EQ(count, 5);
}

TEST_F(LimitsTest, ACallMayBeMadeAgainOnceAnotherMayHaveChangedWhatItLooksAt) {
  limits_.repeats_max = 2;
  limits_.stale_steps_max = 3;
  add_tool("run_tests", Effect::idempotent, test::echo);  // fails alike each time
  add_tool("edit", Effect::idempotent, test::echo);
  std::vector<ScriptedStep> steps;
  for (int i = 0; i < 6; ++i) {
    steps.push_back(calls({{"run_tests", "{}"}}));
    steps.push_back(calls({{"edit", arguments_of(i)}}));
  }
  steps.push_back(calls({{"run_tests", "{}"}}));
  steps.emplace_back(says("done"));
  start(std::move(steps));
  EXPECT_EQ(turn().reason, TurnEnd::answered);
  for (const ToolFinished& outcome : outcomes()) EXPECT_EQ(outcome.outcome, Outcome::success);
}

TEST_F(LimitsTest, ACallThatOnlyLooksBetweenDoesNotBeginTheCountAnew) {
  limits_.repeats_max = 2;
  add_tool("run_tests", Effect::idempotent, test::echo);
  add_tool("look", Effect::pure, test::echo);
  std::vector<ScriptedStep> steps;
  for (int i = 0; i < 3; ++i) {
    steps.push_back(calls({{"run_tests", "{}"}}));
    steps.push_back(calls({{"look", arguments_of(i)}}));
  }
  steps.push_back(calls({{"run_tests", "{}"}}));
  steps.emplace_back(says("too late"));
  start(std::move(steps));
  EXPECT_EQ(turn().reason, TurnEnd::repeated_call);
  EXPECT_THAT(outcomes()[4].content, HasSubstr("the answer stays the same"));
}

TEST_F(LimitsTest, KeysInAnotherOrderAndSpacesMakeNoOtherCall) {
  limits_.repeats_max = 2;
  add_tool("a", Effect::pure, [](std::string) {
    return test::answer_after(std::chrono::milliseconds(0), "nothing", false);
  });
  start({calls({{"a", R"({"x":1,"y":2})"}}), calls({{"a", R"({"y": 2, "x": 1})"}}),
         calls({{"a", R"({ "x":1, "y":2 })"}}), calls({{"a", R"({"y":2,"x":1})"}}),
         ScriptedStep(says("too late"))});
  EXPECT_EQ(turn().reason, TurnEnd::repeated_call);
  EXPECT_EQ(journal_.size(), 4U);  // two calls ran
}

TEST_F(LimitsTest, ACallWhoseResultIsAlwaysAnotherHasABoundOfItsOwn) {
  limits_.repeats_max = 2;
  int count = 0;
  add_poll(count);
  std::vector<ScriptedStep> steps(22, calls({{"poll", "{}"}}));
  steps.emplace_back(says("too late"));
  start(std::move(steps));
  EXPECT_EQ(turn().reason, TurnEnd::repeated_call);
  EXPECT_EQ(count, 20);
  EXPECT_THAT(outcomes()[20].content, HasSubstr("more often than a turn may"));
}

TEST_F(LimitsTest, WhoOpensTheSessionAgainCountsCallsAsTheAgentDid) {
  limits_.repeats_max = 2;
  int count = 0;
  add_poll(count);
  add_tool("a", Effect::pure, test::echo);
  const ScriptedStep both = calls({{"poll", "{}"}, {"a", "{}"}});
  start({both, both, ScriptedStep(Error(Errc::unavailable, "down"))});
  turn();
  const SessionState live = agent_->state();
  const SessionState again = fold(store_->load(agent_->id()).value());
  for (const char* name : {"poll", "a"}) {
    const std::pair<std::string, std::string> key = {name, "{}"};
    EXPECT_EQ(again.call_counts.at(key).times, 2U);
    EXPECT_EQ(again.call_counts.at(key).in_row, live.call_counts.at(key).in_row);
    EXPECT_EQ(again.call_counts.at(key).in_row, key.first == "poll" ? 1U : 2U);
  }
}

TEST_F(LimitsTest, WhatTheGuardKnowsIsInTheLog) {
  limits_.stale_steps_max = 2;
  add_tool("a", Effect::pure, test::echo);
  const ScriptedStep a = calls({{"a", "{}"}});
  start({a, a, a, ScriptedStep(Error(Errc::unavailable, "down"))});
  turn();
  const SessionState state = fold(store_->load(agent_->id()).value());
  EXPECT_EQ(state.stale_steps, 2U);
  const SessionState again = fold(store_->load(agent_->id()).value());
  EXPECT_EQ(again.results_seen, agent_->state().results_seen);
}

TEST_F(LimitsTest, NoMoreCallsOfAToolRunAtOnceThanItAllowsAndResultsStayInCallOrder) {
  add_tool("slow", Effect::pure, test::echo);
  add_tool("free", Effect::pure, test::echo);
  limit_concurrency("slow", 1);
  start({calls({{"slow", R"({"x":1})"}, {"slow", R"({"x":2})"}, {"free", "{}"}, {"slow", "{}"}}),
         ScriptedStep(says("done"))});
  EXPECT_EQ(turn().reason, TurnEnd::answered);
  std::vector<std::string> slow;
  for (const std::string& entry : journal_) {
    if (entry.ends_with("slow")) slow.push_back(entry);
  }
  EXPECT_THAT(slow, ElementsAre("begin slow", "end slow", "begin slow", "end slow", "begin slow",
                                "end slow"));
  const auto& asked = model_->requests()[1].conversation;
  EXPECT_EQ(asked[3].content, R"(echo {"x":1})");
  EXPECT_EQ(asked[4].content, R"(echo {"x":2})");
  EXPECT_EQ(asked[6].content, "echo {}");
}

TEST_F(LimitsTest, ACallThatWaitsForItsPlaceNeverBeginsWhenTheTurnIsCancelled) {
  add_tool("pays", Effect::irreversible, test::hang);
  limit_concurrency("pays", 1);
  start({calls({{"pays", R"({"x":1})"}, {"pays", R"({"x":2})"}})});
  recorder_.trigger = "tool_started";
  recorder_.action = [this] { asio::post(context_, [this] { agent_->cancel(); }); };
  EXPECT_EQ(turn().reason, TurnEnd::cancelled);
  EXPECT_THAT(journal_, ElementsAre("begin pays", "end pays"));
  ASSERT_EQ(outcomes().size(), 2U);
  for (const ToolFinished& outcome : outcomes()) EXPECT_EQ(outcome.outcome, Outcome::cancelled);
}

TEST_F(LimitsTest, ACallCancelledBeforeItsToolBeginsHasNoEffect) {
  add_tool("pays", Effect::irreversible, test::echo);
  start({calls({{"pays", "{}"}}), ScriptedStep(says("done"))});
  recorder_.trigger = "tool_intended";
  recorder_.action = [this] { agent_->cancel(); };
  EXPECT_EQ(turn().reason, TurnEnd::cancelled);
  EXPECT_TRUE(journal_.empty());
  EXPECT_THAT(outcomes()[0].content, HasSubstr("before it began"));
}

TEST_F(LimitsTest, OneOfSeveralCallsIsCancelledAndTheTurnGoesOn) {
  add_tool("hang", Effect::pure, test::hang);
  add_tool("ends", Effect::pure, [](std::string) {
    return test::answer_after(std::chrono::milliseconds(0), "ended", false);
  });
  start({calls({{"hang", "{}"}, {"ends", "{}"}}), ScriptedStep(says("done"))});
  recorder_.trigger = "tool_finished";
  recorder_.action = [this] {
    recorder_.action = nullptr;
    EXPECT_FALSE(agent_->cancel_call(1));  // it has ended
    EXPECT_FALSE(agent_->cancel_call(2));  // there is none
    EXPECT_TRUE(agent_->cancel_call(0));
  };
  EXPECT_EQ(turn().reason, TurnEnd::answered);
  EXPECT_EQ(outcomes()[0].content, "ended");
  EXPECT_EQ(outcomes()[1].outcome, Outcome::cancelled);
  EXPECT_FALSE(agent_->cancel_call(0));  // nothing is under way
}

TEST_F(LimitsTest, ASessionThatHasCostItsBudgetEndsTheTurnAndEachLaterOneUntilItMayCostMore) {
  prices_ = {.prompt_pico = 3, .cached_pico = 1, .completion_pico = 5, .are_known = true};
  limits_.cost_pico_max = 100;
  add_tool("a", Effect::pure, test::echo);
  Completion first = says("", {{"a", "{}"}});
  first.usage.tokens_prompt = 20;
  first.usage.tokens_cached = 4;  // 16 * 3 + 4 * 1 + 10 * 5 = 102
  start({ScriptedStep(first), ScriptedStep(says("done"))});
  const TurnEnded end = turn();
  EXPECT_EQ(end.reason, TurnEnd::money_limit);
  EXPECT_THAT(end.detail, StartsWith("the session has cost 0.000000000102"));
  EXPECT_EQ(agent_->state().cost_pico(), 102);
  EXPECT_EQ(fold(store_->load(agent_->id()).value()).cost_pico(), 102);
  EXPECT_EQ(turn().reason, TurnEnd::money_limit);
  Limits limits = agent_->state().start->limits;
  limits.cost_pico_max = 200;
  ASSERT_TRUE(test::run(context_, agent_->set_budget(limits)));
  EXPECT_EQ(turn().reason, TurnEnd::answered);
}

TEST_F(LimitsTest, ASessionGoesOnWithOtherLimitsOfItsTurns) {
  limits_.steps_max = 1;
  add_tool("a", Effect::pure, test::echo);
  const ScriptedStep a = calls({{"a", "{}"}});
  start({a, a, a, a, ScriptedStep(says("done"))});
  EXPECT_EQ(turn().reason, TurnEnd::step_limit);

  Limits limits = agent_->state().start->limits;
  limits.steps_max = 7;
  limits.tokens_turn_max = 20;  // each answer has ten
  limits.turn_ms_max = 5'000;
  limits.output_bytes_max = 1;  // is none of a budget's
  ASSERT_TRUE(test::run(context_, agent_->set_budget(limits)));
  ASSERT_TRUE(test::run(context_, agent_->set_budget(limits)));  // says nothing new
  EXPECT_EQ(count("budget_changed"), 1U);
  const Limits logged = fold(store_->load(agent_->id()).value()).start->limits;
  EXPECT_EQ(logged.steps_max, 7U);
  EXPECT_EQ(logged.turn_ms_max, 5'000);
  EXPECT_NE(logged.output_bytes_max, 1U);
  EXPECT_EQ(turn().reason, TurnEnd::token_limit);
}

/// An endpoint whose answers break off after ten tokens, and which is asked again and again.
class BreakingModel final : public ModelClient {
 public:
  explicit BreakingModel(std::uint32_t tries_max) : tries_max_(tries_max) {}
  std::string description() const override { return "breaks"; }
  std::string family() const override { return "openai"; }
  std::uint32_t tokens_context_max() const override { return 0; }
  asio::awaitable<Result<Completion>> complete(ModelRequest request, ModelSink) override {
    Usage half;
    half.tokens_generated = 10;
    for (std::uint32_t i = 0; i < tries_max_; ++i) {
      ++tries;
      const Status goes_on = request.on_void(half);
      PONDER_CO_CHECK(goes_on);
    }
    co_return fail(Errc::unavailable, "it broke off");
  }
  std::uint32_t tries = 0;

 private:
  std::uint32_t tries_max_;
};

class VoidAnswersTest : public LimitsTest {
 protected:
  TurnEnd turn_with(BreakingModel& model) {
    use_script({});
    SessionStarted start;
    start.family = model.family();
    start.limits = limits_;
    AgentParts with = parts();
    with.model = &model;
    agent_ = std::move(*test::run(context_, Agent::start(std::move(with), start)));
    return turn().reason;
  }
  SessionState logged() const { return fold(store_->load(agent_->id()).value()); }
};

TEST_F(VoidAnswersTest, AnswersThatBreakOffAreNotAskedForBeyondTheBudgetAndCountForTheSession) {
  prices_ = {.prompt_pico = 3, .cached_pico = 1, .completion_pico = 5, .are_known = true};
  limits_.cost_pico_max = 120;
  BreakingModel model(1000);
  EXPECT_EQ(turn_with(model), TurnEnd::money_limit);
  EXPECT_EQ(model.tries, 3U);  // of 50 each
  EXPECT_EQ(agent_->state().cost_pico(), 150);
  EXPECT_EQ(logged().cost_pico(), 150);
  EXPECT_EQ(turn().reason, TurnEnd::money_limit);
  EXPECT_EQ(model.tries, 3U);
}

TEST_F(VoidAnswersTest, TheyCountForTheTokensOfTheTurn) {
  limits_.tokens_turn_max = 20;
  BreakingModel model(1000);
  EXPECT_EQ(turn_with(model), TurnEnd::token_limit);
  EXPECT_EQ(model.tries, 2U);
  EXPECT_EQ(logged().usage_total.tokens_generated, 20U);
}

TEST_F(VoidAnswersTest, WithoutABudgetThatIsReachedTheTurnFailsAndTheLogHasWhatItCost) {
  BreakingModel model(2);
  EXPECT_EQ(turn_with(model), TurnEnd::model_failed);
  EXPECT_EQ(logged().usage_total.tokens_generated, 20U);
  EXPECT_EQ(logged().last_end->usage_void.tokens_generated, 20U);
}

TEST_F(LimitsTest, ABudgetWithoutAPriceOrWithoutUsageIsReachedAtOnce) {
  limits_.cost_pico_max = 100;
  start({ScriptedStep(says("done"))});
  EXPECT_THAT(turn().detail, HasSubstr("no price of script is known"));
  prices_.are_known = true;
  add_tool("a", Effect::pure, test::echo);
  Completion silent = says("", {{"a", "{}"}});
  silent.usage = {};
  start({ScriptedStep(silent), ScriptedStep(says("done"))});
  EXPECT_THAT(turn().detail, HasSubstr("does not say how many tokens"));
}

}  // namespace
}  // namespace ponder::runtime
