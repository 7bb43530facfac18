#include "runtime/store/sqlite_session_store.h"

#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <fstream>
#include <future>

#include "base/sqlite/connection.h"
#include "base/sqlite/write_lock.h"
#include "runtime/store/store_doctor.h"
#include "tests/runtime/support.h"

namespace ponder::runtime {
namespace {

namespace asio = boost::asio;
namespace fs = std::filesystem;

class SqliteSessionStoreTest : public ::testing::Test {
 protected:
  std::unique_ptr<SessionStore> open() {
    auto store = SqliteSessionStore::open(file_, clock_);
    EXPECT_TRUE(store) << store.error().message;
    return std::move(*store);
  }
  Result<std::vector<Record>> append(SessionStore& store, const SessionId& id,
                                     std::int64_t last_seq, std::vector<Event> events) {
    return test::run(context_, store.append(id, last_seq, std::move(events)));
  }
  SessionId begin(SessionStore& store, const std::string& words) {
    const SessionId id = store.new_id();
    SessionStarted start;
    start.workflow = "travel";
    start.model = "mini";
    EXPECT_TRUE(append(store, id, 0, {start, UserMessage{words}}));
    return id;
  }

  test::TempDir dir_;
  fs::path file_ = dir_.path() / "state" / "sessions.db";
  test::ManualClock clock_;
  asio::io_context context_;
};

TEST_F(SqliteSessionStoreTest, AFileThatIsNoDatabaseIsNamedWithARemedy) {
  fs::create_directories(file_.parent_path());
  std::ofstream(file_) << std::string(8192, 'x');
  const auto store = SqliteSessionStore::open(file_, clock_);
  ASSERT_FALSE(store);
  EXPECT_EQ(store.error().code, Errc::corrupt);
  EXPECT_NE(store.error().message.find(file_.string()), std::string::npos);
  EXPECT_NE(store.error().message.find("move the file away"), std::string::npos);
  EXPECT_EQ(store.error().message.find('\n'), std::string::npos);
}

TEST_F(SqliteSessionStoreTest, WritesRunWhereTheCallerSaysAndIdsFollowFromItsRandomness) {
  asio::io_context disk;
  StoreOptions options;
  options.writer = disk.get_executor();
  options.random = [] { return 11; };  // the letter b
  auto store = SqliteSessionStore::open(file_, clock_, options);
  ASSERT_TRUE(store) << store.error().message;
  const SessionId id = (*store)->new_id();
  EXPECT_EQ(id.value.substr(id.value.size() - 9), "-bbbbbbbb");

  bool is_written = false;
  std::vector<Event> events = {SessionStarted(), UserMessage{"hi"}};
  const auto note = [&](std::exception_ptr, const auto& records) {
    is_written = records.has_value();
  };
  asio::co_spawn(context_, (*store)->append(id, 0, std::move(events)), note);
  context_.poll();
  EXPECT_FALSE((*store)->load(id)) << "nothing has run on the writer yet";
  disk.poll();
  context_.restart();
  context_.poll();
  EXPECT_TRUE(is_written);
  EXPECT_TRUE((*store)->load(id));
}

TEST_F(SqliteSessionStoreTest, ADamagedPageIsAnErrorOnReadingNotACrash) {
  SessionId id;
  {
    auto store = open();
    id = begin(*store, std::string(200'000, 'y'));
  }
  // The log has been moved into the file by now or lies beside it: damage both, past the headers.
  for (const char* suffix : {"", "-wal"}) {
    const fs::path part = file_.string() + suffix;
    if (!fs::exists(part) || fs::file_size(part) < 20'000) continue;
    std::fstream stream(part, std::ios::in | std::ios::out | std::ios::binary);
    stream.seekp(4096);
    for (auto left = fs::file_size(part) - 4096; left > 0; --left) stream.put('\x5A');
  }
  const auto store = SqliteSessionStore::open(file_, clock_);
  if (!store) {
    EXPECT_NE(store.error().message.find(file_.string()), std::string::npos);
    return;
  }
  const auto records = (*store)->load(id);
  ASSERT_FALSE(records);
  EXPECT_TRUE(records.error().code == Errc::corrupt || records.error().code == Errc::not_found)
      << records.error().message;
}

TEST_F(SqliteSessionStoreTest, AFolderThatCannotBeMadeIsUnavailable) {
  std::ofstream(dir_.path() / "state") << "a file stands where the folder should be";
  const auto store = SqliteSessionStore::open(file_, clock_);
  ASSERT_FALSE(store);
  EXPECT_EQ(store.error().code, Errc::unavailable);
  EXPECT_NE(store.error().message.find(file_.string()), std::string::npos);
}

TEST_F(SqliteSessionStoreTest, AFileThatAnotherProgramHoldsIsNamedAndUsableAfterwards) {
  const SessionId id = begin(*open(), "before");
  StoreOptions options;
  options.busy_ms_max = std::chrono::milliseconds(20);
  auto store = SqliteSessionStore::open(file_, clock_, options);
  ASSERT_TRUE(store) << store.error().message;
  auto other = sqlite::WriteLock::open(file_.string() + "-lock");
  ASSERT_TRUE(other) << other.error().message;
  ASSERT_TRUE(other->acquire(std::chrono::milliseconds(1000)));
  const auto refused = append(**store, id, 2, {TurnEnded{}});
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, Errc::unavailable);
  EXPECT_NE(refused.error().message.find(file_.string()), std::string::npos);
  EXPECT_NE(refused.error().message.find("try again"), std::string::npos);
  other->release();
  EXPECT_TRUE(append(**store, id, 2, {TurnEnded{}}));
}

TEST_F(SqliteSessionStoreTest, WhatACallCameToWaitsLongerForTheFileThanAnythingElse) {
  const SessionId id = begin(*open(), "before");
  StoreOptions options;
  options.busy_ms_max = std::chrono::milliseconds(0);
  auto store = SqliteSessionStore::open(file_, clock_, options);
  ASSERT_TRUE(store) << store.error().message;
  auto other = sqlite::WriteLock::open(file_.string() + "-lock");
  ASSERT_TRUE(other) << other.error().message;
  ASSERT_TRUE(other->acquire(std::chrono::milliseconds(1000)));
  EXPECT_FALSE(append(**store, id, 2, {TurnEnded{}}));
  auto written =
      std::async(std::launch::async, [&] { return append(**store, id, 2, {ToolFinished{}}); });
  EXPECT_EQ(written.wait_for(std::chrono::milliseconds(50)), std::future_status::timeout);
  other->release();
  EXPECT_TRUE(written.get());
}

TEST_F(SqliteSessionStoreTest, AnotherProgramsWriteIsWaitedForAsLongAsAServersWould) {
  EXPECT_GE(StoreOptions().busy_ms_max, std::chrono::seconds(20));
}

TEST_F(SqliteSessionStoreTest, AConflictIsNotBlamedOnTheFolder) {
  const auto store = open();
  const SessionId id = begin(*store, "before");
  ASSERT_TRUE(append(*open(), id, 2, {TurnEnded{}}));
  const auto refused = append(*store, id, 2, {TurnEnded{}});
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, Errc::unavailable);
  EXPECT_NE(refused.error().message.find("another program works on it"), std::string::npos);
  EXPECT_EQ(refused.error().message.find("folder"), std::string::npos) << refused.error().message;
}

TEST_F(SqliteSessionStoreTest, ASessionAtWorkIsRefusedAlsoByAnotherNameOfTheFile) {
  const auto store = open();
  const SessionId id = begin(*store, "first");
  ASSERT_TRUE(store->lease(id));
  const auto link = file_.parent_path() / "link.db";
  std::filesystem::create_symlink(file_, link);
  const auto other = SqliteSessionStore::open(link, system_clock());
  ASSERT_TRUE(other);
  EXPECT_FALSE((*other)->lease(id));
  store->release(id);
  EXPECT_TRUE((*other)->lease(id));
}

TEST_F(SqliteSessionStoreTest, ASessionAtWorkInOneStoreIsRefusedToAnotherAndFreeAfterwards) {
  const auto store = open();
  const auto other = open();
  const SessionId id = begin(*store, "first");
  const SessionId next = begin(*store, "second");
  ASSERT_TRUE(store->lease(id));
  ASSERT_TRUE(store->lease(id));
  EXPECT_TRUE(other->lease(next));
  const Status refused = other->lease(id);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, Errc::unavailable);
  EXPECT_NE(refused.error().message.find(id.value + " is at work in"), std::string::npos);
  // It is not for the doctor to end what somebody works on; what is appended has its own order.
  EXPECT_FALSE(test::run(context_, close_open_turn(*other, id)));
  EXPECT_TRUE(append(*other, id, 2, {UserInterjected{"words", false}}));
  EXPECT_TRUE(test::run(context_, other->fork(id, std::nullopt, std::nullopt)));
  store->release(id);
  EXPECT_FALSE(other->lease(id));  // one holder is left
  store->release(id);
  EXPECT_TRUE(test::run(context_, close_open_turn(*other, id)));
  EXPECT_TRUE(other->lease(id));
}

TEST_F(SqliteSessionStoreTest, ASessionIsItsProcesssUntilThatIsKilled) {
  SessionId id;
  {
    const auto store = open();
    id = begin(*store, "before");
  }
  int ready[2];
  ASSERT_EQ(pipe(ready), 0);
  const pid_t child = fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    auto store = SqliteSessionStore::open(file_, clock_);
    const bool has_it = store && (*store)->lease(id);
    const char word = has_it ? 'y' : 'n';
    (void)!write(ready[1], &word, 1);
    while (true) pause();
  }
  char word = 0;
  ASSERT_EQ(read(ready[0], &word, 1), 1);
  EXPECT_EQ(word, 'y');
  const auto store = open();
  const Status refused = store->lease(id);
  EXPECT_FALSE(refused);
  if (!refused) {
    const std::string holder = "process " + std::to_string(child) + ";";
    EXPECT_NE(refused.error().message.find(holder), std::string::npos) << refused.error().message;
  }
  ASSERT_EQ(kill(child, SIGKILL), 0);
  ASSERT_EQ(waitpid(child, nullptr, 0), child);
  EXPECT_TRUE(store->lease(id));
  close(ready[0]);
  close(ready[1]);
}

TEST_F(SqliteSessionStoreTest, AFullDiskIsExhaustedAndWhatWasWrittenBeforeStays) {
  auto store = open();
  const SessionId id = begin(*store, "before");
  // A file-size limit is how one process can have a full disk of its own.
  rlimit before{};
  ASSERT_EQ(getrlimit(RLIMIT_FSIZE, &before), 0);
  rlimit small = before;
  small.rlim_cur = 200'000;
  const auto old_handler = std::signal(SIGXFSZ, SIG_IGN);
  ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &small), 0);
  const auto full = append(*store, id, 2, {UserMessage{std::string(1'000'000, 'z')}});
  ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &before), 0);
  std::signal(SIGXFSZ, old_handler);
  ASSERT_FALSE(full);
  EXPECT_NE(full.error().message.find(file_.string()), std::string::npos) << full.error().message;
  EXPECT_EQ(store->load(id)->size(), 2U);
  EXPECT_TRUE(append(*store, id, 2, {UserMessage{"after"}}));
}

