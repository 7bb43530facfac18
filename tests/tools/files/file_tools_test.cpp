#include "tools/files/file_tools.h"

#include <gtest/gtest.h>

#include <boost/asio/thread_pool.hpp>

#include "tests/tools/call_tool.h"
#include "tests/tools/temporary_folder.h"

namespace ponder::tools {
namespace {

class FileTools : public testing::Test {
 protected:
  FileTools() {
    const Status added = add_file_tools(registry_, folder_.path(), pool_.get_executor());
    EXPECT_TRUE(added.has_value());
  }

  ToolOutput call(const std::string& name, const std::string& arguments,
                  std::size_t output_bytes_max = 100'000) {
    const ToolContext context(system_clock(), Deadline::never(), output_bytes_max);
    auto output = tests::run_sync(
        tests::call_tool(registry_, {"", name, arguments}, {kReadFiles, kWriteFiles}, context));
    EXPECT_TRUE(output.has_value());
    return *output;
  }

  tests::TemporaryFolder folder_;
  Registry registry_;
  boost::asio::thread_pool pool_{1};
};

TEST_F(FileTools, ReadGivesNumberedLinesAndSaysWhatIsMissing) {
  folder_.write("a.txt", "one\ntwo\nthree\nfour");
  EXPECT_EQ(call("read", R"({"path":"a.txt"})").content,
            "     1\tone\n     2\ttwo\n     3\tthree\n     4\tfour\n");
  EXPECT_EQ(call("read", R"({"path":"a.txt","first_line":2,"lines":2})").content,
            "     2\ttwo\n     3\tthree\n[lines 2 to 3 of 4]\n");
  EXPECT_EQ(call("read", R"({"path":"a.txt","first_line":9})").content, "error: a.txt has 4 lines");
  EXPECT_EQ(call("read", R"({"path":"b.txt"})").content, "error: b.txt: no such file or folder");
  folder_.write("empty", "");
  EXPECT_EQ(call("read", R"({"path":"empty"})").content, "empty is empty");
  folder_.write("bin", std::string("x\0y", 3));
  EXPECT_EQ(call("read", R"({"path":"bin"})").content, "error: bin: is no text (3 bytes)");
}

TEST_F(FileTools, ALongLineAndALongFileAreCut) {
  folder_.write("long", std::string(5000, 'x') + "\n");
  EXPECT_NE(call("read", R"({"path":"long"})").content.find("x [3000 more bytes]\n"),
            std::string::npos);
  folder_.write("many", [] {
    std::string text;
    for (int i = 0; i < 3000; ++i) text += "line\n";
    return text;
  }());
  EXPECT_NE(call("read", R"({"path":"many"})").content.find("[lines 1 to 400 of 3000]"),
            std::string::npos);
  EXPECT_LE(call("read", R"({"path":"many"})", 200).content.size(), 240U);
}

TEST_F(FileTools, ListLeavesOutWhatGitIgnores) {
  folder_.write(".gitignore", "build/\n");
  folder_.write("build/x", "");
  folder_.write("src/a.c", "int x;");
  folder_.write(".git/config", "");
  EXPECT_EQ(call("list", "{}").content, ".gitignore  7\nsrc/\n");
  EXPECT_EQ(call("list", R"({"path":"src/"})").content, "src/a.c  6\n");
  EXPECT_EQ(call("list", R"({"depth":5})").content, ".gitignore  7\nsrc/\nsrc/a.c  6\n");
  EXPECT_EQ(call("list", R"({"path":"none"})").content, "error: none: no such file or folder");
}

TEST_F(FileTools, SearchFindsLinesWithTheirPlaces) {
  folder_.write("a.py", "def f():\n    return 1\n");
  folder_.write("lib/b.py", "x = f()\r\n");
  folder_.write("lib/c.txt", "f()\n");
  folder_.write("bin", std::string("f()\0", 4));
  EXPECT_EQ(call("search", R"({"pattern":"f\\(\\)$","files":"*.py"})").content,
            "lib/b.py:1: x = f()\n");
  EXPECT_EQ(call("search", R"({"pattern":"^def","path":"."})").content, "a.py:1: def f():\n");
  EXPECT_EQ(call("search", R"({"pattern":"f","path":"lib"})").content,
            "lib/b.py:1: x = f()\nlib/c.txt:1: f()\n");
  EXPECT_EQ(call("search", R"({"pattern":"nothing like it"})").content, "no line matches\n");
  EXPECT_TRUE(call("search", R"({"pattern":"("})").is_error);
}

TEST_F(FileTools, SearchEndsAnExplodingPatternAndBoundsItsOutput) {
  folder_.write("a", std::string(40, 'a') + "!\n");
  const auto output = call("search", R"({"pattern":"^(a+)+$"})");
  EXPECT_EQ(output.content, "error: a:1: the pattern takes too many steps on this text");
  std::string text;
  for (int i = 0; i < 1000; ++i) text += "hit\n";
  folder_.write("a", text);
  EXPECT_NE(call("search", R"({"pattern":"hit"})").content.find("[only the first 200 lines"),
            std::string::npos);
}

TEST_F(FileTools, SearchReadsBytesThatAreNoUtf8) {
  folder_.write("latin", "caf\xE9 au lait\n");
  EXPECT_EQ(call("search", R"({"pattern":"lait"})").content, "latin:1: caf\xE9 au lait\n");
}

TEST_F(FileTools, WriteMakesAndReplacesAndShowsTheChange) {
  EXPECT_EQ(call("write", R"({"path":"d/x","content":"a\nb\n"})").content, "d/x: made, 2 lines\n");
  EXPECT_EQ(call("write", R"({"path":"d/x","content":"a\nc\n"})").content,
            "d/x: 2 lines now\n@@ -1,2 +1,2 @@\n a\n-b\n+c\n");
  EXPECT_EQ(call("write", R"({"path":"d/x","content":"a\nc\n"})").content,
            "d/x: is as it was, 2 lines\n");
  EXPECT_EQ(folder_.read("d/x"), "a\nc\n");
  EXPECT_TRUE(call("write", R"({"path":"../x","content":""})").is_error);
  EXPECT_TRUE(call("write", R"({"path":".git/hooks/pre-commit","content":""})").is_error);
}

TEST_F(FileTools, EditReplacesWhatIsThereOnce) {
  folder_.write("x", "a\nb\nb\n");
  EXPECT_EQ(call("edit", R"({"path":"x","old":"a\n","new":"A\n"})").content,
            "x\n@@ -1,3 +1,3 @@\n-a\n+A\n b\n b\n");
  EXPECT_EQ(call("edit", R"({"path":"x","old":"b","new":"B"})").content,
            "error: x: the text to replace is there 2 times (lines 2, 3): give more of what stands "
            "around it");
  EXPECT_EQ(folder_.read("x"), "A\nb\nb\n");
}

TEST_F(FileTools, APatchIsAppliedWholeOrNotAtAll) {
  folder_.write("x", "a\nb\n");
  folder_.write("y", "c\n");
  folder_.write("old", "gone\n");
  const auto failed =
      call("apply_patch", R"({"patch":"--- a/x\n+++ b/x\n@@ -1,2 +1,2 @@\n-a\n+A\n b\n)"
                          R"(--- a/y\n+++ b/y\n@@ -1 +1 @@\n-d\n+D\n"})");
  EXPECT_EQ(failed.content,
            "error: y: hunk 1 (line 1): its lines are not in the file; read it again");
  EXPECT_EQ(folder_.read("x"), "a\nb\n");
  const auto done =
      call("apply_patch", R"({"patch":"--- a/x\n+++ b/x\n@@ -1,2 +1,2 @@\n-a\n+A\n b\n)"
                          R"(--- /dev/null\n+++ b/new/file\n@@ -0,0 +1,2 @@\n+n\n+m\n)"
                          R"(--- a/old\n+++ /dev/null\n@@ -1 +0,0 @@\n-gone\n"})");
  EXPECT_EQ(done.content, "x: patched\nnew/file: patched\nold: removed\n");
  EXPECT_EQ(folder_.read("x"), "A\nb\n");
  EXPECT_EQ(folder_.read("new/file"), "n\nm\n");
  EXPECT_FALSE(std::filesystem::exists(folder_.path() / "old"));
}

TEST_F(FileTools, APatchThatMakesAFileThatIsThereIsRefused) {
  folder_.write("x", "mine\n");
  EXPECT_EQ(
      call("apply_patch", R"({"patch":"--- /dev/null\n+++ b/x\n@@ -0,0 +1 @@\n+n\n"})").content,
      "error: x: is there already");
  EXPECT_EQ(folder_.read("x"), "mine\n");
}

TEST_F(FileTools, NothingIsWrittenWithoutTheGrant) {
  const ToolContext context(system_clock(), Deadline::never(), 1000);
  const auto output = tests::run_sync(tests::call_tool(
      registry_, {"", "write", R"({"path":"x","content":""})"}, {kReadFiles}, context));
  ASSERT_TRUE(output.has_value());
  EXPECT_EQ(output->content,
            "error: tool 'write' needs the capability 'fs.write', which was not granted");
}

}  // namespace
}  // namespace ponder::tools
