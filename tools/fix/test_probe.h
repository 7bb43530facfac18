#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "tools/fix/test_names.h"
#include "tools/fix/test_run.h"

namespace ponder::tools {

/// What a run with probes says of them.
struct ProbeResults {
  std::vector<std::string> files;   // where all were reported as they had to be
  std::vector<std::string> scopes;  // likewise, of the probes beside the tests that were renamed
  std::vector<std::string> passed;  // tests that passed under their new names, by their old ones
  std::vector<std::string> failed;  // likewise
};

/// Tests that the judge adds to a project's own for one run: in each test file of a known kind one
/// that holds and two that fail in different ways, under names that nobody could know before and
/// that do not say which is which.
///
/// What is being tested runs in the tests' own process, and can end that process, print what a
/// runner prints, or change how the runner compares and reports. But results that it makes up lack
/// the probe that must hold, or let one hold that must fail. Kinds: Python (pytest, unittest),
/// GoogleTest, Go, and files that end with a line `finish(...)` and have a function
/// `expect(name, got, wanted)`, as the made tasks do.
///
/// The tests that a change is said to mend get such names as well (TestNames), and in Python's
/// classes probes stand beside them: results that are made up for a test by its name, or by the
/// names of those that are none of the judge's, are told from real ones.
class TestProbe {
 public:
  /// `seed` should be unpredictable.
  explicit TestProbe(std::uint64_t seed);

  /// Adds the probes to the files of `folder`, and renames `tests` in them, which are names as a
  /// run by `test_command` reports them. Files of no known kind are left as they are.
  Status add_to(const std::filesystem::path& folder, const std::vector<std::string>& test_files,
                const std::vector<std::string>& tests = {}, std::string_view test_command = {});

  /// Takes the probes' results, and those of renamed tests, out of the run's report.
  ProbeResults take_results(TestRun& run) const;
  /// The files that probes were added to.
  const std::vector<std::string>& files() const { return files_; }

 private:
  /// Probes beside the tests of one class, or of a file's functions.
  struct Scope {
    std::string name;  // "file: class", or the file
    std::size_t index;
  };
  std::string mark() const;
  bool are_good(const TestRun& run, std::size_t index, bool has_third) const;
  std::string with_scopes(const std::string& path, const std::string& text);

  std::uint64_t seed_;
  std::vector<std::string> files_;
  std::vector<Scope> scopes_;
  std::optional<TestNames> names_;
};

}  // namespace ponder::tools
