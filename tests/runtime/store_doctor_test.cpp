#include "runtime/store/store_doctor.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>

#include "base/digest.h"
#include "runtime/agent/context_keeper.h"
#include "tests/runtime/agent_fixture.h"

/// Damage of every kind, inflicted on a real file; what the doctor says and mends, and that nobody
/// else minds.
namespace ponder::runtime {
namespace {

using test::says;
using ::testing::HasSubstr;
using tools::Effect;
using State = StoreFault::State;

class StoreDoctorTest : public test::AgentFixture {
 protected:
  StoreDoctorTest() {
    add_tool("reads", Effect::pure, test::echo);
    add_tool("pays", Effect::irreversible, test::echo);
  }

  /// A session that called both tools and answered: 12 events.
  SessionId whole_session() {
    start({ScriptedStep(says("", {{"reads", "{}"}, {"pays", "{}"}})), ScriptedStep(says("done"))});
    turn();
    return agent_->id();
  }
  SessionId plant(std::vector<Event> events, std::vector<Blob> blobs = {}) {
    const SessionId id = store_->new_id();
    SessionStarted start;
    start.tools = registry_.specs();
    events.insert(events.begin(), Event(start));
    EXPECT_TRUE(test::run(context_, store_->append(id, 0, std::move(events), std::move(blobs))));
    return id;
  }
  ModelCompleted call_of(const std::string& tool) {
    ModelCompleted e;
    e.message.role = context::Role::assistant;
    e.message.tool_calls.push_back({"id0", tool, "{}"});
    e.call_faults.resize(1);
    return e;
  }
  std::int64_t seq_of(const SessionId& id, const std::string& type, int skip = 0) {
    const auto records = store_->load(id);
    for (const Record& record : *records) {
      if (event_type(record.event) == type && skip-- == 0) return record.seq;
    }
    ADD_FAILURE() << "no " << type;
    return 0;
  }

  void tamper(const std::string& sql) {
    const Status done = place_.tamper(sql);
    ASSERT_TRUE(done) << done.error().message;
  }
  std::string value(const std::string& query) { return place_.value("(" + query + ")"); }
  static std::string at(const SessionId& id, std::int64_t seq) {
    return " WHERE session = '" + id.value + "' AND seq = " + std::to_string(seq);
  }

