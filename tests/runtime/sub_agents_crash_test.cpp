#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <boost/asio/io_context.hpp>
#include <functional>
#include <set>

#include "runtime/agent/call_gate.h"
#include "runtime/session/event_json.h"
#include "runtime/session/log_check.h"
#include "runtime/session/log_diff.h"
#include "runtime/session/session_lines.h"
#include "runtime/store/sqlite_session_store.h"
#include "runtime/store/store_doctor.h"
#include "tests/runtime/sub_agents_fixture.h"

/// A parent, its sub-agents and theirs, killed between any two events of any of their logs.
namespace ponder::runtime {
namespace {

using test::says;
using test::task;
using ::testing::HasSubstr;
using tools::Effect;
using Order = std::vector<std::pair<SessionId, Record>>;

/// For each session, the places in `order` that its beginning, which is one append, lies between.
std::vector<std::pair<std::size_t, std::size_t>> beginnings(const Order& order) {
  std::vector<std::pair<std::size_t, std::size_t>> out;
  for (std::size_t t = 0; t < order.size(); ++t) {
    if (!std::holds_alternative<TaskAssigned>(order[t].second.event)) continue;
    std::size_t first = t;
    while (first > 0 && order[first - 1].first == order[t].first) --first;
    const bool has_message =
        t + 1 < order.size() && std::holds_alternative<UserMessage>(order[t + 1].second.event);
    out.emplace_back(first, has_message ? t + 1 : t);
  }
  return out;
}

class SubAgentsCrash : public test::SubAgentsFixture {
 protected:
  SubAgentsCrash() { limits_.agent_depth_max = 2; }

  /// The book of a parent with a sub-agent, a fork, and a sub-agent of the first.
  static test::BookModel::Book book() {
    return {
        {"go",
         {ScriptedStep(says("", {{"reads", "{}"}})),
          ScriptedStep(says("", {task("first"), task("second", R"(,"fork":true)")})),
          ScriptedStep(says("", {{"pays", R"({"x":1})"}})), ScriptedStep(says("done"))}},
        {"first",
         {ScriptedStep(says("", {{"pays", R"({"x":2})"}, task("third")})),
          ScriptedStep(says("one"))}},
        {"second", {ScriptedStep(says("", {{"pays", R"({"x":3})"}})), ScriptedStep(says("two"))}},
        {"third", {ScriptedStep(says("", {{"puts", "{}"}})), ScriptedStep(says("three"))}}};
  }

  void add_tools() {
    add_tool("reads", Effect::pure, test::echo);
    add_tool("puts", Effect::idempotent, test::echo);
    add_tool("pays", Effect::irreversible, test::echo);
  }

  /// A new store with the first `kept` of these events, and a process that knows nothing else.
  void crash(const Order& order, std::size_t kept) {
    const SessionId id = agent_->id();
    agent_.reset();
    store_.reset();
    std::filesystem::remove_all(dir_.path() / "crashed");
    StoreOptions options;
    options.synchronous = Synchronous::normal;  // no power fails here
    const auto file = dir_.path() / "crashed" / "sessions.db";
    store_ = std::move(*SqliteSessionStore::open(file, clock_, options));
    std::set<std::string> begun;
    for (std::size_t i = 0; i < kept; ++i) {
      const auto& [session, record] = order[i];
      const bool is_fork = begun.insert(session.value).second && record.seq > 1;
      if (is_fork) plant_fork(session, record.seq - 2);
      const std::vector<Event> event(1, record.event);
      const auto written = test::run(context_, store_->append(session, record.seq - 1, event));
      ASSERT_TRUE(written) << written.error().message;
    }
    open(id);
  }

  void plant_fork(const SessionId& id, std::int64_t at) {
    const SessionId parent{std::string(parent_of_sub_agent(id.value))};
    ASSERT_TRUE(test::run(context_, store_->fork(parent, at, id)));
  }

  void open(const SessionId& id) {
    book_ = std::make_unique<test::BookModel>(book());
    recorder_.order.clear();
    auto agent = Agent::open(book_parts(), id);
    ASSERT_TRUE(agent) << agent.error().message;
    agent_ = std::move(*agent);
  }

