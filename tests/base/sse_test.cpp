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

}  // namespace
}  // namespace ponder::http
