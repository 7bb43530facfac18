#include "runtime/store/sqlite_session_store.h"

#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <fstream>

#include "base/sqlite/write_lock.h"
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
  EXPECT_EQ(id.value.substr(id.value.size() - 7), "-bbbbbb");

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
