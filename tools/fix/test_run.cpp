#include "tools/fix/test_run.h"

#include <algorithm>
#include <utility>

#include "base/clock.h"
#include "tools/code/test_environment.h"

namespace ponder::tools {
namespace {

constexpr std::size_t kOutputBytesMax = 8 << 20;
constexpr int kKilledExitCode = 124;

/// Whether `name` is a file whose tests are all there now, and pass.
bool is_readable_again(const std::string& name, const StableTests& after) {
  const std::string prefix = name + "::";
  bool has_any = false;
  for (auto it = after.states.lower_bound(prefix);
       it != after.states.end() && it->first.starts_with(prefix); ++it) {
    if (it->second != TestState::passed) return false;
    has_any = true;
  }
  return has_any;
}

bool passes(const std::string& name, const StableTests& after) {
  const auto found = after.states.find(name);
  if (found == after.states.end()) return is_readable_again(name, after);
  return found->second == TestState::passed;
}

}  // namespace

Result<TestRun> run_test_command(const SandboxedRun& how, const std::filesystem::path& folder,
                                 const std::string& command) {
  ProcessRequest request({"/bin/sh", "-c", command});
  request.output_bytes_max = kOutputBytesMax;
  request.environment = test_environment();
  TestRun run;
  const auto began_at = system_clock().now();
  auto result = run_in(how, folder, std::move(request));
  const auto took = system_clock().now() - began_at;
  run.took = std::chrono::duration_cast<std::chrono::milliseconds>(took);
  if (!result && result.error().code == Errc::deadline) {
    run.was_killed = true;
    run.exit_code = kKilledExitCode;
    return run;
  }
  PONDER_CHECK(result);
  run.exit_code = result->exit_code;
  run.output = result->standard_output.text + "\n" + result->standard_error.text;
  run.report = read_test_output(run.output);
  for (TestOutcome& test : run.report.tests) {
    if (test.is_contradicted) test.state = TestState::failed;
  }
  return run;
}

std::vector<std::string> StableTests::in_state(TestState state) const {
  std::vector<std::string> names;
  for (const auto& [name, own] : states) {
    if (own == state) names.push_back(name);
  }
  return names;
}

StableTests stable_tests(const std::vector<TestRun>& runs) {
  StableTests out;
  std::map<std::string, std::vector<TestState>> seen;
  for (const TestRun& run : runs) {
    out.all_exited_well = out.all_exited_well && run.exit_code == 0;
    for (const TestOutcome& test : run.report.tests) seen[test.name].push_back(test.state);
  }
  for (const auto& [name, states] : seen) {
    const bool agrees = states.size() == runs.size() &&
                        std::all_of(states.begin(), states.end(),
                                    [&](TestState state) { return state == states.front(); });
    if (agrees) {
      out.states.emplace(name, states.front());
    } else {
      out.flaky.insert(name);
    }
  }
  return out;
}

TestDelta compare_tests(const StableTests& before, const StableTests& after) {
  TestDelta delta;
  std::set<std::string> flaky = before.flaky;
  flaky.insert(after.flaky.begin(), after.flaky.end());
  delta.flaky.assign(flaky.begin(), flaky.end());
  for (const auto& [name, state] : before.states) {
    if (state == TestState::skipped || flaky.contains(name)) continue;
    const bool is_good = passes(name, after);
    if (state == TestState::failed) (is_good ? delta.fixed : delta.failing).push_back(name);
    if (state == TestState::passed && !is_good) delta.broken.push_back(name);
  }
  return delta;
}

}  // namespace ponder::tools
