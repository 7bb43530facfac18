#include "tools/fix/test_probe.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <optional>
#include <utility>

#include "tools/code/line_changes.h"
#include "tools/files/rooted_folder.h"
#include "tools/files/text_lines.h"

namespace ponder::tools {
namespace {

constexpr std::uint64_t kFileBytesMax = 4 << 20;
constexpr std::size_t kFilesMax = 100;

/// Where the last line stands that begins with `mark`; npos when there is none.
std::size_t last_line_with(std::string_view text, std::string_view mark) {
  std::size_t found = std::string_view::npos;
  std::size_t at = 0;
  for (const std::string_view line : split_lines(text)) {
    const auto first = std::min(line.find_first_not_of(' '), line.size());
    if (line.substr(first).starts_with(mark)) found = at;
    at += line.size();
  }
  return found;
}

std::string inserted(std::string_view text, std::size_t at, std::string_view addition) {
  at = std::min(at, text.size());
  std::string out(text.substr(0, at));
  if (!out.empty() && !out.ends_with('\n')) out += '\n';
  return out.append(addition).append(text.substr(at));
}

/// The names of the probes of one file; which of them hold, nothing in them says.
struct ProbeNames {
  ProbeNames(std::uint64_t seed, std::size_t file) {
    const std::size_t turn = (seed >> (file % 32)) % 3;
    const auto name = [&](std::size_t i) {
      return fmt::format("probe_{:016x}_{}{}", seed, file, "abc"[(i + turn) % 3]);
    };
    holds = name(0);
    fails = name(1);
    fails_too = name(2);
  }
  std::string holds;
  std::string fails;
  std::string fails_too;
};

constexpr const char* kPython = R"(

class TestProbe(__import__('unittest').TestCase):
    def test_{0}(self):
        self.assertEqual(1, 1)

    def test_{1}(self):
        assert 1 == 2

    def test_{2}(self):
        self.assertEqual(1, 2)


)";
constexpr const char* kGo = R"(
func Test_{0}(t *testing.T) {{}}
func Test_{1}(t *testing.T) {{ t.Fail() }}
func Test_{2}(t *testing.T) {{ t.Fatal("as it must") }}
)";
constexpr const char* kGoogleTest = R"(
TEST(Probe, {0}) {{ EXPECT_EQ(1, 1); }}
TEST(Probe, {1}) {{ EXPECT_EQ(1, 2); }}
TEST(Probe, {2}) {{ FAIL(); }}
)";
constexpr const char* kOwn = R"(expect("{0}", 1, 1){3}
expect("{1}", 1, 2){3}
expect("{2}", true, false){3}
)";

constexpr const char* kPythonMethods = R"({3}def test_{0}(self):
{3}    assert 1 == 1

{3}def test_{1}(self):
{3}    assert 1 == 2

)";
constexpr const char* kPythonFunctions = R"(

def test_{0}():
    assert 1 == 1


def test_{1}():
    assert 1 == 2
)";

std::size_t indentation_of(std::string_view line) {
  return std::min(line.find_first_not_of(" \t"), line.size());
}

std::string_view without_colon(std::string_view line) {
  line = trimmed(line);
  return line.ends_with(':') ? line.substr(0, line.size() - 1) : line;
}

/// The line that begins the class around line `at`; nullopt for a function of the file, and for a
/// class whose first line does not end it.
std::optional<std::size_t> class_around(const std::vector<std::string_view>& lines,
                                        std::size_t at) {
  const std::size_t own = indentation_of(lines[at]);
  while (own > 0 && at-- > 0) {
    const std::string_view line = lines[at];
    const std::string_view words = line.substr(indentation_of(line));
    if (indentation_of(line) >= own || !words.starts_with("class ")) continue;
    if (words.ends_with(":\n")) return at;
    break;
  }
  return std::nullopt;
}

/// The file with its probes; empty when it is of no known kind.
std::string with_probes(const std::string& path, std::string_view text, const ProbeNames& names) {
  const auto probes = [&](const char* form, const char* end = "") {
    return fmt::format(fmt::runtime(form), names.holds, names.fails, names.fails_too, end);
  };
  switch (test_file_kind(path, text)) {
    case TestFileKind::python:
      return inserted(text, last_line_with(text, "if __name__ =="), probes(kPython));
    case TestFileKind::go:
      return inserted(text, text.size(), probes(kGo));
    case TestFileKind::google_test:
      return inserted(text, last_line_with(text, "int main("), probes(kGoogleTest));
    case TestFileKind::own: {
      const auto finish =
          std::min(last_line_with(text, "finish("), last_line_with(text, "return finish("));
      return inserted(text, finish, probes(kOwn, path.ends_with(".lua") ? "" : ";"));
    }
    case TestFileKind::unknown:
      break;
  }
  return {};
}

}  // namespace

