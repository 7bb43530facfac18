#include "tools/fix/fix_judge.h"

#include <fmt/format.h>

#include <algorithm>
#include <random>
#include <set>
#include <system_error>
#include <utility>

#include "tools/files/file_tree.h"
#include "tools/files/rooted_folder.h"
#include "tools/fix/project_copy.h"

namespace ponder::tools {
namespace fs = std::filesystem;
namespace {

constexpr std::size_t kNamesShownMax = 5;
constexpr std::size_t kMinimiseMax = 40;  // changes that are tried one by one

std::string some_of(const std::vector<std::string>& names) {
  std::string out;
  for (std::size_t i = 0; i < names.size() && i < kNamesShownMax; ++i) {
    out += (i == 0 ? "" : ", ") + names[i];
  }
  if (names.size() > kNamesShownMax)
    out += fmt::format(" and {} more", names.size() - kNamesShownMax);
  return out;
}

std::vector<TreeChange> joined(const std::vector<TreeChange>& a, const std::vector<TreeChange>& b) {
  std::vector<TreeChange> out = a;
  out.insert(out.end(), b.begin(), b.end());
  return out;
}

std::uint64_t unpredictable() {
  std::random_device source;
  return std::uint64_t{source()} << 32 | source();
}

/// The first of `wanted` that is not there; null when all are.
const std::string* first_missing(const std::vector<std::string>& wanted,
                                 const std::vector<std::string>& there) {
  for (const std::string& one : wanted) {
    if (std::find(there.begin(), there.end(), one) == there.end()) return &one;
  }
  return nullptr;
}

void add_once(std::vector<std::string>& names, const std::string& name) {
  if (names.empty() || names.back() != name) names.push_back(name);
}

/// How the runner in a command that named no test is brought to name them.
std::string_view advice_for(std::string_view command) {
  if (command.find("unittest") != std::string_view::npos)
    return " (python -m unittest -v has them)";
  return ", see docs/fixing-code.md";
}

}  // namespace

Result<FixJudge> FixJudge::open(FixTask task) {
  FixJudge judge(std::move(task));
  PONDER_TRY(judge.runs_before_, judge.run_tests({}, std::max(1U, judge.task_.repeats)));
  judge.before_ = stable_tests(judge.runs_before_);
  const TestRun& first = judge.runs_before_.front();
  if (first.was_killed) {
    return fail(Errc::invalid_argument,
                fmt::format("the tests ({}) do not end within {} s", judge.task_.test_command,
                            judge.task_.run.seconds_max.count()));
  }
  if (first.report.tests.empty()) {
    const auto end =
        first.output.substr(first.output.size() - std::min<std::size_t>(first.output.size(), 400));
    return fail(Errc::invalid_argument,
                fmt::format("no test was reported by the test command ({}; exit code {}); results "
                            "of single tests are needed{}: {}",
                            judge.task_.test_command, first.exit_code,
                            advice_for(judge.task_.test_command), end));
  }
  if (judge.task_.is_exercise && judge.needs_reproduction()) {
    return fail(Errc::invalid_argument, "no test of the exercise fails");
  }
  return judge;
}

std::chrono::milliseconds FixJudge::time_before() const {
  std::chrono::milliseconds longest{0};
  for (const TestRun& run : runs_before_) longest = std::max(longest, run.took);
  return longest;
}

Result<fs::path> FixJudge::make_trial(const Changes& changes) const {
  fs::path trial = task_.folder / "trial";
  PONDER_CHECK(copy_tree(task_.base(), trial));
  PONDER_CHECK(apply_changes(trial, changes));
  return trial;
}

Result<std::vector<TestRun>> FixJudge::run_tests(const Changes& changes,
                                                 std::uint32_t times) const {
  std::vector<TestRun> runs;
  for (std::uint32_t i = 0; i < times; ++i) {
    PONDER_TRY(const fs::path trial, make_trial(changes));
    PONDER_TRY(auto run, run_test_command(task_.run, trial, task_.test_command));
    runs.push_back(std::move(run));
  }
  return runs;
}

Result<std::vector<std::string>> FixJudge::test_files_of(const fs::path& folder) {
  PONDER_TRY(const RootedFolder root, RootedFolder::open(folder));
  std::vector<std::string> files;
  const auto take = [&files](const std::string& path, const FileEntry& entry) {
    if (entry.kind == FileEntry::Kind::file && TestFiles::has_tests(path)) files.push_back(path);
    return true;
  };
  PONDER_CHECK(walk_tree(root, "", WalkLimits(), take));
  return files;
}

Result<FixJudge::Sorted> FixJudge::sort_changes(FixReport& report) const {
  PONDER_TRY(TreeChanges found, changes_between(task_.base(), task_.work()));
  report.left_out = std::move(found.left_out);
  Sorted out;
  for (TreeChange& change : found.changes) {
    const bool is_new_test =
        change.kind == TreeChange::Kind::added && TestFiles::has_tests(change.path);
    if (needs_reproduction() && is_new_test) {
      out.reproduction.push_back(std::move(change));
    } else if (files_.is_protected(change.path)) {
      add_once(report.restored, change.path);
    } else {
      out.source.push_back(std::move(change));
    }
  }
  report.changes_made = out.source.size();
  return out;
}

Result<std::optional<std::string>> FixJudge::reproduce(const Changes& reproduction,
                                                       FixReport& report) {
  report.was_reproduced_by_agent = true;
  if (reproduction.empty()) {
    return "refused: no test fails, and none was added that shows what is wrong";
  }
  PONDER_TRY(runs_before_, run_tests(reproduction, std::max(1U, task_.repeats)));
  before_ = stable_tests(runs_before_);
  report.before = runs_before_.front();
  if (before_.in_state(TestState::failed).empty()) {
    return "refused: the tests that were added pass without any change";
  }
  return std::nullopt;
}

std::optional<std::string> FixJudge::fault_of(const TestDelta& delta) const {
  if (!delta.broken.empty()) {
    return fmt::format("tests that passed do not any more: {}", some_of(delta.broken));
  }
  if (delta.fixed.empty()) {
    return fmt::format("no test that failed passes: {}", some_of(delta.failing));
  }
  if (task_.is_exercise && !delta.failing.empty()) {
    return fmt::format("tests still fail: {}", some_of(delta.failing));
  }
  return std::nullopt;
}

Result<FixJudge::Probed> FixJudge::run_probed(const Changes& changes,
                                              const std::vector<std::string>& renamed,
                                              bool has_hidden) const {
  PONDER_TRY(const fs::path trial, make_trial(changes));
  if (has_hidden) {
    std::error_code error;
    fs::copy(task_.hidden(), trial,
             fs::copy_options::recursive | fs::copy_options::overwrite_existing, error);
    if (error) return fail(Errc::unavailable, "hidden tests: " + error.message());
  }
  PONDER_TRY(const auto files, test_files_of(trial));
  TestProbe probe(unpredictable());
  PONDER_CHECK(probe.add_to(trial, files, renamed, task_.test_command));
  Probed out;
  PONDER_TRY(out.run, run_test_command(task_.run, trial, task_.test_command));
  out.results = probe.take_results(out.run);
  out.files = probe.files();
  return out;
}

std::optional<std::string> FixJudge::forgery_in(const ProbeResults& before,
                                                const ProbeResults& after) {
  constexpr const char* kFault =
      "{}: its results cannot be trusted, the judge's own tests in it were not reported as they "
      "had to be";
  if (const auto* file = first_missing(before.files, after.files)) {
    return fmt::format(kFault, *file);
  }
  if (const auto* scope = first_missing(before.scopes, after.scopes)) {
    return fmt::format(kFault, *scope);
  }
  const auto* test = first_missing(before.failed, after.passed);
  if (test == nullptr) return std::nullopt;
  return fmt::format("{}: its result cannot be trusted, it does not pass under another name",
                     *test);
}

Result<std::optional<std::string>> FixJudge::verify_probed(const Changes& changes,
                                                           FixReport& report) const {
  std::error_code error;
  const bool has_hidden = fs::is_directory(task_.hidden(), error);
  PONDER_TRY(const Probed after, run_probed(changes, report.delta.fixed, has_hidden));
  // A probe vouches only for tests that it fits: those where it worked before the change.
  Changes reproduction;
  std::copy_if(changes.begin(), changes.end(), std::back_inserter(reproduction),
               [](const TreeChange& change) { return TestFiles::has_tests(change.path); });
  PONDER_TRY(Probed before, run_probed(reproduction, report.delta.fixed, false));
  if (task_.is_exercise) before.results.files = after.files;
  if (auto forgery = forgery_in(before.results, after.results)) return forgery;
  report.probed = std::move(before.results.files);
  if (!has_hidden) return std::nullopt;
  for (const TestOutcome& test : after.run.report.tests) {
    const bool is_visible = before_.states.contains(test.name) || before_.flaky.contains(test.name);
    report.hidden_count += is_visible ? 0 : 1;
    if (test.state != TestState::passed) report.hidden_failed.push_back(test.name);
  }
  if (report.hidden_count == 0) return "no hidden test was reported";
  if (report.hidden_failed.empty()) return std::nullopt;
  return fmt::format("hidden tests fail: {}", some_of(report.hidden_failed));
}

Result<std::optional<std::string>> FixJudge::verify(const Changes& changes,
                                                    FixReport& report) const {
  PONDER_TRY(auto runs, run_tests(changes, std::max(1U, task_.repeats)));
  const StableTests after = stable_tests(runs);
  report.after = std::move(runs.front());
  report.delta = compare_tests(before_, after);
  report.hidden_count = 0;
  if (auto fault = fault_of(report.delta)) return fault;
  return verify_probed(changes, report);
}

Result<FixJudge::Changes> FixJudge::minimised(Changes source, const Changes& reproduction,
                                              const TestDelta& wanted) const {
  if (source.size() > kMinimiseMax) return source;
  for (std::size_t i = source.size(); i-- > 0 && source.size() > 1;) {
    Changes fewer = source;
    fewer.erase(fewer.begin() + static_cast<std::ptrdiff_t>(i));
    PONDER_TRY(const auto runs, run_tests(joined(fewer, reproduction), 1));
    const TestDelta delta = compare_tests(before_, stable_tests(runs));
    if (delta.fixed == wanted.fixed && delta.broken.empty()) source = std::move(fewer);
  }
  return source;
}

Result<std::string> FixJudge::patch_of(const Changes& changes) const {
  const fs::path trees = task_.folder / "trees";
  std::error_code error;
  fs::create_directories(trees, error);
  PONDER_CHECK(copy_tree(task_.base(), trees / "a"));
  PONDER_CHECK(copy_tree(task_.base(), trees / "b"));
  PONDER_CHECK(apply_changes(trees / "b", changes));
  PONDER_TRY(std::string patch, diff_trees(task_.run, trees));
  PONDER_CHECK(check_patch(task_.run, trees / "a", patch));
  fs::remove_all(trees, error);
  return patch;
}

Result<FixReport> FixJudge::judge(std::stop_token stop) {
  task_.run.stop = std::move(stop);
  FixReport report;
  report.before = runs_before_.front();
  PONDER_TRY(Sorted found, sort_changes(report));
  if (needs_reproduction()) {
    PONDER_TRY(const auto refusal, reproduce(found.reproduction, report));
    if (refusal) {
      report.verdict = *refusal;
      return report;
    }
  }
  if (found.source.empty()) {
    report.verdict = "nothing was changed that could mend it";
    return report;
  }
  PONDER_TRY(auto fault, verify(joined(found.source, found.reproduction), report));
  if (!fault) {
    PONDER_TRY(Changes fewer, minimised(found.source, found.reproduction, report.delta));
    if (fewer.size() < found.source.size()) {
      FixReport again = report;
      PONDER_TRY(const auto worse, verify(joined(fewer, found.reproduction), again));
      if (!worse) {
        report = std::move(again);
        found.source = std::move(fewer);
      }
    }
    report.changes_kept = found.source.size();
    PONDER_TRY(report.patch, patch_of(joined(found.source, found.reproduction)));
  }
  report.is_fixed = !fault;
  report.verdict = fault ? *fault
                         : fmt::format("{} failing test(s) pass, none broke: {}",
                                       report.delta.fixed.size(), some_of(report.delta.fixed));
  return report;
}

}  // namespace ponder::tools
