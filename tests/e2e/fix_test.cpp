#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "tests/e2e/process.h"

/// `ponder fix` on a real repository, with a script in the model's place.
namespace ponder::e2e {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using ::testing::HasSubstr;
using ::testing::Not;

constexpr const char* kWrong =
    "def add(a, b):\n    return a - b\n\n\ndef double(a):\n    return 2 * a\n";
constexpr const char* kTests =
    "import sys\nimport unittest\n\nsys.path.insert(0, '.')\nimport calc\n\n\n"
    "class CalcTest(unittest.TestCase):\n"
    "    def test_add(self):\n        self.assertEqual(calc.add(2, 3), 5)\n\n"
    "    def test_double(self):\n        self.assertEqual(calc.double(4), 8)\n";
constexpr const char* kCommand = "python3 -m unittest discover -v tests";

json call(const std::string& name, const json& arguments) {
  return {{"calls", {{{"name", name}, {"arguments", arguments}}}}};
}

class FixCommand : public ::testing::Test {
 protected:
  void SetUp() override {
    const Finished doctor = ponder(scratch_.path(), {"doctor"});
    if (doctor.out.find("isolated: available") == std::string::npos) {
      GTEST_SKIP() << "no sandbox: " << doctor.out;
    }
    write("calc.py", kWrong);
    write("tests/test_calc.py", kTests);
    write("tests/__init__.py", "");
    shell("git init -q . && git add -A && git -c user.name=t -c user.email=t@t commit -q -m start");
  }

  void write(const std::string& file, const std::string& text) const {
    fs::create_directories((repo() / file).parent_path());
    write_file(repo() / file, text);
  }
  fs::path repo() const { return scratch_ / "repo"; }
  fs::path out() const { return scratch_ / "out"; }
  std::string artefact(const std::string& name) const { return read_file(out() / name); }
  int shell(const std::string& command) const {
    return std::system(("cd " + repo().string() + " && " + command + " >/dev/null 2>&1").c_str());
  }

  /// Runs `ponder fix` with what the model says, one step after the other.
  Finished fix(const std::vector<json>& steps, const std::string& command = kCommand) const {
    std::string script;
    for (const json& step : steps) script += step.dump() + "\n";
    write_file(scratch_ / "script.jsonl", script);
    return ponder(scratch_.path(), {"fix", "--repo", repo().string(), "--issue", "2 + 3 gives -1",
                                    "--test", command, "--out", out().string(), "--model",
                                    "script:" + (scratch_ / "script.jsonl").string()});
  }

