#include "tools/files/ignore_rules.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <random>
#include <set>

#include "tests/tools/files/git_index.h"
#include "tests/tools/temporary_folder.h"
#include "tools/files/file_tree.h"
#include "tools/files/glob.h"

namespace ponder::tools {
namespace {

using tests::index_of;

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

/// A tree of random files and folders, with random patterns in .gitignore files and in the
/// repository's own, in which some files are tracked all the same.
class RandomTree {
 public:
  RandomTree(std::mt19937& random, const std::string& init_options) : random_(random) {
    for (int i = 0; i < 25; ++i) {
      const std::string path = pick(folders_) + pick(kNames);
      if (std::filesystem::exists(folder_.path() / path)) continue;
      if (random_() % 3 == 0) {
        std::filesystem::create_directory(folder_.path() / path);
        folders_.push_back(path + "/");
      } else {
        folder_.write(path, "x");
        files_.push_back(path);
      }
    }
    for (const std::string& place : folders_) {
      const std::string text = patterns(place.empty() ? 1 + random_() % 3 : random_() % 3);
      if (!text.empty()) folder_.write(place + ".gitignore", text);
    }
    git("init -q " + init_options);
    folder_.write(".git/info/exclude", patterns(random_() % 3));
  }

  void track(const std::string& options) {
    for (unsigned count = random_() % 4; count > 0 && !files_.empty(); --count) {
      git("add -f " + options + " -- '" + pick(files_) + "'");
    }
  }
  void git(const std::string& words) const {
    const std::string command = "git -C " + folder_.path().string() + " -c core.quotePath=false " +
                                "-c core.excludesFile=/dev/null " + words;
    ASSERT_EQ(std::system(command.c_str()), 0) << command;
  }

  std::set<std::string> seen_by_git() const {
    const std::string list = folder_.path().string() + ".list";
    git("ls-files --cached --others --exclude-standard > " + list);
    std::ifstream lines(list);
    std::set<std::string> out;
    for (std::string line; std::getline(lines, line);) out.insert(line);
    std::filesystem::remove(list);
    return out;
  }
  std::set<std::string> seen_by_walk() const {
    std::set<std::string> seen;
    const auto root = RootedFolder::open(folder_.path());
    EXPECT_TRUE(root.has_value());
    const auto walked =
        walk_tree(*root, "", {}, [&](const std::string& path, const FileEntry& entry) {
          if (entry.kind != FileEntry::Kind::folder) seen.insert(path);
          return true;
        });
    EXPECT_TRUE(walked.has_value());
    return seen;
  }

 private:
  static inline const std::vector<std::string> kNames = {"a", "b.o", "c.py", "build", "x y", "d"};
  static inline const std::vector<std::string> kPatterns = {
      "*.o",   "build/", "/a",      "!b.o", "d/**",     "**/c.py", "x\\ y",
      "d/a",   "!/d/a",  "[a-b]*",  "*",    "!*/",      "!*.py",   "# note",
      "build", "a/",     "d/*/b.o", "\\!a", "**/d/b.o", "x y ",    "c.p?"};

  const std::string& pick(const std::vector<std::string>& of) { return of[random_() % of.size()]; }
  std::string patterns(unsigned count) {
    std::string text;
    for (unsigned i = 0; i < count; ++i) text += pick(kPatterns) + "\n";
    return text;
  }

  std::mt19937& random_;
  tests::TemporaryFolder folder_;
  std::vector<std::string> folders_ = {""};
  std::vector<std::string> files_;
};

/// What the walk visits is what `git ls-files --cached --others --exclude-standard` lists.
TEST(IgnoreRules, AgreeWithGitOnRandomTrees) {
  ASSERT_EQ(std::system("git --version > /dev/null"), 0) << "scripts/setup installs git";
  std::mt19937 random(11);
  for (int round = 0; round < 40; ++round) {
    const RandomTree tree(random, "");
    EXPECT_EQ(tree.seen_by_walk(), tree.seen_by_git()) << "round " << round;
  }
}

/// The index in each of its versions; a file that is to be added later makes it version 3.
TEST(IgnoreRules, AgreeWithGitOnWhatIsTrackedAllTheSame) {
  std::mt19937 random(5);
  for (int round = 0; round < 40; ++round) {
    RandomTree tree(random, round % 4 == 3 ? "--object-format=sha256" : "");
    tree.track("");
    if (round % 3 == 1) tree.track("--intent-to-add");
    if (round % 3 == 2) tree.git("update-index --index-version 4");
    EXPECT_EQ(tree.seen_by_walk(), tree.seen_by_git()) << "round " << round;
  }
}

/// An index that git would not write cannot bring what is in .git to light.
TEST(IgnoreRules, NoIndexTracksWhatIsInAGitFolder) {
  tests::TemporaryFolder folder;
  folder.write(".git/config", "secret");
  folder.write("sub/.git/config", "secret");
  folder.write(".git/index", index_of({".git/config", "sub/.git/config"}));
  std::vector<std::string> seen;
  const auto root = RootedFolder::open(folder.path());
  ASSERT_TRUE(root.has_value());
  ASSERT_TRUE(walk_tree(*root, "", {}, [&](const std::string& path, const FileEntry&) {
    seen.push_back(path);
    return true;
  }));
  EXPECT_EQ(seen, std::vector<std::string>{"sub"});
}

}  // namespace
}  // namespace ponder::tools
