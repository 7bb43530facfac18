#pragma once

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <stop_token>
#include <string>
#include <vector>

#include "base/result.h"
#include "tools/fix/sandboxed_run.h"
#include "tools/fix/test_files.h"
#include "tools/fix/test_probe.h"
#include "tools/fix/test_run.h"
#include "tools/fix/tree_changes.h"

namespace ponder::tools {

/// A project to be fixed, in a folder of ours that nobody else knows:
/// base/    the project as it was given; never changed, never writable for an agent
/// work/    the copy that the agent works on
/// hidden/  files that are laid over the project for the last judgement; may be absent
struct FixTask {
  std::filesystem::path folder;
  std::string test_command;           // for sh, in the project's folder
  std::vector<std::string> protects;  // further files that the agent may not change (TestFiles)
  SandboxedRun run;
  std::uint32_t repeats = 2;  // runs of the same tests, before and after, to find flaky ones
  /// A made exercise: every test passes in the end, and every test file takes a probe.
  bool is_exercise = false;

  std::filesystem::path base() const { return folder / "base"; }
  std::filesystem::path work() const { return folder / "work"; }
  std::filesystem::path hidden() const { return folder / "hidden"; }
};

/// What was found about an agent's work.
struct FixReport {
  bool is_fixed = false;
  std::string verdict;                     // one line: what holds, or the first thing that does not
  bool was_reproduced_by_agent = false;    // by tests that it added
  TestDelta delta;                         // before and after the patch
  std::vector<std::string> probed;         // test files whose results a probe vouches for
  std::vector<std::string> restored;       // protected files that the agent changed: undone
  std::vector<std::string> left_out;       // other changes that are no part of the patch, and why
  std::vector<std::string> hidden_failed;  // hidden tests that do not pass
  std::size_t hidden_count = 0;
  std::size_t changes_made = 0;  // runs of lines, or files
  std::size_t changes_kept = 0;  // by the patch, without those that were not needed
  std::string patch;             // empty unless it is fixed
  TestRun before;
  TestRun after;  // with the patch; without tests when nothing was tried
};

/// Judges what an agent did to a project, in copies that it has never seen.
///
/// The changes in work/ are made once more in a fresh copy of base/, but for those of protected
/// files. Fixed means: at least one test that failed passes (F2P > 0), none that passed does not
/// (P2F = 0), each in every run; where probes fit the tests, they were reported as they had to be;
/// hidden tests pass. A test that is not reported has not passed. Changes that are not needed for
/// it are dropped from the patch.
///
/// When no test fails at first, the agent has to add one, and it has to fail without the rest of
/// the agent's work. Blocks for as long as the tests take, or until it is stopped.
class FixJudge {
 public:
  /// Runs the tests of base/. Fails with `invalid_argument` when no test is reported, and for an
  /// exercise whose tests pass. The task's stop token is of this run only.
  static Result<FixJudge> open(FixTask task);

  const FixTask& task() const { return task_; }
  /// The tests as they are before anything is changed.
  const StableTests& before() const { return before_; }
  /// The longest of their runs.
  std::chrono::milliseconds time_before() const;
  bool needs_reproduction() const { return before_.in_state(TestState::failed).empty(); }

  /// `cancelled` when it was stopped: then what ran is dead, and nothing was found.
  Result<FixReport> judge(std::stop_token stop = {});

 private:
  using Changes = std::vector<TreeChange>;
  explicit FixJudge(FixTask task)
      : task_(std::move(task)), files_(task_.test_command, task_.protects) {}

  /// A fresh copy of base/ with the changes.
  Result<std::filesystem::path> make_trial(const Changes& changes) const;
  Result<std::vector<TestRun>> run_tests(const Changes& changes, std::uint32_t times) const;
  /// The files with tests in a trial.
  static Result<std::vector<std::string>> test_files_of(const std::filesystem::path& folder);

  struct Sorted {
    Changes source;
    Changes reproduction;  // files of tests that were added
  };
  Result<Sorted> sort_changes(FixReport& report) const;
  /// With what the tests are compared: base/ itself, or with the reproduction. A fault is a line.
  Result<std::optional<std::string>> reproduce(const Changes& reproduction, FixReport& report);
  /// The first thing that does not hold; nullopt when everything does. Fills the report.
  Result<std::optional<std::string>> verify(const Changes& changes, FixReport& report) const;
  std::optional<std::string> fault_of(const TestDelta& delta) const;
  struct Probed {
    TestRun run;
    std::vector<std::string> files;  // with probes
    ProbeResults results;
  };
  /// `renamed` are tests, by their names, that get other ones.
  Result<Probed> run_probed(const Changes& changes, const std::vector<std::string>& renamed,
                            bool has_hidden) const;
  /// The first thing in the probed runs that shows that results were made up.
  static std::optional<std::string> forgery_in(const ProbeResults& before,
                                               const ProbeResults& after);
  Result<std::optional<std::string>> verify_probed(const Changes& changes, FixReport& report) const;
  Result<Changes> minimised(Changes source, const Changes& reproduction,
                            const TestDelta& wanted) const;
  Result<std::string> patch_of(const Changes& changes) const;

  FixTask task_;
  TestFiles files_;
  std::vector<TestRun> runs_before_;
  StableTests before_;
};

}  // namespace ponder::tools