  const json right_edit_ = call("edit", {{"path", "calc.py"}, {"old", "a - b"}, {"new", "a + b"}});
  const json done_ = {{"content", "The operator was wrong."}};
  const Scratch scratch_;
};

TEST_F(FixCommand, LeavesAPatchThatMendsTheRepositoryAndWhatWasFound) {
  const Finished done = fix(
      {call("run_tests", json::object()), right_edit_, call("run_tests", json::object()), done_});
  ASSERT_EQ(done.status, 0) << done.out << done.err;
  EXPECT_THAT(done.out + done.err, HasSubstr("1 failing test(s) pass, none broke"));
  EXPECT_EQ(shell("git diff --exit-code"), 0) << "the repository itself is only read";
  EXPECT_NE(shell(kCommand), 0);
  ASSERT_EQ(shell("git apply " + (out() / "fix.patch").string()), 0) << artefact("fix.patch");
  EXPECT_EQ(shell(kCommand), 0);

  EXPECT_THAT(artefact("before.xml"), HasSubstr("failures=\"1\""));
  EXPECT_THAT(artefact("after.xml"), HasSubstr("failures=\"0\""));
  EXPECT_THAT(artefact("report.md"), HasSubstr("2 + 3 gives -1"));
  const json report = json::parse(artefact("report.json"));
  EXPECT_EQ(report.at("fixed"), true);
  const json trajectory = json::parse(artefact("trajectory.json"));
  EXPECT_EQ(trajectory.back().at("content"), "The operator was wrong.");
}

TEST_F(FixCommand, InTheProjectsFolderTheArtefactsLieBesideIt) {
  write_file(scratch_ / "script.jsonl", right_edit_.dump() + "\n" + done_.dump() + "\n");
  const std::vector<std::string> words = {
      "fix",     "--repo",         ".",
      "--issue", "2 + 3 gives -1", "--test",
      kCommand,  "--model",        "script:" + (scratch_ / "script.jsonl").string()};
  const fs::path before = fs::current_path();
  fs::current_path(repo());
  const Finished done = ponder(scratch_.path(), words);
  std::vector<std::string> inside = words;
  inside.insert(inside.end(), {"--out", "fixed"});
  const Finished refused = ponder(scratch_.path(), inside);
  fs::current_path(before);
  EXPECT_EQ(done.status, 0) << done.out << done.err;
  EXPECT_TRUE(fs::exists(scratch_ / "ponder-fix/fix.patch"));
  EXPECT_FALSE(fs::exists(repo() / "ponder-fix"));
  EXPECT_THAT(refused.err, HasSubstr("nothing is written into the project"));
}

TEST_F(FixCommand, TheShippedModelFindsAWrongOperator) {
  const Finished done = ponder(
      scratch_.path(), {"fix", "--repo", repo().string(), "--issue", "add gives the wrong sum",
                        "--test", kCommand, "--out", out().string()});
  EXPECT_EQ(done.status, 0) << done.out << done.err;
  EXPECT_THAT(artefact("fix.patch"), HasSubstr("+    return a + b"));
}

/// As with pytest: what passes is named only when the environment asks for it.
TEST_F(FixCommand, TheShippedModelFindsItWithARunnerThatNamesOnlyFailures) {
  write("tests/run.py",
        "import os, sys, unittest\n\nsys.path.insert(0, 'tests')\nbad = False\n"
        "for test in unittest.defaultTestLoader.loadTestsFromName('test_calc.CalcTest'):\n"
        "    name = 'tests/test_calc.py::CalcTest::' + test._testMethodName\n"
        "    good = test.run().wasSuccessful()\n"
        "    bad = bad or not good\n"
        "    if '-vv' in os.environ.get('PYTEST_ADDOPTS', ''):\n"
        "        print(name, 'PASSED' if good else 'FAILED')\n"
        "    elif not good:\n"
        "        print('FAILED', name)\n"
        "sys.exit(bad)\n");
  const Finished done = ponder(
      scratch_.path(), {"fix", "--repo", repo().string(), "--issue", "add gives the wrong sum",
                        "--test", "python3 tests/run.py", "--out", out().string()});
  EXPECT_EQ(done.status, 0) << done.out << done.err;
  EXPECT_THAT(done.out + done.err, HasSubstr("the tests pass with line 2: return a + b"));
  EXPECT_THAT(artefact("fix.patch"), HasSubstr("+    return a + b"));
}

TEST_F(FixCommand, TheShippedModelSolvesMadeTasks) {
  const Finished done = ponder(scratch_.path(), {"eval", "codefix", "--language", "lua", "--seed",
                                                 "1000010", "--count", "6", "--json"});
  ASSERT_EQ(done.status, 0) << done.err;
  EXPECT_GE(json::parse(done.out).at("all").at("solved"), 3) << done.out;
}

TEST_F(FixCommand, RefusesWhenNoFailingTestCanBeProduced) {
  write("tests/test_calc.py",
        std::string(kTests).replace(std::string(kTests).find("5)"), 2, "-1)"));
  const Finished refused = fix({call("read", {{"path", "calc.py"}}), right_edit_, done_});
  EXPECT_EQ(refused.status, 1);
  EXPECT_THAT(refused.out + refused.err,
              HasSubstr("refused: no test fails, and none was added that shows what is wrong"));
  EXPECT_FALSE(fs::exists(out() / "fix.patch"));
  EXPECT_EQ(json::parse(artefact("report.json")).at("fixed"), false);
}

TEST_F(FixCommand, ACommandThatReportsNoTestIsRefusedBeforeAModelIsAsked) {
  const Finished refused = fix({right_edit_, done_}, "true");
  EXPECT_EQ(refused.status, 1);
  EXPECT_THAT(refused.err,
              HasSubstr("no test was reported by the test command (true; exit code 0)"));
  EXPECT_THAT(refused.out, Not(HasSubstr("edit")));
  EXPECT_FALSE(fs::exists(out()));
}

}  // namespace
}  // namespace ponder::e2e
