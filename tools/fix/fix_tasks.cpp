#include "tools/fix/fix_tasks.h"

#include <fmt/format.h>
#include <stdlib.h>  // mkdtemp
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <iterator>
#include <system_error>
#include <utility>

#include "base/json_problem.h"
#include "tools/detail/json.h"
#include "tools/fix/project_copy.h"

namespace ponder::tools {
namespace fs = std::filesystem;
namespace {

constexpr const char* kFolderParent = "/var/tmp";
constexpr std::string_view kFolderPrefix = "ponder-fix-";

Result<std::string> read_text(const fs::path& file) {
  std::ifstream in(file, std::ios::binary);
  if (!in) return fail(Errc::not_found, fmt::format("{}: cannot be read", file.string()));
  return std::string(std::istreambuf_iterator<char>(in), {});
}

Status write_text(const fs::path& file, const std::string& text) {
  std::error_code error;
  fs::create_directories(file.parent_path(), error);
  std::ofstream out(file, std::ios::binary);
  out << text;
  out.close();
  if (!out) return fail(Errc::unavailable, fmt::format("{}: cannot be written", file.string()));
  return {};
}

/// Files by their paths in a project.
Result<std::map<std::string, std::string>> files_of(const Json& object) {
  std::map<std::string, std::string> files;
  for (const auto& [name, text] : object.items()) {
    const fs::path path(name);
    const auto is_bad = [](const fs::path& part) {
      return part.empty() || part == "." || part == ".." || part == ".git";
    };
    if (path.is_absolute() || std::any_of(path.begin(), path.end(), is_bad)) {
      return fail(Errc::invalid_argument, fmt::format("'{}' is no path in a project", name));
    }
    files.emplace(name, text.get<std::string>());
  }
  return files;
}

/// How its tests are run, of a task in either form. Throws Json::exception.
void read_run(const Json& task, FixTaskInfo& info) {
  info.test_command = task.at("test").get<std::string>();
  const auto protects = task.find("protect");
  // Lua's empty table could have been an object.
  if (protects != task.end() && !protects->empty()) {
    info.protects = protects->get<std::vector<std::string>>();
  }
  info.seconds_max = std::chrono::seconds(task.value("seconds", info.seconds_max.count()));
}

Result<FixTaskInfo> info_of(const Json& task, std::string issue, const std::string& where) {
  FixTaskInfo info;
  try {
    read_run(task, info);
    info.id = task.value("id", "");
    info.language = task.value("language", "");
    info.bug_class = task.value("class", "");
  } catch (const Json::exception& e) {
    return fail(Errc::corrupt, fmt::format("{}: {}", where, json_problem(e)));
  }
  info.issue = std::move(issue);
  return info;
}

void take_info(FixTask& task, const FixTaskInfo& info) {
  task.test_command = info.test_command;
  task.protects = info.protects;
  task.run.seconds_max = info.seconds_max;
  task.is_exercise = true;
  task.repeats = 1;
}

Status write_files(const fs::path& folder, const std::map<std::string, std::string>& files) {
  for (const auto& [path, text] : files) {
    PONDER_CHECK(write_text(folder / path, text));
  }
  return {};
}

}  // namespace

Result<GeneratedFixTask> generated_fix_task(const std::string& task_json) {
  PONDER_TRY(const Json made, parse_json(task_json));
  GeneratedFixTask task;
  try {
    task.info.id = made.value("id", "");
    task.info.issue = made.at("text").get<std::string>();
    task.info.language = made.value("language", "");
    task.info.bug_class = made.value("kind", "");
    read_run(made, task.info);
    PONDER_TRY(task.files, files_of(made.at("files")));
    PONDER_TRY(task.hidden, files_of(made.value("hidden", Json::object())));
    task.reference_patch = made.value("reference_patch", "");
  } catch (const Json::exception& e) {
    return fail(Errc::invalid_argument, fmt::format("the task is no project: {}", json_problem(e)));
  }
  if (task.files.empty()) return fail(Errc::invalid_argument, "the task's project has no files");
  return task;
}

Result<FixTaskInfo> read_fix_task(const fs::path& folder) {
  PONDER_TRY(const std::string text, read_text(folder / "task.json"));
  PONDER_TRY(std::string issue, read_text(folder / "issue.md"));
  const auto task = parse_json(text);
  if (!task) {
    return fail(Errc::corrupt,
                fmt::format("{}: {}", (folder / "task.json").string(), task.error().message));
  }
  PONDER_TRY(FixTaskInfo info, info_of(*task, std::move(issue), (folder / "task.json").string()));
  if (info.id.empty()) info.id = folder.filename().string();
  std::error_code error;
  if (!fs::is_directory(folder / "repo", error)) {
    return fail(Errc::not_found, fmt::format("{}: is no folder", (folder / "repo").string()));
  }
  return info;
}

Result<std::vector<fs::path>> list_fix_tasks(const fs::path& folder) {
  std::vector<fs::path> tasks;
  std::error_code error;
  for (fs::directory_iterator it(folder, error), end; !error && it != end; it.increment(error)) {
    if (fs::exists(it->path() / "task.json", error)) tasks.push_back(it->path());
  }
  if (error) return fail(Errc::not_found, fmt::format("{}: {}", folder.string(), error.message()));
  if (tasks.empty()) {
    return fail(Errc::not_found, fmt::format("{}: no tasks in it", folder.string()));
  }
  std::sort(tasks.begin(), tasks.end());
  return tasks;
}

Status write_fix_task(const fs::path& folder, const GeneratedFixTask& task) {
  std::error_code error;
  if (fs::exists(folder, error)) {
    return fail(Errc::invalid_argument, fmt::format("{}: is there already", folder.string()));
  }
  PONDER_CHECK(write_files(folder / "repo", task.files));
  PONDER_CHECK(write_files(folder / "hidden", task.hidden));
  const Json about = {{"id", task.info.id},
                      {"test", task.info.test_command},
                      {"language", task.info.language},
                      {"class", task.info.bug_class},
                      {"protect", task.info.protects},
                      {"seconds", task.info.seconds_max.count()}};
  PONDER_CHECK(write_text(folder / "task.json", about.dump(2) + "\n"));
  PONDER_CHECK(write_text(folder / "issue.md", task.info.issue));
  if (task.reference_patch.empty()) return {};
  return write_text(folder / "reference.patch", task.reference_patch);
}

Result<fs::path> make_fix_folder() {
  std::string name = fmt::format("{}/{}XXXXXX", kFolderParent, kFolderPrefix);
  if (::mkdtemp(name.data()) == nullptr) {
    const std::error_code error(errno, std::generic_category());
    return fail(Errc::unavailable, fmt::format("{}: {}", name, error.message()));
  }
  return fs::path(name);
}

Status expect_fix_folder(const fs::path& folder) {
  const std::string name = folder.filename().string();
  const bool is_named_so = folder.parent_path() == kFolderParent &&
                           name.starts_with(kFolderPrefix) && name.size() > kFolderPrefix.size();
  if (!is_named_so) {
    return fail(Errc::invalid_argument,
                fmt::format("{} is no folder that ponder makes for a project to fix ({}/{}...)",
                            folder.string(), kFolderParent, kFolderPrefix));
  }
  struct stat about{};
  if (::lstat(folder.c_str(), &about) != 0) {
    return fail(Errc::not_found, fmt::format("{} is gone", folder.string()));
  }
  if (S_ISDIR(about.st_mode) && about.st_uid == ::geteuid()) return {};
  return fail(Errc::invalid_argument,
              fmt::format("{} is no folder of this user's", folder.string()));
}

Status lay_out_work(const FixTask& task) {
  PONDER_CHECK(copy_tree(task.base(), task.work()));
  // A confined sandbox cannot protect a history, so that there is none.
  if (task.run.isolation == Isolation::confined) return {};
  return begin_history(task.run, task.work());
}

Status lay_out_project(const FixTask& task, const fs::path& repository) {
  PONDER_CHECK(copy_project(task.run, repository, task.base()));
  return lay_out_work(task);
}

Status lay_out_exercise(FixTask& task, const FixTaskInfo& info, const fs::path& folder) {
  take_info(task, info);
  std::error_code error;
  if (fs::is_directory(folder / "hidden", error)) {
    PONDER_CHECK(copy_tree(folder / "hidden", task.hidden()));
  }
  return lay_out_project(task, folder / "repo");
}

Status lay_out_exercise(FixTask& task, const GeneratedFixTask& made) {
  take_info(task, made.info);
  PONDER_CHECK(write_files(task.base(), made.files));
  PONDER_CHECK(write_files(task.hidden(), made.hidden));
  return lay_out_work(task);
}

}  // namespace ponder::tools
