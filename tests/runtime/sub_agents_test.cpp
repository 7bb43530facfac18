#include "runtime/agent/sub_agents.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <boost/asio/post.hpp>
#include <set>

#include "runtime/session/log_check.h"
#include "tests/runtime/serving_tool.h"
#include "tests/runtime/sub_agents_fixture.h"

namespace ponder::runtime {
namespace {

using test::says;
using test::SubAgentsFixture;
using test::task;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;
using tools::Effect;

TEST_F(SubAgentsFixture, ItsAnswerIsTheResultOfTheCallAndEachLogNamesTheOther) {
  begin({{"plan it", {ScriptedStep(says("", {task("count apples")})), ScriptedStep(says("six"))}},
         {"count apples", {ScriptedStep(says("3 + 3"))}}});
  EXPECT_EQ(turn_of("plan it").reason, TurnEnd::answered);
  EXPECT_EQ(result(0), "3 + 3");
  ASSERT_EQ(children().size(), 1U);
  const std::string child = children()[0];
  EXPECT_EQ(child, sub_agent_id(agent_->id(), 4, 0, 0));
  EXPECT_EQ(parent_of_sub_agent(child), agent_->id().value);
  EXPECT_EQ(types(child),
            "session_started task_assigned user_message model_started model_completed turn_ended ");
  const SessionState state = folded(child);
  EXPECT_EQ(state.task->parent, agent_->id().value);
  EXPECT_EQ(state.task->completion_seq, 4);
  EXPECT_EQ(state.task->depth, 1U);
  EXPECT_EQ(types(agent_->id().value),
            "session_started user_message model_started model_completed tool_intended "
            "tool_started sub_agent_started sub_agent_finished tool_finished model_started "
            "model_completed turn_ended ");
  EXPECT_THAT(recorder_.sub_agent_types,
              ElementsAre("session_started", "task_assigned", "user_message", "model_started",
                          "model_completed", "turn_ended"));
  for (const std::string& id : {child, agent_->id().value}) {
    EXPECT_TRUE(check_log(store_->load(SessionId{id}).value()).empty()) << id;
  }
}

TEST_F(SubAgentsFixture, ItIsToldItsTaskAloneAndHasTheToolsThatItWasGiven) {
  add_tool("reads", Effect::pure, test::echo);
  add_tool("pays", Effect::irreversible, test::echo);
  const auto call = task("look", R"(,"tools":["reads"])");
  begin({{"go", {ScriptedStep(says("", {call})), ScriptedStep(says("done"))}},
         {"look",
          {ScriptedStep(says("", {{"pays", "{}"}, {"reads", "{}"}, {"agent", R"({"task":"x"})"}})),
           ScriptedStep(says("looked"))}}});
  EXPECT_EQ(turn_of("go").reason, TurnEnd::answered);
  const auto& asked = book_->requests("look")[1].conversation;
  ASSERT_EQ(asked.size(), 6U);
  EXPECT_THAT(asked[0].content, HasSubstr("be brief"));  // the rules of the parent
  ASSERT_EQ(asked[0].tools.size(), 1U);
  EXPECT_EQ(asked[0].tools[0].name, "reads");
  EXPECT_EQ(asked[1].content, "look");
  EXPECT_THAT(asked[3].content,
              HasSubstr("there is no tool 'pays' for this task, there are: reads"));
  EXPECT_EQ(asked[4].content, "echo {}");
  EXPECT_THAT(asked[5].content, HasSubstr("there is no tool 'agent'"));
  EXPECT_THAT(journal_, ElementsAre("begin reads", "end reads"));
}

TEST_F(SubAgentsFixture, AToolThatItsParentLacksCannotBeGivenToIt) {
  begin({{"go",
          {ScriptedStep(says("", {task("look", R"(,"tools":["pays"])")})),
           ScriptedStep(says("done"))}}});
  EXPECT_EQ(turn_of("go").reason, TurnEnd::answered);
  EXPECT_THAT(result(0), HasSubstr("there is no tool 'pays' to give"));
  EXPECT_TRUE(children().empty());
}

TEST_F(SubAgentsFixture, TheyRunAtTheSameTimeAndTheirAnswersComeInCallOrder) {
  add_tool("slow", Effect::pure, [this](std::string) {
    return test::answer_when([this] { return !outcomes().empty(); }, "s");
  });
  add_tool("fast", Effect::pure, test::echo);
  begin({{"go",
          {ScriptedStep(says("", {task("first"), task("second")})), ScriptedStep(says("done"))}},
         {"first", {ScriptedStep(says("", {{"slow", "{}"}})), ScriptedStep(says("one"))}},
         {"second", {ScriptedStep(says("", {{"fast", "{}"}})), ScriptedStep(says("two"))}}});
  EXPECT_EQ(turn_of("go").reason, TurnEnd::answered);
  EXPECT_LT(std::find(journal_.begin(), journal_.end(), "begin fast"),
            std::find(journal_.begin(), journal_.end(), "end slow"));
  ASSERT_EQ(outcomes().size(), 2U);
  EXPECT_EQ(outcomes()[0].call_index, 1U);  // the second ended first
  EXPECT_EQ(result(0), "one");
  EXPECT_EQ(result(1), "two");
}

TEST_F(SubAgentsFixture, AFailureIsAnErrorResultAndTheTurnGoesOn) {
  begin({{"go", {ScriptedStep(says("", {task("fail"), task("muse")})), ScriptedStep(says("oh"))}},
         {"fail", {ScriptedStep(Error(Errc::unavailable, "connection refused"))}},
         {"muse", {ScriptedStep(says("")), ScriptedStep(says(""))}}});
  EXPECT_EQ(turn_of("go").reason, TurnEnd::answered);
  EXPECT_THAT(result(0), HasSubstr("error: the agent ended without an answer (model_failed): "
                                   "connection refused"));
  EXPECT_THAT(result(1), HasSubstr("reasoning_only"));
  for (const ToolFinished& outcome : outcomes()) EXPECT_EQ(outcome.outcome, Outcome::error);
}

TEST_F(SubAgentsFixture, CancellingTheParentEndsGrandchildrenToo) {
  limits_.agent_depth_max = 2;
  add_tool("hang", Effect::irreversible, test::hang);
  begin({{"go", {ScriptedStep(says("", {task("middle")}))}},
         {"middle", {ScriptedStep(says("", {task("lowest")}))}},
         {"lowest", {ScriptedStep(says("", {{"hang", "{}"}}))}}});
  bool has_hung = false;
  recorder_.on_sub_agent = [&](const SessionId& id, const Record& record) {
    const bool hangs = std::holds_alternative<ToolStarted>(record.event) && depth_of(id) == 2;
    if (!hangs) return;
    has_hung = true;
    boost::asio::post(context_, [this] { agent_->cancel(); });
  };
  EXPECT_EQ(turn_of("go").reason, TurnEnd::cancelled);
  EXPECT_TRUE(has_hung);
  ASSERT_EQ(children().size(), 2U);
  for (const std::string& child : children()) {
    const SessionState state = folded(child);
    EXPECT_FALSE(state.is_turn_open) << child;
    EXPECT_EQ(state.last_end->reason, TurnEnd::cancelled) << child;
  }
  EXPECT_EQ(outcomes()[0].outcome, Outcome::cancelled);
}

TEST_F(SubAgentsFixture, CancellingAtEveryEventOfEverySessionLeavesNoTurnAndNoCallOpen) {
  add_tool("pays", Effect::irreversible, test::echo);
  const test::BookModel::Book book = {
      {"go", {ScriptedStep(says("", {task("one"), task("two")})), ScriptedStep(says("done"))}},
      {"one", {ScriptedStep(says("", {{"pays", "{}"}})), ScriptedStep(says("1"))}},
      {"two", {ScriptedStep(says("2"))}}};
  bool was_reached = true;
  for (std::size_t at = 1; was_reached; ++at) {
    SCOPED_TRACE("cancelled at event " + std::to_string(at));
    begin(book);
    std::size_t seen = 0;
    recorder_.on_any = [&] {
      if (++seen == at) agent_->cancel();
    };
    const TurnEnd end = turn_of("go").reason;
    recorder_.on_any = nullptr;
    was_reached = seen >= at;
    EXPECT_TRUE(end == TurnEnd::cancelled || end == TurnEnd::answered) << turn_end_name(end);
    std::vector<std::string> all = children();
    all.push_back(agent_->id().value);
    for (const std::string& id : all) {
      const SessionState state = folded(id);
      EXPECT_FALSE(state.is_turn_open) << id;
      EXPECT_FALSE(state.has_open_calls()) << id;
      EXPECT_TRUE(check_log(store_->load(SessionId{id}).value()).empty()) << id;
    }
  }
}

TEST_F(SubAgentsFixture, OneCallCanBeCancelledAndTheOthersGoOn) {
  add_tool("hang", Effect::pure, test::hang);
  begin({{"go", {ScriptedStep(says("", {task("hangs"), task("ends")})), ScriptedStep(says("ok"))}},
         {"hangs", {ScriptedStep(says("", {{"hang", "{}"}}))}},
         {"ends", {ScriptedStep(says("ended"))}}});
  recorder_.trigger = "tool_finished";
  recorder_.action = [this] {
    recorder_.action = nullptr;
    EXPECT_FALSE(agent_->cancel_call(1));  // it is the one that ended
    EXPECT_FALSE(agent_->cancel_call(7));
    EXPECT_TRUE(agent_->cancel_call(0));
  };
  EXPECT_EQ(turn_of("go").reason, TurnEnd::answered);
  EXPECT_EQ(outcomes()[0].content, "ended");
  EXPECT_EQ(outcomes()[1].outcome, Outcome::cancelled);
  EXPECT_EQ(folded(children()[0]).last_end->reason, TurnEnd::cancelled);
}

TEST_F(SubAgentsFixture, WhatATurnHasLeftIsSharedAndNoSessionGetsMore) {
  limits_.steps_max = 10;
  limits_.tokens_turn_max = 130;
  add_tool("echo", Effect::pure, test::echo);
  std::vector<ScriptedStep> without_end;
  for (int i = 0; i < 10; ++i) {
    without_end.emplace_back(says("", {{"echo", R"({"x":)" + std::to_string(i) + "}"}}));
  }
  begin({{"go",
          {ScriptedStep(says("", {task("loops"), task("also loops", R"(,"steps":2)")})),
           ScriptedStep(says("", {task("late")})), ScriptedStep(says("done"))}},
         {"loops", without_end},
         {"also loops", without_end},
         {"late", {ScriptedStep(says("was late"))}}});
  EXPECT_EQ(turn_of("go").reason, TurnEnd::answered);
  // 9 steps and 120 tokens are left, for two of them and the parent.
  EXPECT_EQ(folded(children()[0]).start->limits.steps_max, 3U);
  EXPECT_EQ(folded(children()[0]).start->limits.tokens_turn_max, 40U);
  EXPECT_EQ(folded(children()[1]).start->limits.steps_max, 2U);
  EXPECT_THAT(result(0), HasSubstr("step_limit"));
  // Then it is 10 - 2 - 5 steps, for one and the parent.
  EXPECT_EQ(folded(children()[2]).start->limits.steps_max, 1U);
  EXPECT_EQ(agent_->state().steps_turn(), 9U);
  EXPECT_EQ(agent_->state().tokens_generated_turn, 90U);
  EXPECT_EQ(agent_->state().usage_delegated.tokens_generated, 60U);
}

TEST_F(SubAgentsFixture, WithNothingLeftThereIsNone) {
  limits_.steps_max = 2;
  begin({{"go", {ScriptedStep(says("", {task("late")})), ScriptedStep(says("alone then"))}}});
  EXPECT_EQ(turn_of("go").reason, TurnEnd::answered);
  EXPECT_THAT(result(0), HasSubstr("too little is left"));
  EXPECT_TRUE(children().empty());
}

TEST_F(SubAgentsFixture, MoneyIsSharedToo) {
  prices_.are_known = true;
  prices_.completion_pico = 1;  // a completion of the script has ten tokens
  limits_.cost_pico_max = 100;
  add_tool("echo", Effect::pure, test::echo);
  std::vector<ScriptedStep> without_end;
  for (int i = 0; i < 10; ++i) {
    without_end.emplace_back(says("", {{"echo", R"({"x":)" + std::to_string(i) + "}"}}));
  }
  begin({{"go", {ScriptedStep(says("", {task("loops")})), ScriptedStep(says("done"))}},
         {"loops", without_end}});
  EXPECT_EQ(turn_of("go").reason, TurnEnd::answered);
  EXPECT_EQ(folded(children()[0]).start->limits.cost_pico_max, 45);  // half of 90
  EXPECT_THAT(result(0), HasSubstr("money_limit"));
  EXPECT_EQ(agent_->state().usage_delegated.cost_pico, 50);
  EXPECT_EQ(agent_->state().cost_pico(), 70);
}

TEST_F(SubAgentsFixture, ApprovalsOfItsCallsAreAskedOfTheSamePersonInItsName) {
  add_tool("pays", Effect::irreversible, test::echo);
  test::NotingApprover person;
  approvals_ = {ApprovalMode::ask, &person, 600'000};
  begin({{"go", {ScriptedStep(says("", {task("pay")})), ScriptedStep(says("done"))}},
         {"pay", {ScriptedStep(says("", {{"pays", "{}"}})), ScriptedStep(says("paid"))}}});
  EXPECT_EQ(turn_of("go").reason, TurnEnd::answered);
  EXPECT_THAT(person.asked, ElementsAre("pays for " + children()[0]));
  EXPECT_EQ(journal_.size(), 2U);
}

TEST_F(SubAgentsFixture, AForkHasTheParentsHistoryWithoutACopyAndItsTaskAsTheResult) {
  add_tool("reads", Effect::pure, test::echo);
  begin(
      {{"go",
        {ScriptedStep(says("", {{"reads", "{}"}})),
         ScriptedStep(says("think", {task("fork me", R"(,"fork":true)"), {"reads", R"({"x":1})"}})),
         ScriptedStep(says("done"))}},
       {"fork me",
        {ScriptedStep(says("", {{"reads", R"({"x":2})"}})), ScriptedStep(says("forked"))}}});
  EXPECT_EQ(turn_of("go").reason, TurnEnd::answered);
  EXPECT_EQ(result(1), "forked");
  const auto& parent = book_->requests("go");
  const auto& child = book_->requests("fork me");
  ASSERT_EQ(child.size(), 2U);
  const auto& history = parent[1].conversation;
  const auto& asked = child[0].conversation;
  ASSERT_EQ(asked.size(), history.size() + 3);
  for (std::size_t i = 0; i < history.size(); ++i) {
    EXPECT_EQ(asked[i].content, history[i].content);
    EXPECT_EQ(asked[i].reasoning, history[i].reasoning);
  }
  EXPECT_EQ(asked[history.size()].reasoning, "hm");  // of the completion that made the call
  EXPECT_THAT(asked[history.size() + 1].content, HasSubstr("Task: fork me"));
  EXPECT_THAT(asked[history.size() + 2].content, HasSubstr("left to the agent"));
  EXPECT_EQ(own_rows(children()[0]),
            3 + 2 + 4 + 2 + 1U);  // beginning, step 0, its call, step 1, end
  const SessionState state = folded(children()[0]);
  EXPECT_EQ(state.usage_total.tokens_generated, 20U);  // its own
  EXPECT_EQ(state.step, 2U);
  EXPECT_EQ(agent_->state().usage_delegated.tokens_generated, 20U);
}

TEST_F(SubAgentsFixture, LastAndThePrefixOfAnIdMeanSessionsThatPeopleBegan) {
  begin({{"go", {ScriptedStep(says("", {task("look")})), ScriptedStep(says("done"))}},
         {"look", {ScriptedStep(says("looked"))}}});
  EXPECT_EQ(turn_of("go").reason, TurnEnd::answered);
  const SessionId id = agent_->id();
  EXPECT_EQ(store_->resolve("last").value(), id);
  EXPECT_EQ(store_->resolve(id.value.substr(0, 10)).value(), id);
  EXPECT_EQ(store_->resolve(id.value).value(), id);
  EXPECT_EQ(store_->resolve(children()[0]).value().value, children()[0]);
  EXPECT_EQ(store_->resolve(id.value + ".").value().value, children()[0]);
}

TEST_F(SubAgentsFixture, ASessionThatMayHaveNoneIsNotOfferedTheTool) {
  limits_.agent_depth_max = 0;
  begin({{"go", {ScriptedStep(says("", {task("look")})), ScriptedStep(says("done"))}}});
  EXPECT_EQ(turn_of("go").reason, TurnEnd::answered);
  EXPECT_TRUE(book_->requests("go")[0].conversation[0].tools.empty());
  EXPECT_THAT(result(0), HasSubstr("there is no tool 'agent'"));
}

TEST_F(SubAgentsFixture, WhatItsCallsAskIsAskedOfTheSamePersonInItsName) {
  auto tool = std::make_unique<test::ServingTool>("asks", Effect::pure, test::ask_who);
  ASSERT_TRUE(registry_.add(std::move(tool)));
  test::AnsweringPerson person;
  person.words = "me";
  questions_.respondent = &person;
  begin({{"plan it", {ScriptedStep(says("", {task("find out")})), ScriptedStep(says("done"))}},
         {"find out", {ScriptedStep(says("", {{"asks", "{}"}})), ScriptedStep(says("you"))}}});
  EXPECT_EQ(turn_of("plan it").reason, TurnEnd::answered);
  ASSERT_EQ(person.questions.size(), 1U);
  EXPECT_EQ(person.questions[0].sub_agent, children()[0]);
  EXPECT_THAT(types(children()[0]), HasSubstr("question_asked question_answered tool_finished"));
}

TEST_F(SubAgentsFixture, AForkByAPersonOwesNobodyAnAnswerAndKeepsTheToolsItWasGiven) {
  add_tool("reads", Effect::pure, test::echo);
  add_tool("pays", Effect::irreversible, test::echo);
  begin({{"go",
          {ScriptedStep(says("", {task("look", R"(,"tools":["reads"])")})),
           ScriptedStep(says("done"))}},
         {"look", {ScriptedStep(says("looked"))}}});
  EXPECT_EQ(turn_of("go").reason, TurnEnd::answered);
  const auto fork = test::run(context_, store_->fork(SessionId{children()[0]}));
  ASSERT_TRUE(fork);
  const SessionState state = folded(fork->value);
  EXPECT_EQ(state.task->parent, "");
  EXPECT_THAT(state.task->tools, ElementsAre("reads"));
}

}  // namespace
}  // namespace ponder::runtime