  std::vector<StoreFault> examine(bool mends = false) {
    DoctorOptions options;
    options.mends = mends;
    const auto report = examine_store(place_.address(), clock_, options);
    EXPECT_TRUE(report) << report.error().message;
    return report ? report->faults : std::vector<StoreFault>();
  }
  /// Expects one fault, first found, then handled by --mend, and then what it stays.
  void expect_fault(FaultKind kind, State after_mending, bool stays) {
    auto faults = examine();
    ASSERT_EQ(faults.size(), 1U);
    EXPECT_STREQ(fault_name(faults[0].kind), fault_name(kind)) << faults[0].detail;
    EXPECT_EQ(faults[0].state, after_mending == State::lasting ? State::lasting : State::found);
    faults = examine(true);
    ASSERT_EQ(faults.size(), 1U);
    EXPECT_STREQ(state_name(faults[0].state), state_name(after_mending)) << faults[0].detail;
    EXPECT_EQ(examine().size(), stays ? 1U : 0U);
  }
  /// The session takes another turn; the scripted model is strict about the conversation.
  void expect_goes_on(const SessionId& id) {
    reopen(id, {ScriptedStep(says("fine"))});
    const auto end = test::run(context_, agent_->run_turn("more"));
    ASSERT_TRUE(end) << end.error().message;
    EXPECT_EQ(end->reason, TurnEnd::answered) << end->detail;
  }
};

TEST_F(StoreDoctorTest, AWholeStoreHasNothingWrong) {
  const SessionId id = whole_session();
  ASSERT_TRUE(test::run(context_, store_->fork(id, 4)));
  const auto report = examine_store(place_.address(), clock_, {});
  ASSERT_TRUE(report);
  EXPECT_EQ(report->sessions, 2U);
  EXPECT_EQ(report->events, agent_->state().last_seq + 1U);
  for (const auto& fault : report->faults) ADD_FAILURE() << fault.detail;
}

TEST_F(StoreDoctorTest, ATornLastRecordIsKeptAsideAndTheSessionGoesOn) {
  const SessionId id = whole_session();
  const std::string last = at(id, agent_->state().last_seq);
  ASSERT_NO_FATAL_FAILURE(tamper("UPDATE events SET payload = '{\"reas'" + last));
  expect_fault(FaultKind::unreadable_event, State::quarantined, /*stays=*/true);
  EXPECT_EQ(value("SELECT payload FROM quarantine"), "{\"reas");
  EXPECT_EQ(value("SELECT payload FROM events" + last), "{\"reas");
  expect_goes_on(id);
}

TEST_F(StoreDoctorTest, AnEventOfANewerProgramIsShownAndLeftAlone) {
  const SessionId id = whole_session();
  const std::string middle = at(id, 3);
  ASSERT_NO_FATAL_FAILURE(
      tamper("UPDATE events SET type = 'weather_changed', payload = '{}'" + middle));
  expect_fault(FaultKind::unknown_event, State::lasting, true);
  EXPECT_THAT(examine()[0].remedy, HasSubstr("newer ponder"));
  EXPECT_EQ(value("SELECT type FROM events" + middle), "weather_changed");
  expect_goes_on(id);
}

TEST_F(StoreDoctorTest, AGapIsShownNotedAndSteppedOver) {
  const SessionId id = whole_session();
  ASSERT_NO_FATAL_FAILURE(tamper("DELETE FROM events" + at(id, 3)));
  expect_fault(FaultKind::missing_events, State::quarantined, true);
  const auto records = store_->load(id);
  EXPECT_EQ(std::get<UnreadableEvent>((*records)[2].event).problem, "event 3 is missing");
  expect_goes_on(id);
}

TEST_F(StoreDoctorTest, ALastEventThatIsGoneIsAGapAndNoted) {
  const SessionId id = whole_session();
  const auto last = static_cast<std::int64_t>(store_->load(id)->size());
  ASSERT_NO_FATAL_FAILURE(tamper("DELETE FROM events" + at(id, last)));
  expect_fault(FaultKind::missing_events, State::quarantined, false);
  EXPECT_EQ(value("SELECT kind FROM quarantine" + at(id, last)), "missing_events");
}

TEST_F(StoreDoctorTest, ACallWhoseOutcomeIsLostIsReadAsUnknownAndNotFiredAgain) {
  const SessionId id = whole_session();
  const std::int64_t finished = seq_of(id, "tool_finished", 1);
  ASSERT_NO_FATAL_FAILURE(tamper("UPDATE events SET payload = ''" + at(id, finished)));
  const auto faults = examine(true);
  ASSERT_EQ(faults.size(), 2U);
  EXPECT_EQ(faults[0].kind, FaultKind::unreadable_event);
  EXPECT_EQ(faults[1].kind, FaultKind::lost_outcome);
  EXPECT_EQ(faults[1].state, State::quarantined);
  journal_.clear();
  expect_goes_on(id);
  EXPECT_TRUE(journal_.empty());
  const context::Conversation conversation = agent_->state().conversation;
  const auto lost = std::count_if(conversation.begin(), conversation.end(), [](const auto& m) {
    return m.role == context::Role::tool && m.content.find("no outcome") != std::string::npos;
  });
  EXPECT_EQ(lost, 1);
}

TEST_F(StoreDoctorTest, ACallWhoseIntentCannotBeReadIsNotFired) {
  const SessionId id = plant({UserMessage{"go"}, ModelStarted{}, call_of("pays"),
                              UnreadableEvent{"tool_intended", "{", "", 1}});
  reopen(id, {ScriptedStep(says("fine"))});
  ASSERT_TRUE(test::run(context_, agent_->resume()));
  EXPECT_TRUE(journal_.empty());
  ASSERT_EQ(outcomes().size(), 1U);
  EXPECT_EQ(outcomes()[0].outcome, Outcome::interrupted);
}

TEST_F(StoreDoctorTest, AnOrphanedIntentIsClosedOnlyWhereItsSessionIsNamed) {
  const SessionId id = plant({UserMessage{"go"}, ModelStarted{}, call_of("pays"),
                              ToolIntended{0, 0, Effect::irreversible}});
  expect_fault(FaultKind::orphaned_intent, State::lasting, true);
  EXPECT_EQ(store_->load(id)->size(), 5U);
  const auto closed = test::run(context_, close_open_turn(*store_, id));
  ASSERT_TRUE(closed) << closed.error().message;
  EXPECT_EQ(*closed, 1U);
  EXPECT_TRUE(examine().empty());
  const SessionState state = fold(*store_->load(id));
  EXPECT_FALSE(state.is_turn_open);
  EXPECT_THAT(state.conversation.back().content, HasSubstr("interrupted"));
  expect_goes_on(id);
}

TEST_F(StoreDoctorTest, EventsInAnImpossibleOrderAreNamedAndSteppedOver) {
  const SessionId id = plant({ToolFinished{0, 0, Outcome::success, "of nothing", 1},
                              UserMessage{"go"}, ModelStarted{}, TurnEnded{}});
  expect_fault(FaultKind::wrong_order, State::quarantined, true);
  expect_goes_on(id);
}

TEST_F(StoreDoctorTest, AnAnswerToWhatNobodyAskedIsNamedAndSteppedOver) {
  const SessionId id =
      plant({UserMessage{"go"}, ModelStarted{}, call_of("reads"), ToolIntended{0, 0, Effect::pure},
             ToolStarted{0, 0}, QuestionAnswered{0, 0, 0, QuestionEnd::answered, "yes"},
             ToolFinished{0, 0, Outcome::success, "read", 1}, ModelStarted{1, 0}, TurnEnded{}});
  expect_fault(FaultKind::wrong_order, State::quarantined, true);
  expect_goes_on(id);
}

class DoctoredBlobTest : public StoreDoctorTest {
 protected:
  /// A session whose first tool result was paged out.
  SessionId cut_session() {
    std::vector<Event> events = {
        UserMessage{"go"}, ModelStarted{},
        call_of("reads"),  ToolIntended{0, 0, Effect::pure},
        ToolStarted{0, 0}, ToolFinished{0, 0, Outcome::success, "a long result", 1}};
    SessionState state;
    apply(state, Record{1, 0, SessionStarted{}});
    for (const Event& event : events) apply(state, Record{state.last_seq + 1, 0, event});
    ContextReduced cut;
    cut.reduction.strategy = context::Strategy::page_out;
    cut.reduction.paged_out = {{state.conversation.size() - 1, "", 13, "[moved]"}};
    const auto blobs = blobs_of(state, cut.reduction);
    cut.reduction.paged_out[0].hash = hash_ = blobs[0].hash;
    // In the log the system message stands before them.
    ++cut.reduction.paged_out[0].message;
    cut.blobs = {{hash_, 13, "result of reads"}};
    events.emplace_back(std::move(cut));
    return plant(std::move(events), blobs);
  }
  std::string hash_;
};

TEST_F(DoctoredBlobTest, AMissingTextIsMadeAgainFromTheLog) {
  cut_session();
  ASSERT_TRUE(examine().empty());
  ASSERT_NO_FATAL_FAILURE(tamper("DELETE FROM blobs"));
  expect_fault(FaultKind::missing_blob, State::mended, false);
  EXPECT_EQ(store_->load_blob(hash_).value(), "a long result");
}

TEST_F(DoctoredBlobTest, ADamagedTextIsKeptAsideAndMadeAgain) {
  cut_session();
  ASSERT_NO_FATAL_FAILURE(tamper("UPDATE blobs SET text = 'a wrong result'"));
  expect_fault(FaultKind::damaged_blob, State::mended, false);
  EXPECT_EQ(store_->load_blob(hash_).value(), "a long result");
  EXPECT_EQ(value("SELECT payload FROM quarantine"), "a wrong result");
}

TEST_F(DoctoredBlobTest, ATextThatTheLogCannotMakeAgainIsReportedAsGone) {
  ContextReduced cut;
  cut.blobs = {{std::string(64, 'a'), 13, "result of reads"}};
  plant({UserMessage{"go"}, cut});
  expect_fault(FaultKind::missing_blob, State::lasting, true);
}

TEST_F(DoctoredBlobTest, AResultThatWasTooLongForItsEventIsLookedForAsWell) {
  const std::string text = "a result of which the event has but the beginning";
  ToolFinished finished{0, 0, Outcome::success, "a result", 1};
  finished.whole = BlobRef{sha256_hex(text), text.size(), "result of reads"};
  plant({UserMessage{"go"}, ModelStarted{}, call_of("reads"), ToolIntended{0, 0, Effect::pure},
         ToolStarted{0, 0}, finished, TurnEnded{}},
        {{finished.whole->hash, text}});
  ASSERT_TRUE(examine().empty());
  ASSERT_NO_FATAL_FAILURE(tamper("DELETE FROM blobs"));
  expect_fault(FaultKind::missing_blob, State::lasting, true);
}

TEST_F(StoreDoctorTest, AForkThatIsListedWronglyFollowsItsLogAgain) {
  const SessionId parent = whole_session();
  const auto fork = test::run(context_, store_->fork(parent, 4));
  for (const char* change : {"parent_seq = 2", "parent = NULL, parent_seq = 0"}) {
    ASSERT_NO_FATAL_FAILURE(
        tamper("UPDATE sessions SET " + std::string(change) + " WHERE id = '" + fork->value + "'"));
    EXPECT_EQ(examine()[0].kind, FaultKind::wrong_chain);
    EXPECT_EQ(examine(true)[0].state, State::mended);
    EXPECT_TRUE(examine().empty());
    EXPECT_EQ(store_->load(*fork)->size(), 5U);
  }
}

TEST_F(StoreDoctorTest, AForkWithoutItsParentSaysWhatWouldMendIt) {
  const SessionId parent = whole_session();
  const SessionId other = whole_session();
  ASSERT_TRUE(test::run(context_, store_->fork(parent, 4)));
  ASSERT_NO_FATAL_FAILURE(tamper("DELETE FROM events WHERE session = '" + parent.value +
                                 "'; DELETE FROM sessions WHERE id = '" + parent.value + "'"));
  const auto faults = examine(true);
  ASSERT_FALSE(faults.empty());
  EXPECT_EQ(faults[0].kind, FaultKind::wrong_chain);
  EXPECT_EQ(faults[0].state, State::lasting);
  EXPECT_THAT(faults[0].remedy, HasSubstr("import the parent"));
  EXPECT_THAT(faults[0].detail, HasSubstr(parent.value));
  expect_goes_on(other);
}

TEST_F(StoreDoctorTest, ASessionThatIsNotListedIsListedAgain) {
  const SessionId id = whole_session();
  ASSERT_NO_FATAL_FAILURE(tamper("DELETE FROM sessions"));
  expect_fault(FaultKind::stray_events, State::mended, false);
  ASSERT_EQ(store_->list(10)->size(), 1U);
  EXPECT_EQ(store_->list(10)->front().title, "go");
  expect_goes_on(id);
}

TEST_F(StoreDoctorTest, AnEventBehindAForksBackIsMovedAside) {
  const SessionId parent = whole_session();
  const auto fork = test::run(context_, store_->fork(parent, 4));
  ASSERT_NO_FATAL_FAILURE(
      tamper("INSERT INTO events (session, seq, unix_ms, type, version, payload) VALUES ('" +
             fork->value + "', 2, 0, 'user_message', 1, '{\"content\":\"no\"}')"));
  EXPECT_EQ(std::get<UserMessage>((*store_->load(*fork))[1].event).content, "go");
  auto faults = examine();
  ASSERT_FALSE(faults.empty());
  EXPECT_EQ(faults[0].kind, FaultKind::stray_events);
  EXPECT_EQ(examine(true)[0].state, State::quarantined);
  EXPECT_TRUE(examine().empty());
  EXPECT_EQ(value("SELECT payload FROM quarantine"), "{\"content\":\"no\"}");
}

/// A closed store file with two kinds of page to damage: those that hold events, and the one above
/// them, by which they are found.
TEST_F(StoreDoctorTest, TwoEventsAtOnePlaceAreNamed) {
  const SessionId id = whole_session();
  if (place_.address().starts_with("postgresql")) {  // the table's key has room for one
    EXPECT_FALSE(place_.tamper("INSERT INTO events SELECT * FROM events" + at(id, 3)));
    return;
  }
  ASSERT_NO_FATAL_FAILURE(
      tamper("INSERT INTO events (session, seq, unix_ms, type, version, before, payload) "
             "SELECT session, seq, unix_ms, type, version, before, payload FROM events" +
             at(id, 3)));
  const auto faults = examine();
  ASSERT_EQ(faults.size(), 1U);
  EXPECT_EQ(faults[0].kind, FaultKind::stray_events);
  EXPECT_EQ(faults[0].seq, 3);
  EXPECT_EQ(faults[0].state, State::lasting);
}

class DamagedPageTest : public StoreDoctorTest {
 protected:
  static constexpr std::size_t page_bytes = 4096;
  static std::string content_of(std::size_t i) {
    return "the message of session " + std::to_string(i) + " " + std::string(3000, 'x');
  }
  void plant_sessions(std::size_t count) {
    while (sessions_.size() < count) {
      sessions_.push_back(plant({UserMessage{content_of(sessions_.size())}}));
    }
    store_.reset();  // moves the log into the file
    std::ifstream in(place_.address(), std::ios::binary);
    bytes_.assign(std::istreambuf_iterator<char>(in), {});
  }
  /// Where the page begins that a session's message lies on.
  std::size_t page_of(std::size_t session) const {
    const std::size_t at = bytes_.find("{\"content\":\"" + content_of(session).substr(0, 30));
    if (at == std::string::npos) throw std::logic_error("a planted message is not in the file");
    return at / page_bytes * page_bytes;
  }
  std::size_t page_above_events() const {
    const auto page = place_.value("(SELECT rootpage FROM sqlite_schema WHERE name = 'events')");
    return (std::stoul(page) - 1) * page_bytes;
  }
  /// What kind of page it is (https://www.sqlite.org/fileformat2.html, 1.6).
  char kind_of(std::size_t page) const { return bytes_[page]; }
  void damage(std::size_t page) {
    bytes_.replace(page, page_bytes, std::string(page_bytes, '\x5A'));
    std::ofstream(place_.address(), std::ios::binary) << bytes_;
    store_ = place_.open();
  }
  void expect_damaged_file_is_named() {
    const auto faults = examine(true);
    ASSERT_FALSE(faults.empty());
    EXPECT_EQ(faults[0].kind, FaultKind::damaged_file);
    EXPECT_EQ(faults[0].state, State::lasting);
    EXPECT_THAT(faults[0].remedy, HasSubstr(".recover"));
    for (const auto& fault : faults) EXPECT_NE(fault.state, State::mended);
  }