TestProbe::TestProbe(std::uint64_t seed) : seed_(seed) {}

std::string TestProbe::mark() const { return fmt::format("probe_{:016x}_", seed_); }

/// Puts probes beside the tests of a Python file that were renamed.
std::string TestProbe::with_scopes(const std::string& path, const std::string& text) {
  const auto lines = split_lines(text);
  std::map<std::size_t, std::string> behind;  // lines, and what comes behind them
  const auto add = [&](std::size_t line, const char* form, std::string_view indentation,
                       std::string name) {
    if (behind.contains(line)) return;
    const std::size_t index = kFilesMax + scopes_.size();
    const ProbeNames names(seed_, index);
    behind[line] = fmt::format(fmt::runtime(form), names.holds, names.fails, "", indentation);
    scopes_.push_back({std::move(name), index});
  };
  for (std::size_t i = 0; i < lines.size(); ++i) {
    const std::size_t indentation = indentation_of(lines[i]);
    if (lines[i].find("def test_" + mark() + "t") == std::string_view::npos) continue;
    if (const auto around = class_around(lines, i)) {
      add(*around, kPythonMethods, lines[i].substr(0, indentation),
          fmt::format("{}, {}", path, without_colon(lines[*around])));
    } else if (indentation == 0) {
      add(lines.size() - 1, kPythonFunctions, "", path);
    }
  }
  std::string out;
  for (std::size_t i = 0; i < lines.size(); ++i) {
    out += lines[i];
    const auto found = behind.find(i);
    if (found == behind.end()) continue;
    if (!out.ends_with('\n')) out += '\n';
    out += found->second;
  }
  return out;
}

Status TestProbe::add_to(const std::filesystem::path& folder,
                         const std::vector<std::string>& test_files,
                         const std::vector<std::string>& tests, std::string_view test_command) {
  names_.emplace(mark(), tests, test_command);
  PONDER_TRY(const RootedFolder root, RootedFolder::open(folder));
  for (const std::string& path : test_files) {
    if (files_.size() >= kFilesMax) break;
    const auto text = root.read(path, kFileBytesMax);
    if (!text) continue;  // too long, or a link: it has no probe then
    const TestFileKind kind = test_file_kind(path, *text);
    std::string renamed = names_->changed(kind, *text);
    if (kind == TestFileKind::python) renamed = with_scopes(path, renamed);
    const std::string changed = with_probes(path, renamed, ProbeNames(seed_, files_.size()));
    if (changed.empty()) continue;
    PONDER_CHECK(root.write(path, changed));
    files_.push_back(path);
  }
  return {};
}

bool TestProbe::are_good(const TestRun& run, std::size_t index, bool has_third) const {
  const ProbeNames names(seed_, index);
  const auto was = [&](const std::string& name, TestState state) {
    return std::any_of(run.report.tests.begin(), run.report.tests.end(),
                       [&](const TestOutcome& test) {
                         return test.state == state && test.name.find(name) != std::string::npos;
                       });
  };
  return was(names.holds, TestState::passed) && was(names.fails, TestState::failed) &&
         (!has_third || was(names.fails_too, TestState::failed));
}

ProbeResults TestProbe::take_results(TestRun& run) const {
  ProbeResults out;
  for (std::size_t i = 0; i < files_.size(); ++i) {
    if (are_good(run, i, true)) out.files.push_back(files_[i]);
  }
  for (const Scope& scope : scopes_) {
    if (are_good(run, scope.index, false)) out.scopes.push_back(scope.name);
  }
  if (names_) {
    out.passed = names_->in_state(run, TestState::passed);
    out.failed = names_->in_state(run, TestState::failed);
  }
  std::erase_if(run.report.tests, [own = mark()](const TestOutcome& test) {
    return test.name.find(own) != std::string::npos;
  });
  return out;
}

}  // namespace ponder::tools
