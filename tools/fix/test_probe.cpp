#include "tools/fix/test_probe.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

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

/// The file with its probes; empty when it is of no known kind.
std::string with_probes(const std::string& path, std::string_view text, const ProbeNames& names) {
  const auto probes = [&](const char* form, const char* end = "") {
    return fmt::format(fmt::runtime(form), names.holds, names.fails, names.fails_too, end);
  };
  if (path.ends_with(".py")) {
    return inserted(text, last_line_with(text, "if __name__ =="), probes(kPython));
  }
  if (path.ends_with("_test.go")) return inserted(text, text.size(), probes(kGo));
  if (text.find("gtest/gtest.h") != std::string_view::npos) {
    return inserted(text, last_line_with(text, "int main("), probes(kGoogleTest));
  }
  const std::size_t finish =
      std::min(last_line_with(text, "finish("), last_line_with(text, "return finish("));
  if (finish == std::string_view::npos) return {};
  return inserted(text, finish, probes(kOwn, path.ends_with(".lua") ? "" : ";"));
}

}  // namespace

TestProbe::TestProbe(std::uint64_t seed) : seed_(seed) {}

Status TestProbe::add_to(const std::filesystem::path& folder,
                         const std::vector<std::string>& test_files) {
  PONDER_TRY(const RootedFolder root, RootedFolder::open(folder));
  for (const std::string& path : test_files) {
    if (files_.size() >= kFilesMax) break;
    const auto text = root.read(path, kFileBytesMax);
    if (!text) continue;  // too long, or a link: it has no probe then
    const std::string changed = with_probes(path, *text, ProbeNames(seed_, files_.size()));
    if (changed.empty()) continue;
    PONDER_CHECK(root.write(path, changed));
    files_.push_back(path);
  }
  return {};
}

std::vector<std::string> TestProbe::take_results(TestRun& run) const {
  std::vector<std::string> good;
  std::vector<TestOutcome>& tests = run.report.tests;
  for (std::size_t i = 0; i < files_.size(); ++i) {
    const ProbeNames names(seed_, i);
    const auto was = [&](const std::string& name, TestState state) {
      return std::any_of(tests.begin(), tests.end(), [&](const TestOutcome& test) {
        return test.state == state && test.name.find(name) != std::string::npos;
      });
    };
    if (was(names.holds, TestState::passed) && was(names.fails, TestState::failed) &&
        was(names.fails_too, TestState::failed)) {
      good.push_back(files_[i]);
    }
  }
  const std::string mark = fmt::format("probe_{:016x}_", seed_);
  std::erase_if(tests,
                [&](const TestOutcome& test) { return test.name.find(mark) != std::string::npos; });
  return good;
}

}  // namespace ponder::tools
