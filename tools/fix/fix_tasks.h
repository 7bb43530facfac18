#pragma once

#include <chrono>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "base/result.h"
#include "tools/fix/fix_judge.h"

namespace ponder::tools {

/// What a folder of a task says of itself (docs/fixing-code.md):
///   repo/            the project with its bug
///   issue.md         what is wrong, in words
///   task.json        {"test": COMMAND, "id", "language", "class", "seconds", "protect": [GLOB..]}
///   hidden/          files that are laid over the project to judge a fix; optional
///   reference.patch  a right fix; optional, nobody but tests and experts reads it
struct FixTaskInfo {
  std::string id;
  std::string language;
  std::string bug_class;
  std::string issue;
  std::string test_command;
  std::vector<std::string> protects;
  std::chrono::seconds seconds_max{120};  // for a run of the tests
};

/// `not_found` or `corrupt` names the file that is missing or cannot be read.
Result<FixTaskInfo> read_fix_task(const std::filesystem::path& folder);
/// The folders of tasks in a folder, by name.
Result<std::vector<std::filesystem::path>> list_fix_tasks(const std::filesystem::path& folder);

/// A task that an environment of projects drew (docs/environments.md).
struct GeneratedFixTask {
  FixTaskInfo info;
  std::map<std::string, std::string> files;   // of repo/, by path
  std::map<std::string, std::string> hidden;  // of hidden/
  std::string reference_patch;                // may be empty
};

/// Reads one out of the task's JSON. `invalid_argument` names the field that is missing or of
/// another type, or the path that leads out of the project.
Result<GeneratedFixTask> generated_fix_task(const std::string& task_json);

/// Writes a task as a folder, which must not be there yet.
Status write_fix_task(const std::filesystem::path& folder, const GeneratedFixTask& task);

/// A new folder for a FixTask, below /var/tmp, that only we can look into.
Result<std::filesystem::path> make_fix_folder();
/// Whether a folder that somebody names can be one of these, which the program may change and throw
/// away: by its name and its owner. `not_found` when it is gone, else `invalid_argument`.
Status expect_fix_folder(const std::filesystem::path& folder);

/// Lays out a project in `task.folder`: base/ from `repository`, work/ with a history of its own.
Status lay_out_project(const FixTask& task, const std::filesystem::path& repository);
/// Lays out a task of a folder, or one that was made, and takes its command, its protected files
/// and its limits over into `task`, which becomes an exercise.
Status lay_out_exercise(FixTask& task, const FixTaskInfo& info,
                        const std::filesystem::path& folder);
Status lay_out_exercise(FixTask& task, const GeneratedFixTask& made);
/// Makes work/ what base/ is, with a history of its own: nothing has been done yet.
Status lay_out_work(const FixTask& task);

}  // namespace ponder::tools
