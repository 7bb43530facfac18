#include "runtime/cli/worker.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/post.hpp>
#include <fstream>
#include <functional>
#include <mutex>
#include <stdexcept>

#include "runtime/session/session_lines.h"
#include "runtime/session/work_queue.h"
#include "runtime/store/sqlite_session_store.h"
#include "tests/runtime/support.h"

namespace ponder::cli {
namespace {

namespace asio = boost::asio;
using runtime::SessionId;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

/// An SQLite store with a queue of its own. Loading the sessions of `broken` throws.
class QueuedStore final : public runtime::SessionStore, public runtime::WorkQueue {
 public:
  explicit QueuedStore(std::unique_ptr<SessionStore> store) : store_(std::move(store)) {}
  std::vector<std::string> broken;
  std::function<void()> on_remove;

  SessionId new_id() override { return store_->new_id(); }
  asio::awaitable<Result<std::vector<runtime::Record>>> append(
      SessionId session, std::int64_t last_seq, std::vector<runtime::Event> events,
      std::vector<runtime::Blob> blobs) override {
    return store_->append(std::move(session), last_seq, std::move(events), std::move(blobs));
  }
  asio::awaitable<Result<SessionId>> fork(SessionId parent, std::optional<std::int64_t> at,
                                          std::optional<SessionId> id) override {
    return store_->fork(std::move(parent), at, std::move(id));
  }
  asio::awaitable<Status> import(runtime::SessionCopy session) override {
    return store_->import(std::move(session));
  }
  Result<std::vector<runtime::Record>> load(const SessionId& session) const override {
    if (std::find(broken.begin(), broken.end(), session.value) != broken.end()) {
      throw std::runtime_error("no memory");
    }
    return store_->load(session);
  }
  Result<std::string> load_blob(const std::string& hash) const override {
    return store_->load_blob(hash);
  }
  Result<SessionId> resolve(const std::string& prefix) const override {
    return store_->resolve(prefix);
  }
  Result<std::vector<runtime::SessionSummary>> list(std::uint32_t sessions_max) const override {
    return store_->list(sessions_max);
  }
  runtime::WorkQueue* queue() override { return this; }
  std::uint64_t commits() const override { return store_->commits(); }

  Status put(const SessionId& session) override {
    const std::lock_guard lock(mutex_);
    places_.push_back({session, 0, {}, {}, 0});
    return {};
  }
  Status note(const SessionId& session, const std::string& problem) override {
    const std::lock_guard lock(mutex_);
    for (runtime::QueuedSession& place : places_) {
      if (place.session == session) place.problem = problem;
    }
    return {};
  }
  Result<std::optional<SessionId>> take(const std::vector<SessionId>& excluded) override {
    const std::lock_guard lock(mutex_);
    for (runtime::QueuedSession& place : places_) {
      const bool is_left =
          std::find(excluded.begin(), excluded.end(), place.session) != excluded.end();
      if (is_left || place.takes > 0) continue;
      ++place.takes;
      return std::optional(place.session);
    }
    return std::optional<SessionId>();
  }
  Status remove(const SessionId& session) override {
    const std::lock_guard lock(mutex_);
    std::erase_if(places_, [&](const auto& place) { return place.session == session; });
    if (on_remove) on_remove();
    return {};
  }
  Result<std::uint64_t> size() override {
    const std::lock_guard lock(mutex_);
    return places_.size();
  }
  Result<std::vector<runtime::QueuedSession>> list() override {
    const std::lock_guard lock(mutex_);
    return places_;
  }
  std::vector<std::string> waiting() {
    std::vector<std::string> out;
    const auto places = list();
    for (const auto& place : *places) out.push_back(place.session.value);
    return out;
  }

 private:
  std::unique_ptr<SessionStore> store_;
  std::mutex mutex_;
  std::vector<runtime::QueuedSession> places_;
};

class WorkerTest : public ::testing::Test {
 protected:
  WorkerTest() : store_(std::move(*runtime::SqliteSessionStore::open(file_, system_clock()))) {
    const auto script = dir_.path() / "script.jsonl";
    std::ofstream(script) << R"({"content": "one"})"
                          << "\n"
                          << R"({"content": "two"})"
                          << "\n"
                          << R"({"content": "three"})"
                          << "\n";
    options_.model.model = "script:" + script.string();
    options_.concurrency_max = 2;
    options_.json = true;
  }

  /// In the queue, with a request that nobody has answered.
  SessionId queued(const std::string& environment = R"({"request": "hello", "directory": ""})") {
    runtime::SessionStarted start;
    start.workflow = "assistant";
    start.environment = environment;
    const SessionId id = store_.new_id();
    const std::vector<runtime::Event> events(1, start);
    EXPECT_TRUE(runtime::test::run(io_, store_.append(id, 0, events, {})));
    EXPECT_TRUE(store_.put(id));
    return id;
  }
  int work() {
    Worker worker(environment_, options_, dir_.path(), {}, store_, io_);
    const auto stop = [&] { asio::post(io_, [&worker] { worker.stop(); }); };
    store_.on_remove = [&] {
      if (--removals_to_stop_ == 0) stop();
    };
    int status = -1;
    ::testing::internal::CaptureStdout();
    io_.restart();
    asio::co_spawn(io_, worker.run(), [&](std::exception_ptr error, int result) {
      EXPECT_FALSE(error);
      status = result;
    });
    io_.run();
    (void)::testing::internal::GetCapturedStdout();
    return status;
  }
  std::string ends_of(const SessionId& id) {
    const auto state = runtime::fold(*store_.load(id));
    return state.last_end ? runtime::turn_end_name(state.last_end->reason) : "open";
  }

  runtime::test::TempDir dir_;
  std::filesystem::path file_ = dir_.path() / "sessions.db";
  asio::io_context io_{1};
  QueuedStore store_;
  Environment environment_;
  WorkOptions options_;
  int removals_to_stop_ = -1;
};

TEST_F(WorkerTest, AnExceptionOfOneSessionLeavesTheOthersToTheirEndAndItselfInTheQueue) {
  const SessionId first = queued();
  const SessionId broken = queued();
  const SessionId third = queued();
  store_.broken = {broken.value};
  removals_to_stop_ = 2;
  EXPECT_EQ(work(), 0);
  EXPECT_EQ(ends_of(first), "answered");
  EXPECT_EQ(ends_of(third), "answered");
  EXPECT_THAT(store_.waiting(), ElementsAre(broken.value));
  EXPECT_THAT(store_.list()->front().problem, HasSubstr("no memory"));
  store_.broken.clear();
  EXPECT_EQ(store_.load(broken)->size(), 1U);
}

TEST_F(WorkerTest, ASessionThatItCannotReadStaysForWhoCanAndDrainingEnds) {
  const SessionId newer = queued(R"({"words_of_a_newer_version": "hello"})");
  const SessionId readable = queued();
  options_.is_draining = true;
  EXPECT_EQ(work(), 0);
  EXPECT_EQ(ends_of(readable), "answered");
  EXPECT_THAT(store_.waiting(), ElementsAre(newer.value));
}

}  // namespace
}  // namespace ponder::cli
