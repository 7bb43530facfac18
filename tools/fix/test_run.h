#pragma once

#include <chrono>
#include <filesystem>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "base/result.h"
#include "tools/code/test_report.h"
#include "tools/fix/sandboxed_run.h"

namespace ponder::tools {

using TestState = TestOutcome::State;

/// One run of a project's tests.
struct TestRun {
  bool was_killed = false;  // it took too long
  int exit_code = 0;        // 128 + signal
  std::chrono::milliseconds took{0};
  TestReport report;   // a test that was reported once passed and once not has failed
  std::string output;  // both streams
};

/// Runs the test command (for sh) in `folder`. Runners that name only failures unless asked are
/// asked (pytest, go). Blocks. Errors: `unavailable` for what the sandbox cannot do.
Result<TestRun> run_test_command(const SandboxedRun& how, const std::filesystem::path& folder,
                                 const std::string& command);

/// What several runs of the same tests agree on.
struct StableTests {
  std::map<std::string, TestState> states;
  std::set<std::string> flaky;  // reported differently, or not every time
  bool all_exited_well = true;

  std::vector<std::string> in_state(TestState state) const;
};
StableTests stable_tests(const std::vector<TestRun>& runs);

/// What a change did to tests, by their names.
struct TestDelta {
  std::vector<std::string> fixed;    // failed, and pass (F2P)
  std::vector<std::string> broken;   // passed, and do not: failed, skipped or not reported (P2F)
  std::vector<std::string> failing;  // failed, and still do not pass
  std::vector<std::string> flaky;    // before or after; none of the above
};

/// A file that could not be read (pytest's "ERROR tests/a_test.py") is fixed when tests of it are
/// reported and all of them pass.
TestDelta compare_tests(const StableTests& before, const StableTests& after);

}  // namespace ponder::tools
