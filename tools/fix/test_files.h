#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace ponder::tools {

/// Which files of a project decide what its tests say. An agent that fixes the project has no
/// say in them: what it does to them is undone before its work is judged.
class TestFiles {
 public:
  /// Files that `test_command` names are protected, and those that match one of `globs`
  /// (glob_matches, tried on the whole path and on the file's name).
  TestFiles(std::string_view test_command, std::vector<std::string> globs);

  /// A file with tests in it, by the customs of languages: what a reproduction may add.
  static bool has_tests(std::string_view path);
  /// Tests and what lies beside them; the settings of test runners and builds; what the test
  /// command names; modules that would stand in a runner's place.
  bool is_protected(std::string_view path) const;

 private:
  std::vector<std::string> named_;
  std::vector<std::string> globs_;
};

}  // namespace ponder::tools
