#include "runtime/session/session_store.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "runtime/session/session_lines.h"
#include "tests/runtime/store_place.h"

namespace ponder::runtime {
namespace {

namespace asio = boost::asio;

class SessionStoreTest : public ::testing::Test {
 protected:
  std::unique_ptr<SessionStore> open() { return place_.open(); }
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
  test::ManualClock clock_;
  test::StorePlace place_{dir_, clock_};
  asio::io_context context_;
};

TEST_F(SessionStoreTest, WhatWasAppendedIsReadBackInOrderAfterReopening) {
  SessionId id;
  {
    auto store = open();
    id = begin(*store, "three days from Hangzhou");
    const auto records = append(*store, id, 2, {ModelStarted{0, 0}, ToolStarted{0, 1}});
    ASSERT_TRUE(records) << records.error().message;
    EXPECT_EQ(records->front().seq, 3);
    EXPECT_EQ(records->back().seq, 4);
  }
  auto store = open();
  const auto records = store->load(id);
  ASSERT_TRUE(records) << records.error().message;
  ASSERT_EQ(records->size(), 4U);
  EXPECT_EQ(std::get<UserMessage>((*records)[1].event).content, "three days from Hangzhou");
  EXPECT_EQ(std::get<ToolStarted>((*records)[3].event).call_index, 1U);
  EXPECT_EQ((*records)[3].unix_ms, clock_.unix_ms());
}

TEST_F(SessionStoreTest, AnAppendThatDoesNotKnowTheLatestEventIsRefusedAndWritesNothing) {
  auto store = open();
  const SessionId id = begin(*store, "hello");
  ASSERT_TRUE(append(*store, id, 2, {ModelStarted{}}));
  const auto late = append(*store, id, 2, {TurnEnded{}});
  ASSERT_FALSE(late);
  EXPECT_EQ(late.error().code, Errc::unavailable);
  EXPECT_NE(late.error().message.find("another program works on it"), std::string::npos)
      << late.error().message;
  EXPECT_EQ(store->load(id)->size(), 3U);
}

TEST_F(SessionStoreTest, ListShowsTheLatestFirstWithTitleAndLastEvent) {
  auto store = open();
  const SessionId first = begin(*store, "first words\nand more");
  clock_.advance(std::chrono::milliseconds(5000));
  const SessionId second = begin(*store, "second");
  clock_.advance(std::chrono::milliseconds(5000));
  ASSERT_TRUE(append(*store, first, 2, {TurnEnded{}}));
  const auto list = store->list(10);
  ASSERT_TRUE(list);
  ASSERT_EQ(list->size(), 2U);
  EXPECT_EQ((*list)[0].id, first);
  EXPECT_EQ((*list)[0].title, "first words");
  EXPECT_EQ((*list)[0].events, 3);
  EXPECT_EQ((*list)[0].last_type, "turn_ended");
  EXPECT_EQ((*list)[1].id, second);
  EXPECT_EQ(store->list(1)->size(), 1U);
}

TEST_F(SessionStoreTest, ListAndLastKnowTheLatestEventAlsoBeforeItsSessionIsListedAgain) {
  const auto store = open();
  const SessionId a = begin(*store, "a");
  clock_.advance(std::chrono::milliseconds(1));
  const SessionId b = begin(*store, "b");
  clock_.advance(std::chrono::milliseconds(1));
  const auto written = append(*store, a, 2, {ModelStarted{}});
  ASSERT_TRUE(written);
  EXPECT_EQ(store->resolve("last")->value, a.value);
  const auto latest = store->list(1);
  ASSERT_EQ(latest->size(), 1U);
  EXPECT_EQ((*latest)[0].id, a);
  EXPECT_EQ((*latest)[0].updated_unix_ms, written->back().unix_ms);
  clock_.advance(std::chrono::milliseconds(15'000));
  ASSERT_TRUE(append(*store, b, 2, {ModelStarted{}}));
  EXPECT_EQ(store->resolve("last")->value, b.value);
}

TEST_F(SessionStoreTest, AnIdMayBeShortenedOrBeTheWordLast) {
  auto store = open();
  const SessionId first = begin(*store, "a");
  clock_.advance(std::chrono::milliseconds(1000));
  const SessionId second = begin(*store, "b");
  EXPECT_EQ(store->resolve("last").value(), second);
  EXPECT_EQ(store->resolve(first.value).value(), first);
  EXPECT_EQ(store->resolve(second.value.substr(0, 17)).value(), second);
  const Error several = store->resolve("2").error();
  EXPECT_EQ(several.code, Errc::invalid_argument);
  EXPECT_THAT(several.message, ::testing::HasSubstr(first.value + ", " + second.value));
  EXPECT_EQ(store->resolve("nope").error().code, Errc::not_found);
}

TEST_F(SessionStoreTest, ExportGivesOneJsonLineForEachEvent) {
  auto store = open();
  const SessionId id = begin(*store, "say \"hi\"");
  const auto copy = store->copy(id);
  ASSERT_TRUE(copy);
  const std::string lines = write_lines(*copy);
  EXPECT_EQ(std::count(lines.begin(), lines.end(), '\n'), 2);
  EXPECT_NE(lines.find(R"("type":"user_message","version":1,"data":{"content":"say \"hi\""}})"),
            std::string::npos)
      << lines;
}

}  // namespace
}  // namespace ponder::runtime