/// Three sessions that took turns, so that the log has them side by side.
class SharedLogTest : public SqliteSessionStoreTest {
 protected:
  static constexpr int kSessions = 3;
  static constexpr std::int64_t kEvents = 8;

  SharedLogTest() : store_(open()) {
    for (int i = 0; i < kSessions; ++i) ids_.push_back(begin(*store_, "hello"));
    for (std::int64_t seq = 2; seq < kEvents; ++seq) {
      for (const SessionId& id : ids_) {
        EXPECT_TRUE(append(*store_, id, seq, {UserMessage{id.value}}));
      }
    }
  }
  void tamper(const std::string& sql) {
    auto db = sqlite::Connection::open(file_.string());
    ASSERT_TRUE(db) << db.error().message;
    const Status done = db->exec(sql);
    ASSERT_TRUE(done) << done.error().message;
  }
  void expect_whole(SessionStore& store) {
    for (const SessionId& id : ids_) {
      const auto records = store.load(id);
      ASSERT_TRUE(records) << records.error().message;
      ASSERT_EQ(records->size(), static_cast<std::size_t>(kEvents));
      for (std::size_t i = 2; i < records->size(); ++i) {
        const auto* words = std::get_if<UserMessage>(&(*records)[i].event);
        ASSERT_NE(words, nullptr) << i;
        EXPECT_EQ(words->content, id.value);
      }
    }
  }
  std::vector<StoreFault> examine(bool mends) {
    DoctorOptions options;
    options.mends = mends;
    const auto report = examine_store(file_.string(), clock_, options);
    EXPECT_TRUE(report) << report.error().message;
    return report ? report->faults : std::vector<StoreFault>();
  }

