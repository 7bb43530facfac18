#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdio>
#include <memory>
#include <random>

#include "tests/tools/temporary_folder.h"
#include "tools/files/text_edit.h"
#include "tools/files/unified_patch.h"

namespace ponder::tools {
namespace {

std::string error_of(const Result<TextEdit>& edit) {
  return edit ? "no error" : edit.error().message;
}

TEST(ReplaceOnly, ReplacesTheOnlyPlaceAndShowsIt) {
  const auto edit = replace_only("a\nb\nc\nd\ne\nf\ng\nh\n", "e\n", "E\nE2\n");
  ASSERT_TRUE(edit.has_value());
  EXPECT_EQ(edit->text, "a\nb\nc\nd\nE\nE2\nf\ng\nh\n");
  EXPECT_EQ(edit->diff, "@@ -2,7 +2,8 @@\n b\n c\n d\n-e\n+E\n+E2\n f\n g\n h\n");
}

TEST(ReplaceOnly, SaysWhyItCannot) {
  EXPECT_EQ(error_of(replace_only("x y x\nx", "x", "z")),
            "the text to replace is there 3 times (lines 1, 1, 2): give more of what stands around "
            "it");
  EXPECT_EQ(error_of(replace_only("  if (a) {\n", "if (b) {", "x")),
            "the text to replace is not in the file");
  EXPECT_EQ(error_of(replace_only("\tif (a) {\n", "    if (a) {\n", "x")),
            "the text to replace is not in the file; line 1 is like its first line: blanks or what "
            "follows differ");
  EXPECT_EQ(error_of(replace_only("x", "", "y")), "the text to replace is empty");
  EXPECT_EQ(error_of(replace_only("x", "x", "x")), "old and new text are the same");
  EXPECT_EQ(
      error_of(replace_only("aaa", "aa", "b")),
      "the text to replace is there 2 times (lines 1, 1): give more of what stands around it");
}

TEST(ReplaceOnly, CountsAllPlacesButNamesTen) {
  std::string text;
  for (int i = 0; i < 30; ++i) text += "x\n";
  EXPECT_NE(error_of(replace_only(text, "x", "y"))
                .find("there 30 times (lines 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, ..)"),
            std::string::npos);
}

std::string error_of(const Result<std::vector<FilePatch>>& patch) {
  return patch ? "no error" : patch.error().message;
}

TEST(ParsePatch, SaysWhatIsWrongAndWhere) {
  EXPECT_EQ(error_of(parse_patch("hello\n")),
            "no file in the patch: each begins with '--- a/NAME' and '+++ b/NAME'");
  EXPECT_EQ(error_of(parse_patch("--- a/x\n+++ b/x\n")),
            "line 3 of the patch: a file without '@@ -LINE,COUNT +LINE,COUNT @@'");
  EXPECT_EQ(error_of(parse_patch("--- a/x\n+++ b/x\n@@ -1,2 +1,2 @@\n a\n")),
            "line 5 of the patch: the hunk is shorter than its header says");
  EXPECT_EQ(error_of(parse_patch("--- a/x\n+++ b/x\n@@ -1 +1 @@\n-a\n*b\n")),
            "line 5 of the patch: a line of a hunk begins with ' ', '-' or '+'");
  EXPECT_EQ(error_of(parse_patch("--- a/x\n+++ b/x\n@@ one @@\n")),
            "line 3 of the patch: not of the form '@@ -LINE,COUNT +LINE,COUNT @@'");
  EXPECT_EQ(error_of(parse_patch("rename from x\n")),
            "line 1 of the patch: renames, modes and binary files are not done by this");
  EXPECT_EQ(error_of(parse_patch("--- a/x\n+++ b/y\n@@ -1 +1 @@\n-a\n+b\n")),
            "line 3 of the patch: renames, modes and binary files are not done by this");
}

TEST(ParsePatch, LosesNoLineThatAHeaderDoesNotCount) {
  const std::string begin = "--- a/x\n+++ b/x\n@@ -1,1 +1,2 @@\n-a\n+b\n+c\n";
  for (const char* line : {"+d\n", "-d\n", " d\n", "\n+d\n", "--- d\n"}) {
    EXPECT_THAT(error_of(parse_patch(begin + line)),
                testing::EndsWith("a line of a hunk that its header does not count"))
        << line;
  }
  EXPECT_EQ(error_of(parse_patch(begin + "\n\nsome words\n@@ -9,1 +9,1 @@\n-e\n+f\n")),
            "line 10 of the patch: a hunk that belongs to no file");
  EXPECT_EQ(error_of(parse_patch("@@ -1,1 +1,1 @@\n-a\n+b\n")),
            "line 1 of the patch: a hunk that belongs to no file");
}

TEST(ParsePatch, EmptyLinesBetweenHunksAndLettersAroundFilesAreNoMatter) {
  const auto files = parse_patch(
      "--- a/x\n+++ b/x\n@@ -1,1 +1,1 @@\n-a\n+b\n\n@@ -9,1 +9,1 @@\n-e\n+f\n-- \n2.39\n\n"
      "rename is what I thought of first\n 1 file changed\n"
      "diff --git a/y b/y\n--- a/y\n+++ b/y\n@@ -1,1 +1,1 @@\n-a\n+b\n");
  ASSERT_TRUE(files.has_value()) << files.error().message;
  ASSERT_EQ(files->size(), 2U);
  EXPECT_EQ((*files)[0].hunks.size(), 2U);
}

TEST(ParsePatch, RefusesLineNumbersThatNoFileHas) {
  for (const char* range : {"9223372036854775808,1", "1,18446744073709551615"}) {
    EXPECT_THAT(
        error_of(parse_patch(std::string("--- a/x\n+++ b/x\n@@ -") + range + " +1,1 @@\n-a\n+b\n")),
        testing::HasSubstr("not of the form"));
  }
}

TEST(ApplyHunks, FindsLinesThatHaveMoved) {
  const auto patch =
      parse_patch("--- a/x\n+++ b/x\n@@ -1,2 +1,2 @@\n-a\n+A\n b\n@@ -3,2 +3,2 @@\n-c\n+C\n d\n");
  ASSERT_TRUE(patch.has_value()) << patch.error().message;
  const auto out = apply_hunks("new\nnew\na\nb\nc\nd\n", (*patch)[0].hunks);
  ASSERT_TRUE(out.has_value()) << out.error().message;
  EXPECT_EQ(*out, "new\nnew\nA\nb\nC\nd\n");
}

TEST(ApplyHunks, GuessesNothing) {
  const auto patch = parse_patch("--- a/x\n+++ b/x\n@@ -1 +1 @@\n-a\n+A\n");
  ASSERT_TRUE(patch.has_value());
  const auto out = apply_hunks(" a\n", (*patch)[0].hunks);
  ASSERT_FALSE(out.has_value());
  EXPECT_EQ(out.error().message, "hunk 1 (line 1): its lines are not in the file; read it again");
}

struct ClosePipe {
  void operator()(FILE* pipe) const noexcept { pclose(pipe); }
};
std::string output_of(const std::string& command) {
  const std::unique_ptr<FILE, ClosePipe> pipe(popen(command.c_str(), "r"));
  std::string text(1 << 16, '\0');
  text.resize(fread(text.data(), 1, text.size(), pipe.get()));
  return text;
}

std::string random_text(std::mt19937& random) {
  std::string text;
  const unsigned lines = random() % 30;
  for (unsigned i = 0; i < lines; ++i) {
    text += static_cast<char>('a' + random() % 4);
    if (i + 1 < lines || random() % 3 != 0) text += '\n';
  }
  return text;
}

std::string changed(std::string text, std::mt19937& random) {
  const unsigned changes = random() % 5;
  for (unsigned i = 0; i < changes; ++i) {
    const std::size_t at = text.empty() ? 0 : random() % text.size();
    if (random() % 2 == 0) {
      text.insert(at, "new\n");
    } else if (!text.empty()) {
      text.erase(at, 1 + random() % 4);
    }
  }
  return text;
}

/// diff(1) as the oracle: what it writes, applied, gives the new text; and what we write, diff's
/// reader being ours too, does as well.
TEST(UnifiedPatch, RoundTripsWithDiff) {
  tests::TemporaryFolder folder;
  std::mt19937 random(7);
  for (int i = 0; i < 150; ++i) {
    const std::string before = random_text(random);
    const std::string after = changed(before, random);
    if (before == after) continue;
    folder.write("before", before);
    folder.write("after", after);
    const std::string base = folder.path().string();
    const std::string theirs =
        output_of("diff -u --label a/x --label b/x " + base + "/before " + base + "/after");
    const std::string ours = "--- a/x\n+++ b/x\n" + diff_of(before, after);
    for (const std::string& diff : {theirs, ours}) {
      SCOPED_TRACE(diff);
      const auto patch = parse_patch(diff);
      ASSERT_TRUE(patch.has_value()) << patch.error().message;
      const auto out = apply_hunks(before, (*patch)[0].hunks);
      ASSERT_TRUE(out.has_value()) << out.error().message;
      EXPECT_EQ(*out, after);
    }
  }
}

}  // namespace
}  // namespace ponder::tools