  std::vector<SessionId> sessions_;

 private:
  std::string bytes_;
};

TEST_F(DamagedPageTest, ALeafIsNamedWithWhatToDoAndTheOtherSessionsOpen) {
  plant_sessions(21);
  const std::size_t hit = 10;
  ASSERT_EQ(kind_of(page_of(hit)), 13);
  damage(page_of(hit));

  EXPECT_EQ(store_->list(100)->size(), sessions_.size());
  const auto lost = store_->load(sessions_[hit]);
  EXPECT_TRUE(!lost || lost->empty() ||
              std::holds_alternative<UnreadableEvent>(lost->front().event));
  std::size_t open = 0;
  for (const SessionId& id : sessions_) open += store_->load(id) ? 1 : 0;
  EXPECT_GE(open, sessions_.size() - 5) << "a page holds the beginnings of a few events";
  expect_damaged_file_is_named();
}

TEST_F(DamagedPageTest, AnInteriorPageIsNamedAndEverySessionIsAnErrorOrWhole) {
  plant_sessions(200);
  ASSERT_EQ(kind_of(page_above_events()), 5);
  damage(page_above_events());

  EXPECT_EQ(store_->list(1000)->size(), sessions_.size());
  for (const SessionId& id : sessions_) {
    const auto records = store_->load(id);
    EXPECT_TRUE(!records || records->size() == 2U);
  }
  expect_damaged_file_is_named();
}

}  // namespace
}  // namespace ponder::runtime
