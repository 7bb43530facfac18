#include "runtime/workflow/fix_workflow.h"

#include <gmock/gmock.h>

#include <chrono>
#include <filesystem>
#include <fstream>
#include <optional>
#include <stop_token>
#include <thread>

#include "tests/runtime/fix_fixture.h"

namespace ponder::runtime {
namespace {

using nlohmann::json;
using ::testing::Contains;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::StartsWith;

using FixWorkflowTest = test::FixFixture;
using test::calls;

TEST_F(FixWorkflowTest, ARightFixIsVerifiedAndItsPatchApplies) {
  const auto verdict = fix({calls("run_tests", json::object()), right_edit()});
  EXPECT_TRUE(verdict.is_solved) << verdict.detail;
  EXPECT_THAT(results_[0], HasSubstr(std::string("failed: ") + kAddTest));
  std::ofstream(dir_.path() / "fix.patch") << artefact("fix.patch");
  git("apply " + (out() / "fix.patch").string());
  EXPECT_EQ(read(repo_.path() / "calc.py"), kRight);
}

TEST_F(FixWorkflowTest, TheReportSaysWhatWasAndWhatIs) {
  fix({right_edit()});
  const json report = json::parse(artefact("report.json"));
  EXPECT_EQ(report["fixed"], true);
  EXPECT_EQ(report["pass_to_fail"], json::array());
  EXPECT_EQ(report["fail_to_pass"], json::array({kAddTest}));
  EXPECT_EQ(report["probed_files"], json::array({"tests/test_calc.py"}));
  EXPECT_THAT(artefact("report.md"), StartsWith("# Fixed\n"));
  EXPECT_THAT(artefact("before.xml"), HasSubstr("tests=\"3\" failures=\"1\""));
  EXPECT_THAT(artefact("after.xml"), HasSubstr("tests=\"3\" failures=\"0\""));
  const json trajectory = json::parse(artefact("trajectory.json"));
  EXPECT_EQ(trajectory[0]["role"], "system");
  EXPECT_EQ(trajectory.back()["content"], "Done.");
}

TEST_F(FixWorkflowTest, ThePersonsTreeStaysAsItIs) {
  fix({right_edit(), shell("echo x > new.py")});
  EXPECT_EQ(read(repo_.path() / "calc.py"), kWrong);
  EXPECT_FALSE(std::filesystem::exists(repo_.path() / "new.py"));
}

TEST_F(FixWorkflowTest, ChangesThatAreNotNeededAreDropped) {
  const auto verdict =
      fix({right_edit(), edit("calc.py", "2 * a", "a * 2"), write_file("notes.py", "NOTE = 1\n")});
  EXPECT_TRUE(verdict.is_solved) << verdict.detail;
  EXPECT_THAT(artefact("fix.patch"), HasSubstr("+    return a + b"));
  EXPECT_THAT(artefact("fix.patch"), Not(HasSubstr("a * 2")));
  EXPECT_THAT(artefact("fix.patch"), Not(HasSubstr("notes.py")));
  const json report = json::parse(artefact("report.json"));
  EXPECT_EQ(report["changes_made"], 3);
  EXPECT_EQ(report["changes_kept"], 1);
}

TEST_F(FixWorkflowTest, AFixThatBreaksAnotherTestIsNone) {
  const auto verdict = fix({right_edit(), edit("calc.py", "2 * a", "3 * a")});
  EXPECT_FALSE(verdict.is_solved);
  EXPECT_THAT(verdict.detail, HasSubstr("tests that passed do not any more: test_double"));
  EXPECT_THAT(files_, Not(Contains("fix.patch")));
}

TEST_F(FixWorkflowTest, DoingNothingIsNoFix) {
  EXPECT_FALSE(fix(std::vector<ScriptedStep>()).is_solved);
}

TEST_F(FixWorkflowTest, ACommandThatReportsNoTestIsRefusedAtOnce) {
  WorkflowOptions how = options();
  how.project.test_command = "true";
  const auto workflow = Workflow::open(how);
  ASSERT_FALSE(workflow);
  EXPECT_EQ(workflow.error().code, Errc::invalid_argument);
  EXPECT_THAT(workflow.error().message, HasSubstr("no test was reported"));
  how.project.test_command = "echo Ran 1 test of unittest";
  EXPECT_THAT(Workflow::open(how).error().message, HasSubstr("unittest -v"));
}

/// The same repository, but its tests do not show the bug.
class ReproductionTest : public test::FixFixture {
 protected:
  static constexpr const char* kShowsIt =
      "import unittest\nimport sys\n\nsys.path.insert(0, '.')\nimport calc\n\n\n"
      "class SumTest(unittest.TestCase):\n"
      "    def test_sum(self):\n        self.assertEqual(calc.add(2, 3), 5)\n";

