#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <boost/asio/steady_timer.hpp>

#include "base/digest.h"
#include "context/prompt.h"
#include "runtime/agent/pins.h"
#include "runtime/agent/replay.h"
#include "tests/runtime/agent_fixture.h"

/// Long tool loops in a small window: the agent makes room, writes down what it cut, and goes on.
namespace ponder::runtime {
namespace {

using test::says;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using tools::Effect;

/// A result of about `bytes` bytes that names its call.
std::string finding(const std::string& arguments, std::size_t bytes) {
  std::string text = "found for " + arguments + ": ";
  while (text.size() < bytes) text += "value ";
  return text;
}

std::string look_arguments(int x) { return "{\"x\":" + std::to_string(x) + "}"; }

class ContextBudgetTest : public test::AgentFixture {
 protected:
  ContextBudgetTest() { window_ = 8000; }

  void add_look(Effect effect = Effect::pure) {
    add_tool("look", effect, [this](std::string arguments) {
      return test::answer_after(std::chrono::milliseconds(0), finding(arguments, result_bytes_),
                                false);
    });
  }

  static Completion looks(int x) { return says("", {{"look", look_arguments(x)}}); }

  static std::vector<ScriptedStep> loop(int calls) {
    std::vector<ScriptedStep> steps;
    for (int x = 0; x < calls; ++x) steps.emplace_back(looks(x));
    steps.emplace_back(says("done"));
    return steps;
  }

  std::vector<ContextReduced> cuts() const {
    std::vector<ContextReduced> out;
    const auto records = store_->load(agent_->id());
    for (const Record& record : records.value()) {
      if (const auto* e = std::get_if<ContextReduced>(&record.event)) out.push_back(*e);
    }
    return out;
  }

  std::vector<context::TokenId> ids(const context::Conversation& conversation, bool thinks = true) {
    const auto policy = context::thinking_policy(thinks ? "dsv32" : "chat");
    const auto tokens = context::assemble(conversation, *policy, context::testing::byte_tokens);
    EXPECT_TRUE(tokens) << tokens.error().message;
    return tokens ? tokens->ids : std::vector<context::TokenId>();
  }

  /// Every request that the model got, made again from nothing but the events before it.
  void expect_requests_follow_from_the_log() {
    std::size_t next = 0;
    SessionState state;
    const auto records = store_->load(agent_->id());
    for (const Record& record : records.value()) {
      const auto* cut = std::get_if<ContextReduced>(&record.event);
      const bool asked_for_summary =
          cut != nullptr && cut->reduction.strategy == context::Strategy::summary;
      if (asked_for_summary) {
        const auto request = summary_request_of(state, cut->reduction);
        ASSERT_LT(next, model_->requests().size());
        EXPECT_EQ(ids(request.conversation, false),
                  ids(model_->requests()[next++].conversation, false));
      }
      apply(state, record);
      if (!std::holds_alternative<ModelStarted>(record.event)) continue;
      ASSERT_LT(next, model_->requests().size());
      EXPECT_EQ(ids(next_request(state).conversation),
                ids(model_->requests()[next++].conversation));
    }
    EXPECT_EQ(next, model_->requests().size());
  }

