#include "runtime/agent/agent.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <stdexcept>

#include "tests/runtime/agent_fixture.h"

namespace ponder::runtime {
namespace {

namespace asio = boost::asio;
using std::chrono::milliseconds;
using test::says;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using tools::Effect;

using AgentTest = test::AgentFixture;

/// What a sink must not be, and can be for lack of memory.
class Throwing final : public EventSink {
 public:
  void on_event(const SessionId&, const Record&) override { fail(); }
  void on_delta(const SessionId&, const ModelDelta&) override { fail(); }
  int told = 0;

 private:
  void fail() {
    ++told;
    throw std::runtime_error("broken");
  }
};

std::vector<ScriptedStep> script(std::vector<Completion> completions) {
  std::vector<ScriptedStep> steps;
  for (auto& completion : completions) steps.emplace_back(std::move(completion));
  return steps;
}

test::FakeTool::Work answers_after(int ms, std::string answer) {
  return [ms, answer](std::string) { return test::answer_after(milliseconds(ms), answer, false); };
}

TEST_F(AgentTest, AnAnswerWithoutCallsEndsTheTurnAndSubscribersSeeEverythingInOrder) {
  start(script({says("hello")}));
  EXPECT_EQ(turn().reason, TurnEnd::answered);
  EXPECT_EQ(agent_->state().last_answer(), "hello");
  EXPECT_THAT(recorder_.types,
              ElementsAre("session_started", "user_message", "model_started", "delta hm",
                          "delta hello", "model_completed", "turn_ended"));
}

TEST_F(AgentTest, CallsOfOneTurnRunAtTheSameTimeAndAreFedBackInCallOrder) {
  add_tool("slow", Effect::pure, answers_after(20, "from slow"));
  add_tool("fast", Effect::pure, answers_after(1, "from fast"));
  start(script({says("", {{"slow", "{}"}, {"fast", "{}"}}), says("done")}));
  EXPECT_EQ(turn().reason, TurnEnd::answered);
  EXPECT_THAT(journal_, ElementsAre("begin slow", "begin fast", "end fast", "end slow"));
  const auto& asked = model_->requests()[1].conversation;
  ASSERT_EQ(asked.size(), 5U);
  EXPECT_EQ(asked[3].content, "from slow");
  EXPECT_EQ(asked[4].content, "from fast");
  EXPECT_EQ(asked[2].tool_calls[0].id, asked[3].tool_call_id);
}

TEST_F(AgentTest, TheIntentIsOnTheDiskBeforeTheToolBegins) {
  std::vector<std::string> seen;
  const auto look = [&](std::string arguments) {
    const auto records = store_->load(agent_->id());
    for (const Record& record : records.value()) seen.push_back(event_type(record.event));
    return test::echo(std::move(arguments));
  };
  add_tool("look", Effect::irreversible, look);
  start(script({says("", {{"look", "{}"}}), says("done")}));
  turn();
  EXPECT_THAT(seen, ElementsAre("session_started", "user_message", "model_started",
                                "model_completed", "tool_intended", "tool_started"));
}

TEST_F(AgentTest, AStepWaitsForTheDiskTwice) {
  add_tool("echo", Effect::irreversible, test::echo);
  const auto commits_of_turn = [this](int steps, int calls) {
    std::vector<ScriptedStep> script;
    for (int i = 0; i < steps; ++i) {
      std::vector<std::pair<std::string, std::string>> made;
      for (int j = 0; j < calls; ++j)
        made.emplace_back("echo", fmt::format(R"({{"i":{},"j":{}}})", i, j));
      script.push_back(ScriptedStep(says("", made)));
    }
    script.push_back(ScriptedStep(says("done")));
    start(std::move(script));
    const auto before = store_->commits();
    EXPECT_EQ(turn().reason, TurnEnd::answered);
    return store_->commits() - before;
  };
  EXPECT_EQ(commits_of_turn(5, 1) - commits_of_turn(1, 1), 4 * 2U);
  // Outcomes that are there at the same moment share one.
  EXPECT_EQ(commits_of_turn(5, 3) - commits_of_turn(1, 3), 4 * 2U);
}

TEST_F(AgentTest, CallsThatCannotRunAreAnsweredInPlaceAndTheOthersRun) {
  add_tool("echo", Effect::pure, test::echo);
  add_tool("guarded", Effect::pure, test::echo, {"network"});
  Completion completion = says("", {{"nonsense", "{}"},
                                    {"echo", R"({"x":"not a number"})"},
                                    {"guarded", "{}"},
                                    {"echo", R"({"x":1})"},
                                    {"echo", R"({"x":2})"}});
  completion.call_faults[4] = "parameter x was cut";
  start(script({completion, says("done")}));
  EXPECT_EQ(turn().reason, TurnEnd::answered);
  const auto& asked = model_->requests()[1].conversation;
  ASSERT_EQ(asked.size(), 8U);
  EXPECT_THAT(asked[3].content, HasSubstr("echo, guarded"));  // the names that exist
  EXPECT_THAT(asked[4].content, HasSubstr("x"));
  EXPECT_THAT(asked[5].content, HasSubstr("network"));
  EXPECT_EQ(asked[6].content, R"(echo {"x":1})");
  EXPECT_THAT(asked[7].content, HasSubstr("parameter x was cut"));
  EXPECT_EQ(journal_.size(), 2U);
  EXPECT_EQ(outcomes()[2].outcome, Outcome::denied);
  EXPECT_EQ(agent_->state().malformed_calls, 1U);
}

TEST_F(AgentTest, AToolThatTakesTooLongEndsInTimeout) {
  limits_.tool_ms_max = 10;
  add_tool("hang", Effect::pure, test::hang);
  start(script({says("", {{"hang", "{}"}}), says("done")}));
  EXPECT_EQ(turn().reason, TurnEnd::answered);
  ASSERT_EQ(outcomes().size(), 1U);
  EXPECT_EQ(outcomes()[0].outcome, Outcome::timeout);
  EXPECT_THAT(outcomes()[0].content, HasSubstr("10 ms"));
}

/// Takes longer than a usual call may, and ends by a limit of its own.
class PatientTool final : public tools::Tool {
 public:
  const context::ToolSpec& spec() const override { return spec_; }
  tools::Effect effect() const override { return tools::Effect::pure; }
  const std::vector<std::string>& capabilities() const override { return capabilities_; }
  bool limits_its_time() const override { return true; }
  boost::asio::awaitable<Result<tools::ToolOutput>> invoke(std::string,
                                                           tools::ToolContext) override {
    auto waited = co_await test::answer_after(milliseconds(50), "", false);
    if (!waited) co_return waited;
    co_return fail(Errc::deadline, "the deadline passed");
  }

