#include "tools/code/try_lines.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <boost/asio/thread_pool.hpp>

#include "tests/tools/call_tool.h"
#include "tests/tools/temporary_folder.h"
#include "tools/files/file_tools.h"
#include "tools/process/sandbox_support.h"

namespace ponder::tools {
namespace {

/// A project of one shell file, whose tests want x to be 3.
class TryLines : public testing::Test {
 protected:
  static constexpr const char* kProgram = "if true; then\n  x=1\nfi\n";
  static constexpr const char* kTests =
      ". ./program\n"
      "if [ \"$x\" = 3 ]; then echo 'ok 1 - x is 3'; exit 0; fi\n"
      "echo 'not ok 1 - x is 3'; exit 1\n";

  void SetUp() override {
    const Status status = check_support(sandbox_support(), Isolation::isolated);
    if (!status) GTEST_SKIP() << status.error().message;
    folder_.write("program", kProgram);
    folder_.write("run-tests", kTests);
    add("sh run-tests");
  }

  void add(const std::string& test_command, const std::vector<std::string>& failing = {},
           TryTimes times = {}) {
    CodeProject project;
    project.folder = folder_.path();
    project.test_command = test_command;
    registry_ = Registry();
    const auto root = RootedFolder::open(folder_.path());
    auto suspects = Suspects::find(*root, failing, [](std::string_view) { return true; });
    ASSERT_TRUE(suspects.has_value()) << suspects.error().message;
    shown_ = suspects->view();
    const Status added =
        add_try_lines(registry_, project, std::make_shared<Suspects>(std::move(*suspects)),
                      pool_.get_executor(), times);
    ASSERT_TRUE(added.has_value()) << added.error().message;
  }

