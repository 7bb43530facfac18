#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace ponder::tools {

/// One test as its runner reported it.
struct TestOutcome {
  enum class State { passed, failed, skipped };
  std::string name;
  State state = State::passed;
  bool is_contradicted = false;  // it was reported before, in another state
  std::string detail = {};  // why it failed, in a line; where that is known
};

/// What a run of tests said, in the order in which it said it. A test that was reported again, such
/// as one that was retried, has its last state.
struct TestReport {
  std::string runner;  // "ctest", "pytest", ..; empty: none that is known
  std::vector<TestOutcome> tests;

  std::size_t count(TestOutcome::State state) const;
};

/// Reads what test runners print: ctest, pytest (also without -v, where only failures have names),
/// Python's unittest -v, go test -v, cargo test, node --test (TAP and spec), GoogleTest. The runner
/// that explains most lines is taken. Bounds: 100,000 tests.
TestReport read_test_output(std::string_view output);

}  // namespace ponder::tools
