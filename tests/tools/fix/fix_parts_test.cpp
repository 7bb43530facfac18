#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>

#include "tests/tools/temporary_folder.h"
#include "tools/fix/fix_report.h"
#include "tools/fix/project_copy.h"
#include "tools/fix/test_files.h"
#include "tools/fix/test_probe.h"
#include "tools/fix/test_run.h"
#include "tools/fix/tree_changes.h"
#include "tools/process/sandbox_support.h"

namespace ponder::tools {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

TEST(LineChanges, AreTheFewestLinesAndEachStandsAlone) {
  const std::string before = "a\nb\nc\nd\ne\n";
  const auto changes = line_changes(before, "a\nB\nc\nd\nx\ne\n");
  ASSERT_EQ(changes.size(), 2U);
  EXPECT_EQ(with_changes(before, {changes[0]}), "a\nB\nc\nd\ne\n");
  EXPECT_EQ(with_changes(before, {changes[1]}), "a\nb\nc\nd\nx\ne\n");
}

TEST(LineChanges, ALineThatTookAnothersPlaceIsApartFromWhatFollows) {
  const std::string before = "wrong\n\n\nnote\n\nmore\n";
  const auto changes = line_changes(before, "right\n\n");
  ASSERT_EQ(changes.size(), 2U);
  EXPECT_EQ(with_changes(before, {changes[0]}), "right\n\n\nnote\n\nmore\n");
  const auto back = line_changes("right\n\n", before);
  ASSERT_EQ(back.size(), 2U);
  EXPECT_EQ(with_changes("right\n\n", {back[0]}), "wrong\n\n");
}

TEST(LineChanges, MakeTheOneTextOfTheOther) {
  std::mt19937 random(1);
  const auto text = [&random] {
    std::string out;
    for (unsigned i = random() % 12; i > 0; --i) out += std::string(1, "abc"[random() % 3]) + "\n";
    if (random() % 4 == 0) out += "no end";
    return out;
  };
  for (int i = 0; i < 2000; ++i) {
    const std::string before = text();
    const std::string after = text();
    ASSERT_EQ(with_changes(before, line_changes(before, after)), after) << before << "--\n"
                                                                        << after;
  }
}

class TreeChangesTest : public ::testing::Test {
 protected:
  std::vector<std::string> paths() {
    found_ = *changes_between(before_.path(), after_.path());
    std::vector<std::string> out;
    for (const TreeChange& change : found_.changes) out.push_back(change.path);
    return out;
  }
  tests::TemporaryFolder before_;
  tests::TemporaryFolder after_;
  TreeChanges found_;
};

TEST_F(TreeChangesTest, AppliedToTheOldTreeGiveTheNewOne) {
  before_.write("a.py", "one\ntwo\nthree\n");
  before_.write("gone.py", "x\n");
  after_.write("a.py", "ONE\ntwo\nTHREE\n");
  after_.write("deep/new.py", "y\n");
  EXPECT_THAT(paths(), ElementsAre("a.py", "a.py", "deep/new.py", "gone.py"));
  ASSERT_TRUE(apply_changes(before_.path(), found_.changes));
  EXPECT_EQ(before_.read("a.py"), "ONE\ntwo\nTHREE\n");
  EXPECT_EQ(before_.read("deep/new.py"), "y\n");
  EXPECT_FALSE(std::filesystem::exists(before_.path() / "gone.py"));
}

TEST_F(TreeChangesTest, WhatRunsLeaveBehindIsNoChange) {
  after_.write("__pycache__/a.cpython-311.pyc", "x");
  after_.write("src/.pytest_cache/v", "x");
  after_.write(".gitignore", "build/\n");
  after_.write("build/a", "x");
  EXPECT_THAT(paths(), ElementsAre(".gitignore"));
}

TEST_F(TreeChangesTest, AChangedIgnoreFileHidesNoChange) {
  before_.write("a.py", "x\n");
  after_.write("a.py", "y\n");
  after_.write(".gitignore", "*\n");
  EXPECT_THAT(paths(), ::testing::Contains("a.py"));
}

TEST_F(TreeChangesTest, LinksAndBinariesAreLeftOut) {
  before_.write("a.py", "x\n");
  std::filesystem::create_symlink("/etc/passwd", after_.path() / "a.py");
  after_.write("b.bin", std::string("\0\1", 2));
  EXPECT_THAT(paths(), IsEmpty());
  EXPECT_EQ(found_.left_out.size(), 2U);
}

TEST(TestFiles, TestsAndWhatDecidesHowTheyRunAreProtected) {
  const TestFiles files("cd x && sh ./ci/check.sh tests/a.py::test_x", {"*.cfg", "data/**"});
  for (const char* path :
       {"tests/a.txt", "src/tests/b.py", "test_a.py", "a_test.go", "src/ATest.java", "x.spec.ts",
        "conftest.py", "pyproject.toml", "CMakeLists.txt", "build/CTestTestfile.cmake", "Makefile",
        "package.json", "unittest/__main__.py", "pytest.py", "sitecustomize.py", "ci/check.sh",
        "tool.cfg", "data/x/y", "a.pth"}) {
    EXPECT_TRUE(files.is_protected(path)) << path;
  }
  for (const char* path : {"src/a.py", "contest.py", "latest.py", "src/protest/a.py", "main.cpp"}) {
    EXPECT_FALSE(files.is_protected(path)) << path;
  }
  EXPECT_TRUE(TestFiles::has_tests("tests/test_a.py"));
  EXPECT_FALSE(TestFiles::has_tests("tests/conftest.py"));
}

TestRun run_of(const std::vector<std::pair<std::string, TestState>>& tests) {
  TestRun run;
  for (const auto& [name, state] : tests) {
    TestOutcome test;
    test.name = name;
    test.state = state;
    run.report.tests.push_back(test);
  }
  return run;
}

TEST(CompareTests, SkippedAndMissingTestsHaveNotPassed) {
  using enum TestOutcome::State;
  const auto before =
      stable_tests({run_of({{"a", failed}, {"b", passed}, {"c", passed}, {"d", failed}})});
  const auto after = stable_tests({run_of({{"a", passed}, {"b", skipped}, {"d", skipped}})});
  const TestDelta delta = compare_tests(before, after);
  EXPECT_THAT(delta.fixed, ElementsAre("a"));
  EXPECT_THAT(delta.broken, ElementsAre("b", "c"));
  EXPECT_THAT(delta.failing, ElementsAre("d"));
}

TEST(CompareTests, ATestThatWaversCountsForNothing) {
  using enum TestOutcome::State;
  const auto before = stable_tests(
      {run_of({{"a", failed}, {"b", failed}}), run_of({{"a", passed}, {"b", failed}})});
  const auto after =
      stable_tests({run_of({{"a", passed}, {"b", passed}}), run_of({{"a", passed}})});
  const TestDelta delta = compare_tests(before, after);
  EXPECT_THAT(delta.fixed, IsEmpty());
  EXPECT_THAT(delta.flaky, ElementsAre("a", "b"));
}

TEST(CompareTests, AFileThatCouldNotBeReadIsFixedByItsTests) {
  using enum TestOutcome::State;
  const auto before = stable_tests({run_of({{"t/a.py", failed}, {"t/b.py", failed}})});
  const auto after = stable_tests(
      {run_of({{"t/a.py::one", passed}, {"t/b.py::one", passed}, {"t/b.py::two", failed}})});
  const TestDelta delta = compare_tests(before, after);
  EXPECT_THAT(delta.fixed, ElementsAre("t/a.py"));
  EXPECT_THAT(delta.failing, ElementsAre("t/b.py"));
}

TEST(TestProbe, StandsInFilesOfKnownKinds) {
  tests::TemporaryFolder folder;
  folder.write("test_a.py", "import x\n\nif __name__ == '__main__':\n    main()\n");
  folder.write("a_test.go", "package a\n");
  folder.write("a_test.cpp", "#include <gtest/gtest.h>\n\nint main() {}\n");
  folder.write("b_test.lua", "test('x')\n\nfinish()\n");
  folder.write("c_test.rs", "fn x() {}\n");
  TestProbe probe(7);
  ASSERT_TRUE(probe.add_to(folder.path(),
                           {"test_a.py", "a_test.go", "a_test.cpp", "b_test.lua", "c_test.rs"}));
  EXPECT_THAT(probe.files(), ElementsAre("test_a.py", "a_test.go", "a_test.cpp", "b_test.lua"));
  EXPECT_LT(folder.read("test_a.py").find("class TestProbe"),
            folder.read("test_a.py").find("if __name__"));
  EXPECT_LT(folder.read("b_test.lua").find("expect("), folder.read("b_test.lua").find("finish("));
  EXPECT_EQ(folder.read("c_test.rs"), "fn x() {}\n");
}

/// The line of the text in which `word` stands.
std::string line_with(const std::string& text, const std::string& word) {
  const auto at = text.find(word);
  if (at == std::string::npos) return "";
  const auto begin = text.rfind('\n', at) + 1;
  return text.substr(begin, text.find('\n', at) - begin);
}

TEST(TestProbe, RenamesTestsWhereTheyAreDefined) {
  tests::TemporaryFolder folder;
  folder.write("test_a.py",
               "class ATest(Base):\n    def test_add(self):\n        add('test_add')\n\n"
               "    def test_added(self):\n        pass\n\ndef test_sum(x):\n    pass\n");
  folder.write("a_test.go", "package a\nfunc TestAdd(t *testing.T) {}\n");
  folder.write("a_test.cpp", "#include <gtest/gtest.h>\nTEST_P(S, Adds) {}\nTEST(S, Other) {}\n");
  folder.write("b_test.lua", "expect(\"sum 1/2\", 1, 1)\nfinish()\n");
  const std::vector<std::string> names = {"test_add (test_a.ATest.test_add)",
                                          "test_a.py::test_sum[1-2]",
                                          "TestAdd/case",
                                          "Rows/S.Adds/2",
                                          "sum 1/2",
                                          "named"};
  TestProbe probe(7);
  ASSERT_TRUE(probe.add_to(folder.path(), {"test_a.py", "a_test.go", "a_test.cpp", "b_test.lua"},
                           names, "run named"));
  const std::string python = folder.read("test_a.py");
  EXPECT_EQ(python.find("def test_add("), std::string::npos);
  EXPECT_NE(python.find("def test_added("), std::string::npos);
  EXPECT_NE(python.find("add('test_add')"), std::string::npos);
  EXPECT_LT(python.find("class ATest"), python.find("assert 1 == 2"));
  EXPECT_LT(python.find("assert 1 == 2"), python.find("add('test_add')")) << "beside it";

  const std::string mark = "probe_0000000000000007_t";
  const std::string method = line_with(python, "def test_" + mark).substr(8);
  const std::string added = method.substr(0, method.find('('));
  const std::string go = line_with(folder.read("a_test.go"), mark);
  EXPECT_THAT(go, HasSubstr("func Test_" + mark));
  const std::string cpp = line_with(folder.read("a_test.cpp"), mark);
  EXPECT_THAT(cpp, HasSubstr("TEST_P(S, " + mark));
  const std::string lua = line_with(folder.read("b_test.lua"), mark);
  const std::string sum = lua.substr(8, lua.find('"', 8) - 8);
  TestRun run = run_of({{added + " (test_a.ATest." + added + ")", TestState::passed},
                        {sum, TestState::failed},
                        {"other", TestState::passed}});
  const ProbeResults results = probe.take_results(run);
  EXPECT_THAT(results.passed, ElementsAre(names[0]));
  EXPECT_THAT(results.failed, ElementsAre("sum 1/2"));
  ASSERT_EQ(run.report.tests.size(), 1U);
  EXPECT_EQ(run.report.tests[0].name, "other");
}

TEST(JunitXml, EscapesWhatTestsPrint) {
  TestRun run = run_of({{"a<b> & \"c\"", TestState::failed}});
  run.output = "\x01 <x> \xff\n";
  const std::string xml = junit_xml(run, "s");
  EXPECT_THAT(xml, HasSubstr("name=\"a&lt;b&gt; &amp; &quot;c&quot;\"><failure/>"));
  EXPECT_THAT(xml, HasSubstr("<system-out>? &lt;x&gt; \xEF\xBF\xBD\n</system-out>"));
}

class CopyProjectTest : public ::testing::Test {
 protected:
  void SetUp() override {
    const Status status = check_support(sandbox_support(), Isolation::isolated);
    if (!status) GTEST_SKIP() << status.error().message;
  }
  void git(const std::string& words) const {
    const std::string command = "git -C " + from_.path().string() +
                                " -c user.name=t -c user.email=t@t " + words + " >/dev/null";
    ASSERT_EQ(std::system(command.c_str()), 0) << words;
  }
  bool is_copied(const std::string& path) const {
    return std::filesystem::exists(std::filesystem::symlink_status(to_.path() / "copy" / path));
  }
  tests::TemporaryFolder from_;
  tests::TemporaryFolder to_;
};

TEST_F(CopyProjectTest, TakesWhatGitTracksOrDoesNotIgnoreAndNoHistory) {
  from_.write("a.py", "x\n");
  from_.write("kept.log", "tracked\n");
  git("init -q");
  git("add -A");
  git("commit -q -m one");
  from_.write(".gitignore", "*.log\n");
  from_.write("new.py", "y\n");
  from_.write("run.log", "z\n");
  std::filesystem::create_symlink("/etc/passwd", from_.path() / "out");
  std::filesystem::create_symlink("a.py", from_.path() / "in");
  ASSERT_TRUE(copy_project(SandboxedRun(), from_.path(), to_.path() / "copy"));
  for (const char* path : {"a.py", "kept.log", "new.py", ".gitignore", "in"}) {
    EXPECT_TRUE(is_copied(path)) << path;
  }
  for (const char* path : {"run.log", ".git", "out"}) EXPECT_FALSE(is_copied(path)) << path;
}

TEST_F(CopyProjectTest, AChangeOfWhatIsTrackedAndIgnoredIsSeenInTheCopy) {
  from_.write(".gitignore", "dist/\n*.log\n");
  from_.write("dist/a.py", "one\ntwo\n");
  git("init -q");
  git("add -f dist");
  const auto base = to_.path() / "copy";
  const auto work = to_.path() / "work";
  ASSERT_TRUE(copy_project(SandboxedRun(), from_.path(), base));
  ASSERT_TRUE(copy_tree(base, work));
  ASSERT_TRUE(begin_history(SandboxedRun(), work));
  to_.write("work/run.log", "what a run leaves\n");
  to_.write("work/dist/a.py", "one\n2\n");
  const auto found = changes_between(base, work);
  ASSERT_TRUE(found.has_value()) << found.error().message;
  ASSERT_EQ(found->changes.size(), 1U);
  EXPECT_EQ(found->changes[0].path, "dist/a.py");
  EXPECT_EQ(found->changes[0].kind, TreeChange::Kind::lines);
}

TEST_F(CopyProjectTest, FollowsNoFolderThatALinkHasReplaced) {
  from_.write("conf/passwd", "mine");
  git("init -q");
  git("add -A");
  std::filesystem::remove_all(from_.path() / "conf");
  to_.write("secrets/passwd", "a secret");
  std::filesystem::create_symlink(to_.path() / "secrets", from_.path() / "conf");
  ASSERT_TRUE(copy_project(SandboxedRun(), from_.path(), to_.path() / "copy"));
  EXPECT_FALSE(is_copied("conf/passwd"));
}

TEST_F(CopyProjectTest, LeavesOutALinkThatLeadsOutThroughAnother) {
  from_.write("a/b/c/file", "x\n");
  std::filesystem::create_symlink("../../..", from_.path() / "a/b/c/root");
  std::filesystem::create_symlink("a/b/c/root/../../x", from_.path() / "out");
  ASSERT_TRUE(copy_project(SandboxedRun(), from_.path(), to_.path() / "copy"));
  EXPECT_TRUE(is_copied("a/b/c/root"));
  EXPECT_FALSE(is_copied("out"));
}

TEST_F(CopyProjectTest, RefusesAnIndexThatNamesWhatLiesOutside) {
  from_.write("project/aa/x", "inside");
  from_.write("x", "outside");
  git("-C project init -q");
  git("-C project add -A");
  std::string index = from_.read("project/.git/index");
  index.replace(index.find("aa/x"), 4, "../x");
  from_.write("project/.git/index", index);
  const Status copied = copy_project(SandboxedRun(), from_.path() / "project", to_.path() / "copy");
  ASSERT_FALSE(copied);
  EXPECT_EQ(copied.error().message, "../x: is no name in a project");
}

TEST_F(CopyProjectTest, AFolderWithoutGitIsTakenWhole) {
  from_.write("a.py", "x\n");
  from_.write("deep/b.py", "x\n");
  ASSERT_TRUE(copy_project(SandboxedRun(), from_.path(), to_.path() / "copy"));
  EXPECT_TRUE(is_copied("a.py"));
  EXPECT_TRUE(is_copied("deep/b.py"));
}

}  // namespace
}  // namespace ponder::tools
