#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/digest.h"
#include "context/budget.h"
#include "runtime/session/session_lines.h"
#include "tests/runtime/agent_fixture.h"
#include "tests/runtime/golden_logs.h"
#include "tests/runtime/serving_tool.h"
#include "tests/runtime/sub_agents_fixture.h"
#include "tests/runtime/token_history_fixture.h"

/// The runs that golden logs are made of. They run each time, so that the recipe stays true; with
/// PONDER_UPDATE_GOLDEN=1 their logs are kept.
namespace ponder::runtime {
namespace {

using test::keep_golden;
using test::kRequest;
using test::says;
using ::testing::IsSupersetOf;
using tools::Effect;

std::vector<std::string> types_of(const SessionCopy& session) {
  std::vector<std::string> out;
  for (const Record& record : session.records) out.push_back(event_type(record.event));
  return out;
}

class GoldenModelRun : public test::TokenHistoryTest {
 protected:
  void keep(const std::string& name, const std::vector<std::string>& types) {
    const auto copy = store_->copy(agent_->id());
    ASSERT_TRUE(copy) << copy.error().message;
    EXPECT_THAT(types_of(*copy), IsSupersetOf(types));
    keep_golden(name, *copy);
  }
};

TEST_F(GoldenModelRun, ATripInTwoTurnsAcrossARestart) {
  start();
  ASSERT_NO_FATAL_FAILURE(turn(kRequest));
  ASSERT_TRUE(test::run(context_, agent_->record({false, "of the first turn", "", {}})));
  restart();
  ASSERT_NO_FATAL_FAILURE(turn("Make it cheaper."));
  keep("travel",
       {"session_started", "user_message", "model_started", "model_completed", "tool_intended",
        "tool_started", "tool_finished", "turn_ended", "workflow_finished"});
}

TEST_F(GoldenModelRun, AChatThatOutgrewItsWindow) {
  ASSERT_NO_FATAL_FAILURE(start_with_room_for_little_more_than(kRequest));
  ASSERT_NO_FATAL_FAILURE(turn(kRequest));
  ASSERT_NO_FATAL_FAILURE(turn("Make it cheaper."));
  keep("cut", {"context_reduced"});
}

TEST_F(GoldenModelRun, AForkInsideATurnThatWasResumed) {
  start();
  ASSERT_NO_FATAL_FAILURE(turn(kRequest));
  std::int64_t at = 0;
  for (const Record& record : records()) {
    if (std::holds_alternative<ToolStarted>(record.event)) at = record.seq;
  }
  ASSERT_GT(at, 0);
  const auto fork = test::run(context_, store_->fork(agent_->id(), at));
  ASSERT_TRUE(fork);
  ASSERT_NO_FATAL_FAILURE(open(*fork));
  ASSERT_TRUE(test::run(context_, agent_->resume()));
  keep("fork", {"session_forked"});
}

class GoldenScriptedRun : public test::AgentFixture {
 protected:
  void keep(const std::string& name, const std::vector<std::string>& types) {
    const auto copy = store_->copy(agent_->id());
    ASSERT_TRUE(copy) << copy.error().message;
    EXPECT_THAT(types_of(*copy), IsSupersetOf(types));
    keep_golden(name, *copy);
  }
};

TEST_F(GoldenScriptedRun, AModelThatOnlyReasonsFailsAndIsChanged) {
  start({ScriptedStep(says("")), ScriptedStep(says("")),
         ScriptedStep(Error(Errc::unavailable, "the endpoint is down"))});
  EXPECT_EQ(turn("one").reason, TurnEnd::reasoning_only);
  EXPECT_EQ(turn("two").reason, TurnEnd::model_failed);
  window_ = 100'000;
  reopen(agent_->id(), {ScriptedStep(says("fine"))});
  EXPECT_EQ(turn("three").reason, TurnEnd::answered);
  keep("failures", {"model_retried", "model_changed", "turn_ended"});
}

TEST_F(GoldenScriptedRun, ACallThatWasInterruptedAndWordsInMidTurn) {
  add_tool("reads", Effect::pure, test::echo);
  add_tool("pays", Effect::irreversible, test::echo);
  recorder_.trigger = "tool_started";
  recorder_.action = [this] {
    recorder_.action = nullptr;
    boost::asio::co_spawn(context_, agent_->steer("only cheap ones"),
                          [](std::exception_ptr, Status status) { EXPECT_TRUE(status); });
  };
  start({ScriptedStep(says("", {{"reads", "{}"}})), ScriptedStep(says("done"))});
  EXPECT_EQ(turn("go").reason, TurnEnd::answered);
  ASSERT_TRUE(test::run(context_, agent_->pin(2, true)));
  ModelCompleted call;
  call.message.role = context::Role::assistant;
  call.message.tool_calls.push_back({"id0", "pays", "{}"});
  call.call_faults.resize(1);
  const std::vector<Event> died = {UserMessage{"pay"}, ModelStarted{}, call,
                                   ToolIntended{0, 0, Effect::irreversible}, ToolStarted{0, 0}};
  const std::int64_t last_seq = agent_->state().last_seq;
  ASSERT_TRUE(test::run(context_, store_->append(agent_->id(), last_seq, died)));
  const SessionId id = agent_->id();
  reopen(id, {ScriptedStep(says("paid, perhaps"))});
  ASSERT_TRUE(test::run(context_, agent_->resume()));
  keep("interrupted", {"user_interjected", "message_pinned", "tool_finished"});
}

TEST_F(GoldenScriptedRun, AResultThatIsTooLongForTheConversation) {
  limits_.output_bytes_max = 200;
  add_tool("looks", Effect::pure, [](std::string) {
    return test::answer_after(std::chrono::milliseconds(0), std::string(600, 'x'), false);
  });
  const std::string hash = sha256_hex(std::string(600, 'x')).substr(0, context::kHashShown);
  start({ScriptedStep(says("", {{"looks", "{}"}})),
         ScriptedStep(says("", {{"read_blob", R"({"hash":")" + hash + R"(","offset":200})"}})),
         ScriptedStep(says("done"))});
  EXPECT_EQ(turn("go").reason, TurnEnd::answered);
  keep("large_result", {"tool_finished"});
}

/// Answers one question after the other.
class Person final : public Approver {
 public:
  explicit Person(std::vector<ApprovalAnswer> answers) : answers_(std::move(answers)) {}
  boost::asio::awaitable<Result<ApprovalAnswer>> ask(ApprovalQuestion question) override {
    ApprovalAnswer answer = answers_.at(num_asked_++);
    if (answer.decision == ApprovalDecision::allow_session) {
      answer.rule = *rule_for(question, {"to"});
    }
    co_return answer;
  }

