#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "tests/e2e/process.h"
#include "tests/e2e/pseudo_terminal.h"

/// What `ponder run` shows on terminals of several widths.
namespace ponder::e2e {
namespace {

using ::testing::HasSubstr;

constexpr const char* kRequest = "One day in Suzhou. Hotels must cost at most 600 CNY per night.";

/// How often a program put the cursor elsewhere and back while it waited at the right edge, where
/// many terminals lose the character that is written last. `output` is ASCII.
int count_losses(const std::string& output, std::size_t columns) {
  int losses = 0;
  std::size_t column = 0;
  std::size_t column_saved = 0;
  for (std::size_t i = 0; i < output.size(); ++i) {
    if (output[i] == '\x1b' && output[i + 1] == '7') {
      losses += column == columns ? 1 : 0;
      column_saved = column;
      ++i;
    } else if (output[i] == '\x1b' && output[i + 1] == '8') {
      column = column_saved;
      ++i;
    } else if (output[i] == '\x1b') {
      while (!std::isalpha(static_cast<unsigned char>(output[i]))) ++i;
    } else if (output[i] == '\n' || output[i] == '\r') {
      column = 0;
    } else {
      column = column == columns ? 1 : column + 1;
    }
  }
  return losses;
}

TEST(RunOnATerminal, TheStatusLineTakesNoCharacterFromTheEdge) {
  for (const unsigned short columns : {80, 61, 40}) {
    SCOPED_TRACE(columns);
    const Scratch scratch;
    PseudoTerminal terminal(scratch.path(), {"run", "travel", kRequest}, 24, columns);
    EXPECT_EQ(terminal.wait(), 0) << terminal.screen();
    EXPECT_THAT(terminal.screen(), HasSubstr("\x1b[7m step 1"));  // there is a status line
    EXPECT_EQ(count_losses(terminal.screen(), columns), 0);
  }
}

TEST(RunOnATerminal, LinesThatAreCutFitIt) {
  const Scratch scratch;
  PseudoTerminal terminal(scratch.path(), {"run", "travel", kRequest}, 24, 60);
  EXPECT_EQ(terminal.wait(), 0) << terminal.screen();
  const std::size_t at = terminal.screen().find("-> check_plan(");
  ASSERT_NE(at, std::string::npos);
  const std::string line = terminal.screen().substr(at, terminal.screen().find('\r', at) - at);
  EXPECT_LE(line.size(), 60U) << line;
  EXPECT_THAT(line, HasSubstr("..."));
}

}  // namespace
}  // namespace ponder::e2e
