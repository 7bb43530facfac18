#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <csignal>
#include <map>
#include <thread>

#include "base/sqlite/write_lock.h"
#include "runtime/store/sqlite_session_store.h"
#include "tests/runtime/support.h"

/// Appends of many sessions at once: which share a transaction and a wait for the disk, and what
/// the failure of one means to the others.

namespace {
std::atomic<int> syncs = 0;
std::atomic<bool> syncs_fail = false;
std::atomic<int> sync_takes_ms = 0;  // by the clock below
std::atomic<std::int64_t> now_ms = 0;
}  // namespace

/// Stands in front of the C library's: SQLite waits for the disk with this call and no other.
extern "C" int fdatasync(int fd) {
  ++syncs;
  now_ms += sync_takes_ms;
  if (syncs_fail) {
    errno = EIO;
    return -1;
  }
  return static_cast<int>(syscall(SYS_fdatasync, fd));
}

namespace ponder::runtime {
namespace {

namespace asio = boost::asio;

constexpr int kSessions = 50;

/// Stands still but for syncs, and knows which thread gave an event its time.
class StampingClock final : public Clock {
 public:
  Instant now() const override { return Instant(std::chrono::milliseconds(now_ms)); }
  std::int64_t unix_ms() const override {
    stamped_by_ = std::this_thread::get_id();
    return 1'760'000'000'000;
  }
  std::thread::id stamped_by() const { return stamped_by_; }

 private:
  mutable std::atomic<std::thread::id> stamped_by_;
};

class GroupCommitTest : public ::testing::Test {
 protected:
  GroupCommitTest() { open(Synchronous::full); }
  ~GroupCommitTest() override {
    syncs_fail = false;
    sync_takes_ms = 0;
  }

  void open(Synchronous synchronous) {
    store_.reset();
    StoreOptions options;
    options.synchronous = synchronous;
    auto store = SqliteSessionStore::open(file_, clock_, options);
    PONDER_ASSERT(store.has_value());
    store_ = std::move(*store);
  }

  Status append(const SessionId& id, std::int64_t last_seq, std::vector<Event> events) {
    const auto records = test::run(context_, store_->append(id, last_seq, std::move(events)));
    if (!records) return tl::unexpected(records.error());
    return {};
  }
  SessionId begin() {
    const SessionId id = store_->new_id();
    EXPECT_TRUE(append(id, 0, {SessionStarted{}}));
    return id;
  }
  int syncs_of(const SessionId& id, std::int64_t last_seq, Event event) {
    const int before = syncs;
    EXPECT_TRUE(append(id, last_seq, {std::move(event)}));
    return syncs - before;
  }

  /// An append whose result comes into `results_` when the context has run.
  void spawn(const std::string& name, const SessionId& id, std::int64_t last_seq, Event event) {
    std::vector<Event> events;
    events.push_back(std::move(event));
    asio::co_spawn(context_, store_->append(id, last_seq, std::move(events)),
                   [this, name](std::exception_ptr error, Result<std::vector<Record>> result) {
                     PONDER_ASSERT(!error);
                     results_.emplace(name, std::move(result));
                   });
  }
  /// Runs what was spawned, with the file held by somebody else until all of it waits.
  void run_spawned_together() {
    auto other = sqlite::WriteLock::open(file_.string() + "-lock");
    ASSERT_TRUE(other);
    ASSERT_TRUE(other->acquire(std::chrono::milliseconds(1000)));
    context_.restart();
    context_.poll();
    other->release();
    context_.run();
  }