  void SetUp() override {
    FixFixture::SetUp();
    if (IsSkipped()) return;
    write("tests/test_calc.py",
          "import unittest\n\n\nclass CalcTest(unittest.TestCase):\n"
          "    def test_nothing(self):\n        self.assertEqual(1, 1)\n");
  }
};

TEST_F(ReproductionTest, ATestThatTheAgentAddsMayShowTheBug) {
  const auto verdict = fix({write_file("tests/test_sum.py", kShowsIt), right_edit()});
  EXPECT_TRUE(verdict.is_solved) << verdict.detail;
  EXPECT_THAT(artefact("fix.patch"), HasSubstr("+++ b/tests/test_sum.py"));
  EXPECT_THAT(artefact("report.md"), HasSubstr("what failed was added by the agent"));
}

TEST_F(ReproductionTest, WithoutAFailingTestItRefuses) {
  const auto verdict = fix({right_edit()});
  EXPECT_FALSE(verdict.is_solved);
  EXPECT_THAT(verdict.detail, StartsWith("refused: no test fails"));
  EXPECT_THAT(files_, Not(Contains("fix.patch")));
}

TEST_F(ReproductionTest, ATestThatPassesAnywayShowsNothing) {
  const auto verdict = fix({write_file("tests/test_more.py",
                                       "import unittest\n\n\nclass MoreTest(unittest.TestCase):\n"
                                       "    def test_more(self):\n        pass\n"),
                            right_edit()});
  EXPECT_FALSE(verdict.is_solved);
  EXPECT_THAT(verdict.detail, HasSubstr("pass without any change"));
}

TEST_F(FixWorkflowTest, ASessionGoesOnWhereItStopped) {
  auto workflow = Workflow::open(options());
  ASSERT_TRUE(workflow) << workflow.error().message;
  const SessionStarted start = (*workflow)->session_start();
  const auto folder =
      std::filesystem::path(json::parse(start.environment)["folder"].get<std::string>());
  EXPECT_EQ(json::parse(start.environment)["protections"][0], "programs: isolated");
  std::ofstream(folder / "work/calc.py") << kRight;
  workflow->reset();  // as when the program ends: nothing was judged, so the copies stay

  auto again = reopen_fix_workflow(start);
  ASSERT_TRUE(again) << again.error().message;
  EXPECT_EQ((*again)->session_start().environment, start.environment);
  const auto verdict = (*again)->judge(SessionState());
  ASSERT_TRUE(verdict) << verdict.error().message;
  EXPECT_TRUE(verdict->is_solved) << verdict->detail;
  again->reset();
  EXPECT_FALSE(std::filesystem::exists(folder)) << "what was judged is thrown away";
  EXPECT_EQ(reopen_fix_workflow(start).error().code, Errc::not_found);
}

TEST_F(FixWorkflowTest, AJudgementThatIsStoppedLeavesTheSessionToBeJudgedAnotherTime) {
  auto workflow = Workflow::open(options());
  ASSERT_TRUE(workflow) << workflow.error().message;
  const SessionStarted start = (*workflow)->session_start();
  const auto folder =
      std::filesystem::path(json::parse(start.environment)["folder"].get<std::string>());
  // Fixed as far as the tests say, which now wait for ever where it shows.
  std::ofstream(folder / "work/calc.py")
      << "import time\n\n\ndef add(a, b):\n    open('begun', 'w').close()\n    time.sleep(600)\n";
  std::stop_source stop;
  std::optional<Result<WorkflowVerdict>> verdict;
  std::thread judging(
      [&] { verdict.emplace((*workflow)->judge(SessionState(), stop.get_token())); });
  const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(60);
  while (!std::filesystem::exists(folder / "trial/begun") &&
         std::chrono::steady_clock::now() < end) {
    std::this_thread::yield();
  }
  EXPECT_TRUE(std::filesystem::exists(folder / "trial/begun"));
  stop.request_stop();
  judging.join();  // long before the test's ten minutes are over
  ASSERT_FALSE(*verdict);
  EXPECT_EQ(verdict->error().code, Errc::cancelled);
  workflow->reset();
  EXPECT_TRUE(std::filesystem::exists(folder / "work/calc.py"));
  std::filesystem::remove_all(folder);
}

/// A log that says of any folder that it was made for its session.
SessionStarted log_that_names(const std::filesystem::path& folder) {
  SessionStarted start;
  start.workflow = "fix";
  start.environment = json{{"folder", folder.string()},
                           {"test_command", "true"},
                           {"sandbox", "isolated"},
                           {"readable", json::array()},
                           {"protects", json::array()},
                           {"seconds", 5},
                           {"repeats", 1},
                           {"exercise", false},
                           {"issue", ""},
                           {"kind", "free"},
                           {"directory", ""}}
                          .dump();
  return start;
}

TEST(FolderOfAnotherLog, IsNotTakenForOursAndStays) {
  const test::TempDir dir;
  std::filesystem::create_directories(dir.path() / "base");
  std::filesystem::create_directories(dir.path() / "work");
  const auto link =
      std::filesystem::path("/var/tmp") / ("ponder-fix-" + dir.path().filename().string());
  std::filesystem::create_directory_symlink(dir.path(), link);
  for (const auto& folder : {dir.path(), link, link / "..", dir.path() / "ponder-fix-abc"}) {
    const auto opened = reopen_fix_workflow(log_that_names(folder));
    ASSERT_FALSE(opened) << folder;
    EXPECT_EQ(opened.error().code, Errc::invalid_argument) << opened.error().message;
  }
  std::filesystem::remove(link);
  EXPECT_TRUE(std::filesystem::exists(dir.path() / "work"));
}

}  // namespace
}  // namespace ponder::runtime