  /// All sessions with all their events.
  std::map<std::string, std::vector<Record>> everything() const {
    std::map<std::string, std::vector<Record>> out;
    const auto sessions = store_->list(100);
    for (const SessionSummary& session : *sessions) {
      out[session.id.value] = store_->load(session.id).value();
    }
    return out;
  }

  void expect_every_session_whole() {
    for (const auto& [id, records] : everything()) {
      SCOPED_TRACE(id);
      const SessionState state = fold(records);
      EXPECT_FALSE(state.is_turn_open);
      EXPECT_TRUE(check_log(records).empty());
      std::map<std::string, int> finished;
      for (const Record& record : records) {
        if (record.seq <= state.task_seq) continue;  // of a fork: the parent's own
        const auto* one = std::get_if<SubAgentFinished>(&record.event);
        if (one != nullptr) ++finished[one->child];
      }
      EXPECT_EQ(finished.size(), state.sub_agents.size());
      for (const auto& [child, times] : finished) EXPECT_EQ(times, 1) << child;
    }
  }
};

/// Another program's event gets into a log, so that the next append of its owner is refused.
class SubAgentsRefusal : public SubAgentsCrash {
 protected:
  /// When a sub-agent at depth 1 has been answered for the first time.
  void intrude_into_log_of(const std::function<SessionId(const SessionId& child)>& victim) {
    recorder_.on_sub_agent = [this, victim](const SessionId& child, const Record& record) {
      const bool is_time = std::holds_alternative<ModelCompleted>(record.event) &&
                           depth_of(child) == 1 && !has_intruded_;
      if (!is_time) return;
      has_intruded_ = true;
      const SessionId id = victim(child);
      boost::asio::io_context other;
      const auto last_seq = static_cast<std::int64_t>(store_->load(id)->size());
      const std::vector<Event> theirs(1, MessagePinned{2, false});
      ASSERT_TRUE(test::run(other, store_->append(id, last_seq, theirs)));
    };
  }

  /// The turn stops with an error, and nobody has given up a task; opened again, it goes on.
  void expect_stop_and_go() {
    const auto stopped = test::run(context_, agent_->run_turn("go"));
    ASSERT_FALSE(stopped);
    EXPECT_EQ(stopped.error().code, Errc::unavailable);
    for (const auto& [id, records] : everything()) {
      SCOPED_TRACE(id);
      const SessionState state = fold(records);
      const bool is_root = id == agent_->id().value;
      EXPECT_TRUE(state.is_turn_open || !is_root);
      if (!state.is_turn_open) {
        EXPECT_EQ(state.last_end->reason, TurnEnd::answered);
      }
      for (const Record& record : records) {
        const auto* ended = std::get_if<SubAgentFinished>(&record.event);
        if (ended != nullptr) {
          EXPECT_EQ(ended->reason, TurnEnd::answered);
        }
      }
    }
    recorder_.on_sub_agent = {};
    const SessionId id = agent_->id();
    agent_.reset();
    open(id);
    const auto end = test::run(context_, agent_->resume());
    ASSERT_TRUE(end) << end.error().message;
    EXPECT_EQ(end->reason, TurnEnd::answered);
    EXPECT_THAT(result(1), HasSubstr("one"));
    EXPECT_THAT(result(2), HasSubstr("two"));
    expect_every_session_whole();
  }