  test::TempDir dir_;
  std::filesystem::path file_ = dir_.path() / "sessions.db";
  StampingClock clock_;
  asio::io_context context_;
  std::unique_ptr<SessionStore> store_;
  std::map<std::string, Result<std::vector<Record>>> results_;
};

TEST_F(GroupCommitTest, SessionsThatWaitShareATransactionAndAWaitForTheDisk) {
  std::vector<SessionId> ids;
  for (int i = 0; i < kSessions; ++i) ids.push_back(begin());
  for (int i = 0; i < kSessions; ++i) spawn(std::to_string(i), ids[i], 1, UserMessage{"hello"});
  const auto commits = store_->commits();
  const int syncs_before = syncs;
  ASSERT_NO_FATAL_FAILURE(run_spawned_together());
  // One for those that came before the store's thread began to wait, and one for the rest.
  EXPECT_LE(store_->commits(), commits + 2);
  EXPECT_LE(syncs, syncs_before + 2);
  EXPECT_GE(syncs, syncs_before + 1);
  ASSERT_EQ(results_.size(), static_cast<std::size_t>(kSessions));
  for (const auto& [name, result] : results_) EXPECT_TRUE(result) << result.error().message;
  for (const SessionId& id : ids) EXPECT_EQ(store_->load(id)->size(), 2U);
}

TEST_F(GroupCommitTest, AnIdleStoreWritesEachAppendAtOnce) {
  const SessionId id = begin();
  const auto commits = store_->commits();
  for (int i = 0; i < 3; ++i) {
    EXPECT_EQ(syncs_of(id, 1 + i, UserMessage{"x"}), 1);
    EXPECT_EQ(store_->commits(), commits + i + 1);
  }
}

TEST_F(GroupCommitTest, AConflictFailsAloneAndAppendsOfOneSessionKeepTheirOrder) {
  const SessionId a = begin();
  const SessionId b = begin();
  spawn("a1", a, 1, UserMessage{"first"});
  spawn("late", b, 7, UserMessage{"conflict"});
  spawn("a2", a, 2, UserMessage{"second"});
  spawn("b1", b, 1, UserMessage{"other"});
  spawn("twice", b, 1, UserMessage{"conflict"});
  ASSERT_NO_FATAL_FAILURE(run_spawned_together());
  EXPECT_TRUE(results_.at("a1"));
  EXPECT_TRUE(results_.at("a2"));
  EXPECT_TRUE(results_.at("b1"));
  for (const char* name : {"late", "twice"}) {
    ASSERT_FALSE(results_.at(name)) << name;
    EXPECT_EQ(results_.at(name).error().code, Errc::unavailable);
  }
  const auto records = store_->load(a);
  ASSERT_EQ(records->size(), 3U);
  EXPECT_EQ(std::get<UserMessage>((*records)[1].event).content, "first");
  EXPECT_EQ(std::get<UserMessage>((*records)[2].event).content, "second");
  EXPECT_EQ(store_->load(b)->size(), 2U);
}

TEST_F(GroupCommitTest, AnAppendThatFailsHalfwayLeavesNothingInTheCommonTransaction) {
  const SessionId a = begin();
  const SessionId b = begin();
  spawn("a", a, 1, UserMessage{"small"});
  // A session begins but once: the second event is refused when the first is already in.
  std::vector<Event> events = {UserMessage{"half"}, SessionStarted{}};
  asio::co_spawn(context_, store_->append(b, 1, std::move(events)),
                 [this](std::exception_ptr, Result<std::vector<Record>> result) {
                   results_.emplace("b", std::move(result));
                 });
  ASSERT_NO_FATAL_FAILURE(run_spawned_together());
  EXPECT_TRUE(results_.at("a"));
  ASSERT_FALSE(results_.at("b"));
  EXPECT_EQ(store_->load(b)->size(), 1U);
  EXPECT_TRUE(append(b, 1, {UserMessage{"whole"}}));
}

TEST_F(GroupCommitTest, OneThatTheDiskHasNoRoomForDoesNotFailItsNeighbours) {
  const SessionId a = begin();
  const SessionId b = begin();
  const SessionId c = begin();
  rlimit before{};
  ASSERT_EQ(getrlimit(RLIMIT_FSIZE, &before), 0);
  rlimit small = before;
  small.rlim_cur = 300'000;
  const auto old_handler = std::signal(SIGXFSZ, SIG_IGN);
  ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &small), 0);
  spawn("a", a, 1, UserMessage{"small"});
  spawn("b", b, 1, UserMessage{std::string(4'000'000, 'z')});
  spawn("c", c, 1, UserMessage{"small"});
  run_spawned_together();
  ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &before), 0);
  std::signal(SIGXFSZ, old_handler);
  EXPECT_TRUE(results_.at("a"));
  EXPECT_FALSE(results_.at("b"));
  EXPECT_TRUE(results_.at("c"));
  EXPECT_EQ(store_->load(b)->size(), 1U);
  EXPECT_TRUE(append(b, 1, {UserMessage{"after"}}));
}

