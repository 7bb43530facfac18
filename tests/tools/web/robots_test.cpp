#include "tools/web/robots.h"

#include <gtest/gtest.h>

#include <string>

namespace ponder::tools {
namespace {

bool allows(std::string_view robots, std::string_view target) {
  return RobotsRules(robots, "ponder").allows(target);
}

TEST(Robots, WithoutRulesEverythingMayBeRead) {
  EXPECT_TRUE(allows("", "/x"));
  EXPECT_TRUE(allows("User-agent: *\nDisallow:\n", "/x"));
  EXPECT_TRUE(allows("<html>not found</html>", "/x"));
  EXPECT_FALSE(RobotsRules::none().allows("/x"));
  EXPECT_TRUE(RobotsRules::none().allows("/robots.txt"));
}

TEST(Robots, AGroupThatNamesUsReplacesTheOneForAll) {
  const std::string_view robots =
      "User-agent: *\nDisallow: /\n\nuser-agent: Ponder/2.0\nDisallow: /private\n";
  EXPECT_TRUE(allows(robots, "/public"));
  EXPECT_FALSE(allows(robots, "/private/x"));
  EXPECT_FALSE(RobotsRules(robots, "other").allows("/public"));
  EXPECT_FALSE(allows("User-agent: *\nDisallow: /\nUser-agent: ponderous\nAllow: /\n", "/"));
}

TEST(Robots, GroupsOfTheSameNameAreOneAndNamesInARowShareTheirRules) {
  const std::string_view robots =
      "User-agent: a\nUser-agent: ponder\nDisallow: /a\n\nUser-agent: b\nDisallow: /b\n\n"
      "User-agent: PONDER\nDisallow: /c\n";
  EXPECT_FALSE(allows(robots, "/a"));
  EXPECT_TRUE(allows(robots, "/b"));
  EXPECT_FALSE(allows(robots, "/c"));
}

TEST(Robots, TheLongestRuleDecidesAndAllowingWinsATie) {
  const std::string_view robots =
      "User-agent: *\nDisallow: /a\nAllow: /a/b\nDisallow: /a/b/c\nAllow: /t\nDisallow: /t\n";
  EXPECT_FALSE(allows(robots, "/a/x"));
  EXPECT_TRUE(allows(robots, "/a/b"));
  EXPECT_FALSE(allows(robots, "/a/b/c?d"));
  EXPECT_TRUE(allows(robots, "/t"));
}

TEST(Robots, StarsAndEndsAreUnderstood) {
  const std::string_view robots =
      "User-agent: *\nDisallow: /*.gif$\nDisallow: /x*y*z\nDisallow: /end$\n";
  EXPECT_FALSE(allows(robots, "/a/b.gif"));
  EXPECT_TRUE(allows(robots, "/a/b.gif?x"));
  EXPECT_FALSE(allows(robots, "/x1y2z3"));
  EXPECT_TRUE(allows(robots, "/x1z2y3"));
  EXPECT_FALSE(allows(robots, "/end"));
  EXPECT_TRUE(allows(robots, "/end/"));
  EXPECT_FALSE(allows("User-agent: *\nDisallow: /a*\n", "/a"));
}

TEST(Robots, EscapesAreComparedByWhatTheyMean) {
  const std::string_view robots = "User-agent: *\nDisallow: /%7ejoe\nDisallow: /\xC3\xBC\n";
  EXPECT_FALSE(allows(robots, "/~joe/x"));
  EXPECT_FALSE(allows(robots, "/%C3%bc"));
  EXPECT_TRUE(allows("User-agent: *\nDisallow: /a%2Fb\n", "/a/b"));
}

TEST(Robots, CommentsBlanksAndOtherLinesDoNotMatter) {
  const std::string_view robots =
      "\xEF\xBB\xBF# hello\r\n  USER-AGENT :  *  # all\r\nSitemap: https://x/\r\n"
      "Crawl-delay: 3\r\nDisallow: /a # not this\r\n";
  EXPECT_FALSE(allows(robots, "/a"));
  EXPECT_TRUE(allows(robots, "/b"));
}

TEST(Robots, HostileFilesEndSoon) {
  std::string many = "User-agent: *\n";
  for (int i = 0; i < 100'000; ++i) many += "Disallow: /" + std::to_string(i) + "$\n";
  EXPECT_TRUE(allows(many, "/x"));
  std::string stars = "User-agent: *\nDisallow: /";
  for (int i = 0; i < 1000; ++i) stars += "*a";
  EXPECT_TRUE(allows(stars + "b$\n", "/" + std::string(2000, 'a')));
}

TEST(Robots, RulesThatWouldTakeTooLongTogetherForbid) {
  std::string robots = "User-agent: *\n";
  for (int i = 0; i < 200; ++i) robots += "Disallow: /*" + std::string(1000, 'a') + "b\n";
  EXPECT_FALSE(allows(robots, "/" + std::string(2000, 'a'))) << "no rule matches, and who knows";
  EXPECT_TRUE(allows(robots, "/x"));
}

}  // namespace
}  // namespace ponder::tools
