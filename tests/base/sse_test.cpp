#include "base/http/sse.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace ponder::http {
namespace {

/// The events of a stream that comes byte by byte.
std::vector<std::string> events_of(SseReader& reader, std::string_view stream) {
  std::vector<std::string> events;
  const auto keep = [&events](std::string_view data) {
    events.emplace_back(data);
    return Status();
  };
  for (const char byte : stream) EXPECT_TRUE(reader.feed({&byte, 1}, keep).has_value());
  return events;
}

TEST(SseReader, KeepsTheIdOfTheLatestEventThatIsComplete) {
  SseReader reader(1000);
  EXPECT_EQ(events_of(reader, "id: a\ndata: 1\n\ndata: 2\n\nid: b\r\n"),
            (std::vector<std::string>{"1", "2"}));
  EXPECT_EQ(reader.last_event_id(), "a");  // b's event has not ended
  EXPECT_TRUE(events_of(reader, "\r\n").empty());
  EXPECT_EQ(reader.last_event_id(), "b");  // although it has no data
}

TEST(SseReader, AByteOrderMarkIsNoPartOfTheFirstLine) {
  SseReader reader(1000);
  EXPECT_EQ(events_of(reader, "\xEF\xBB\xBF" "data: 1\n\ndata: 2\n\n"),
            (std::vector<std::string>{"1", "2"}));
}

TEST(SseReader, AnIdWithANulIsNone) {
  SseReader reader(1000);
  events_of(reader, std::string_view("id: a\n\nid: x\0y\n\n", 15));
  EXPECT_EQ(reader.last_event_id(), "a");
}

TEST(SseReader, RetryIsWhateverNumberCameLast) {
  SseReader reader(1000);
  EXPECT_FALSE(reader.retry().has_value());
  events_of(reader, "retry: 500\nretry: soon\nretry:\nretry: 7s\nretry: -1\n\n");
  ASSERT_TRUE(reader.retry().has_value());
  EXPECT_EQ(reader.retry()->count(), 500);
}

TEST(SseReader, EventsAreTheSameHoweverTheBytesAreSplit) {
  const std::string text =
      "data: a\r\ndata: b\r\n\r\n: c\nevent: x\ndata:d\n\ndata\n\n\rdata: e\r\r";
  for (std::size_t split = 0; split <= text.size(); ++split) {
    std::vector<std::string> events;
    SseReader reader(1000);
    const auto take = [&](std::string_view data) -> Status {
      events.emplace_back(data);
      return {};
    };
    ASSERT_TRUE(reader.feed(text.substr(0, split), take));
    ASSERT_TRUE(reader.feed(text.substr(split), take));
    EXPECT_EQ(events, (std::vector<std::string>{"a\nb", "d", "", "e"})) << split;
  }
}

TEST(SseReader, AnEndlessEventIsRefused) {
  SseReader reader(100);
  const auto take = [](std::string_view) -> Status { return {}; };
  const Status status = reader.feed("data: " + std::string(200, 'x'), take);
  ASSERT_FALSE(status);
  EXPECT_EQ(status.error().code, Errc::exhausted);
}

}  // namespace
}  // namespace ponder::http
