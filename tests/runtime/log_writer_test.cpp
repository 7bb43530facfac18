#include "runtime/session/log_writer.h"

#include <gtest/gtest.h>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>
#include <stdexcept>
#include <string>

#include "runtime/session/event_json.h"
#include "runtime/store/sqlite_session_store.h"
#include "tests/runtime/support.h"

namespace ponder::runtime {
namespace {

namespace asio = boost::asio;

/// A session of one event, and a store whose writes wait until the test lets them run.
class LogWriterTest : public ::testing::Test {
 protected:
  LogWriterTest() {
    store_ = open(disk_.get_executor());
    const std::vector<Event> events = {SessionStarted()};
    const auto ignore = [](std::exception_ptr, const auto&) {};
    asio::co_spawn(context_, store_->append(id_, 0, events), ignore);
    settle();
  }
  std::unique_ptr<SessionStore> open(asio::any_io_executor writer) {
    StoreOptions options;
    options.writer = std::move(writer);
    auto store = SqliteSessionStore::open(dir_.path() / "sessions.db", clock_, options);
    PONDER_ASSERT(store.has_value());
    return std::move(*store);
  }

  /// Begins to write a message; its end is told in statuses_.
  void append(const std::string& words) {
    asio::co_spawn(context_, log_->append({UserMessage{words}}, {}),
                   [this, words](std::exception_ptr, const Status& status) {
                     ended_.push_back(words + (status ? "" : " refused"));
                   });
    poll(context_);
  }
  static void poll(asio::io_context& context) {
    context.restart();
    context.poll();
  }
  void settle() {
    for (int i = 0; i < 10; ++i) {
      poll(context_);
      poll(disk_);
    }
  }
  std::vector<std::string> messages() const {
    std::vector<std::string> out;
    const auto records = store_->load(id_);
    for (const Record& record : records.value()) {
      if (const auto* message = std::get_if<UserMessage>(&record.event)) {
        out.push_back(message->content);
      }
    }
    return out;
  }

  test::TempDir dir_;
  test::ManualClock clock_;
  asio::io_context context_;
  asio::io_context disk_;
  SessionId id_ = {"20260101-000000-aaaaaa"};
  std::unique_ptr<SessionStore> store_;
  std::vector<std::int64_t> taken_;
  std::unique_ptr<LogWriter> log_;
  std::vector<std::string> ended_;

  void write_from(std::int64_t last_seq) {
    log_ = std::make_unique<LogWriter>(
        *store_, id_, last_seq, [this](const Record& record) { taken_.push_back(record.seq); });
  }
};

TEST_F(LogWriterTest, WhatComesWhileAWriteIsUnderWayIsWrittenTogetherAndInOrder) {
  write_from(1);
  const std::uint64_t before = store_->commits();
  for (const char* words : {"a", "b", "c", "d"}) append(words);
  settle();
  EXPECT_EQ(ended_, (std::vector<std::string>{"a", "b", "c", "d"}));
  EXPECT_EQ(messages(), (std::vector<std::string>{"a", "b", "c", "d"}));
  EXPECT_EQ(taken_, (std::vector<std::int64_t>{2, 3, 4, 5}));
  EXPECT_EQ(store_->commits() - before, 2u);
}

TEST_F(LogWriterTest, AnExceptionOfWhoIsToldEndsTheLogAndNobodyWaitsForEver) {
  log_ = std::make_unique<LogWriter>(*store_, id_, 1,
                                     [](const Record&) { throw std::runtime_error("deaf"); });
  for (const char* words : {"a", "b", "c"}) append(words);
  settle();
  append("d");
  settle();
  EXPECT_EQ(ended_, (std::vector<std::string>{"a", "b refused", "c refused", "d refused"}));
  EXPECT_EQ(messages(), std::vector<std::string>{"a"});
  ASSERT_TRUE(log_->error().has_value());
  EXPECT_EQ(log_->error()->code, Errc::internal);
}

TEST_F(LogWriterTest, NothingIsWrittenBehindAnAppendThatWasRefused) {
  write_from(1);
  // Another program takes the next place, which is all that the second append would need.
  const auto other = open({});
  ASSERT_TRUE(test::run(context_, other->append(id_, 1, {UserMessage{"theirs"}})));
  append("first");
  append("second");
  settle();
  append("third");
  settle();
  EXPECT_EQ(ended_, (std::vector<std::string>{"first refused", "second refused", "third refused"}));
  EXPECT_EQ(messages(), std::vector<std::string>{"theirs"});
  EXPECT_TRUE(taken_.empty());
  ASSERT_TRUE(log_->error().has_value());
  EXPECT_EQ(log_->error()->code, Errc::unavailable);
}

TEST_F(LogWriterTest, TheLogsOfAnAgentAndThoseThatWorkForItEndTogether) {
  write_from(1);
  std::vector<std::unique_ptr<LogWriter>> below;
  for (const char* id : {"20260101-000000-aaaaaa.1-0", "20260101-000000-aaaaaa.1-1"}) {
    asio::co_spawn(context_, store_->append(SessionId{id}, 0, {SessionStarted()}),
                   [](std::exception_ptr, const auto&) {});
    settle();
    // Of the first, another program has the next place.
    const std::int64_t last_seq = below.empty() ? 0 : 1;
    below.push_back(std::make_unique<LogWriter>(
        *store_, SessionId{id}, last_seq, [](const Record&) {}, log_.get()));
  }
  std::vector<bool> is_written;
  const auto note = [&](std::exception_ptr, const Status& status) {
    is_written.push_back(status.has_value());
  };
  for (const int which : {1, 0, 1}) {
    asio::co_spawn(context_, below[static_cast<std::size_t>(which)]->append({UserMessage{}}, {}),
                   note);
    settle();
  }
  EXPECT_EQ(is_written, (std::vector<bool>{true, false, false}));
  append("above");
  settle();
  EXPECT_EQ(ended_, std::vector<std::string>{"above refused"});
  EXPECT_TRUE(messages().empty());
}

}  // namespace
}  // namespace ponder::runtime