  Result<ToolOutput> call(const std::string& arguments, Deadline deadline = Deadline::never()) {
    const ToolContext context(system_clock(), deadline, 100'000);
    return tests::run_sync(tests::call_tool(registry_, {"", "try_lines", arguments},
                                            {kReadFiles, kWriteFiles, kRunPrograms}, context));
  }

  tests::TemporaryFolder folder_;
  Registry registry_;
  std::string shown_;  // of the suspects, at first
  boost::asio::thread_pool pool_{1};
};

TEST_F(TryLines, TheFirstTextWithWhichTheTestsPassStaysAndIsIndentedAsTheLineWas) {
  const auto output = call(R"({"path":"program","line":2,"texts":"x=2\n      x=3\nx=$((1+2))\n"})");
  EXPECT_EQ(output->content, "the tests pass with line 2: x=3\n");
  EXPECT_EQ(folder_.read("program"), "if true; then\n  x=3\nfi\n");
}

TEST_F(TryLines, WhenNoTextIsRightTheFileIsAsItWas) {
  const auto output = call(R"({"path":"program","line":2,"texts":"x=2\nx=4"})");
  EXPECT_EQ(output->content, "the tests fail with each of 2 tries\n");
  EXPECT_EQ(folder_.read("program"), kProgram);
}

TEST_F(TryLines, AChangeIsTriedAtEachPlaceOfTheLineAndTheSameLineOnce) {
  folder_.write("program", "if true; then\n  x=$((1 + 1 + 10))\nfi\n");
  const auto failed = call(R"({"path":"program","line":2,"changes":"1 => 0\n+ => +\n10 => 11"})");
  EXPECT_EQ(failed->content, "the tests fail with each of 3 tries\n");
  const auto output =
      call(R"({"path":"program","line":2,"texts":"x=4","changes":"+ => -\n1 + 10 => 2\n1 => 2"})");
  EXPECT_EQ(output->content, "the tests pass with line 2: x=$((1 + 2))\n");
  EXPECT_EQ(folder_.read("program"), "if true; then\n  x=$((1 + 2))\nfi\n");
}

TEST_F(TryLines, MoreThanFortyLinesAreNotTriedAndWhatIsNoChangeIsLeftOut) {
  std::string changes = "what is this\\n1 => 1\\n";
  for (int i = 10; i < 49; ++i) changes += fmt::format("1 => {}\\n", i);
  const auto output =
      call(fmt::format(R"({{"path":"program","line":2,"changes":"{}1 => 3"}})", changes));
  EXPECT_EQ(output->content, "the tests fail with each of 39 tries\n");
}

TEST_F(TryLines, EndingWellWithoutAReportedTestIsNotPassing) {
  const auto output = call(R"({"path":"program","line":2,"texts":"exit 0"})");
  EXPECT_EQ(output->content, "the tests fail with each of 1 tries\n");
}

/// Like pytest and go, these name the tests that pass only when they are asked to.
TEST_F(TryLines, RunnersThatNameOnlyFailuresAreAskedForAllNames) {
  const std::string begin = ". ./program\nif [ \"$x\" = 3 ]; then good=PASS; else good=FAIL; fi\n";
  const std::string end = "[ $good = PASS ] || { echo FAIL; exit 1; }\n";
  folder_.write("run-tests", begin +
                                 "case \" $PYTEST_ADDOPTS \" in *\" -vv \"*)\n"
                                 "echo \"test_x.py::test_x ${good}ED [100%]\";; esac\n" +
                                 end);
  folder_.write("run-go", begin +
                              "case \"$GOFLAGS\" in *-v*) echo \"--- $good: TestX (0.00s)\";; "
                              "esac\n" +
                              end);
  for (const char* command : {"sh run-tests", "sh run-go"}) {
    folder_.write("program", kProgram);
    add(command);
    EXPECT_EQ(call(R"({"path":"program","line":2,"texts":"x=2\nx=3"})")->content,
              "the tests pass with line 2: x=3\n")
        << command;
  }
}

TEST_F(TryLines, WhatDoesNotFitIsSaidAndNothingRuns) {
  EXPECT_EQ(call(R"({"path":"program","line":9,"texts":"x=3"})")->content,
            "error: program has 3 lines");
  for (const char* given : {R"("texts":"\n \n")", R"("changes":"x -> y\n => y")",
                            R"("changes":"z => y","texts":"x=1")"}) {
    EXPECT_EQ(call(fmt::format(R"({{"path":"program","line":2,{}}})", given))->content,
              "nothing of this changes line 2: x=1\n");
  }
  EXPECT_TRUE(call(R"({"path":"../program","line":2,"texts":"x=3"})")->is_error);
  EXPECT_EQ(folder_.read("program"), kProgram);
}

TEST_F(TryLines, ACallThatIsCutOffLeavesNoText) {
  const auto soon = Deadline::after(system_clock(), std::chrono::milliseconds(200));
  const auto output = call(R"({"path":"program","line":2,"texts":"sleep 600"})", soon);
  ASSERT_FALSE(output.has_value());
  EXPECT_EQ(output.error().code, Errc::deadline);
  EXPECT_EQ(folder_.read("program"), kProgram);
}

TEST_F(TryLines, ItsTimeIsNotThatOfAUsualCall) {
  EXPECT_TRUE(registry_.find("try_lines")->limits_its_time());
}

TEST_F(TryLines, ACallWithoutMoreTimeSaysHowFarItCameAndTheSameCallGoesOn) {
  TryTimes times;
  times.call_max = std::chrono::seconds(0);  // so that each call has time for one text
  add("echo run >> ran; sh run-tests", {}, times);
  const std::string arguments = R"({"path":"program","line":2,"texts":"x=2\nx=4\nx=3"})";
  EXPECT_EQ(call(arguments)->content,
            "the tests fail with each of 1 tries, and the time of the call is over: the same call "
            "once more goes on with the other 2\n");
  EXPECT_EQ(folder_.read("program"), kProgram);
  EXPECT_EQ(call(R"({"path":"program","line":2,"texts":"x=2"})")->content,
            "the tests fail with each of 1 tries\n")
      << "another call begins at its beginning";
  for (const char* tried : {"1", "2"}) {
    EXPECT_NE(call(arguments)->content.find("fail with each of " + std::string(tried)),
              std::string::npos);
  }
  EXPECT_EQ(call(arguments)->content, "the tests pass with line 2: x=3\n");
  EXPECT_EQ(folder_.read("ran"), "run\nrun\nrun\nrun\nrun\n");
}

TEST_F(TryLines, ACallThatEndsInPartsSaysSo) {
  TryTimes times;
  times.call_max = std::chrono::seconds(0);
  add("sh run-tests", {}, times);
  const std::string arguments = R"({"path":"program","line":2,"texts":"x=2\nx=4"})";
  static_cast<void>(call(arguments));
  EXPECT_EQ(call(arguments)->content,
            "the tests fail with each of 2 tries (1 of them in calls before)\n");
}

TEST_F(TryLines, ATextWithWhichTheTestsGoOnForEverFailsAndTheNextIsTried) {
  TryTimes times;
  times.try_max = std::chrono::seconds(1);
  add("sh run-tests", {}, times);
  const auto output = call(R"({"path":"program","line":2,"texts":"sleep 600\nx=3"})");
  EXPECT_EQ(output->content, "the tests pass with line 2: x=3\n");
}

TEST_F(TryLines, OneSuspectComesAfterTheOtherAndEachTwice) {
  folder_.write("other.lua", "function m.mean(list)\n  local x = 1\n\n  return x\nend\nmean(1)\n");
  add("sh run-tests", {"test_mean_of_nothing_2 (a.ATest.test_mean_of_nothing_2)"});
  EXPECT_EQ(shown_,
            "Suspicious lines of other.lua:\n1: function m.mean(list)\n2: local x = 1\n"
            "4: return x\n5: end\nnext: other.lua 2: local x = 1\nnames: list, x\n");
  const auto said = [this](int line) {
    return call(fmt::format(R"({{"path":"other.lua","line":{},"texts":"y"}})", line))->content;
  };
  const std::string failed = "the tests fail with each of 1 tries\n";
  EXPECT_EQ(said(2), failed + "next: other.lua 4: return x\nnames: list, x\n");
  const std::string again = "next, tried once: other.lua 2: local x = 1\nnames: list, x\n";
  EXPECT_EQ(said(4), failed + again);
  EXPECT_EQ(said(4), failed + again);
  EXPECT_EQ(said(2), failed);
}

TEST_F(TryLines, WithoutAPlaceItIsTheLineThatIsNext) {
  folder_.write("other.lua",
                "function m.mean(list)\n  local x, y = m.n, 'a b'\n  return f(x)\nend\n");
  add("sh run-tests", {"mean 2"});
  EXPECT_EQ(call(R"({"texts":"y"})")->content,
            "the tests fail with each of 1 tries\nnext: other.lua 3: return f(x)\n"
            "names: list, x, y\n");
  EXPECT_EQ(call(R"({"texts":"y","line":2})")->content, "error: path and line belong together");
  for (int i = 0; i < 3; ++i) static_cast<void>(call(R"({"texts":"y"})"));
  EXPECT_EQ(call(R"({"texts":"y"})")->content,
            "error: no suspicious line is left: give path and line");
  EXPECT_EQ(folder_.read("program"), kProgram);
}

TEST_F(TryLines, APythonModuleThatChangesWithinASecondIsNotTakenFromItsCache) {
  folder_.write("number.py", "VALUE = 1\n");
  folder_.write("test_number.py",
                "import unittest\nimport number\n\n\nclass NumberTest(unittest.TestCase):\n"
                "    def test_value(self):\n        self.assertEqual(number.VALUE, 5)\n");
  add("python3 -m unittest -v test_number");
  const auto output =
      call(R"({"path":"number.py","line":1,"texts":"VALUE = 2\nVALUE = 3\nVALUE = 4\nVALUE = 5"})");
  EXPECT_EQ(output->content, "the tests pass with line 1: VALUE = 5\n");
}

}  // namespace
}  // namespace ponder::tools