  std::size_t result_bytes_ = 700;
};

TEST_F(ContextBudgetTest, ALongToolLoopEndsInItsAnswerAndNoPromptPassesTheLimit) {
  add_look();
  start(loop(20));
  EXPECT_EQ(turn("find it").reason, TurnEnd::answered);
  EXPECT_GE(cuts().size(), 2U);
  for (const ModelRequest& request : model_->requests()) {
    EXPECT_LE(ids(request.conversation).size(), 8000U * 80 / 100 - 800);
    EXPECT_EQ(request.conversation[0].content, "be brief");
    EXPECT_EQ(request.conversation[1].content, "find it");
  }
  expect_requests_follow_from_the_log();
}

TEST_F(ContextBudgetTest, TheLogListsWhatWasRemovedAndWhereToReadIt) {
  add_look();
  start(loop(20));
  turn();
  const ContextReduced first = cuts().front();
  EXPECT_EQ(first.reduction.strategy, context::Strategy::discard_all);  // looking has no effects
  EXPECT_EQ(first.removed_seqs.size(), first.reduction.removed.size());
  EXPECT_GT(first.tokens_before, first.tokens_prompt_max);
  EXPECT_LE(first.tokens_after, first.tokens_prompt_max);
  const auto records = store_->load(agent_->id());
  const auto seq = static_cast<std::size_t>(first.removed_seqs.at(1));
  EXPECT_TRUE(std::holds_alternative<ToolFinished>(records->at(seq - 1).event));
  ASSERT_EQ(first.blobs.size(), 1U);
  const auto text = store_->load_blob(first.blobs[0].hash);
  ASSERT_TRUE(text) << text.error().message;
  EXPECT_THAT(*text, HasSubstr("call look: {\"x\":0}\nresult: " + finding(look_arguments(0), 700)));
}

TEST_F(ContextBudgetTest, PagedOutResultsCanBeReadBackByTheModel) {
  budget_.strategy = "page-out";
  add_look();
  std::vector<ScriptedStep> steps;
  for (int x = 0; x < 6; ++x) steps.emplace_back(looks(x));
  const std::string lost = finding(look_arguments(0), result_bytes_);
  steps.emplace_back(
      says("", {{"read_blob", R"({"hash":")" + sha256_hex(lost).substr(0, 16) + "\"}"}}));
  steps.emplace_back(says("done"));
  start(std::move(steps));
  EXPECT_EQ(turn().reason, TurnEnd::answered);
  ASSERT_FALSE(cuts().empty());
  EXPECT_FALSE(cuts()[0].reduction.paged_out.empty());
  EXPECT_TRUE(cuts()[0].reduction.removed.empty());
  const ToolFinished read = outcomes().back();
  EXPECT_EQ(read.outcome, Outcome::success);
  EXPECT_THAT(read.content, HasSubstr(lost));
  const auto& tools = model_->requests().back().conversation[0].tools;
  EXPECT_EQ(tools.back().name, "read_blob");
  EXPECT_EQ(model_->requests().front().conversation[0].tools.size() + 1, tools.size());
  expect_requests_follow_from_the_log();
}

TEST_F(ContextBudgetTest, BeforeAnythingWasMovedOutThereIsNothingToReadWith) {
  add_look();
  start({ScriptedStep(says("", {{"read_blob", "{}"}})), ScriptedStep(says("done"))});
  turn();
  EXPECT_EQ(outcomes()[0].outcome, Outcome::error);
  EXPECT_THAT(outcomes()[0].content, HasSubstr("look"));
}

TEST_F(ContextBudgetTest, ARunWithSideEffectsGoesOnWithTheModelsSummary) {
  result_bytes_ = 1500;
  add_look(Effect::idempotent);
  start({ScriptedStep(looks(0)), ScriptedStep(looks(1)), ScriptedStep(looks(2)),
         ScriptedStep(says("0 and 1 were booked")), ScriptedStep(says("done"))});
  EXPECT_EQ(turn("book it").reason, TurnEnd::answered);
  EXPECT_EQ(agent_->state().last_answer(), "done");
  ASSERT_EQ(model_->requests().size(), 5U);
  const ModelRequest& asked = model_->requests()[3];
  EXPECT_FALSE(asked.sampling.is_thinking);
  EXPECT_TRUE(asked.conversation[0].tools.empty());
  EXPECT_THAT(asked.conversation[1].content, HasSubstr("book it"));
  const auto& after = model_->requests()[4].conversation;
  EXPECT_EQ(after[2].tool_calls.at(0).name, context::kSummaryCall);
  EXPECT_THAT(after[3].content, HasSubstr("0 and 1 were booked"));
  EXPECT_EQ(after[5].content, finding(look_arguments(2), 1500));
  ASSERT_EQ(cuts().size(), 1U);
  EXPECT_EQ(cuts()[0].note, "");
  // The summary is no completion of the turn, but what it cost counts.
  EXPECT_EQ(agent_->state().completions, 4U);
  EXPECT_EQ(cuts()[0].summary_usage.tokens_generated, 10U);
  EXPECT_EQ(agent_->state().tokens_generated_turn, 50U);
  EXPECT_EQ(count("delta 0 and 1 were booked"), 0U);
  expect_requests_follow_from_the_log();
}

TEST_F(ContextBudgetTest, AReplayAsksForTheSummaryAgainAndNamesItsFirstTokenThatDiffers) {
  result_bytes_ = 1500;
  add_look(Effect::idempotent);
  Completion summary = says("0 and 1 were booked");
  summary.prompt_hash = "of the summary";
  start({ScriptedStep(looks(0)), ScriptedStep(looks(1)), ScriptedStep(looks(2)),
         ScriptedStep(summary), ScriptedStep(says("done"))});
  turn("book it");
  const auto again = [&](Completion now) {
    use_script({ScriptedStep(std::move(now))});
    auto report = test::run(context_, replay(store_->load(agent_->id()).value(), *model_));
    EXPECT_TRUE(report) << report.error().message;
    return report ? *report : ReplayReport();
  };
  const ReplayReport same = again(summary);
  EXPECT_EQ(same.summaries, 1U);
  EXPECT_EQ(same.same, 1U);
  EXPECT_EQ(same.tokens_compared, 19U);
  EXPECT_EQ(same.not_comparable, 4U);  // the script has no ids
  EXPECT_THAT(model_->requests()[0].conversation[1].content, HasSubstr("book it"));

  summary.message.content = "0 and 2 were booked";
  const ReplayReport other = again(summary);
  ASSERT_TRUE(other.first);
  EXPECT_TRUE(other.first->is_summary);
  EXPECT_EQ(other.first->position, 6U);
  EXPECT_EQ(other.first->recorded, context::TokenId{'1'});
  EXPECT_EQ(other.first->sampled, context::TokenId{'2'});

  summary.prompt_hash = "of another prompt";
  EXPECT_TRUE(again(summary).first->is_in_prompt);
}

TEST_F(ContextBudgetTest, AModelThatGivesNoSummaryCostsTheOldCallsAndTheLogSaysSo) {
  for (const bool fails : {true, false}) {
    result_bytes_ = 1500;
    if (registry_.find("look") == nullptr) add_look(Effect::idempotent);
    const ScriptedStep bad =
        fails ? ScriptedStep(Error(Errc::unavailable, "the line is dead")) : ScriptedStep(says(""));
    start({ScriptedStep(looks(0)), ScriptedStep(looks(1)), ScriptedStep(looks(2)), bad,
           ScriptedStep(says("done"))});
    EXPECT_EQ(turn().reason, TurnEnd::answered);
    ASSERT_EQ(cuts().size(), 1U);
    EXPECT_EQ(cuts()[0].reduction.strategy, context::Strategy::discard_all);
    EXPECT_EQ(cuts()[0].note,
              fails ? "no summary: the line is dead" : "no summary: the model wrote no summary");
    EXPECT_EQ(cuts()[0].summary_usage.tokens_generated, fails ? 0U : 10U);  // it was paid for
    EXPECT_EQ(model_->requests().back().conversation.size(), 4U);
  }
}

TEST_F(ContextBudgetTest, ATurnEndsWhereItsSummaryUsedUpItsTokens) {
  result_bytes_ = 1500;
  limits_.tokens_turn_max = 35;  // each answer has ten
  add_look(Effect::idempotent);
  start({ScriptedStep(looks(0)), ScriptedStep(looks(1)), ScriptedStep(looks(2)),
         ScriptedStep(says("0 and 1")), ScriptedStep(says("done"))});
  EXPECT_EQ(turn().reason, TurnEnd::token_limit);
  EXPECT_EQ(cuts().size(), 1U);
  EXPECT_EQ(model_->requests().size(), 4U);
}

TEST_F(ContextBudgetTest, APinnedResultSurvivesEveryCutByteForByteWithItsCall) {
  for (const char* strategy : {"discard-all", "discard-75", "page-out", "summary"}) {
    SCOPED_TRACE(strategy);
    budget_.strategy = strategy;
    registry_ = tools::Registry();
    add_look();
    std::vector<ScriptedStep> steps = loop(2);
    start(std::move(steps));
    turn("find it");
    const auto chosen = choose_pin(agent_->state(), "{\"x\":0}");
    ASSERT_TRUE(chosen) << chosen.error().message;
    ASSERT_TRUE(test::run(context_, agent_->pin(chosen->seq, true)));
    std::vector<ScriptedStep> rest;
    for (int x = 10; x < 30; ++x) {
      rest.emplace_back(says("I look.", {{"look", look_arguments(x)}}));  // also fit for a summary
    }
    reopen(agent_->id(), std::move(rest));  // the pin is in the log
    turn("find more");
    EXPECT_FALSE(cuts().empty());
    const auto& last = model_->requests().back().conversation;
    const auto pinned = std::find_if(last.begin(), last.end(), [&](const context::Message& m) {
      return m.content == finding(look_arguments(0), result_bytes_);
    });
    ASSERT_NE(pinned, last.end());
    EXPECT_EQ((pinned - 1)->tool_calls.at(0).arguments, look_arguments(0));
    EXPECT_EQ(std::count_if(last.begin(), last.end(),
                            [&](const context::Message& m) {
                              return m.content == finding(look_arguments(1), result_bytes_);
                            }),
              0);
  }
}

TEST_F(ContextBudgetTest, AMessageThatIsUnpinnedGoesWithTheNextCut) {
  add_look();
  start(loop(2));
  turn();
  const std::int64_t seq = choose_pin(agent_->state(), "{\"x\":0}")->seq;
  ASSERT_TRUE(test::run(context_, agent_->pin(seq, true)));
  EXPECT_EQ(choose_unpin(agent_->state(), "")->seq, seq);
  ASSERT_TRUE(test::run(context_, agent_->pin(seq, false)));
  EXPECT_FALSE(choose_unpin(agent_->state(), ""));
  std::vector<ScriptedStep> rest;
  for (int x = 10; x < 30; ++x) rest.emplace_back(looks(x));
  reopen(agent_->id(), std::move(rest));
  turn("find more");
  const auto& origins = agent_->state().origins;
  EXPECT_EQ(std::count(origins.begin(), origins.end(), seq), 0);
}

TEST_F(ContextBudgetTest, PinsThatLeaveNoRoomAreNamedWhenTheTurnEnds) {
  add_look();
  result_bytes_ = 1500;
  start(loop(2));
  turn();
  for (const char* x : {"{\"x\":0}", "{\"x\":1}"}) {
    const auto chosen = choose_pin(agent_->state(), x);
    ASSERT_TRUE(chosen) << chosen.error().message;
    ASSERT_TRUE(test::run(context_, agent_->pin(chosen->seq, true)));
  }
  reopen(agent_->id(), loop(3));
  const TurnEnded end = turn("find more");
  EXPECT_EQ(end.reason, TurnEnd::context_full);
  EXPECT_THAT(end.detail, HasSubstr("nothing more can be cut (pinned messages: 2)"));
}

TEST_F(ContextBudgetTest, OnlyAnswersAndResultsThatAreStillThereCanBePinned) {
  add_look();
  start(loop(20));
  turn("find it");
  EXPECT_EQ(choose_pin(agent_->state(), "")->text, "done");
  for (const char* words : {"find it", "be brief", "found for {\"x\":0}", "no such words"}) {
    const auto chosen = choose_pin(agent_->state(), words);
    ASSERT_FALSE(chosen) << words;
    EXPECT_EQ(chosen.error().code, Errc::not_found);
    EXPECT_THAT(chosen.error().message, HasSubstr(words));
  }
}

TEST_F(ContextBudgetTest, CancellingDuringTheSummaryEndsTheTurn) {
  result_bytes_ = 1500;
  add_look(Effect::idempotent);
  start({ScriptedStep(looks(0)), ScriptedStep(looks(1)), ScriptedStep(looks(2)),
         ScriptedStep::hang()});
  boost::asio::steady_timer timer(context_);
  std::function<void()> cancel_once_asked = [&] {
    timer.expires_after(std::chrono::milliseconds(1));
    timer.async_wait([&](const boost::system::error_code&) {
      if (model_->requests().size() == 4) return agent_->cancel();
      cancel_once_asked();
    });
  };
  cancel_once_asked();
  EXPECT_EQ(turn().reason, TurnEnd::cancelled);
  EXPECT_EQ(model_->requests().size(), 4U);
}

TEST_F(ContextBudgetTest, WhatCannotBeMadeToFitEndsTheTurnWithTheNumbers) {
  result_bytes_ = 7000;
  add_look();
  start({ScriptedStep(looks(0)), ScriptedStep(says("never asked"))});
  const TurnEnded end = turn();
  EXPECT_EQ(end.reason, TurnEnd::context_full);
  EXPECT_THAT(end.detail, HasSubstr("may have 5600 (80% of the model's 8000, less 800"));
  EXPECT_EQ(model_->requests().size(), 1U);
  // The session goes on: in a new turn the result that was too long may go.
  EXPECT_EQ(turn("then without").reason, TurnEnd::answered);
  EXPECT_EQ(agent_->state().last_answer(), "never asked");
}

TEST_F(ContextBudgetTest, ACutThatDoesNotSufficeIsFollowedByOneThatGoesFurther) {
  budget_.strategy = "page-out";
  add_tool("look", Effect::pure, [](std::string arguments) {
    // Only the first result is long enough to be paged out.
    const std::size_t bytes = arguments == look_arguments(0) ? 600 : 500;
    return test::answer_after(std::chrono::milliseconds(0), finding(arguments, bytes), false);
  });
  start(loop(7));
  EXPECT_EQ(turn().reason, TurnEnd::answered);
  ASSERT_GE(cuts().size(), 2U);
  EXPECT_EQ(cuts()[0].reduction.strategy, context::Strategy::page_out);
  EXPECT_GT(cuts()[0].tokens_after, cuts()[0].tokens_prompt_max);
  EXPECT_EQ(cuts()[1].reduction.strategy, context::Strategy::discard_all);
  EXPECT_EQ(cuts()[1].tokens_before, cuts()[0].tokens_after);
  EXPECT_LE(cuts()[1].tokens_after, cuts()[1].tokens_prompt_max);
  EXPECT_FALSE(cuts()[1].reader);  // it is offered already
}

TEST_F(ContextBudgetTest, TheLimitIsTheSessionsOwn) {
  budget_.limit_percent = 50;
  add_look();
  start(loop(6));
  turn();
  ASSERT_FALSE(cuts().empty());
  EXPECT_EQ(cuts()[0].tokens_prompt_max, 8000U * 50 / 100 - 800);
}

TEST_F(ContextBudgetTest, ASessionThatWasCutGoesOnInANewProcess) {
  add_look();
  start(loop(12));
  turn("first");
  const SessionId id = agent_->id();
  const auto before = ids(agent_->state().conversation);
  reopen(id, loop(12));
  EXPECT_EQ(ids(agent_->state().conversation), before);
  EXPECT_EQ(turn("second").reason, TurnEnd::answered);
  for (const ModelRequest& request : model_->requests()) {
    EXPECT_LE(ids(request.conversation).size(), 5600U);
    EXPECT_EQ(request.conversation[1].content, "first");
  }
}

TEST_F(ContextBudgetTest, AModelWithoutAWindowIsNeverCut) {
  window_ = 0;
  add_look();
  start(loop(30));
  EXPECT_EQ(turn().reason, TurnEnd::answered);
  EXPECT_THAT(cuts(), IsEmpty());
}

TEST_F(ContextBudgetTest, AToolThatTakesTheReadersNameIsRefusedAtTheStart) {
  add_tool("read_blob", Effect::pure, test::echo);
  use_script({});
  const auto refused = test::run(context_, Agent::start(parts(), SessionStarted{}));
  ASSERT_FALSE(refused);
  EXPECT_THAT(refused.error().message, HasSubstr("read_blob"));
}

}  // namespace
}  // namespace ponder::runtime
