#include "runtime/cli/line_place.h"

#include <gtest/gtest.h>

namespace ponder::cli {
namespace {

std::size_t column_after(std::string_view text, std::size_t columns = 10) {
  LinePlace place(columns);
  place.take(text);
  return place.column();
}

TEST(LinePlace, CountsColumnsAndNotBytes) {
  EXPECT_EQ(column_after("abc"), 3U);
  EXPECT_EQ(column_after("caf\xC3\xA9"), 4U);
  EXPECT_EQ(column_after("e\xCC\x81"), 1U);                 // an accent of its own
  EXPECT_EQ(column_after("\xE6\x9D\xAD\xE5\xB7\x9E"), 4U);  // two Chinese characters
  EXPECT_EQ(column_after("\xF0\x9F\x98\x80"), 2U);          // a face
  EXPECT_EQ(column_after("\x1b[2mabc\x1b[0m"), 3U);         // dimmed
  EXPECT_EQ(column_after("a\tb"), 9U);
  EXPECT_EQ(column_after("a\tbc\td"), 10U);  // the second tab stops in the last column
}

TEST(LinePlace, WaitsAtTheEdgeUntilTheNextCharacter) {
  LinePlace place(4);
  place.take("abcd");
  EXPECT_TRUE(place.is_at_edge());
  place.take("\x1b[0m");
  EXPECT_TRUE(place.is_at_edge());
  place.take("e");
  EXPECT_FALSE(place.is_at_edge());
  EXPECT_EQ(place.column(), 1U);
  place.take("\n");
  EXPECT_EQ(place.column(), 0U);
}

TEST(LinePlace, PutsAWideCharacterThatDoesNotFitIntoTheNextLine) {
  LinePlace place(5);
  place.take("abcd\xE6\x9D\xAD");
  EXPECT_EQ(place.column(), 2U);
}

TEST(LinePlace, TakesCharactersInPieces) {
  LinePlace place(10);
  place.take("\xE6\x9D");
  EXPECT_EQ(place.column(), 0U);
  place.take("\xAD");
  EXPECT_EQ(place.column(), 2U);
}

TEST(LinePlace, IsNeverAtTheEdgeOfNoTerminal) {
  LinePlace place(0);
  place.take(std::string(1000, 'a'));
  EXPECT_FALSE(place.is_at_edge());
}

}  // namespace
}  // namespace ponder::cli
