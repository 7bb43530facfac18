#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "runtime/session/event_json.h"
#include "tests/runtime/agent_fixture.h"

namespace ponder::runtime {
namespace {

using test::says;
using ::testing::HasSubstr;
using tools::Effect;

class SessionForkTest : public test::AgentFixture {
 protected:
  SessionId fork(const SessionId& parent, std::optional<std::int64_t> at = std::nullopt) {
    const auto id = try_fork(parent, at);
    EXPECT_TRUE(id) << id.error().message;
    return id ? *id : SessionId();
  }
  Result<SessionId> try_fork(const SessionId& parent, std::optional<std::int64_t> at) {
    return test::run(context_, store_->fork(parent, at));
  }
  Result<std::vector<Record>> append(const SessionId& id, std::int64_t last_seq,
                                     std::vector<Event> events) {
    return test::run(context_, store_->append(id, last_seq, std::move(events)));
  }
  /// A session of these events, after its beginning.
  SessionId plant(std::vector<Event> events) {
    const SessionId id = store_->new_id();
    SessionStarted start;
    start.tools = registry_.specs();
    events.insert(events.begin(), Event(start));
    const auto begun = append(id, 0, std::move(events));
    EXPECT_TRUE(begun) << begun.error().message;
    return id;
  }
  std::string types(const SessionId& id) const {
    std::string out;
    const auto records = store_->load(id);
    for (const Record& record : *records) {
      EXPECT_EQ(record.seq, &record - records->data() + 1);
      out += event_type(record.event) + " ";
    }
    return out;
  }
  void tamper(const std::string& sql) {
    const Status done = place_.tamper(sql);
    ASSERT_TRUE(done) << done.error().message;
  }
};

TEST_F(SessionForkTest, AForkSharesItsParentsEventsAndEachGoesOnByItself) {
  const SessionId parent = plant({UserMessage{"a"}, TurnEnded{}, UserMessage{"b"}});
  const SessionId branch = fork(parent, 3);
  EXPECT_EQ(types(branch), "session_started user_message turn_ended session_forked ");
  ASSERT_TRUE(append(branch, 4, {UserMessage{"c"}}));
  ASSERT_TRUE(append(parent, 4, {TurnEnded{}}));
  EXPECT_EQ(types(branch), "session_started user_message turn_ended session_forked user_message ");
  EXPECT_EQ(types(parent), "session_started user_message turn_ended user_message turn_ended ");
  EXPECT_EQ(std::get<UserMessage>((*store_->load(branch))[4].event).content, "c");
  const auto forked = std::get<SessionForked>((*store_->load(branch))[3].event);
  EXPECT_EQ(forked.parent, parent.value);
  EXPECT_EQ(forked.parent_seq, 3);
}

TEST_F(SessionForkTest, AForkCostsOneEventWhateverItShares) {
  std::vector<Event> events;
  for (int i = 0; i < 200; ++i) events.emplace_back(UserMessage{std::string(1000, 'x')});
  const SessionId parent = plant(std::move(events));
  fork(parent);
  EXPECT_EQ(place_.value("(SELECT count(*) FROM events)"), "202");
}

TEST_F(SessionForkTest, AForkIsListedWithItsParentAndAllItsEvents) {
  const SessionId parent = plant({UserMessage{"plan a trip"}, TurnEnded{}});
  clock_.advance(std::chrono::milliseconds(10));
  const SessionId branch = fork(parent, 2);
  const auto list = store_->list(10);
  ASSERT_TRUE(list);
  ASSERT_EQ(list->size(), 2U);
  EXPECT_EQ((*list)[0].id, branch);
  EXPECT_EQ((*list)[0].parent, parent.value);
  EXPECT_EQ((*list)[0].parent_seq, 2);
  EXPECT_EQ((*list)[0].events, 3);
  EXPECT_EQ((*list)[0].last_type, "session_forked");
  EXPECT_EQ((*list)[0].title, "plan a trip");
  EXPECT_EQ((*list)[1].parent, "");
}

TEST_F(SessionForkTest, AForkOfWhatAForkSharesHangsOnTheOwner) {
  const SessionId root = plant({UserMessage{"a"}, TurnEnded{}});
  const SessionId child = fork(root);
  ASSERT_TRUE(append(child, 4, {UserMessage{"b"}}));
  const SessionId of_shared = fork(child, 2);
  const SessionId of_own = fork(child, 5);
  EXPECT_EQ(types(of_shared), "session_started user_message session_forked ");
  EXPECT_EQ(types(of_own),
            "session_started user_message turn_ended session_forked user_message session_forked ");
  EXPECT_EQ(std::get<SessionForked>((*store_->load(of_shared))[2].event).parent, root.value);
  EXPECT_EQ(std::get<SessionForked>((*store_->load(of_own))[5].event).parent, child.value);
}

TEST_F(SessionForkTest, OnlyAnEventThatIsThereCanBeForkedAt) {
  const SessionId parent = plant({UserMessage{"a"}});
  for (const std::int64_t at : {-1, 0, 3}) {
    const auto id = try_fork(parent, at);
    ASSERT_FALSE(id) << at;
    EXPECT_EQ(id.error().code, Errc::invalid_argument);
    EXPECT_THAT(id.error().message, HasSubstr("has events 1 to 2"));
  }
  EXPECT_EQ(try_fork(SessionId{"nobody"}, 1).error().code, Errc::not_found);
  EXPECT_EQ(store_->list(10)->size(), 1U);
}

TEST_F(SessionForkTest, CallsThatWereOpenAtTheForkAreHandledAsAfterACrash) {
  add_tool("reads", Effect::pure, test::echo);
  add_tool("pays", Effect::irreversible, test::echo);
  start({ScriptedStep(says("", {{"reads", "{}"}, {"pays", "{}"}})), ScriptedStep(says("done"))});
  turn();
  const SessionId parent = agent_->id();
  std::int64_t started = 0;
  const auto records = store_->load(parent);
  for (const Record& record : *records) {
    if (std::holds_alternative<ToolStarted>(record.event)) started = record.seq;
  }
  journal_.clear();
  reopen(fork(parent, started), {ScriptedStep(says("done"))});
  ASSERT_TRUE(test::run(context_, agent_->resume()));
  EXPECT_THAT(journal_, ::testing::ElementsAre("begin reads", "end reads"));
  const auto results = outcomes();
  ASSERT_EQ(results.size(), 2U);
  EXPECT_EQ(agent_->state().last_answer(), "done");
  const auto interrupted = std::count_if(results.begin(), results.end(), [](const auto& result) {
    return result.outcome == Outcome::interrupted && result.call_index == 1;
  });
  EXPECT_EQ(interrupted, 1);
}

TEST_F(SessionForkTest, AForkWhoseParentIsGoneSaysSoAndHindersNobody) {
  const SessionId parent = plant({UserMessage{"a"}, TurnEnded{}});
  const SessionId branch = fork(parent, 2);
  const SessionId other = plant({UserMessage{"b"}});
  ASSERT_NO_FATAL_FAILURE(tamper("DELETE FROM events WHERE session = '" + parent.value +
                                 "'; DELETE FROM sessions WHERE id = '" + parent.value + "'"));
  const auto records = store_->load(branch);
  ASSERT_TRUE(records) << records.error().message;
  ASSERT_EQ(records->size(), 2U);
  EXPECT_EQ((*records)[0].seq, 2);
  EXPECT_EQ(std::get<UnreadableEvent>((*records)[0].event).problem,
            "events 1 to 2 are missing: session " + parent.value +
                ", whose they are, is not in the store");
  use_script({});
  const auto opened = Agent::open(parts(), branch);
  ASSERT_FALSE(opened);
  EXPECT_EQ(opened.error().code, Errc::corrupt);
  EXPECT_TRUE(Agent::open(parts(), other));
  EXPECT_EQ(store_->list(10)->size(), 2U);
}

TEST_F(SessionForkTest, AParentThatLostItsLastEventsLeavesAMarkInTheFork) {
  const SessionId parent = plant({UserMessage{"a"}, ModelStarted{}, TurnEnded{}});
  const SessionId branch = fork(parent);
  ASSERT_NO_FATAL_FAILURE(
      tamper("DELETE FROM events WHERE session = '" + parent.value + "' AND seq > 2"));
  const auto records = store_->load(branch);
  ASSERT_TRUE(records);
  ASSERT_EQ(records->size(), 4U);
  EXPECT_EQ((*records)[2].seq, 4);
  EXPECT_EQ(std::get<UnreadableEvent>((*records)[2].event).problem, "events 3 to 4 are missing");
  EXPECT_EQ((*records)[3].seq, 5);
}

TEST_F(SessionForkTest, ForksThatFormACircleAreReportedAndNotFollowed) {
  const SessionId a = plant({UserMessage{"a"}});
  const SessionId b = fork(a);
  ASSERT_NO_FATAL_FAILURE(tamper("UPDATE sessions SET parent = '" + b.value +
                                 "', parent_seq = 2 WHERE id = '" + a.value + "'"));
  const auto records = store_->load(b);
  ASSERT_FALSE(records);
  EXPECT_EQ(records.error().code, Errc::corrupt);
  EXPECT_THAT(records.error().message, HasSubstr("circle"));
  EXPECT_EQ(store_->list(10)->size(), 2U);
}

/// Bits that give the same id several times over.
RandomBits repeating_bits() {
  return [n = 0U]() mutable { return n++ / 40; };
}

TEST_F(SessionForkTest, AnIdThatIsTakenIsNotTakenAgain) {
  store_ = place_.open("clash", repeating_bits());
  start({});
  const SessionId first = agent_->id();
  start({});
  const SessionId second = agent_->id();
  EXPECT_NE(first, second);
  EXPECT_EQ(types(first), "session_started ");
  EXPECT_EQ(types(second), "session_started ");
}

TEST_F(SessionForkTest, AForkGetsAnotherIdWhereItsOwnIsTaken) {
  store_ = place_.open("clash", repeating_bits());
  start({});
  const auto fork = test::run(context_, store_->fork(agent_->id()));
  ASSERT_TRUE(fork) << fork.error().message;
  EXPECT_NE(*fork, agent_->id());
  EXPECT_EQ(types(agent_->id()), "session_started ");
  EXPECT_EQ(types(*fork), "session_started session_forked ");
  const auto again = test::run(context_, store_->fork(agent_->id(), 1, *fork));
  ASSERT_FALSE(again);
  EXPECT_EQ(again.error().code, Errc::invalid_argument);
}

TEST_F(SessionForkTest, AStoreThatKnowsOneIdOnlySaysSoInTheEnd) {
  store_ = place_.open("clash", [] { return 7U; });
  start({});
  const auto other = test::run(context_, Agent::start(parts(), *agent_->state().start));
  ASSERT_FALSE(other);
  EXPECT_EQ(other.error().message, "session " + agent_->id().value + " is there already");
}

}  // namespace
}  // namespace ponder::runtime
