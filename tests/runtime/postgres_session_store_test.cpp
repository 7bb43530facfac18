#include "runtime/store/postgres_session_store.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <boost/asio/co_spawn.hpp>
#include <cstdio>
#include <cstdlib>
#include <map>

#include "base/postgres/connection.h"
#include "runtime/session/session_lines.h"
#include "runtime/session/work_queue.h"
#include "tests/runtime/cutting_proxy.h"
#include "tests/runtime/postgres_server.h"
#include "tests/runtime/store_place.h"
#include "tests/runtime/support.h"

/// What only a store on a server has: leases, a queue, connections that break, and many appends in
/// one transaction. What all stores promise is tested by the suites that run on_postgres.
namespace ponder::runtime {
namespace {

namespace asio = boost::asio;
using std::chrono::milliseconds;
using ::testing::HasSubstr;

constexpr int kSessions = 50;

test::PostgresServer& server() {
  test::PostgresServer* shared = test::shared_postgres();
  if (shared != nullptr) return *shared;
  std::fflush(nullptr);
  std::_Exit(test::StorePlace::kSkipped);
}

class PostgresStoreTest : public ::testing::Test {
 protected:
  PostgresStoreTest() {
    static int number = 0;
    space_ = "test" + std::to_string(++number);
    address_ = server().address(space_);
  }

