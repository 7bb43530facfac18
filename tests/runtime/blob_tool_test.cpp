#include "runtime/agent/blob_tool.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <optional>

#include "base/digest.h"
#include "tests/runtime/store_place.h"

namespace ponder::runtime {
namespace {

using ::testing::HasSubstr;

class BlobToolTest : public ::testing::Test {
 protected:
  BlobToolTest() {
    store_ = test::StorePlace(dir_, clock_).open();
    const std::vector<Blob> blobs = {blob("0123456789 é and more"), blob("of another session")};
    const auto stored =
        test::run(context_, store_->append(store_->new_id(), 0, {SessionStarted{}}, blobs));
    PONDER_ASSERT(stored.has_value());
    state_.blobs = {{blobs[0].hash, blobs[0].text.size(), "result of look"}};
  }

  static Blob blob(const std::string& text) { return {sha256_hex(text), text}; }

  /// Its answer; nothing when it failed.
  boost::asio::awaitable<std::optional<tools::ToolOutput>> call(std::string arguments) {
    BlobTool tool(state_, *store_);
    auto work =
        tool.invoke(std::move(arguments), tools::ToolContext(clock_, Deadline::never(), 10'000));
    const auto result = co_await std::move(work);
    std::optional<tools::ToolOutput> out;
    if (result) out = *result;
    co_return out;
  }

  tools::ToolOutput ask(const std::string& arguments) {
    const auto answer = test::run(context_, call(arguments));
    EXPECT_TRUE(answer);
    return answer.value_or(tools::ToolOutput("", true));
  }

  std::string hash() const { return state_.blobs[0].hash.substr(0, context::kHashShown); }
  std::string read(const std::string& rest) {
    return ask(R"({"hash":")" + hash() + "\"" + rest + "}").content;
  }

  test::TempDir dir_;
  test::ManualClock clock_;
  boost::asio::io_context context_;
  std::unique_ptr<SessionStore> store_;
  SessionState state_;
};

TEST_F(BlobToolTest, ListsWhatWasMovedOutWhenNoHashIsGiven) {
  EXPECT_EQ(ask("{}").content,
            "moved out of the context, oldest first:\n" + hash() + " 22 bytes: result of look\n");
}

TEST_F(BlobToolTest, ReadsAPartAndSaysWhereTheNextBegins) {
  EXPECT_EQ(read(""), "bytes 0 to 22 of 22\n0123456789 é and more");
  EXPECT_EQ(read(R"(,"limit":4)"), "bytes 0 to 4 of 22; the next offset is 4\n0123");
  EXPECT_EQ(read(R"(,"offset":4,"limit":6)"), "bytes 4 to 10 of 22; the next offset is 10\n456789");
}

TEST_F(BlobToolTest, CutsBetweenCharacters) {
  EXPECT_EQ(read(R"(,"offset":10,"limit":2)"), "bytes 10 to 11 of 22; the next offset is 11\n ");
  EXPECT_EQ(read(R"(,"offset":12,"limit":4)"), "bytes 13 to 17 of 22; the next offset is 17\n and");
}

TEST_F(BlobToolTest, ALimitSmallerThanACharacterStillGetsOn) {
  EXPECT_THAT(read(R"(,"offset":11,"limit":1)"), HasSubstr("the next offset is 15\né a"));
}

TEST_F(BlobToolTest, SaysWhatIsNotThere) {
  EXPECT_THAT(read(R"(,"offset":22)"), HasSubstr("ends at byte 22"));
  EXPECT_TRUE(ask(R"({"hash":"ffffffffffffffff"})").is_error);
  EXPECT_TRUE(ask(R"({"hash":"0"})").is_error);
}

TEST_F(BlobToolTest, DoesNotReadWhatOtherSessionsMovedOut) {
  const std::string other = sha256_hex("of another session");
  ASSERT_TRUE(store_->load_blob(other));
  EXPECT_TRUE(ask(R"({"hash":")" + other + "\"}").is_error);
}

}  // namespace
}  // namespace ponder::runtime