 private:
  context::ToolSpec spec_{"patient", "waits", "{}"};
  std::vector<std::string> capabilities_;
};

TEST_F(AgentTest, AToolThatLimitsItsTimeIsNotHeldToThatOfAUsualCall) {
  limits_.tool_ms_max = 10;
  ASSERT_TRUE(registry_.add(std::make_unique<PatientTool>()));
  start(script({says("", {{"patient", "{}"}}), says("done")}));
  EXPECT_EQ(turn().reason, TurnEnd::answered);
  ASSERT_EQ(outcomes().size(), 1U);
  EXPECT_EQ(outcomes()[0].outcome, Outcome::timeout);
  EXPECT_THAT(outcomes()[0].content, HasSubstr("the tool's own time was over"));
}

TEST_F(AgentTest, ACallThatTheTurnHasNoTimeForIsToldSo) {
  limits_.turn_ms_max = 20;
  add_tool("hang", Effect::pure, test::hang);
  start(script({says("", {{"hang", "{}"}}), says("done")}));
  turn();
  ASSERT_EQ(outcomes().size(), 1U);
  EXPECT_EQ(outcomes()[0].outcome, Outcome::timeout);
  EXPECT_THAT(outcomes()[0].content, HasSubstr("the time for the turn was over"));
}

TEST_F(AgentTest, AToolThatThrowsOrSaysErrorIsAnErrorResultAndTheTurnGoesOn) {
  add_tool("broken", Effect::pure, test::throws);
  add_tool("sorry", Effect::pure,
           [](std::string) { return test::answer_after(milliseconds(0), "no such city", true); });
  start(script({says("", {{"broken", "{}"}, {"sorry", "{}"}}), says("done")}));
  EXPECT_EQ(turn().reason, TurnEnd::answered);
  const auto& asked = model_->requests()[1].conversation;
  EXPECT_THAT(asked[3].content, HasSubstr("the tool is broken"));
  EXPECT_EQ(asked[4].content, "no such city");
  for (const auto& outcome : outcomes()) EXPECT_EQ(outcome.outcome, Outcome::error);
}

TEST_F(AgentTest, ResultsAreCappedAndCleanedBeforeTheModelSeesThem) {
  limits_.output_bytes_max = 100;
  add_tool("noisy", Effect::pure, answers_after(0, "\xFF" + std::string(5000, 'x')));
  start(script({says("", {{"noisy", "{}"}}), says("done")}));
  turn();
  const std::string& seen = model_->requests()[1].conversation[3].content;
  EXPECT_LT(seen.size(), 400U);
  EXPECT_EQ(seen.substr(0, 3), "\xEF\xBF\xBD");
  EXPECT_EQ(outcomes()[0].content, seen);
}

TEST_F(AgentTest, CancellingDuringTheCompletionEndsTheTurnWithTheLogIntact) {
  start({ScriptedStep::hang()});
  recorder_.trigger = "model_started";
  recorder_.action = [this] { asio::post(context_, [this] { agent_->cancel(); }); };
  EXPECT_EQ(turn().reason, TurnEnd::cancelled);
  EXPECT_FALSE(agent_->state().is_turn_open);
  EXPECT_EQ(fold(store_->load(agent_->id()).value()).last_end->reason, TurnEnd::cancelled);
}

TEST_F(AgentTest, CancellingDuringToolsGivesEveryCallItsOutcome) {
  add_tool("hang", Effect::irreversible, test::hang);
  add_tool("fast", Effect::pure, answers_after(0, "quick"));
  start(script({says("", {{"hang", "{}"}, {"fast", "{}"}}), says("never asked")}));
  recorder_.trigger = "tool_finished";
  recorder_.action = [this] { asio::post(context_, [this] { agent_->cancel(); }); };
  EXPECT_EQ(turn().reason, TurnEnd::cancelled);
  const auto all = outcomes();
  ASSERT_EQ(all.size(), 2U);
  EXPECT_EQ(all[0].outcome, Outcome::success);
  EXPECT_EQ(all[1].outcome, Outcome::cancelled);
  EXPECT_EQ(model_->requests().size(), 1U);
}

TEST_F(AgentTest, CancellingAtEveryEventEndsCleanlyWithOneOutcomeForEachCall) {
  add_tool("slow", Effect::pure, answers_after(1, "s"));
  add_tool("fast", Effect::pure, answers_after(0, "f"));
  for (const char* trigger : {"user_message", "model_started", "model_completed", "tool_intended",
                              "tool_started", "tool_finished"}) {
    SCOPED_TRACE(trigger);
    start(script({says("", {{"slow", "{}"}, {"fast", "{}"}}), says("done"), says("done")}));
    recorder_.trigger = trigger;
    recorder_.action = [this] { agent_->cancel(); };
    EXPECT_EQ(turn().reason, TurnEnd::cancelled);
    recorder_.action = nullptr;
    const SessionState state = fold(store_->load(agent_->id()).value());
    EXPECT_FALSE(state.is_turn_open);
    EXPECT_FALSE(state.has_open_calls());
    EXPECT_EQ(outcomes().size(), state.tool_calls);
    const TurnEnd next = turn("again").reason;  // the session goes on
    EXPECT_TRUE(next == TurnEnd::answered) << turn_end_name(next);
  }
}

asio::awaitable<void> run_a_turn(Agent* agent, std::optional<Result<TurnEnded>>* out) {
  co_await asio::this_coro::throw_if_cancelled(false);
  auto result = co_await agent->run_turn("go");
  out->emplace(std::move(result));
}

asio::awaitable<Status> cancel_from_outside(Agent* agent, std::optional<Result<TurnEnded>>* out) {
  const auto executor = co_await asio::this_coro::executor;
  TaskGroup group(executor);
  group.spawn(run_a_turn(agent, out));
  asio::steady_timer timer(executor, milliseconds(20));
  co_await timer.async_wait(asio::use_awaitable);
  group.cancel();
  co_await group.join();
  co_return Status();
}

TEST_F(AgentTest, CancellingTheCoroutineOfTheTurnIsLikeCancel) {
  start({ScriptedStep::hang()});
  std::optional<Result<TurnEnded>> out;
  ASSERT_TRUE(test::run(context_, cancel_from_outside(agent_.get(), &out)));
  ASSERT_TRUE(out.has_value());
  ASSERT_TRUE(*out) << out->error().message;
  EXPECT_EQ((*out)->reason, TurnEnd::cancelled);
  EXPECT_FALSE(agent_->state().is_turn_open);
}

asio::awaitable<void> run_until_it_ends(Agent* agent, std::optional<Result<TurnEnded>>* out) {
  auto result = co_await agent->run_turn("go");
  out->emplace(std::move(result));
}

TEST_F(AgentTest, ATurnWhoseCoroutineIsCancelledWhileItBeginsEndsLikeAnyOther) {
  start({ScriptedStep::hang()});
  std::optional<Result<TurnEnded>> out;
  TaskGroup group(context_.get_executor());
  group.spawn(run_until_it_ends(agent_.get(), &out));
  context_.restart();
  context_.poll();  // its first event is on the way to the disk
  asio::post(context_, [&] { group.cancel(); });
  context_.restart();
  context_.run();
  ASSERT_TRUE(out.has_value());
  ASSERT_TRUE(*out) << out->error().message;
  EXPECT_EQ((*out)->reason, TurnEnd::cancelled);
  EXPECT_FALSE(agent_->state().is_turn_open);
}

TEST_F(AgentTest, WhatTheModelReadsOfARefusedCallIsWhatTheLogHolds) {
  add_tool("echo", Effect::pure, test::echo);
  Completion broken = says("", {{"echo", "\xff"}, {"\xff", "{}"}});
  broken.call_faults[1] = "'\xff' is no tool";
  start(script({broken, says("done")}));
  EXPECT_EQ(turn().reason, TurnEnd::answered);
  const SessionState logged = fold(store_->load(agent_->id()).value());
  const context::Conversation& live = agent_->state().conversation;
  ASSERT_EQ(live.size(), logged.conversation.size());
  for (std::size_t i = 0; i < live.size(); ++i) {
    EXPECT_EQ(live[i].content, logged.conversation[i].content) << i;
  }
}

TEST_F(AgentTest, AScriptedModelNeedsNobodyWhoListens) {
  ScriptedModel model({ScriptedStep(says("hello"))});
  context::Conversation conversation(1);
  conversation[0].role = context::Role::user;
  conversation[0].content = "hi";
  ModelRequest request(std::move(conversation), "dsv32", {}, 100);
  const auto answer = test::run(context_, model.complete(std::move(request), ModelSink()));
  ASSERT_TRUE(answer) << answer.error().message;
  EXPECT_EQ(answer->message.content, "hello");
}

TEST_F(AgentTest, TheDeadlineOfTheTurnStopsAHangingModel) {
  limits_.turn_ms_max = 20;
  start({ScriptedStep::hang()});
  EXPECT_EQ(turn().reason, TurnEnd::deadline);
}

TEST_F(AgentTest, TheStepLimitEndsATurnThatNeverAnswers) {
  limits_.steps_max = 3;
  add_tool("echo", Effect::pure, test::echo);
  start(script({says("", {{"echo", R"({"x":1})"}}), says("", {{"echo", R"({"x":2})"}}),
                says("", {{"echo", R"({"x":3})"}}), says("too late")}));
  const TurnEnded end = turn();
  EXPECT_EQ(end.reason, TurnEnd::step_limit);
  EXPECT_THAT(end.detail, HasSubstr("3 steps"));
  EXPECT_EQ(model_->steps_left(), 1U);
}

TEST_F(AgentTest, TheTokenLimitEndsTheTurn) {
  limits_.tokens_turn_max = 15;
  add_tool("echo", Effect::pure, test::echo);
  start(script(
      {says("", {{"echo", R"({"x":1})"}}), says("", {{"echo", R"({"x":2})"}}), says("too late")}));
  EXPECT_EQ(turn().reason, TurnEnd::token_limit);
  EXPECT_EQ(model_->steps_left(), 1U);
}

TEST_F(AgentTest, TheSameCallAgainAndAgainIsWarnedOnceAndThenEndsTheTurn) {
  limits_.repeats_max = 2;
  add_tool("echo", Effect::pure, test::echo);
  const Completion same = says("", {{"echo", R"({"x":1})"}});
  start(script({same, same, same, same, says("too late")}));
  const TurnEnded end = turn();
  EXPECT_EQ(end.reason, TurnEnd::repeated_call);
  EXPECT_THAT(end.detail, HasSubstr("echo"));
  EXPECT_EQ(journal_.size(), 4U);  // two calls ran
  EXPECT_THAT(outcomes()[2].content, HasSubstr("2 times"));
}

TEST_F(AgentTest, ATurnThatOnlyReasonsIsAskedOnceMoreAndThenReported) {
  start(script({says(""), says("now an answer")}));
  EXPECT_EQ(turn().reason, TurnEnd::answered);
  EXPECT_EQ(agent_->state().last_answer(), "now an answer");
  EXPECT_EQ(model_->requests()[1].conversation.size(), model_->requests()[0].conversation.size());

  start(script({says(""), says(""), says("too late")}));
  EXPECT_EQ(turn().reason, TurnEnd::reasoning_only);
  EXPECT_EQ(model_->steps_left(), 1U);
}

TEST_F(AgentTest, ATurnThatReasonsAndThenOnlyBreaksLinesHasNoAnswer) {
  start(script({says("\n\n"), says("now an answer")}));
  EXPECT_EQ(turn().reason, TurnEnd::answered);
  EXPECT_EQ(agent_->state().last_answer(), "now an answer");
  EXPECT_EQ(model_->requests()[1].conversation.size(), model_->requests()[0].conversation.size());

  start(script({says(" \t\r\n"), says("\n\n"), says("too late")}));
  EXPECT_EQ(turn().reason, TurnEnd::reasoning_only);
  EXPECT_EQ(agent_->state().last_answer(), "");
  EXPECT_EQ(model_->steps_left(), 1U);
}

TEST_F(AgentTest, NothingOfATruncatedCompletionRuns) {
  add_tool("echo", Effect::irreversible, test::echo);
  Completion by_length = says("", {{"echo", "{}"}});
  by_length.finish = Finish::length;
  Completion by_form = says("", {{"echo", "{}"}});
  by_form.verdict = Verdict::truncated;
  for (const Completion& completion : {by_length, by_form}) {
    start(script({completion}));
    EXPECT_EQ(turn().reason, TurnEnd::truncated);
    EXPECT_TRUE(outcomes().empty());
  }
  EXPECT_TRUE(journal_.empty());
}

TEST_F(AgentTest, AFailingModelEndsTheTurnWithItsWordsAndTheNextTurnWorks) {
  start({ScriptedStep(Error(Errc::unavailable, "http://host/v1: connection refused")),
         ScriptedStep(says("back again"))});
  const TurnEnded end = turn();
  EXPECT_EQ(end.reason, TurnEnd::model_failed);
  EXPECT_THAT(end.detail, HasSubstr("connection refused"));
  EXPECT_EQ(turn().reason, TurnEnd::answered);
}

TEST_F(AgentTest, AnotherProgramWritingToTheSessionStopsTheAgentWithAnError) {
  start(script({says("hello")}));
  const std::vector<Event> foreign = {UserMessage{"from elsewhere"}};
  ASSERT_TRUE(test::run(context_, store_->append(agent_->id(), 1, foreign)));
  const auto result = test::run(context_, agent_->run_turn("go"));
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().code, Errc::unavailable);
}

/// An agent that waits, for a completion or a call, when its log is lost to another program.
class LostLogTest : public AgentTest {
 protected:
  /// When the event at `seq` has been written, somebody takes the next place, and words come that
  /// were to stand there.
  void lose_log_after(const std::string& type, std::int64_t seq) {
    recorder_.trigger = type;
    recorder_.action = [this, seq] {
      const std::vector<Event> taken = {UserInterjected{"from elsewhere", false}};
      asio::co_spawn(context_, store_->append(agent_->id(), seq, taken),
                     [](std::exception_ptr, const auto& records) { EXPECT_TRUE(records); });
      asio::co_spawn(context_, agent_->steer("too late"),
                     [](std::exception_ptr, const Status& status) { EXPECT_FALSE(status); });
    };
  }
  void expect_error() {
    const auto result = test::run(context_, agent_->run_turn("go"));
    ASSERT_FALSE(result);
    EXPECT_EQ(result.error().code, Errc::unavailable);
  }
};

TEST_F(LostLogTest, ARequestIsNotWaitedForWhoseAnswerCouldNotBeWritten) {
  start({ScriptedStep::hang()});
  lose_log_after("model_started", 3);
  expect_error();
}

TEST_F(LostLogTest, ACallIsNotWaitedForWhoseOutcomeCouldNotBeWritten) {
  add_tool("hang", Effect::pure, test::hang);
  start(script({says("", {{"hang", "{}"}})}));
  lose_log_after("tool_started", 6);
  expect_error();
}

TEST_F(AgentTest, AListenerThatThrowsTakesNothingFromTheSessionOrFromOtherListeners) {
  add_tool("reads", Effect::pure, test::echo);
  use_script({ScriptedStep(says("", {{"reads", "{}"}})), ScriptedStep(says("done"))});
  Throwing broken;
  AgentParts with_broken = parts();
  with_broken.sinks.insert(with_broken.sinks.begin(), &broken);
  SessionStarted start;
  start.family = model_->family();
  start.tools = registry_.specs();
  auto agent = test::run(context_, Agent::start(with_broken, start));
  ASSERT_TRUE(agent) << agent.error().message;
  agent_ = std::move(*agent);
  EXPECT_EQ(turn().reason, TurnEnd::answered);
  EXPECT_EQ(count("turn_ended"), 1U);
  EXPECT_GT(broken.told, 0);
}

}  // namespace
}  // namespace ponder::runtime
