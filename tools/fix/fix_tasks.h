#pragma once

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "base/result.h"

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

/// A task that the generator made.
struct GeneratedFixTask {
  FixTaskInfo info;
  std::map<std::string, std::string> files;   // of repo/
  std::map<std::string, std::string> hidden;  // of hidden/
  std::string reference_patch;
};

/// Which tasks are wanted; empty: any.
struct FixTaskFilter {
  std::string language;   // "python", "lua" or "cpp"
  std::string bug_class;  // such as "off_by_one"
};

/// The generator of tasks with a seed, which is library/codefix/tasks.lua. The same seed and filter
/// give the same task on every machine. Thread: one at a time.
class FixTaskGenerator {
 public:
  static Result<FixTaskGenerator> open(const std::filesystem::path& library);
  FixTaskGenerator(FixTaskGenerator&&) noexcept;
  ~FixTaskGenerator();

  /// `invalid_argument` when no task fits the filter; names what there is.
  Result<GeneratedFixTask> generate(std::uint64_t seed, const FixTaskFilter& filter);
  /// How many tasks differ in more than their names.
  Result<std::uint64_t> count(const FixTaskFilter& filter);

 private:
  struct Lua;
  explicit FixTaskGenerator(std::unique_ptr<Lua> lua);
  std::unique_ptr<Lua> lua_;
};

/// Writes a task as a folder, which must not be there yet.
Status write_fix_task(const std::filesystem::path& folder, const GeneratedFixTask& task);

}  // namespace ponder::tools
