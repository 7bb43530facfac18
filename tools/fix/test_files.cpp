#include "tools/fix/test_files.h"

#include <algorithm>
#include <array>

#include "tools/files/glob.h"

namespace ponder::tools {
namespace {

/// Folders whose files are tests, or what tests read.
constexpr std::array kTestFolders = {"test",          "tests",        "testing",  "spec",
                                     "specs",         "__tests__",    "testdata", "fixtures",
                                     "__snapshots__", "__fixtures__", "test_data"};

constexpr std::array kTestNames = {"test_*",   "*_test.*",   "*_tests.*", "*_unittest.*",
                                   "test.*",   "tests.*",    "*.test.*",  "*.spec.*",
                                   "*_spec.*", "*Test.*",    "*Tests.*",  "Test*.java",
                                   "runtests", "runtests.*", "run_tests", "run_tests.*"};

/// How tests are found, built and run, and what an interpreter loads before them.
constexpr std::array kRunnerNames = {"conftest.py",
                                     "pytest.ini",
                                     ".pytest.ini",
                                     "tox.ini",
                                     "setup.cfg",
                                     "pyproject.toml",
                                     "setup.py",
                                     "noxfile.py",
                                     ".coveragerc",
                                     "manage.py",
                                     "sitecustomize.py",
                                     "usercustomize.py",
                                     "*.pth",
                                     "CMakeLists.txt",
                                     "*.cmake",
                                     "CMakePresets.json",
                                     "CMakeUserPresets.json",
                                     "Makefile",
                                     "makefile",
                                     "GNUmakefile",
                                     "*.mk",
                                     "meson.build",
                                     "BUILD",
                                     "BUILD.bazel",
                                     "WORKSPACE",
                                     "package.json",
                                     "jest.config.*",
                                     "vitest.config.*",
                                     "karma.conf.*",
                                     ".mocharc.*",
                                     "Cargo.toml",
                                     "build.rs",
                                     "go.mod",
                                     "go.work",
                                     "pom.xml",
                                     "build.gradle*",
                                     "Rakefile",
                                     ".rspec",
                                     ".busted",
                                     ".luacheckrc",
                                     ".gitattributes",
                                     ".gitignore"};

/// Python finds a module of the project before the real one of this name.
constexpr std::array kRunnerModules = {"pytest",  "_pytest", "pluggy", "iniconfig", "unittest",
                                       "doctest", "nose",    "site",   "runpy"};

std::string_view name_of(std::string_view path) {
  return path.substr(path.rfind('/') + 1);  // npos + 1 is 0
}

template <class Patterns>
bool matches_any(const Patterns& patterns, std::string_view name) {
  return std::any_of(patterns.begin(), patterns.end(),
                     [&](const auto& pattern) { return glob_matches(pattern, name); });
}

bool lies_in_test_folder(std::string_view path) {
  for (auto slash = path.find('/'); slash != std::string_view::npos; slash = path.find('/')) {
    const std::string_view folder = path.substr(0, slash);
    if (std::find(kTestFolders.begin(), kTestFolders.end(), folder) != kTestFolders.end()) {
      return true;
    }
    path.remove_prefix(slash + 1);
  }
  return false;
}

bool stands_for_runner(std::string_view path) {
  std::string_view first = path.substr(0, path.find('/'));
  if (first.ends_with(".py")) first.remove_suffix(3);
  return std::find(kRunnerModules.begin(), kRunnerModules.end(), first) != kRunnerModules.end();
}

}  // namespace

TestFiles::TestFiles(std::string_view test_command, std::vector<std::string> globs)
    : globs_(std::move(globs)) {
  constexpr std::string_view kSeparators = " \t\n;&|()<>\"'=";
  while (!test_command.empty()) {
    const auto end = std::min(test_command.find_first_of(kSeparators), test_command.size());
    std::string_view word = test_command.substr(0, end);
    if (word.starts_with("./")) word.remove_prefix(2);
    word = word.substr(0, word.find("::"));  // pytest's "file.py::test"
    if (!word.empty()) named_.emplace_back(word);
    test_command.remove_prefix(std::min(end + 1, test_command.size()));
  }
}

bool TestFiles::has_tests(std::string_view path) {
  const std::string_view name = name_of(path);
  if (matches_any(kRunnerNames, name) || stands_for_runner(path)) return false;
  return matches_any(kTestNames, name);
}

bool TestFiles::is_protected(std::string_view path) const {
  const std::string_view name = name_of(path);
  return lies_in_test_folder(path) || matches_any(kTestNames, name) ||
         matches_any(kRunnerNames, name) || stands_for_runner(path) || matches_any(globs_, path) ||
         matches_any(globs_, name) || std::find(named_.begin(), named_.end(), path) != named_.end();
}

}  // namespace ponder::tools