  /// Another program's store. Its leases last long, unless it says otherwise.
  std::unique_ptr<SessionStore> open(milliseconds lease_ms = milliseconds(60'000)) {
    PostgresOptions options;
    options.lease_ms = lease_ms;
    auto store = open_postgres_store(address_, system_clock(), options);
    EXPECT_TRUE(store) << store.error().message;
    return std::move(*store);
  }
  Result<std::vector<Record>> append(SessionStore& store, const SessionId& id,
                                     std::int64_t last_seq, std::vector<Event> events) {
    return test::run(context_, store.append(id, last_seq, std::move(events)));
  }
  SessionId begin(SessionStore& store) {
    const SessionId id = store.new_id();
    EXPECT_TRUE(append(store, id, 0, {SessionStarted{}}));
    return id;
  }
  /// As time that passes would: the lease of every session has run out.
  void expire_leases() {
    ASSERT_TRUE(
        server().tamper(space_,
                        "UPDATE sessions SET lease_until = clock_timestamp() - interval '1 second' "
                        "WHERE lease_until IS NOT NULL"));
  }
  /// An append whose result comes into `results_` when the context has run.
  void spawn(SessionStore& store, const std::string& name, const SessionId& id,
             std::int64_t last_seq, std::vector<Event> events) {
    asio::co_spawn(context_, store.append(id, last_seq, std::move(events)),
                   [this, name](std::exception_ptr error, Result<std::vector<Record>> result) {
                     PONDER_ASSERT(!error);
                     results_.emplace(name, std::move(result));
                   });
  }
  void run_spawned() {
    context_.restart();
    context_.run();
  }
  /// Holds a session's row, as a program would that stands still in the middle of an append.
  postgres::Connection hold_row(const SessionId& id, const std::string& name) {
    postgres::ConnectOptions options;
    options.name = name;
    auto db = postgres::Connection::open(address_, options);
    PONDER_ASSERT(db.has_value() && db->exec("BEGIN"));
    PONDER_ASSERT(db->query("UPDATE sessions SET title = 'held' WHERE id = $1", {id.value}));
    return std::move(*db);
  }
  std::string value(const std::string& expression) { return server().value(space_, expression); }

  std::string space_;
  std::string address_;
  asio::io_context context_;
  std::map<std::string, Result<std::vector<Record>>> results_;
};

TEST_F(PostgresStoreTest, SessionsThatWaitShareATransaction) {
  auto store = open();
  std::vector<SessionId> ids;
  for (int i = 0; i < kSessions; ++i) ids.push_back(begin(*store));
  const auto commits = store->commits();
  auto row = hold_row(ids[0], "somebody");
  for (int i = 0; i < kSessions; ++i) {
    spawn(*store, std::to_string(i), ids[i], 1, {UserMessage{"hello"}});
  }
  context_.restart();
  context_.poll();
  ASSERT_TRUE(row.exec("COMMIT"));
  context_.run();
  // One for those that came before the row was waited for, and one for the rest.
  EXPECT_LE(store->commits(), commits + 2);
  ASSERT_EQ(results_.size(), static_cast<std::size_t>(kSessions));
  for (const auto& [name, result] : results_) EXPECT_TRUE(result) << result.error().message;
  for (const SessionId& id : ids) EXPECT_EQ(store->load(id)->size(), 2U);
}

TEST_F(PostgresStoreTest, AConflictFailsAloneAndAppendsOfOneSessionKeepTheirOrder) {
  auto store = open();
  const SessionId a = begin(*store);
  const SessionId b = begin(*store);
  const SessionId c = store->new_id();
  spawn(*store, "a1", a, 1, {UserMessage{"first"}});
  spawn(*store, "late", b, 7, {UserMessage{"conflict"}});
  spawn(*store, "a2", a, 2, {UserMessage{"second"}});
  spawn(*store, "b1", b, 1, {UserMessage{"other"}});
  spawn(*store, "twice", b, 1, {UserMessage{"conflict"}});
  spawn(*store, "c0", c, 0, {SessionStarted{}});
  spawn(*store, "c1", c, 1, {UserMessage{"at once"}});
  // Two beginnings of one session, and bytes that the database does not take.
  spawn(*store, "again", b, 2, {UserMessage{"half"}, SessionStarted{}});
  spawn(*store, "bytes", a, 3, {UnreadableEvent{std::string("ty\0pe", 5), "{}", "", 1}});
  run_spawned();
  for (const char* name : {"a1", "a2", "b1", "c0", "c1"}) {
    EXPECT_TRUE(results_.at(name)) << name << ": " << results_.at(name).error().message;
  }
  for (const char* name : {"late", "twice", "again", "bytes"}) {
    EXPECT_FALSE(results_.at(name)) << name;
  }
  EXPECT_EQ(results_.at("late").error().code, Errc::unavailable);
  const auto records = store->load(a);
  ASSERT_EQ(records->size(), 3U);
  EXPECT_EQ(std::get<UserMessage>((*records)[1].event).content, "first");
  EXPECT_EQ(std::get<UserMessage>((*records)[2].event).content, "second");
  EXPECT_EQ(store->load(b)->size(), 2U);
  EXPECT_EQ(store->load(c)->size(), 2U);
}

TEST_F(PostgresStoreTest, TornPayloadsAndTextsWithAnyBytesAreKeptAsTheyAre) {
  auto store = open();
  const SessionId id = begin(*store);
  const std::string torn("{\"content\":\"\xFF\0\xC3", 15);
  std::vector<Event> events = {UnreadableEvent{"user_message", torn, "", 1}};
  std::vector<Blob> blobs = {{"some hash", std::string("\0\xFE text", 7)}};
  ASSERT_TRUE(test::run(context_, store->append(id, 1, std::move(events), std::move(blobs))));
  EXPECT_EQ(std::get<UnreadableEvent>(store->load(id)->back().event).payload, torn);
  EXPECT_EQ(store->load_blob("some hash").value(), std::string("\0\xFE text", 7));
}

TEST_F(PostgresStoreTest, ASessionIsOneProgramsAtATimeAndTheOthersReadWhose) {
  auto one = open();
  auto two = open();
  const SessionId id = begin(*one);
  const Status refused = two->lease(id);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, Errc::unavailable);
  EXPECT_THAT(refused.error().message, HasSubstr("is at work in ponder "));
  EXPECT_FALSE(append(*two, id, 1, {UserMessage{"no"}}));
  EXPECT_EQ(one->load(id)->size(), 1U);
  one.reset();  // gives all of its leases back
  EXPECT_TRUE(two->lease(id));
  EXPECT_TRUE(append(*two, id, 1, {UserMessage{"yes"}}));
}

TEST_F(PostgresStoreTest, AProgramThatStoodStillCannotWriteIntoASessionThatWasTakenOver) {
  auto stalled = open();
  auto other = open();
  const SessionId id = begin(*stalled);
  ASSERT_TRUE(append(*stalled, id, 1, {UserMessage{"before"}}));
  expire_leases();
  ASSERT_TRUE(other->lease(id));
  // Nothing was appended in between: the place alone would not tell.
  const auto late = append(*stalled, id, 2, {TurnEnded{}});
  ASSERT_FALSE(late);
  EXPECT_EQ(late.error().code, Errc::unavailable);
  EXPECT_THAT(late.error().message, HasSubstr("took the session over; nothing was written"));
  EXPECT_TRUE(append(*other, id, 2, {ModelStarted{}}));
  // Not even when the other has finished: what the stalled program knows is old.
  other->release(id);
  other.reset();
  EXPECT_FALSE(append(*stalled, id, 3, {TurnEnded{}}));
  EXPECT_EQ(stalled->load(id)->size(), 3U);
  ASSERT_TRUE(stalled->lease(id));
  EXPECT_TRUE(append(*stalled, id, 3, {TurnEnded{}}));
}

TEST_F(PostgresStoreTest, ALeaseThatRanOutAndThatNobodyTookIsStillItsOwners) {
  auto store = open();
  const SessionId id = begin(*store);
  expire_leases();
  ASSERT_TRUE(append(*store, id, 1, {UserMessage{"on"}}));
  EXPECT_FALSE(open()->lease(id)) << "the append should have renewed it";
}

TEST_F(PostgresStoreTest, LeasesAreRenewedWhileTheirProgramLives) {
  auto store = open(milliseconds(150));
  const SessionId id = begin(*store);
  const std::string after_append = value("(SELECT lease_until FROM sessions)");
  const auto renewed = [&] { return value("(SELECT lease_until FROM sessions)") != after_append; };
  // Each look takes a connection's time; a lease has many beats in so many of them.
  for (int i = 0; i < 10'000 && !renewed(); ++i) {
  }
  EXPECT_TRUE(renewed());
  EXPECT_EQ(value("(SELECT fence FROM sessions)"), "1");
}

TEST_F(PostgresStoreTest, AProgramLearnsThatItsLeaseIsAnothersBeforeItWrites) {
  auto store = open(milliseconds(150));
  const SessionId id = begin(*store);
  ASSERT_TRUE(server().tamper(space_, "UPDATE sessions SET lease_owner = 'ponder x', fence = 2"));
  const auto commits = store->commits();
  // The next renewal tells; from then on nothing is sent.
  Result<std::vector<Record>> late = fail(Errc::internal, "");
  for (int i = 0; i < 10'000; ++i) {
    (void)value("(SELECT 1)");
    if (i % 10 == 0) late = append(*store, id, 5, {TurnEnded{}});
    if (late || late.error().message.find("took the session over") != std::string::npos) break;
  }
  ASSERT_FALSE(late);
  EXPECT_THAT(late.error().message, HasSubstr("ponder x took the session over"));
  const auto sent = store->commits();
  EXPECT_FALSE(append(*store, id, 1, {TurnEnded{}}));
  EXPECT_EQ(store->commits(), sent);
  EXPECT_GE(sent, commits);
}

TEST_F(PostgresStoreTest, ConnectionsThatBreakAreMadeAnewAndNothingIsWrittenTwice) {
  auto store = open();
  const SessionId id = begin(*store);
  for (int i = 0; i < 20; ++i) {
    if (i % 3 == 0) {
      ASSERT_TRUE(server().cut_connections());
    }
    const auto records =
        append(*store, id, 1 + i, {ModelStarted{static_cast<std::uint32_t>(i), 0}});
    ASSERT_TRUE(records) << records.error().message;
    if (i % 4 == 0) {
      ASSERT_TRUE(server().cut_connections());
    }
    ASSERT_EQ(store->load(id)->size(), static_cast<std::size_t>(2 + i));
  }
}

TEST_F(PostgresStoreTest, AnAppendWhoseAnswerWasLostIsFoundToBeWrittenAndNotWrittenAgain) {
  test::TempDir dir;
  test::CuttingProxy proxy(dir.path() / ".s.PGSQL.5432", server().socket());
  auto store =
      std::move(*open_postgres_store(server().address(space_, dir.path()), system_clock()));
  const SessionId id = store->new_id();
  proxy.lose_next_answer();
  // The writer's connection is made first; losing an answer meanwhile costs only another try.
  ASSERT_TRUE(append(*store, id, 0, {SessionStarted{}}));
  EXPECT_EQ(proxy.lost(), 1);
  for (std::int64_t seq = 1; seq <= 5; ++seq) {
    proxy.lose_next_answer();
    const auto records = append(*store, id, seq, {UserMessage{"once"}});
    ASSERT_TRUE(records) << records.error().message;
    EXPECT_EQ(records->front().seq, seq + 1);
    EXPECT_EQ(proxy.lost(), 1 + seq);
    EXPECT_EQ(value("(SELECT count(*) FROM events)"), std::to_string(seq + 1));
  }
  // The same for the beginning of a session, a fork and an import.
  const SessionId second = store->new_id();
  proxy.lose_next_answer();
  ASSERT_TRUE(append(*store, second, 0, {SessionStarted{}}));
  SessionCopy copy = *store->copy(id);
  copy.id = store->new_id();
  proxy.lose_next_answer();
  const Status imported = test::run(context_, store->import(copy));
  EXPECT_TRUE(imported) << imported.error().message;
  EXPECT_EQ(store->load(copy.id)->size(), 6U);
  EXPECT_EQ(proxy.lost(), 8);
}

TEST_F(PostgresStoreTest, AnAppendWhoseTransactionWasKilledIsWrittenOnceInTheEnd) {
  auto store = open();
  const SessionId id = begin(*store);
  ASSERT_TRUE(server().tamper(space_, R"sql(
    CREATE FUNCTION die() RETURNS trigger LANGUAGE plpgsql AS $$
      BEGIN PERFORM pg_terminate_backend(pg_backend_pid()); RETURN NULL; END $$;
    CREATE CONSTRAINT TRIGGER die AFTER INSERT ON events DEFERRABLE INITIALLY DEFERRED
      FOR EACH ROW WHEN (NEW.seq = 2) EXECUTE FUNCTION die())sql"));
  spawn(*store, "killed", id, 1, {UserMessage{"once"}});
  context_.restart();
  context_.poll();
  ASSERT_TRUE(server().tamper(space_, "DROP TRIGGER die ON events"));
  context_.run();
  EXPECT_TRUE(results_.at("killed")) << results_.at("killed").error().message;
  EXPECT_EQ(store->load(id)->size(), 2U);
}

TEST_F(PostgresStoreTest, WhoseFirstTryWasUndoneHasNotBegunWhatAnotherBegan) {
  auto one = open();
  auto other = open();
  (void)begin(*one);
  const std::string owner = value("(SELECT lease_owner FROM sessions)");
  // Whatever `one` begins is undone, and its connection broken; how often is counted.
  ASSERT_TRUE(server().tamper(space_, R"sql(
    CREATE SEQUENCE tries;
    CREATE FUNCTION die() RETURNS trigger LANGUAGE plpgsql AS $$
      BEGIN
        IF current_setting('application_name') = ')sql" +
                                          owner + R"sql(' THEN
          PERFORM nextval('tries');
          PERFORM pg_terminate_backend(pg_backend_pid());
        END IF;
        RETURN NULL;
      END $$;
    CREATE CONSTRAINT TRIGGER die AFTER INSERT ON events DEFERRABLE INITIALLY DEFERRED
      FOR EACH ROW EXECUTE FUNCTION die())sql"));
  const SessionId id = one->new_id();
  spawn(*one, "undone", id, 0, {SessionStarted{}, UserMessage{"one"}});
  context_.restart();
  context_.poll();
  while (value("(SELECT is_called FROM tries)") != "true") {
  }
  // As who took over the parent of a sub-agent does: it begins the same session.
  asio::io_context elsewhere;
  ASSERT_TRUE(test::run(elsewhere, other->append(id, 0, {SessionStarted{}, UserMessage{"other"}})));
  context_.run();
  ASSERT_FALSE(results_.at("undone")) << "it was told that another's events were its own";
  EXPECT_THAT(results_.at("undone").error().message, HasSubstr("is there already"));
  EXPECT_EQ(std::get<UserMessage>(one->load(id)->back().event).content, "other");
  EXPECT_TRUE(append(*other, id, 2, {TurnEnded{}}));
}

TEST_F(PostgresStoreTest, ARowThatAStalledProgramHoldsIsFreedWhenItsLeaseHasRunOut) {
  auto stalled = open();
  const SessionId id = begin(*stalled);
  const std::string owner = value("(SELECT lease_owner FROM sessions)");
  expire_leases();
  auto row = hold_row(id, owner);
  auto other = open();
  ASSERT_TRUE(other->lease(id));
  EXPECT_FALSE(row.exec("COMMIT"));
  EXPECT_TRUE(append(*other, id, 1, {UserMessage{"on"}}));
  EXPECT_EQ(value("(SELECT title FROM sessions)"), "on");
}

TEST_F(PostgresStoreTest, TheQueueGivesEachSessionToOneProgramAndAgainWhenThatIsGone) {
  auto one = open();
  auto two = open();
  const SessionId a = begin(*one);
  const SessionId b = begin(*one);
  EXPECT_FALSE(two->queue()->take()->has_value());
  ASSERT_TRUE(one->queue()->put(a));
  ASSERT_TRUE(one->queue()->put(b));
  EXPECT_FALSE(two->queue()->take({a, b})->has_value());
  EXPECT_EQ(two->queue()->take()->value(), a);
  EXPECT_EQ(one->queue()->take()->value(), b);
  EXPECT_FALSE(two->queue()->take()->has_value());
  ASSERT_TRUE(two->lease(a));  // as its agent does
  ASSERT_TRUE(append(*two, a, 1, {UserMessage{"x"}}));
  expire_leases();  // both programs are gone
  auto three = open();
  EXPECT_EQ(three->queue()->take()->value(), a);
  EXPECT_EQ(three->queue()->take()->value(), b);
  EXPECT_FALSE(append(*two, a, 2, {TurnEnded{}}));
  ASSERT_TRUE(three->queue()->remove(a));
  ASSERT_TRUE(three->queue()->remove(b));
  expire_leases();
  EXPECT_FALSE(two->queue()->take()->has_value());
}

TEST_F(PostgresStoreTest, ASessionThatWasTakenTooOftenIsLeftAlone) {
  auto store = open();
  const SessionId id = begin(*store);
  ASSERT_TRUE(store->queue()->put(id));
  ASSERT_TRUE(server().tamper(space_, "UPDATE queue SET takes = 100"));
  EXPECT_FALSE(open()->queue()->take()->has_value());
  ASSERT_TRUE(store->queue()->put(id));
  EXPECT_TRUE(open()->queue()->take()->has_value());
}

TEST_F(PostgresStoreTest, TheQueueKeepsWhyTheLastWorkerLeftASession) {
  auto store = open();
  const SessionId id = begin(*store);
  ASSERT_TRUE(store->queue()->put(id));
  const auto place = [&] { return store->queue()->list().value().at(0); };
  EXPECT_EQ(place().problem, "");
  EXPECT_FALSE(place().was_left_silently()) << "nobody has taken it";
  auto other = open();
  ASSERT_TRUE(other->queue()->take()->has_value());
  EXPECT_FALSE(place().was_left_silently()) << "it is at work";
  // What is no text, and more lines than one, must not cost it its place.
  const std::string words("no fol\0der \xFF here\nand more", 26);
  ASSERT_TRUE(other->queue()->note(id, words));
  other.reset();
  EXPECT_EQ(place().problem, "no folder \uFFFD here");
  EXPECT_FALSE(place().was_left_silently());
  // The next one is killed.
  ASSERT_TRUE(open()->queue()->take()->has_value());
  expire_leases();
  EXPECT_EQ(place().problem, "no folder \uFFFD here");
  EXPECT_TRUE(place().was_left_silently());
  ASSERT_TRUE(open()->queue()->put(id));
  EXPECT_EQ(place().problem, "");
  EXPECT_FALSE(place().was_left_silently());
  ASSERT_TRUE(store->queue()->remove(id));
  EXPECT_TRUE(store->queue()->note(id, "too late"));
  EXPECT_EQ(store->queue()->size().value(), 0U);
}

TEST_F(PostgresStoreTest, AQueueOfTheFirstVersionIsBroughtUpToDate) {
  SessionId id;
  {
    auto store = open();
    id = begin(*store);
    ASSERT_TRUE(store->queue()->put(id));
  }
  ASSERT_TRUE(server().tamper(
      space_,
      "ALTER TABLE queue DROP COLUMN problem; ALTER TABLE queue DROP COLUMN problem_takes; "
      "UPDATE queue SET takes = 3; UPDATE ponder_schema SET version = 1"));
  auto store = open();
  const auto places = store->queue()->list();
  ASSERT_TRUE(places) << places.error().message;
  ASSERT_EQ(places->size(), 1U);
  EXPECT_EQ(places->front().session, id);
  EXPECT_EQ(places->front().takes, 3);
  EXPECT_EQ(places->front().problem, "");
  EXPECT_EQ(store->load(id)->size(), 1U);
  EXPECT_TRUE(store->queue()->take()->has_value());
  EXPECT_EQ(value("(SELECT version FROM ponder_schema)"), "2");
}

TEST_F(PostgresStoreTest, TablesOfANewerPonderAreLeftAlone) {
  (void)open();
  ASSERT_TRUE(server().tamper(space_, "UPDATE ponder_schema SET version = 1000"));
  const auto store = open_postgres_store(address_, system_clock());
  ASSERT_FALSE(store);
  EXPECT_EQ(store.error().code, Errc::unavailable);
  EXPECT_THAT(store.error().message, HasSubstr("made by a newer ponder"));
}

TEST_F(PostgresStoreTest, AServerThatIsNotThereIsNamedWithoutItsPassword) {
  const auto store =
      open_postgres_store("postgresql://me:secret@127.0.0.1:1/trips", system_clock());
  ASSERT_FALSE(store);
  EXPECT_EQ(store.error().code, Errc::unavailable);
  EXPECT_THAT(store.error().message, HasSubstr("postgresql://me@127.0.0.1:1/trips"));
  EXPECT_THAT(store.error().message, HasSubstr("PONDER_SESSIONS"));
  EXPECT_THAT(store.error().message, ::testing::Not(HasSubstr("secret")));
  EXPECT_EQ(store.error().message.find('\n'), std::string::npos);
}

TEST(PostgresServerCrash, WhatWasAcknowledgedIsThereAndTheProgramsGoOn) {
  (void)server();  // or the test is skipped
  auto own = test::PostgresServer::start(/*syncs=*/true);
  ASSERT_TRUE(own) << own.error().message;
  asio::io_context context;
  auto store = open_postgres_store((*own)->address("crash"), system_clock());
  ASSERT_TRUE(store) << store.error().message;
  const SessionId id = (*store)->new_id();
  ASSERT_TRUE(test::run(context, (*store)->append(id, 0, {SessionStarted{}})));
  for (std::int64_t seq = 1; seq <= 3; ++seq) {
    (*own)->crash();
    std::optional<Result<std::vector<Record>>> result;
    asio::co_spawn(context, (*store)->append(id, seq, {UserMessage{"x"}}),
                   [&](std::exception_ptr, Result<std::vector<Record>> done) {
                     result.emplace(std::move(done));
                   });
    context.restart();
    context.poll();
    ASSERT_TRUE((*own)->go_on());
    context.run();
    ASSERT_TRUE(result && *result) << (*result).error().message;
    EXPECT_EQ((*store)->load(id)->size(), static_cast<std::size_t>(seq + 1));
  }
}

}  // namespace
}  // namespace ponder::runtime
