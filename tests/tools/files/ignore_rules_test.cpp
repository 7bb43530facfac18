#include "tools/files/ignore_rules.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <random>
#include <set>
#include <sstream>

#include "tests/tools/temporary_folder.h"
#include "tools/files/file_tree.h"
#include "tools/files/glob.h"

namespace ponder::tools {
namespace {

TEST(Glob, MatchesAsGitDoes) {
  EXPECT_TRUE(glob_matches("*.py", "a.py"));
  EXPECT_FALSE(glob_matches("*.py", "a/b.py"));
  EXPECT_TRUE(glob_matches("**/*.py", "b.py"));
  EXPECT_TRUE(glob_matches("**/*.py", "a/c/b.py"));
  EXPECT_TRUE(glob_matches("a/**/b", "a/b"));
  EXPECT_TRUE(glob_matches("a/**/b", "a/x/y/b"));
  EXPECT_FALSE(glob_matches("a/**/b", "a/xb"));
  EXPECT_TRUE(glob_matches("a/**", "a/x/y"));
  EXPECT_FALSE(glob_matches("a/**", "a"));
  EXPECT_TRUE(glob_matches("[a-c]?", "bz"));
  EXPECT_FALSE(glob_matches("[!a-c]?", "bz"));
  EXPECT_TRUE(glob_matches("[]]", "]"));
  EXPECT_TRUE(glob_matches("\\*", "*"));
  EXPECT_FALSE(glob_matches("\\*", "x"));
  EXPECT_TRUE(glob_matches("[", "["));
}

TEST(Glob, AnExplodingPatternTakesItsSteps) {
  std::string pattern;
  for (int i = 0; i < 40; ++i) pattern += "*a";
  EXPECT_FALSE(glob_matches(pattern, std::string(2000, 'a') + "b"));
}

TEST(IgnoreRules, ForeignPatternsAreBoundedAloneAndTogether) {
  IgnoreRules rules;
  rules.add("", std::string(2000, '*') + "a\nshort\n");
  EXPECT_FALSE(rules.ignores("a", false));
  EXPECT_TRUE(rules.ignores("short", false));
  std::string many;
  for (int i = 0; i < 300; ++i) many += std::string(990, 'x') + "\n";
  rules.add("sub", many + "late\n");
  EXPECT_FALSE(rules.ignores("sub/late", false));
  rules.remove("sub");
  rules.add("other", "late\n");
  EXPECT_TRUE(rules.ignores("other/late", false));
}

/// What the walk visits is what `git ls-files --cached --others --exclude-standard` lists.
TEST(IgnoreRules, AgreeWithGitOnRandomTrees) {
  ASSERT_EQ(std::system("git --version > /dev/null"), 0) << "scripts/setup installs git";
  const std::vector<std::string> names = {"a", "b.o", "c.py", "build", "x y", "d"};
  const std::vector<std::string> rules = {
      "*.o",   "build/", "/a",      "!b.o", "d/**",     "**/c.py", "x\\ y",
      "d/a",   "!/d/a",  "[a-b]*",  "*",    "!*/",      "!*.py",   "# note",
      "build", "a/",     "d/*/b.o", "\\!a", "**/d/b.o", "x y ",    "c.p?"};
  std::mt19937 random(11);
  for (int round = 0; round < 40; ++round) {
    tests::TemporaryFolder folder;
    std::vector<std::string> folders = {""};
    for (int i = 0; i < 25; ++i) {
      const std::string path = folders[random() % folders.size()] + names[random() % names.size()];
      if (std::filesystem::exists(folder.path() / path)) continue;
      if (random() % 3 == 0) {
        std::filesystem::create_directory(folder.path() / path);
        folders.push_back(path + "/");
      } else {
        folder.write(path, "x");
      }
    }
    for (const std::string& place : folders) {
      std::string text;
      const unsigned count = place.empty() ? 1 + random() % 3 : random() % 3;
      for (unsigned i = 0; i < count; ++i) text += rules[random() % rules.size()] + "\n";
      if (!text.empty()) folder.write(place + ".gitignore", text);
    }
    const std::string base = folder.path().string();
    ASSERT_EQ(std::system(("git init -q " + base).c_str()), 0);
    ASSERT_EQ(
        std::system(("git -C " + base +
                     " -c core.quotePath=false -c core.excludesFile=/dev/null ls-files --others "
                     "--exclude-standard > " +
                     base + ".list")
                        .c_str()),
        0);
    std::ifstream list(base + ".list");
    std::set<std::string> expected;
    std::string line;
    while (std::getline(list, line)) expected.insert(line);
    std::filesystem::remove(base + ".list");

    std::set<std::string> seen;
    const auto root = RootedFolder::open(folder.path());
    ASSERT_TRUE(root.has_value());
    const auto walked =
        walk_tree(*root, "", {}, [&](const std::string& path, const FileEntry& entry) {
          if (entry.kind != FileEntry::Kind::folder) seen.insert(path);
          return true;
        });
    ASSERT_TRUE(walked.has_value());
    EXPECT_EQ(seen, expected) << "round " << round;
  }
}

}  // namespace
}  // namespace ponder::tools
