#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "tools/fix/test_run.h"

namespace ponder::tools {

/// The kinds of test files whose forms the judge knows.
enum class TestFileKind { python, go, google_test, own, unknown };
TestFileKind test_file_kind(std::string_view path, std::string_view text);

/// Gives tests names that nobody could know before, for one run. What is being tested runs in the
/// tests' own process, and could answer for a test by its name; by this one it cannot.
///
/// The test's definition is found by the last part of the name that a run reports, in a form that
/// its language's runner has. What has another form keeps its name.
class TestNames {
 public:
  /// `reported` are the names to change, as a run reports them. Those that `test_command` names
  /// stay, for it would not find them. `mark` begins all new names.
  TestNames(std::string mark, const std::vector<std::string>& reported,
            std::string_view test_command);

  /// The file with new names. Line by line: no line is added or removed.
  std::string changed(TestFileKind kind, std::string_view text);

  /// The tests of `reported` that the run reports in that state under their new names.
  std::vector<std::string> in_state(const TestRun& run, TestState state) const;

 private:
  std::string change_line(TestFileKind kind, std::string_view line);

  std::string mark_;
  std::vector<std::string> reported_;
  std::map<std::string, std::string, std::less<>> wanted_;   // last part -> new name's last part
  std::map<std::string, std::string, std::less<>> changed_;  // those that a file had, likewise
};

}  // namespace ponder::tools
