#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>

#include "runtime/agent/agent.h"
#include "tests/runtime/agent_fixture.h"

namespace ponder::runtime {
namespace {

using test::says;
using ::testing::HasSubstr;
using tools::Effect;

class ResumeTest : public test::AgentFixture {
 protected:
  /// A session whose log is exactly these events.
  SessionId plant(const std::vector<Event>& events) {
    const SessionId id = store_->new_id();
    EXPECT_TRUE(test::run(context_, store_->append(id, 0, events)));
    return id;
  }

  SessionStarted planted_start() const {
    SessionStarted start;
    start.tools = registry_.specs();
    return start;
  }

  ModelCompleted calls(std::vector<std::pair<std::string, std::string>> calls) const {
    Completion completion = says("", std::move(calls));
    ModelCompleted e;
    e.message = completion.message;
    for (std::size_t i = 0; i < e.message.tool_calls.size(); ++i) {
      e.message.tool_calls[i].id = "id" + std::to_string(i);
    }
    e.call_faults = completion.call_faults;
    return e;
  }
};

TEST_F(ResumeTest, CallsThatWereUnderWayAreHandledByTheirEffect) {
  const std::vector<std::pair<std::string, Effect>> kinds = {{"reads", Effect::pure},
                                                             {"puts", Effect::idempotent},
                                                             {"books", Effect::compensable},
                                                             {"pays", Effect::irreversible}};
  std::vector<std::pair<std::string, std::string>> wanted;
  for (const auto& [name, effect] : kinds) {
    add_tool(name, effect, test::echo);
    wanted.push_back({name, "{}"});
  }
  std::vector<Event> events = {planted_start(), UserMessage{"go"}, ModelStarted{}, calls(wanted)};
  for (std::uint32_t i = 0; i < kinds.size(); ++i) {
    events.push_back(ToolIntended{0, i, kinds[i].second});
    events.push_back(ToolStarted{0, i});
  }
  reopen(plant(events), {ScriptedStep(says("done"))});
  const auto end = test::run(context_, agent_->resume());
  ASSERT_TRUE(end) << end.error().message;
  EXPECT_EQ(end->reason, TurnEnd::answered);
  EXPECT_THAT(journal_, ::testing::UnorderedElementsAre("begin reads", "end reads", "begin puts",
                                                        "end puts"));
  const auto& asked = model_->requests()[0].conversation;
  ASSERT_EQ(asked.size(), 7U);
  EXPECT_EQ(asked[3].content, "echo {}");
  EXPECT_THAT(asked[5].content, HasSubstr("unknown"));
  EXPECT_THAT(asked[6].content, HasSubstr("unknown"));
  for (const auto& outcome : outcomes()) {
    const bool may_repeat = outcome.call_index < 2;
    EXPECT_EQ(outcome.outcome, may_repeat ? Outcome::success : Outcome::interrupted);
  }
}

TEST_F(ResumeTest, ACallThatRunsAgainHasTheKeyItHadAndNoOtherCallHasIt) {
  add_tool("puts", Effect::idempotent, test::echo);
  const std::vector<Completion> answers = {says("", {{"puts", "{}"}, {"puts", "{}"}}),
                                           says("", {{"puts", "{}"}}), says("done")};
  start({answers.begin(), answers.end()});
  turn();
  const auto* tool = static_cast<const test::FakeTool*>(registry_.find("puts"));
  const std::vector<std::string> first_run = tool->keys();
  ASSERT_EQ(first_run.size(), 3U);
  EXPECT_EQ(std::set<std::string>(first_run.begin(), first_run.end()).size(), 3U);
  for (const std::string& key : first_run) EXPECT_THAT(key, HasSubstr(agent_->id().value));

  // The process dies in the last call: all that was written before it is there.
  const std::vector<Record> whole = store_->load(agent_->id()).value();
  const SessionId id = agent_->id();
  std::vector<Event> events;
  std::size_t intents = 0;
  for (const Record& record : whole) {
    events.push_back(record.event);
    intents += std::holds_alternative<ToolIntended>(record.event) ? 1 : 0;
    if (intents == 3) break;
  }
  agent_.reset();  // before its store
  store_ = place_.open("again");
  ASSERT_TRUE(test::run(context_, store_->append(id, 0, events)));
  reopen(id, {ScriptedStep(says("done"))});
  ASSERT_TRUE(test::run(context_, agent_->resume()));
  ASSERT_EQ(tool->keys().size(), 4U);
  EXPECT_EQ(tool->keys()[3], first_run[2]);
}

TEST_F(ResumeTest, ACallThatWasNeverIntendedRunsEvenWhenItIsIrreversible) {
  add_tool("pays", Effect::irreversible, test::echo);
  reopen(plant({planted_start(), UserMessage{"go"}, ModelStarted{}, calls({{"pays", "{}"}})}),
         {ScriptedStep(says("done"))});
  ASSERT_TRUE(test::run(context_, agent_->resume()));
  EXPECT_EQ(journal_.size(), 2U);
}

TEST_F(ResumeTest, AfterACrashAtAnyEventTheTurnEndsAndNoIrreversibleCallRunsTwice) {
  add_tool("reads", Effect::pure, test::echo);
  add_tool("pays", Effect::irreversible, test::echo);
  const std::vector<Completion> answers = {says("", {{"reads", "{}"}, {"pays", R"({"x":1})"}}),
                                           says("", {{"pays", R"({"x":2})"}}), says("done")};
  std::vector<ScriptedStep> whole(answers.begin(), answers.end());
  start(whole);
  turn();
  const std::vector<Record> reference = store_->load(agent_->id()).value();
  const auto reference_prompt = model_->requests().back().conversation;

  for (std::size_t kept = 2; kept < reference.size(); ++kept) {
    SCOPED_TRACE("crash after event " + std::to_string(kept));
    std::vector<Event> events;
    std::size_t completions = 0;
    std::size_t paid_before = 0;
    for (std::size_t i = 0; i < kept; ++i) {
      events.push_back(reference[i].event);
      completions += std::holds_alternative<ModelCompleted>(events.back()) ? 1 : 0;
      const auto* intent = std::get_if<ToolIntended>(&events.back());
      if (intent != nullptr && intent->effect == Effect::irreversible) ++paid_before;
    }
    journal_.clear();
    std::vector<ScriptedStep> rest(whole.begin() + static_cast<std::ptrdiff_t>(completions),
                                   whole.end());
    reopen(plant(events), rest);
    const auto end = test::run(context_, agent_->resume());
    ASSERT_TRUE(end) << end.error().message;
    EXPECT_EQ(end->reason, TurnEnd::answered);
    const auto paid = std::count(journal_.begin(), journal_.end(), "begin pays");
    EXPECT_EQ(static_cast<std::size_t>(paid) + paid_before, 2U);
    EXPECT_EQ(outcomes().size(), 3U);
    if (model_->requests().empty()) continue;
    EXPECT_EQ(model_->requests().back().conversation.size(), reference_prompt.size());
  }
}

TEST_F(ResumeTest, ATurnThatIsOverCannotBeResumed) {
  start({ScriptedStep(says("hello"))});
  turn();
  const SessionId id = agent_->id();
  reopen(id, {});
  const auto end = test::run(context_, agent_->resume());
  ASSERT_FALSE(end);
  EXPECT_EQ(end.error().code, Errc::invalid_argument);
  EXPECT_THAT(end.error().message, HasSubstr(id.value));
}

TEST_F(ResumeTest, ANewMessageClosesATurnThatWasLeftOpen) {
  add_tool("pays", Effect::irreversible, test::echo);
  reopen(plant({planted_start(), UserMessage{"go"}, ModelStarted{},
                calls({{"pays", "{}"}, {"pays", R"({"x":2})"}}),
                ToolIntended{0, 0, Effect::irreversible}}),
         {ScriptedStep(says("fine"))});
  EXPECT_EQ(turn("something else").reason, TurnEnd::answered);
  ASSERT_EQ(outcomes().size(), 2U);
  EXPECT_EQ(outcomes()[0].outcome, Outcome::interrupted);
  EXPECT_EQ(outcomes()[1].outcome, Outcome::cancelled);
  EXPECT_TRUE(journal_.empty());
}

TEST_F(ResumeTest, AnUnreadableEventInTheLogDoesNotKeepTheSessionFromGoingOn) {
  reopen(plant({planted_start(), UserMessage{"go"},
                UnreadableEvent{"weather_changed", R"({"rain":true})", ""}}),
         {ScriptedStep(says("fine"))});
  ASSERT_TRUE(test::run(context_, agent_->resume()));
  EXPECT_EQ(agent_->state().unreadable, 1U);
  EXPECT_EQ(agent_->state().last_answer(), "fine");
}

TEST_F(ResumeTest, GoingOnWithAModelOfAnotherFamilyIsWrittenDownAndItsFormatHoldsFromThere) {
  start({ScriptedStep(says("one"))});
  turn();
  window_ = 100'000;
  reopen(agent_->id(), {ScriptedStep(says("two")), ScriptedStep(says("three"))});
  EXPECT_EQ(turn().reason, TurnEnd::answered);
  EXPECT_EQ(turn().reason, TurnEnd::answered);
  EXPECT_EQ(count("model_changed"), 1U);
  EXPECT_EQ(model_->requests()[0].family, "dsv32");
  EXPECT_EQ(agent_->state().start->policy, "dsv32/1");
}

}  // namespace
}  // namespace ponder::runtime