 private:
  bool has_intruded_ = false;
};

TEST_F(SubAgentsRefusal, OfASubAgentsLogStopsTheParentAndIsNoResultForTheModel) {
  add_tools();
  begin(book());
  intrude_into_log_of([](const SessionId& child) { return child; });
  expect_stop_and_go();
}

TEST_F(SubAgentsRefusal, OfTheParentsLogLeavesTheSubAgentsWhereTheyStood) {
  add_tools();
  begin(book());
  intrude_into_log_of([this](const SessionId&) { return agent_->id(); });
  expect_stop_and_go();
}

/// How many events there are when the session at depth 2 has begun; 0: it never does.
std::size_t until_depth_two(const Order& order) {
  std::size_t kept = 0;
  for (std::size_t i = 0; i < order.size(); ++i) {
    const auto* task = std::get_if<TaskAssigned>(&order[i].second.event);
    if (task != nullptr && task->depth == 2) kept = i + 2;
  }
  return kept;
}

std::size_t irreversible_intents(const Order& order, std::size_t kept) {
  std::size_t out = 0;
  for (std::size_t i = 0; i < kept; ++i) {
    const auto* intent = std::get_if<ToolIntended>(&order[i].second.event);
    out += intent != nullptr && intent->effect == Effect::irreversible ? 1 : 0;
  }
  return out;
}

TEST_F(SubAgentsCrash, AtAnyEventTheParentGoesOnWithTheSubAgentsItHadAndNothingHappensTwice) {
  add_tools();
  begin(book());
  ASSERT_EQ(turn_of("go").reason, TurnEnd::answered);
  const Order order = recorder_.order;
  const auto reference = everything();
  const context::Conversation prompt = book_->requests("go").back().conversation;
  const Usage delegated = agent_->state().usage_delegated;
  ASSERT_EQ(reference.size(), 4U);
  ASSERT_EQ(irreversible_intents(order, order.size()), 3U);
  const auto whole = beginnings(order);
  ASSERT_EQ(whole.size(), 3U);

  for (std::size_t kept = 2; kept + 1 < order.size(); ++kept) {
    const bool is_inside = std::any_of(whole.begin(), whole.end(), [&](const auto& beginning) {
      return beginning.first < kept && kept <= beginning.second;
    });
    if (is_inside) continue;
    SCOPED_TRACE("crash after event " + std::to_string(kept) + ", " +
                 event_type(order[kept - 1].second.event));
    journal_.clear();
    ASSERT_NO_FATAL_FAILURE(crash(order, kept));
    const auto end = test::run(context_, agent_->resume());
    ASSERT_TRUE(end) << end.error().message;
    EXPECT_EQ(end->reason, TurnEnd::answered);
    const auto paid = std::count(journal_.begin(), journal_.end(), "begin pays");
    EXPECT_EQ(static_cast<std::size_t>(paid) + irreversible_intents(order, kept), 3U);
    const auto after = everything();
    EXPECT_EQ(after.size(), reference.size());
    for (std::size_t i = 0; i < kept; ++i) {
      const auto* known = std::get_if<SubAgentStarted>(&order[i].second.event);
      if (known != nullptr) {
        EXPECT_TRUE(after.contains(known->child)) << known->child;
      }
    }
    expect_every_session_whole();
    EXPECT_EQ(agent_->state().usage_delegated.tokens_generated, delegated.tokens_generated);
    EXPECT_EQ(agent_->state().last_answer(), "done");
    const context::Conversation& conversation = agent_->state().conversation;
    ASSERT_EQ(conversation.size(), prompt.size() + 1);
    // The parent's own irreversible call is the last result.
    for (std::size_t i = 0; i + 1 < prompt.size(); ++i) {
      EXPECT_EQ(conversation[i].content, prompt[i].content) << "message " << i;
    }
  }
}

TEST_F(SubAgentsCrash, TwoRunsOfTheSameAreEqualToADiffWhateverTheirIdsAndTimes) {
  add_tools();
  std::vector<std::vector<std::vector<Record>>> runs;
  for (int run = 0; run < 2; ++run) {
    clock_.advance(std::chrono::milliseconds(1'234 * (run + 1)));
    agent_.reset();
    std::filesystem::remove_all(dir_.path() / "other");
    store_ = place_.open("run" + std::to_string(run));
    begin(book());
    recorder_.on_any = [this, run] { clock_.advance(std::chrono::milliseconds(run)); };
    ASSERT_EQ(turn_of("go").reason, TurnEnd::answered);
    std::vector<std::vector<Record>>& logs = runs.emplace_back();
    for (const auto& [id, records] : everything()) logs.push_back(records);
  }
  ASSERT_EQ(runs[0].size(), 4U);
  ASSERT_EQ(runs[1].size(), 4U);
  for (std::size_t i = 0; i < runs[0].size(); ++i) {
    const LogDifference found = diff_logs(runs[0][i], runs[1][i]);
    EXPECT_TRUE(found.is_equal) << i << ": "
                                << (found.left ? event_payload(found.left->event) : "nothing")
                                << "\n"
                                << (found.right ? event_payload(found.right->event) : "nothing");
  }
}

TEST_F(SubAgentsCrash, BetweenTheForkAndItsTaskTheForkIsUsed) {
  add_tools();
  begin(book());
  ASSERT_EQ(turn_of("go").reason, TurnEnd::answered);
  const Order order = recorder_.order;
  const auto begins = std::find_if(order.begin(), order.end(), [&](const auto& one) {
    return one.first != agent_->id() && one.second.seq > 1 &&
           std::holds_alternative<ToolFinished>(one.second.event);
  });
  ASSERT_NE(begins, order.end());
  ASSERT_NO_FATAL_FAILURE(crash(order, static_cast<std::size_t>(begins - order.begin())));
  ASSERT_NO_FATAL_FAILURE(plant_fork(begins->first, begins->second.seq - 2));
  const auto end = test::run(context_, agent_->resume());
  ASSERT_TRUE(end) << end.error().message;
  EXPECT_EQ(agent_->state().last_answer(), "done");
  EXPECT_EQ(everything().size(), 4U);
  expect_every_session_whole();
}

TEST_F(SubAgentsCrash, BetweenItsCancelledEndAndThatOfItsCallItIsNotBegunAnew) {
  add_tools();
  begin(book());
  ASSERT_EQ(turn_of("go").reason, TurnEnd::answered);
  const Order order = recorder_.order;
  const auto announced = std::find_if(order.begin(), order.end(), [&](const auto& one) {
    return std::holds_alternative<SubAgentStarted>(one.second.event);
  });
  ASSERT_NE(announced, order.end());
  const auto& started = std::get<SubAgentStarted>(announced->second.event);
  ASSERT_NO_FATAL_FAILURE(crash(order, static_cast<std::size_t>(announced - order.begin()) + 1));
  const SessionId id = agent_->id();
  agent_.reset();
  SubAgentFinished finished;  // as a program writes that was about to close the turn
  finished.step = started.step;
  finished.call_index = started.call_index;
  finished.child = started.child;
  finished.reason = TurnEnd::cancelled;
  const auto last_seq = static_cast<std::int64_t>(store_->load(id)->size());
  const std::vector<Event> event(1, finished);
  ASSERT_TRUE(test::run(context_, store_->append(id, last_seq, event)));
  open(id);
  const auto end = test::run(context_, agent_->resume());
  ASSERT_TRUE(end) << end.error().message;
  EXPECT_EQ(end->reason, TurnEnd::answered);
  EXPECT_FALSE(everything().contains(started.child));
  EXPECT_EQ(result(static_cast<int>(started.call_index) + 1), "error: the agent never began");
  expect_every_session_whole();
}

TEST_F(SubAgentsCrash, ANewMessageInsteadOfResumingClosesTheTurnsOfAllSessionsBelow) {
  add_tools();
  begin(book());
  ASSERT_EQ(turn_of("go").reason, TurnEnd::answered);
  const Order order = recorder_.order;
  const std::size_t kept = until_depth_two(order);
  ASSERT_GT(kept, 0U);
  ASSERT_NO_FATAL_FAILURE(crash(order, kept));
  const TurnEnded end = turn("third");
  EXPECT_EQ(end.reason, TurnEnd::answered);
  expect_every_session_whole();
  EXPECT_EQ(agent_->state().turns, 2U);
}

TEST_F(SubAgentsCrash, ACopyUnderAnotherIdLeavesTheSubAgentsOfTheOriginalAlone) {
  add_tools();
  begin(book());
  ASSERT_EQ(turn_of("go").reason, TurnEnd::answered);
  const Order order = recorder_.order;
  const std::size_t kept = until_depth_two(order);
  ASSERT_GT(kept, 0U);
  // How copies were marked before their mark named the id that they came from.
  const auto forget_id = [](SessionCopy& copy) { copy.records.back().event = SessionImported{}; };
  for (const bool is_old : {false, true}) {
    for (const bool by_doctor : {false, true}) {
      SCOPED_TRACE(is_old);
      SCOPED_TRACE(by_doctor);
      ASSERT_NO_FATAL_FAILURE(crash(order, kept));
      const SessionId original = agent_->id();
      const auto before = everything();
      SessionCopy copy = store_->copy(original).value();
      mark_as_imported(copy, 5, SessionId{"20260101-000000-copyyyyy"});
      if (is_old) forget_id(copy);
      const SessionId id = copy.id;
      ASSERT_TRUE(test::run(context_, store_->import(copy)));
      agent_.reset();
      if (by_doctor) {
        ASSERT_TRUE(test::run(context_, close_open_turn(*store_, id)));
      } else {
        ASSERT_NO_FATAL_FAILURE(open(id));
        const auto end = test::run(context_, agent_->resume());
        ASSERT_TRUE(end) << end.error().message;
        EXPECT_EQ(end->reason, TurnEnd::answered);
      }
      auto after = everything();
      for (const auto& [session, records] : before) {
        EXPECT_EQ(after[session].size(), records.size()) << session;
      }
      ASSERT_NO_FATAL_FAILURE(open(original));
      const auto end = test::run(context_, agent_->resume());
      ASSERT_TRUE(end) << end.error().message;
      EXPECT_EQ(agent_->state().last_answer(), "done");
    }
  }
}

TEST_F(SubAgentsCrash, WordsThatEndedTheTurnBeforeItEndAllSessionsBelowWhenItIsResumed) {
  add_tools();
  begin(book());
  ASSERT_EQ(turn_of("go").reason, TurnEnd::answered);
  const Order order = recorder_.order;
  const std::size_t kept = until_depth_two(order);
  ASSERT_GT(kept, 0U);
  ASSERT_NO_FATAL_FAILURE(crash(order, kept));
  const SessionId id = agent_->id();
  const std::vector<Event> words(1, UserInterjected{"third", /*ends_turn=*/true});
  ASSERT_TRUE(test::run(context_, store_->append(id, agent_->state().last_seq, words)));
  agent_.reset();
  open(id);
  const auto end = test::run(context_, agent_->resume());
  ASSERT_TRUE(end) << end.error().message;
  expect_every_session_whole();
}

TEST_F(SubAgentsCrash, TheDoctorFindsOneThatNobodyWaitsForAndClosesATurnWithAllBelowIt) {
  add_tools();
  begin(book());
  ASSERT_EQ(turn_of("go").reason, TurnEnd::answered);
  const Order order = recorder_.order;
  const auto first = std::find_if(order.begin(), order.end(), [](const auto& one) {
    const auto* task = std::get_if<TaskAssigned>(&one.second.event);
    return task != nullptr && task->depth == 1;
  });
  ASSERT_NE(first, order.end());
  const auto kept = static_cast<std::size_t>(first - order.begin()) + 2;  // and its message
  const auto file = dir_.path() / "crashed" / "sessions.db";
  const auto orphans = [&] {
    std::vector<std::string> out;
    const auto report = examine_store(file, clock_, {});
    for (const StoreFault& fault : report->faults) {
      if (fault.kind == FaultKind::orphaned_sub_agent) out.push_back(fault.session);
    }
    return out;
  };

  ASSERT_NO_FATAL_FAILURE(crash(order, kept));
  EXPECT_TRUE(orphans().empty());  // its parent can go on
  std::vector<Event> end = interrupt_open_calls(agent_->state());
  end.emplace_back(TurnEnded{TurnEnd::cancelled, "by a program that knew nothing of it"});
  const std::int64_t last_seq = agent_->state().last_seq;
  ASSERT_TRUE(test::run(context_, store_->append(agent_->id(), last_seq, end)));
  EXPECT_THAT(orphans(), ::testing::ElementsAre(first->first.value));
  ASSERT_TRUE(test::run(context_, close_open_turn(*store_, first->first)));
  EXPECT_TRUE(orphans().empty());

  ASSERT_NO_FATAL_FAILURE(crash(order, kept));
  ASSERT_TRUE(test::run(context_, close_open_turn(*store_, agent_->id())));
  EXPECT_FALSE(folded(first->first.value).is_turn_open);
  EXPECT_TRUE(orphans().empty());
}

}  // namespace
}  // namespace ponder::runtime
