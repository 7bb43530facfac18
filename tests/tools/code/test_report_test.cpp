#include "tools/code/test_report.h"

#include <gtest/gtest.h>

#include <map>

namespace ponder::tools {
namespace {

using State = TestOutcome::State;
using States = std::map<std::string, State>;

States states_of(const TestReport& report) {
  States out;
  for (const TestOutcome& test : report.tests) out[test.name] = test.state;
  return out;
}

TEST(TestReport, ReadsCtest) {
  const auto report = read_test_output(
      "Test project /build\n"
      "      Start  1: base/clock\n"
      " 1/4 Test  #1: base/clock .......................   Passed    0.01 sec\n"
      " 2/4 Test  #2: base/result ......................***Failed    0.02 sec\n"
      " 3/4 Test  #3: gpu ..............................***Skipped   0.00 sec\n"
      " 4/4 Test #10: slow .............................***Timeout  10.01 sec\n"
      "25% tests passed, 2 tests failed out of 4\n"
      "The following tests FAILED:\n\t  2 - base/result (Failed)\n");
  EXPECT_EQ(report.runner, "ctest");
  EXPECT_EQ(states_of(report), (States{{"base/clock", State::passed},
                                       {"base/result", State::failed},
                                       {"gpu", State::skipped},
                                       {"slow", State::failed}}));
}

TEST(TestReport, ReadsPytestVerboseAndItsSummary) {
  const auto report = read_test_output(
      "tests/test_a.py::test_one PASSED                       [ 33%]\n"
      "tests/test_a.py::test_two[x-1] FAILED                  [ 66%]\n"
      "tests/test_a.py::test_three SKIPPED (why)              [100%]\n"
      "FAILED tests/test_a.py::test_two[x-1] - assert 1 == 2\n"
      "ERROR tests/test_b.py - ImportError: x\n"
      "===== 2 failed, 1 passed, 1 skipped in 0.05s =====\n");
  EXPECT_EQ(report.runner, "pytest");
  EXPECT_EQ(states_of(report), (States{{"tests/test_a.py::test_one", State::passed},
                                       {"tests/test_a.py::test_two[x-1]", State::failed},
                                       {"tests/test_a.py::test_three", State::skipped},
                                       {"tests/test_b.py", State::failed}}));
}

TEST(TestReport, ReadsUnittestVerbose) {
  const auto report = read_test_output(
      "test_one (test_a.ATest.test_one) ... ok\n"
      "test_two (test_a.ATest.test_two) ... FAIL\n"
      "test_three (test_a.ATest.test_three) ... skipped 'why'\n"
      "test_four (test_a.ATest.test_four) ... expected failure\n"
      "test_b (unittest.loader._FailedTest.test_b) ... ERROR\n"
      "Ran 5 tests in 0.001s\n");
  EXPECT_EQ(report.runner, "unittest");
  EXPECT_EQ(states_of(report),
            (States{{"test_one (test_a.ATest.test_one)", State::passed},
                    {"test_two (test_a.ATest.test_two)", State::failed},
                    {"test_three (test_a.ATest.test_three)", State::skipped},
                    {"test_four (test_a.ATest.test_four)", State::skipped},
                    {"test_b (unittest.loader._FailedTest.test_b)", State::failed}}));
}

TEST(TestReport, SaysWhichTestsWereReportedBothWays) {
  const auto report = read_test_output("ok 1 - a\nnot ok 2 - b\nnot ok 1 - a\nok 1 - a\n");
  ASSERT_EQ(report.tests.size(), 2U);
  EXPECT_TRUE(report.tests[0].is_contradicted);
  EXPECT_FALSE(report.tests[1].is_contradicted);
}

TEST(TestReport, ReadsGo) {
  const auto report = read_test_output(
      "=== RUN   TestAdd\n--- PASS: TestAdd (0.00s)\n=== RUN   TestSub\n"
      "    sub_test.go:9: got 1\n--- FAIL: TestSub (0.01s)\n    --- FAIL: TestSub/case (1) "
      "(0.00s)\n"
      "--- SKIP: TestNet (0.00s)\nFAIL\nFAIL\texample.com/x\t0.005s\n");
  EXPECT_EQ(report.runner, "go");
  EXPECT_EQ(states_of(report), (States{{"TestAdd", State::passed},
                                       {"TestSub", State::failed},
                                       {"TestSub/case (1)", State::failed},
                                       {"TestNet", State::skipped}}));
}

TEST(TestReport, ReadsCargo) {
  const auto report = read_test_output(
      "running 3 tests\ntest tests::adds ... ok\ntest tests::subtracts ... FAILED\n"
      "test tests::slow ... ignored, takes an hour\n\ntest result: FAILED. 1 passed; 1 failed\n");
  EXPECT_EQ(report.runner, "cargo");
  EXPECT_EQ(states_of(report), (States{{"tests::adds", State::passed},
                                       {"tests::subtracts", State::failed},
                                       {"tests::slow", State::skipped}}));
}

TEST(TestReport, ReadsNodeOnATerminalAndInAPipe) {
  const auto spec = read_test_output(
      "▶ group\n  ✔ adds (0.5ms)\n  ✖ subtracts (1.2ms)\n▶ group (3ms)\n﹣ later (0.1ms) # SKIP\n"
      "✖ failing tests:\n✖ subtracts (1.2ms)\n");
  EXPECT_EQ(spec.runner, "node");
  EXPECT_EQ(
      states_of(spec),
      (States{{"adds", State::passed}, {"subtracts", State::failed}, {"later", State::skipped}}));
  const auto tap = read_test_output(
      "TAP version 13\n# Subtest: adds\nok 1 - adds\n  ---\n  duration_ms: 0.5\n  ...\n"
      "not ok 2 - subtracts\nok 3 - later # SKIP\nnot ok 4 - some day # TO"
      "DO\n1..4\n");
  EXPECT_EQ(tap.runner, "tap");
  EXPECT_EQ(states_of(tap), (States{{"adds", State::passed},
                                    {"subtracts", State::failed},
                                    {"later", State::skipped},
                                    {"some day", State::skipped}}));
}

TEST(TestReport, ReadsTapWithoutDashesNumbersOrNames) {
  const auto tap = read_test_output(
      "ok 1 adds 2 - 1\nnot ok 2 subtracts\nok - divides\nok 4\nok 5 # SKIP later\n"
      "ok 6 later # SKIP\nok, that was all\nok then\n");
  EXPECT_EQ(tap.runner, "tap");
  EXPECT_EQ(states_of(tap), (States{{"adds 2 - 1", State::passed},
                                    {"subtracts", State::failed},
                                    {"divides", State::passed},
                                    {"4", State::passed},
                                    {"5", State::skipped},
                                    {"later", State::skipped}}));
}

TEST(TestReport, ReadsGoogleTest) {
  const auto report = read_test_output(
      "[ RUN      ] Suite.Adds\n[       OK ] Suite.Adds (0 ms)\n"
      "[  FAILED  ] Rows/Suite.Subtracts/2, where GetParam() = 7 (1 ms)\n"
      "[  SKIPPED ] Suite.Later (0 ms)\n[  FAILED  ] 1 test, listed below:\n"
      "[  FAILED  ] Rows/Suite.Subtracts/2, where GetParam() = 7\n");
  EXPECT_EQ(report.runner, "googletest");
  EXPECT_EQ(states_of(report), (States{{"Suite.Adds", State::passed},
                                       {"Rows/Suite.Subtracts/2", State::failed},
                                       {"Suite.Later", State::skipped}}));
}

TEST(TestReport, ATestThatWasRetriedHasItsLastState) {
  const auto report = read_test_output("not ok 1 - flaky\nok 1 - flaky\n");
  EXPECT_EQ(states_of(report), (States{{"flaky", State::passed}}));
}

TEST(TestReport, KnowsNothingOfOtherText) {
  const auto report = read_test_output("ok\nFAILED\ntest this ... maybe\n- PASS\n\xFF\xFE\n");
  EXPECT_EQ(report.runner, "");
  EXPECT_TRUE(report.tests.empty());
}

}  // namespace
}  // namespace ponder::tools
