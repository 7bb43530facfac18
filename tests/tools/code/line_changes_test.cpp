#include "tools/code/line_changes.h"

#include <gmock/gmock.h>

namespace ponder::tools {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

std::vector<std::string> lines(std::string_view line, std::string_view change) {
  const auto pair = parse_text_pair(change);
  EXPECT_TRUE(pair.has_value()) << change;
  return pair ? changed_lines(line, *pair) : std::vector<std::string>();
}

TEST(LineChanges, AChangeGivesALineForEachPlaceFromLeftToRight) {
  EXPECT_THAT(lines("return a + a", "a => b"), ElementsAre("return b + a", "return a + b"));
  EXPECT_THAT(lines("x[i][i]", " [i] => [j] "), ElementsAre("x[j][i]", "x[i][j]"));
}

TEST(LineChanges, APartOfALongerWordOrOperatorIsNoPlace) {
  EXPECT_THAT(lines("if i_1 < i then", "i => j"), ElementsAre("if i_1 < j then"));
  EXPECT_THAT(lines("if a <= b or a < c", "< => >"), ElementsAre("if a <= b or a > c"));
  EXPECT_THAT(lines("x = 10 + 1", "1 => 2"), ElementsAre("x = 10 + 2"));
  EXPECT_THAT(lines("a[1]", "[1] => [#a]"), ElementsAre("a[#a]"));
  EXPECT_THAT(lines("größe = gr", "gr => x"), ElementsAre("größe = x"));
  EXPECT_THAT(lines("x == y", "= => +="), IsEmpty());
}

TEST(LineChanges, WhereNothingTakesThePlaceABlankGoesToo) {
  EXPECT_THAT(lines("if not done then", "not =>"), ElementsAre("if done then"));
  EXPECT_THAT(lines("return x - 1", "- 1 =>"), ElementsAre("return x"));
  EXPECT_THAT(lines("f(x - 1)", "- 1 =>"), ElementsAre("f(x )"));
  EXPECT_THAT(lines("x", "x =>"), ElementsAre(""));
}

TEST(LineChanges, TheFirstArrowBehindABlankSeparates) {
  const auto pair = parse_text_pair("\t>= => => \r\n");
  ASSERT_TRUE(pair.has_value());
  EXPECT_EQ(pair->old_text, ">=");
  EXPECT_EQ(pair->new_text, "=>");
  for (const char* wrong : {"", "a", "=> a", "  => a", "a=>b", "a -> b"}) {
    EXPECT_FALSE(parse_text_pair(wrong).has_value()) << wrong;
  }
}

TEST(LineChanges, ALineOfBlanksIsTrimmedToNothingAtItsEnd) {
  const std::string_view line = "a\n  \n";
  const std::string_view nothing = trimmed(line.substr(2));
  EXPECT_TRUE(nothing.empty());
  EXPECT_EQ(nothing.data(), line.data() + line.size());
  EXPECT_EQ(trimmed(" \ta b\r\n"), "a b");
}

}  // namespace
}  // namespace ponder::tools
