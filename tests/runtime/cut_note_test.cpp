#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "runtime/cli/live_view.h"

namespace ponder::cli {
namespace {

using ::testing::StartsWith;

runtime::ToolFinished finished(const std::string& content) {
  runtime::ToolFinished event;
  event.outcome = runtime::Outcome::success;
  event.content = content;
  return event;
}

TEST(CutNote, IsWhatAResultThatWasCutSaysOfIt) {
  runtime::ToolFinished kept =
      finished("xxx\n[the first 16 of 90 bytes, of which 50 are kept; read on with read_blob {}]");
  EXPECT_EQ(cut_note(kept), "") << "it is but its own words: nothing is kept of it";
  kept.whole.emplace();
  EXPECT_EQ(cut_note(kept), "[the first 16 of 90 bytes]");
  EXPECT_EQ(cut_note(finished("xxx\n[cut: 16 of 90 bytes]")), "[cut: 16 of 90 bytes]");
  EXPECT_EQ(cut_note(finished("[cut: 16 of 90 bytes]\nand more")), "");
  EXPECT_EQ(cut_note(finished("")), "");
  EXPECT_EQ(cut_note(finished("[cut: " + std::string(10'000, 'x') + " bytes]")), "");
}

TEST(SubAgentLines, AResultThatWasCutSaysSo) {
  SubAgentLines lines;
  runtime::Record record;
  record.event = finished(std::string(500, 'x') + "\n[cut: 500 of 900 bytes]");
  EXPECT_THAT(lines.line_of(runtime::SessionId{"a.1"}, record),
              StartsWith("[1] <- tool: [cut: 500 of 900 bytes] xxx"));
}

}  // namespace
}  // namespace ponder::cli