TEST_F(GroupCommitTest, NormalWaitsForTheDiskOnlyBeforeAnEffect) {
  open(Synchronous::normal);
  const SessionId id = begin();
  EXPECT_EQ(syncs_of(id, 1, UserMessage{"x"}), 0);
  EXPECT_EQ(syncs_of(id, 2, ToolIntended{0, 0, tools::Effect::pure}), 0);
  EXPECT_EQ(syncs_of(id, 3, ToolIntended{0, 1, tools::Effect::irreversible}), 1);
  EXPECT_EQ(syncs_of(id, 4, ToolStarted{0, 1}), 0);
  EXPECT_EQ(syncs_of(id, 5, ToolIntended{0, 2, tools::Effect::idempotent}), 1);
}

TEST_F(GroupCommitTest, AnAppendThatTheDiskDidNotTakeIsNotAcknowledged) {
  const SessionId id = begin();
  syncs_fail = true;
  const Status lost = append(id, 1, {UserMessage{"x"}});
  syncs_fail = false;
  ASSERT_FALSE(lost);
  EXPECT_NE(lost.error().message.find(file_.string()), std::string::npos) << lost.error().message;
  EXPECT_EQ(store_->load(id)->size(), 1U);
  EXPECT_TRUE(append(id, 1, {UserMessage{"y"}}));
  open(Synchronous::full);
  const auto records = store_->load(id);
  ASSERT_EQ(records->size(), 2U);
  EXPECT_EQ(std::get<UserMessage>((*records)[1].event).content, "y");
}

/// One session at work, which has appended often enough to be taken for the only one.
class LoneSessionTest : public GroupCommitTest {
 protected:
  LoneSessionTest() : id_(begin()) {
    while (last_seq_ < 5) EXPECT_TRUE(append(id_, last_seq_++, {UserMessage{"x"}}));
  }
  bool is_next_written_here() {
    EXPECT_TRUE(append(id_, last_seq_++, {UserMessage{"x"}}));
    return clock_.stamped_by() == std::this_thread::get_id();
  }

  SessionId id_;
  std::int64_t last_seq_ = 1;
};

TEST_F(LoneSessionTest, IsWrittenOnItsOwnThreadUntilThereIsAnother) {
  EXPECT_TRUE(is_next_written_here());
  begin();
  EXPECT_NE(clock_.stamped_by(), std::this_thread::get_id());
  EXPECT_FALSE(is_next_written_here());
}

TEST_F(LoneSessionTest, DoesNotBlockItsThreadWhileAnotherProgramWrites) {
  spawn("late", id_, last_seq_, UserMessage{"x"});
  ASSERT_NO_FATAL_FAILURE(run_spawned_together());  // would wait for itself
  EXPECT_TRUE(results_.at("late"));
  EXPECT_NE(clock_.stamped_by(), std::this_thread::get_id());
}

TEST_F(LoneSessionTest, DoesNotBlockItsThreadForASlowDisk) {
  sync_takes_ms = 1000;
  EXPECT_TRUE(is_next_written_here()) << "nobody knew yet";
  EXPECT_FALSE(is_next_written_here());
  sync_takes_ms = 0;
  EXPECT_FALSE(is_next_written_here()) << "nobody knows yet";
  EXPECT_TRUE(is_next_written_here());
}

}  // namespace
}  // namespace ponder::runtime
