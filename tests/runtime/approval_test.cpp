#include "runtime/agent/approval.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <boost/asio/co_spawn.hpp>

#include "runtime/session/session_lines.h"
#include "tests/runtime/agent_fixture.h"

/// A person's word before a call with a lasting effect.
namespace ponder::runtime {
namespace {

using test::says;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using tools::Effect;

/// A person who answers each question the same way, at once or never.
class Person final : public Approver {
 public:
  boost::asio::awaitable<Result<ApprovalAnswer>> ask(ApprovalQuestion question) override {
    questions.push_back(question);
    co_await boost::asio::this_coro::throw_if_cancelled(false);
    if (!answer) {
      auto never = test::hang("");
      const auto stopped = co_await std::move(never);
      (void)stopped;
      co_return fail(Errc::cancelled, "withdrawn");
    }
    ApprovalAnswer out = *answer;
    if (fixes) out.rule = *rule_for(question, *fixes);
    co_return out;
  }
  std::optional<ApprovalAnswer> answer;
  std::optional<std::vector<std::string>> fixes;  // of allow_session
  std::vector<ApprovalQuestion> questions;
};

class ApprovalTest : public test::AgentFixture {
 protected:
  ApprovalTest() {
    approvals_ = {ApprovalMode::ask, &person_, 600'000};
    for (const auto& [name, effect] :
         {std::pair("reads", Effect::pure), std::pair("puts", Effect::idempotent),
          std::pair("books", Effect::compensable), std::pair("pays", Effect::irreversible)}) {
      add_tool(name, effect, test::echo);
    }
  }

  void will(ApprovalDecision decision, std::string reason = "") {
    person_.answer = ApprovalAnswer{decision, std::move(reason), {}};
  }
  using Calls = std::vector<std::pair<std::string, std::string>>;
  void run_calls(std::vector<Calls> steps) {
    std::vector<ScriptedStep> script;
    for (Calls& calls : steps) script.emplace_back(says("", std::move(calls)));
    script.emplace_back(says("done"));
    start(std::move(script));
    EXPECT_EQ(turn().reason, TurnEnd::answered);
  }
  std::vector<std::string> began() const {
    std::vector<std::string> out;
    for (const std::string& line : journal_) {
      if (line.starts_with("begin ")) out.push_back(line.substr(6));
    }
    return out;
  }
  std::vector<Event> events() const {
    std::vector<Event> out;
    const auto records = store_->load(agent_->id());
    for (const Record& record : records.value()) out.push_back(record.event);
    return out;
  }
  /// The session as a process left it that died after its first event of type E.
  template <class E>
  SessionId died_after() {
    std::vector<Event> kept;
    for (const Event& event : events()) {
      kept.push_back(event);
      if (std::holds_alternative<E>(event)) break;
    }
    const SessionId copy = store_->new_id();
    EXPECT_TRUE(test::run(context_, store_->append(copy, 0, kept)));
    journal_.clear();
    person_.questions.clear();
    return copy;
  }
  TurnEnded resume(const SessionId& id) {
    reopen(id, {ScriptedStep(says("done"))});
    const auto end = test::run(context_, agent_->resume());
    EXPECT_TRUE(end) << end.error().message;
    return end ? *end : TurnEnded{};
  }

  Person person_;
};

TEST_F(ApprovalTest, OnlyCallsWithLastingEffectsAreAskedAbout) {
  will(ApprovalDecision::allow_once);
  run_calls({{{"reads", "{}"}, {"puts", "{}"}, {"books", "{}"}, {"pays", R"({"x": 1})"}}});
  EXPECT_THAT(began(), ::testing::UnorderedElementsAre("reads", "puts", "books", "pays"));
  ASSERT_EQ(person_.questions.size(), 2U);
  EXPECT_EQ(person_.questions[0].tool, "books");
  EXPECT_EQ(person_.questions[1].tool, "pays");
  EXPECT_EQ(person_.questions[1].arguments, R"({"x": 1})");
}

TEST_F(ApprovalTest, TheQuestionAndTheAnswerAreOnTheDiskBeforeTheIntent) {
  will(ApprovalDecision::allow_once);
  run_calls({{{"pays", "{}"}}});
  EXPECT_THAT(
      recorder_.types,
      ElementsAre("session_started", "user_message", "model_started", "delta hm", "delta pays",
                  "delta {}", "model_completed", "approval_asked", "approval_answered",
                  "tool_intended", "tool_started", "tool_finished", "model_started", "delta hm",
                  "delta done", "model_completed", "turn_ended"));
}

TEST_F(ApprovalTest, ADenialIsAToolResultWithTheReasonAndTheOthersRun) {
  will(ApprovalDecision::deny, "too expensive");
  run_calls({{{"pays", "{}"}, {"reads", "{}"}}});
  EXPECT_THAT(began(), ElementsAre("reads"));
  const auto& asked = model_->requests()[1].conversation;
  EXPECT_THAT(asked[3].content, HasSubstr("the user did not approve it: too expensive"));
  EXPECT_EQ(asked[4].content, "echo {}");
  const auto all = outcomes();
  EXPECT_EQ(std::count_if(all.begin(), all.end(),
                          [](const auto& o) { return o.outcome == Outcome::denied; }),
            1);
}

TEST_F(ApprovalTest, OnceIsOnceAlsoForTheSameCall) {
  will(ApprovalDecision::allow_once);
  run_calls({{{"pays", R"({"x":1})"}}, {{"pays", R"({"x":1})"}}});
  EXPECT_EQ(person_.questions.size(), 2U);
}

TEST_F(ApprovalTest, ForTheSessionHoldsForTheToolWhileTheFixedArgumentsStay) {
  will(ApprovalDecision::allow_session);
  person_.fixes = {"x"};
  run_calls({{{"pays", R"({"x":1})"}},
             {{"pays", R"({"note":"more", "x":1})"}},
             {{"pays", R"({"x":12})"}},
             {{"books", R"({"x":1})"}}});
  EXPECT_EQ(began().size(), 4U);
  ASSERT_EQ(person_.questions.size(), 3U);
  EXPECT_EQ(person_.questions[1].arguments, R"({"x": 12})");  // 1 is no prefix of it
  EXPECT_EQ(person_.questions[2].tool, "books");
}

TEST_F(ApprovalTest, ForTheSessionWithoutArgumentsHoldsForTheTool) {
  will(ApprovalDecision::allow_session);
  person_.fixes.emplace();
  run_calls({{{"pays", R"({"x":1})"}}, {{"pays", R"({"x":2})"}}});
  EXPECT_EQ(person_.questions.size(), 1U);
  will(ApprovalDecision::deny);
  reopen(agent_->id(), {ScriptedStep(says("", {{"pays", "{}"}})), ScriptedStep(says("done"))});
  turn();  // also in a new process, and in the next turn
  EXPECT_EQ(began().size(), 3U);
}

TEST_F(ApprovalTest, NoAnswerInTimeIsANo) {
  approvals_.answer_ms_max = 20;
  run_calls({{{"pays", "{}"}}});
  EXPECT_THAT(began(), IsEmpty());
  EXPECT_EQ(outcomes().at(0).outcome, Outcome::denied);
  EXPECT_THAT(outcomes().at(0).content, HasSubstr("nobody approved it"));
}

TEST_F(ApprovalTest, WithoutAnyoneToAskSuchACallIsDeniedWithTheReason) {
  approvals_.approver = nullptr;
  run_calls({{{"pays", "{}"}, {"puts", "{}"}}});
  EXPECT_THAT(began(), ElementsAre("puts"));
  EXPECT_THAT(outcomes().at(0).content, HasSubstr("nobody is here to approve it"));
}

TEST_F(ApprovalTest, NeverDeniesAndAlwaysRunsWithoutAsking) {
  will(ApprovalDecision::allow_once);
  approvals_.mode = ApprovalMode::never;
  run_calls({{{"pays", "{}"}}});
  EXPECT_THAT(began(), IsEmpty());
  EXPECT_EQ(outcomes().at(0).outcome, Outcome::denied);
  approvals_.mode = ApprovalMode::always;
  run_calls({{{"pays", "{}"}}});
  EXPECT_THAT(began(), ElementsAre("pays"));
  EXPECT_THAT(person_.questions, IsEmpty());
}

TEST_F(ApprovalTest, CancellingWithdrawsTheQuestionAndTheCallIsCancelled) {
  recorder_.trigger = "approval_asked";
  recorder_.action = [this] { boost::asio::post(context_, [this] { agent_->cancel(); }); };
  start({ScriptedStep(says("", {{"pays", "{}"}}))});
  EXPECT_EQ(turn().reason, TurnEnd::cancelled);
  EXPECT_THAT(began(), IsEmpty());
  ASSERT_EQ(outcomes().size(), 1U);
  EXPECT_EQ(outcomes()[0].outcome, Outcome::cancelled);
  EXPECT_EQ(count("approval_answered"), 0U);
}

TEST_F(ApprovalTest, WhatWasAskedAndNotAnsweredIsAskedAgainAfterACrash) {
  will(ApprovalDecision::allow_once);
  run_calls({{{"pays", "{}"}}});
  EXPECT_EQ(resume(died_after<ApprovalAsked>()).reason, TurnEnd::answered);
  EXPECT_EQ(person_.questions.size(), 1U);
  EXPECT_THAT(began(), ElementsAre("pays"));
}

TEST_F(ApprovalTest, WhatWasAnsweredHoldsAfterACrash) {
  for (const ApprovalDecision decision : {ApprovalDecision::allow_once, ApprovalDecision::deny}) {
    SCOPED_TRACE(approval_decision_name(decision));
    will(decision);
    run_calls({{{"pays", "{}"}}});
    EXPECT_EQ(resume(died_after<ApprovalAnswered>()).reason, TurnEnd::answered);
    EXPECT_THAT(person_.questions, IsEmpty());
    EXPECT_EQ(began().size(), decision == ApprovalDecision::allow_once ? 1U : 0U);
  }
}

TEST_F(ApprovalTest, AnApprovedCallThatWasUnderWayIsNotFiredAgain) {
  will(ApprovalDecision::allow_once);
  run_calls({{{"pays", "{}"}}});
  resume(died_after<ToolStarted>());
  EXPECT_THAT(began(), IsEmpty());
  EXPECT_EQ(outcomes().at(0).outcome, Outcome::interrupted);
}

TEST_F(ApprovalTest, AnAnswerForOtherArgumentsCountsForNothing) {
  will(ApprovalDecision::deny);
  start({});
  const auto other = canonical_arguments(R"({"x":2})");
  ModelCompleted called;
  called.message = says("", {{"pays", R"({"x":1})"}}).message;
  called.call_faults.resize(1);
  const std::vector<Event> log = {
      *agent_->state().start, UserMessage{"go"}, ModelStarted{}, called,
      ApprovalAnswered{
          0, 0, approval_digest("pays", *other), ApprovalDecision::allow_once, "", {}}};
  const SessionId id = store_->new_id();
  ASSERT_TRUE(test::run(context_, store_->append(id, 0, log)));
  resume(id);
  EXPECT_EQ(person_.questions.size(), 1U);
  EXPECT_THAT(began(), IsEmpty());
}

TEST_F(ApprovalTest, AForkInheritsNoApproval) {
  will(ApprovalDecision::allow_session);
  person_.fixes.emplace();
  run_calls({{{"pays", "{}"}}});
  std::vector<Event> log;
  for (const Event& event : events()) {
    log.push_back(event);
    if (std::holds_alternative<ApprovalAnswered>(event)) break;
  }
  log.emplace_back(SessionForked{"parent", static_cast<std::int64_t>(log.size())});
  SessionState state;
  for (std::size_t i = 0; i < log.size(); ++i) {
    apply(state, Record{static_cast<std::int64_t>(i) + 1, 0, log[i]});
  }
  ASSERT_EQ(state.calls.size(), 1U);
  EXPECT_FALSE(state.calls[0].approval);
  EXPECT_THAT(state.approval_rules, IsEmpty());
}

TEST_F(ApprovalTest, WhatAnImportedLogSaysWasAllowedIsAskedAgain) {
  will(ApprovalDecision::deny);
  start({});
  ModelCompleted called;
  called.message = says("", {{"pays", "{}"}, {"pays", R"({"x":1})"}}).message;
  called.call_faults.resize(2);
  const std::string digest = approval_digest("pays", "{}");
  SessionCopy foreign;
  foreign.id = store_->new_id();
  for (Event event : std::vector<Event>{
           *agent_->state().start, UserMessage{"go"}, ModelStarted{}, called,
           ApprovalAnswered{0, 0, digest, ApprovalDecision::allow_session, "", {"pays", {}}}}) {
    foreign.records.push_back({std::ssize(foreign.records) + 1, 0, std::move(event)});
  }
  mark_as_imported(foreign, 0);
  ASSERT_TRUE(test::run(context_, store_->import(foreign)));
  resume(foreign.id);
  EXPECT_EQ(person_.questions.size(), 2U);
  EXPECT_THAT(began(), IsEmpty());
}

TEST(ApprovalDigest, IsEqualForEqualValuesAndDifferentForDifferentOnes) {
  const auto digest = [](const std::string& arguments) {
    return approval_digest("pays", *canonical_arguments(arguments));
  };
  EXPECT_EQ(digest(R"({"a":1,"b":{"c":"\u00e9","d":2}})"),
            digest(R"({ "b" : {"d":2, "c":"é"}, "a" : 1 })"));
  const std::vector<std::string> all = {"{}", R"({"a":1})", R"({"a":1.0})", R"({"a":"1"})",
                                        R"({"b":1})", R"({"a":[1]})", R"({"a":[1,2]})",
                                        R"({"a":[2,1]})",
                                        // Equal as doubles:
                                        R"({"a":9007199254740993})", R"({"a":9007199254740992})"};
  for (std::size_t i = 0; i < all.size(); ++i) {
    for (std::size_t k = 0; k < i; ++k) EXPECT_NE(digest(all[i]), digest(all[k])) << all[i];
  }
  EXPECT_NE(approval_digest("pays", "{}"), approval_digest("books", "{}"));
  EXPECT_FALSE(canonical_arguments("[]"));
  EXPECT_FALSE(canonical_arguments("{"));
}

}  // namespace
}  // namespace ponder::runtime