  std::unique_ptr<SessionStore> store_;
  std::vector<SessionId> ids_;
};

TEST_F(SharedLogTest, EachSessionIsFoundInIt) {
  expect_whole(*store_);
  EXPECT_TRUE(examine(false).empty());
  const auto list = store_->list(10);
  ASSERT_EQ(list->size(), ids_.size());
  for (const SessionSummary& summary : *list) EXPECT_EQ(summary.events, kEvents);
}

TEST_F(SharedLogTest, ASessionIsWholeAndGoesOnWhereItsChainIsTorn) {
  const char* const tears[] = {
      "UPDATE events SET before = 1 WHERE seq = 5",     // into another session
      "UPDATE events SET before = id WHERE seq = 6",    // a circle
      "UPDATE events SET before = 9999 WHERE seq = 4",  // nowhere
      "UPDATE last_events SET id = 9999",
  };
  for (const char* tear : tears) {
    ASSERT_NO_FATAL_FAILURE(tamper(tear)) << tear;
    ASSERT_NO_FATAL_FAILURE(expect_whole(*open())) << tear;
  }
  const auto store = open();
  EXPECT_FALSE(append(*store, ids_[0], kEvents - 1, {TurnEnded{}}));
  EXPECT_TRUE(append(*store, ids_[0], kEvents, {TurnEnded{}}));
  EXPECT_EQ(store->load(ids_[0])->size(), kEvents + 1U);
}

