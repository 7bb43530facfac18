#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "base/result.h"
#include "tools/fix/test_run.h"

namespace ponder::tools {

/// Tests that the judge adds to a project's own for one run: in each test file of a known kind one
/// that holds and two that fail in different ways, under names that nobody could know before and
/// that do not say which is which.
///
/// What is being tested runs in the tests' own process, and can end that process, print what a
/// runner prints, or change how the runner compares and reports. But results that it makes up lack
/// the probe that must hold, or let one hold that must fail. Kinds: Python (pytest, unittest),
/// GoogleTest, Go, and files that end with a line `finish(...)` and have a function
/// `expect(name, got, wanted)`, as the made tasks do.
class TestProbe {
 public:
  /// `seed` should be unpredictable.
  explicit TestProbe(std::uint64_t seed);

  /// Adds the probes to the files of `folder`. Files of no known kind are left as they are.
  Status add_to(const std::filesystem::path& folder, const std::vector<std::string>& test_files);

  /// Takes the probes' results out of the run's report, and gives the files in which all of
  /// theirs were reported as they had to be.
  std::vector<std::string> take_results(TestRun& run) const;
  /// The files that probes were added to.
  const std::vector<std::string>& files() const { return files_; }

 private:
  std::uint64_t seed_;
  std::vector<std::string> files_;
};

}  // namespace ponder::tools
