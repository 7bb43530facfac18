#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <array>
#include <cstdlib>
#include <lua.hpp>
#include <memory>
#include <optional>
#include <random>
#include <string>
#include <vector>

#include "tools/lua/pattern.h"

namespace ponder::tools::lua {
namespace {

using ::testing::HasSubstr;

/// What one search gives: begin, end (exclusive), captures; or an error.
struct Found {
  std::vector<std::string> parts;  // "begin", "end", captures
  std::string error;
  bool operator==(const Found&) const = default;
};

void PrintTo(const Found& found, std::ostream* out) {
  *out << ::testing::PrintToString(found.parts) << " error: '" << found.error << "'";
}

Found find_with_ours(const std::string& subject, std::string pattern, std::size_t from) {
  const bool is_anchored = pattern.starts_with('^');
  if (is_anchored) pattern.erase(0, 1);
  PatternMatcher matcher(subject, pattern, 1'000'000);
  Found found;
  const bool is_found = matcher.search(from, PatternMatcher::npos, is_anchored);
  if (matcher.error() != nullptr) {
    found.error = matcher.error();
  } else if (is_found) {
    found.parts = {std::to_string(matcher.begin() + 1), std::to_string(matcher.end())};
    for (int i = 0; i < matcher.num_captures(); ++i) {
      const auto capture = matcher.capture(i);
      found.parts.push_back(
          capture.length == PatternMatcher::kPosition
              ? std::to_string(capture.begin + 1)
              : subject.substr(capture.begin, static_cast<std::size_t>(capture.length)));
    }
  }
  return found;
}

struct CloseLua {
  void operator()(lua_State* L) const noexcept { lua_close(L); }
};
using LuaHandle = std::unique_ptr<lua_State, CloseLua>;

LuaHandle open_lua() {
  LuaHandle lua(luaL_newstate());
  luaL_openlibs(lua.get());
  return lua;
}

Found find_with_lua(lua_State* L, const std::string& subject, const std::string& pattern,
                    std::size_t from) {
  lua_settop(L, 0);
  lua_getglobal(L, "string");
  lua_getfield(L, 1, "find");
  lua_pushlstring(L, subject.data(), subject.size());
  lua_pushlstring(L, pattern.data(), pattern.size());
  lua_pushinteger(L, static_cast<lua_Integer>(from) + 1);
  Found found;
  if (lua_pcall(L, 3, LUA_MULTRET, 0) != LUA_OK) {
    found.error = lua_tostring(L, -1);
  } else if (!lua_isnil(L, 2)) {
    for (int i = 2; i <= lua_gettop(L); ++i) {
      std::size_t size = 0;
      const char* text = lua_tolstring(L, i, &size);
      found.parts.emplace_back(text, size);
    }
  }
  return found;
}

std::string random_text(std::mt19937_64& rng, const std::vector<std::string>& pieces,
                        std::size_t count) {
  std::string text;
  for (std::size_t i = 0; i < count; ++i) text += pieces[rng() % pieces.size()];
  return text;
}

TEST(LuaPattern, RandomPatternsFindWhatLuaItselfFinds) {
  const LuaHandle lua = open_lua();
  const char* chosen = std::getenv("PONDER_TEST_SEED");
  const std::uint64_t seed = chosen == nullptr ? 20260101 : std::strtoull(chosen, nullptr, 10);
  SCOPED_TRACE(::testing::Message() << "PONDER_TEST_SEED=" << seed);
  std::mt19937_64 rng(seed);
  const std::vector<std::string> pieces = {
      "a",    "b",    "c",      "1",      " ",  ".",    "%a",   "%d",    "%s",    "%w",
      "%S",   "%%",   "%.",     "[",      "]",  "[ab]", "[^a]", "[a-c]", "[%d_]", "[]]",
      "[^]]", "[a-]", "*",      "+",      "-",  "?",    "(",    ")",     "()",    "%1",
      "%2",   "%b()", "%f[%a]", "%f[%W]", "^",  "$",    "%",    "%b",    "\xe6",  "%u",
      "%l",   "%p",   "%x",     "%c",     "%g", "%A",   "%bab", "[%]a]"};
  const std::vector<std::string> letters = {"a", "b", "c", "A", "1", "9", " ",    "_",
                                            "(", ")", "%", ".", "-", "]", "\xe6", "\n"};
  int matched = 0;
  int refused = 0;
  for (int round = 0; round < 60'000; ++round) {
    const std::string pattern = random_text(rng, pieces, rng() % 7);
    if (pattern.find_first_of("^$*+?.([%-") == std::string::npos) continue;  // plain text to Lua
    const std::string subject = random_text(rng, letters, rng() % 14);
    const std::size_t from = subject.empty() ? 0 : rng() % (subject.size() + 1);
    const Found ours = find_with_ours(subject, pattern, from);
    const Found luas = find_with_lua(lua.get(), subject, pattern, from);
    if (!luas.error.empty()) {
      ++refused;
      ASSERT_NE(ours.error, "") << pattern << " on " << subject << ": " << luas.error;
    } else {
      ASSERT_EQ(ours, luas) << pattern << " on " << subject << " from " << from;
      matched += luas.parts.empty() ? 0 : 1;
    }
  }
  EXPECT_GT(matched, 3000);
  EXPECT_GT(refused, 3000);
}

TEST(LuaPattern, APatternThatWouldRunForHoursIsCutShort) {
  const std::string subject(400, 'a');
  PatternMatcher matcher(subject, "a*a*a*a*b", 1'000'000);
  EXPECT_FALSE(matcher.search(0, PatternMatcher::npos, false));
  ASSERT_NE(matcher.error(), nullptr);
  EXPECT_THAT(matcher.error(), HasSubstr("too many steps"));
  EXPECT_LE(matcher.steps(), 1'000'100);
}

TEST(LuaPattern, ALongSetIsWorkToo) {
  const std::string subject(10'000, 'a');
  const std::string pattern = "[" + std::string(100'000, 'b') + "]";
  PatternMatcher matcher(subject, pattern, 1'000'000);
  EXPECT_FALSE(matcher.search(0, PatternMatcher::npos, false));
  EXPECT_NE(matcher.error(), nullptr);
}

TEST(LuaPattern, DeepNestingIsRefusedAndDoesNotOverflowTheStack) {
  std::string pattern;
  for (int i = 0; i < 100'000; ++i) pattern += "a?";
  const std::string subject(100'000, 'a');
  PatternMatcher matcher(subject, pattern, 100'000'000);
  EXPECT_FALSE(matcher.search(0, PatternMatcher::npos, false));
  EXPECT_STREQ(matcher.error(), "the pattern is too complex");
}

TEST(LuaPattern, AMatchThatEndsAtTheSkippedPlaceIsPassedOver) {
  const std::string subject = "ab";
  PatternMatcher matcher(subject, "a*", 1000);
  ASSERT_TRUE(matcher.search(1, 1, false));  // the empty match at 1 ends where the last one ended
  EXPECT_EQ(matcher.begin(), 2u);
  EXPECT_EQ(matcher.end(), 2u);
}

}  // namespace
}  // namespace ponder::tools::lua