TEST_F(SharedLogTest, ASessionWhoseLastEventIsNotKnownTakesNothingUntilTheDoctorFindsIt) {
  ASSERT_NO_FATAL_FAILURE(tamper("DELETE FROM last_events"));
  EXPECT_FALSE(append(*open(), ids_[0], kEvents, {TurnEnded{}}));
  const auto faults = examine(true);
  ASSERT_EQ(faults.size(), ids_.size());
  for (const StoreFault& fault : faults) {
    EXPECT_EQ(fault.kind, FaultKind::wrong_chain) << fault.detail;
    EXPECT_EQ(fault.state, StoreFault::State::mended) << fault.detail;
  }
  EXPECT_TRUE(examine(false).empty());
  expect_whole(*store_);
  EXPECT_TRUE(append(*open(), ids_[0], kEvents, {TurnEnded{}}));
}

TEST_F(SharedLogTest, WhatAnotherProgramAppendedIsKnownToTheNextAppend) {
  const auto other = open();
  const SessionId id = ids_[0];
  EXPECT_TRUE(append(*store_, id, kEvents, {UserMessage{"ours"}}));
  EXPECT_TRUE(append(*other, id, kEvents + 1, {UserMessage{"theirs"}}));
  EXPECT_FALSE(append(*store_, id, kEvents + 1, {UserMessage{"late"}}));
  EXPECT_TRUE(append(*store_, id, kEvents + 2, {UserMessage{"ours"}}));
  EXPECT_FALSE(append(*other, id, kEvents + 2, {UserMessage{"late"}}));
  EXPECT_EQ(store_->load(id)->size(), kEvents + 3U);
  EXPECT_TRUE(examine(false).empty());
}

TEST_F(SqliteSessionStoreTest, WhatManySessionsAppendLiesOnFewPages) {
  const auto open = [this] {  // nothing here depends on what a power failure leaves
    StoreOptions options;
    options.synchronous = Synchronous::normal;
    auto store = SqliteSessionStore::open(file_, clock_, options);
    EXPECT_TRUE(store) << store.error().message;
    return std::move(*store);
  };
  constexpr std::size_t kSessions = 300;
  constexpr std::size_t kPageBytes = 4096;
  const auto content = [&] {
    std::ifstream in(file_, std::ios::binary);
    return std::string(std::istreambuf_iterator<char>(in), {});
  };
  std::vector<SessionId> ids;
  {
    auto store = open();
    for (std::size_t i = 0; i < kSessions; ++i) {
      ids.push_back(begin(*store, std::string(kPageBytes, 'x')));
    }
  }
  const std::string before = content();
  {
    auto store = open();
    for (const SessionId& id : ids) EXPECT_TRUE(append(*store, id, 2, {TurnEnded{}}));
  }
  const std::string after = content();
  std::size_t changed = 0;
  for (std::size_t at = 0; at < after.size(); at += kPageBytes) {
    changed += at >= before.size() || before.compare(at, kPageBytes, after, at, kPageBytes) != 0;
  }
  EXPECT_LT(changed, kSessions / 5);
}

TEST_F(SqliteSessionStoreTest, TwoProcessesWriteToOneFileWithoutLosingAnything) {
  constexpr int kAppends = 40;
  {
    auto store = open();
  }
  const pid_t child = fork();
  ASSERT_GE(child, 0);
  const auto write_session = [&] {
    auto store = open();
    const SessionId id = begin(*store, child == 0 ? "child" : "parent");
    for (int i = 0; i < kAppends; ++i) {
      if (!append(*store, id, 2 + i, {ModelStarted{static_cast<std::uint32_t>(i), 0}}))
        return false;
    }
    return true;
  };
  const bool is_ok = write_session();
  if (child == 0) _exit(is_ok ? 0 : 1);
  int status = 0;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  EXPECT_TRUE(is_ok);
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0);
  auto store = open();
  const auto list = store->list(10);
  ASSERT_TRUE(list);
  ASSERT_EQ(list->size(), 2U);
  for (const auto& summary : *list) EXPECT_EQ(summary.events, 2 + kAppends);
}

}  // namespace
}  // namespace ponder::runtime