 private:
  std::vector<ApprovalAnswer> answers_;
  std::size_t num_asked_ = 0;
};

TEST_F(GoldenScriptedRun, CallsThatWereApprovedAndDenied) {
  add_tool("pays", Effect::irreversible, test::echo);
  Person person({{ApprovalDecision::allow_once, "", {}},
                 {ApprovalDecision::deny, "too much", {}},
                 {ApprovalDecision::allow_session, "", {}}});
  approvals_ = {ApprovalMode::ask, &person, 600'000};
  const auto pays = [](const char* arguments) {
    return ScriptedStep(says("", {{"pays", arguments}}));
  };
  start({pays(R"({"to": "Ada", "sum": 1})"), pays(R"({"to": "Ada", "sum": 1000})"),
         pays(R"({"to": "Bo", "sum": 2})"), pays(R"({"to": "Bo", "sum": 3})"),
         ScriptedStep(says("paid"))});
  EXPECT_EQ(turn("pay").reason, TurnEnd::answered);
  keep("approvals", {"approval_asked", "approval_answered"});
}

TEST_F(GoldenScriptedRun, ASessionThatWasBroughtInAndGoesOnAfterAnAnswerThatBrokeOff) {
  start({ScriptedStep(says("here"))});
  EXPECT_EQ(turn("one").reason, TurnEnd::answered);
  auto copy = store_->copy(agent_->id());
  ASSERT_TRUE(copy) << copy.error().message;
  copy->id = store_->new_id();
  mark_as_imported(*copy, 1'700'000'000'000);
  ASSERT_TRUE(test::run(context_, store_->import(*copy)));
  Completion second = says("there");
  second.usage_void = {100, 20, 7, 1.5, 2.5};
  reopen(copy->id, {ScriptedStep(std::move(second))});
  EXPECT_EQ(turn("two").reason, TurnEnd::answered);
  keep("imported", {"session_imported"});
}

/// Asks, notes the answer, keeps it, and forgets what it kept before.
boost::asio::awaitable<Result<tools::ToolOutput>> remember(tools::ToolContext context) {
  tools::CallServices& services = *context.services;
  tools::Question question("which?");
  question.choices = {"one", "two"};
  const auto which = co_await services.ask(std::move(question));
  if (!which) co_return test::output_of(which);
  tools::Note note("log", "the answer is " + *which);
  const Status noted = co_await services.note(std::move(note));
  const Status kept = co_await services.set_value("answer", *which);
  const Status forgotten = co_await services.set_value("before", std::nullopt);
  const Status again = co_await services.set_value("before", "x");
  const Status gone = co_await services.set_value("before", std::nullopt);
  EXPECT_TRUE(noted && kept && forgotten && again && gone);
  co_return test::output_of(which);
}

TEST_F(GoldenScriptedRun, ACallThatAskedAPersonAndKeptTheAnswer) {
  auto tool = std::make_unique<test::ServingTool>("remembers", Effect::idempotent, remember);
  ASSERT_TRUE(registry_.add(std::move(tool)));
  test::AnsweringPerson person;
  person.words = "2";
  questions_.respondent = &person;
  start({ScriptedStep(says("", {{"remembers", "{}"}})), ScriptedStep(says("two it is"))});
  EXPECT_EQ(turn().reason, TurnEnd::answered);
  keep("questions", {"question_asked", "question_answered", "tool_noted", "tool_value_set"});
}

class GoldenSubAgentRun : public test::SubAgentsFixture {};

TEST_F(GoldenSubAgentRun, AParentWithASubAgentAndAForkOfItself) {
  add_tool("reads", Effect::pure, test::echo);
  begin({{"plan it",
          {ScriptedStep(says("", {test::task("count"), test::task("look", R"(,"fork":true)")})),
           ScriptedStep(says("done"))}},
         {"count", {ScriptedStep(says("six"))}},
         {"look", {ScriptedStep(says("", {{"reads", "{}"}})), ScriptedStep(says("seen"))}}});
  EXPECT_EQ(turn_of("plan it").reason, TurnEnd::answered);
  Limits limits = agent_->state().start->limits;
  limits.cost_pico_max = 1'000'000'000'000;
  ASSERT_TRUE(test::run(context_, agent_->set_budget(limits)));
  const auto parent = store_->copy(agent_->id());
  EXPECT_THAT(types_of(*parent),
              IsSupersetOf({"sub_agent_started", "sub_agent_finished", "budget_changed"}));
  keep_golden("delegation", *parent);
  const auto child = store_->copy(SessionId{children()[0]});
  EXPECT_THAT(types_of(*child), IsSupersetOf({"task_assigned"}));
  keep_golden("sub_agent", *child);
  const auto fork = store_->copy(SessionId{children()[1]});
  EXPECT_THAT(types_of(*fork), IsSupersetOf({"session_forked", "task_assigned"}));
  keep_golden("sub_agent_fork", *fork);
}

TEST_F(GoldenScriptedRun, ToolOutputInUserMessagesAndChatModeFromThereOn) {
  window_ = 100'000;
  const std::vector<std::string> words = {"You are in a shell. Fix the bug.", "[ls] Result:\na.c",
                                          "[cat] Result:\nint x;", "[make] Result:\nok",
                                          "[test] Result:\nok"};
  start(std::vector<ScriptedStep>(words.size(), ScriptedStep(says("next"))));
  for (const std::string& word : words) EXPECT_EQ(turn(word).reason, TurnEnd::answered);
  keep("chat_mode", {"mode_changed"});
}

}  // namespace
}  // namespace ponder::runtime
