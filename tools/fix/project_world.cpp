#include "tools/fix/project_world.h"

#include <fmt/format.h>

#include <system_error>
#include <utility>

#include "tools/code/code_tools.h"
#include "tools/files/file_tools.h"
#include "tools/process/sandbox_support.h"

namespace ponder::tools {
namespace fs = std::filesystem;

ProjectWorld::ProjectWorld(SandboxedRun how, boost::asio::any_io_executor pool)
    : how_(std::move(how)), pool_(std::move(pool)) {}

ProjectWorld::~ProjectWorld() { clear(); }

void ProjectWorld::clear() {
  judge_.reset();
  task_json_.clear();
  std::error_code ignored;
  if (!task_.folder.empty()) fs::remove_all(task_.folder, ignored);
  task_ = FixTask();
}

void ProjectWorld::begin(const std::string& task_json) {
  if (task_json != task_json_) clear();
  task_json_ = task_json;
  is_laid_out_ = false;
}

Status ProjectWorld::lay_out() {
  if (is_laid_out_) return {};
  if (task_json_.empty()) return fail(Errc::invalid_argument, "no task has begun");
  if (task_.folder.empty()) {
    PONDER_CHECK(check_support(sandbox_support(), how_.isolation));
    PONDER_TRY(const GeneratedFixTask made, generated_fix_task(task_json_));
    PONDER_TRY(task_.folder, make_fix_folder());
    task_.run = how_;
    PONDER_CHECK(lay_out_exercise(task_, made));
  } else {
    PONDER_CHECK(lay_out_work(task_));
  }
  is_laid_out_ = true;
  return {};
}

Status ProjectWorld::add_tools(Registry& registry) {
  PONDER_CHECK(lay_out());
  CodeProject project;
  project.folder = task_.work();
  project.test_command = task_.test_command;
  project.isolation = how_.isolation;
  project.readable = how_.readable;
  PONDER_CHECK(add_file_tools(registry, project.folder, pool_));
  return add_code_tools(registry, project, pool_);
}

Result<FixReport> ProjectWorld::judge(std::stop_token stop) {
  PONDER_CHECK(lay_out());
  if (!judge_) {
    FixTask task = task_;
    task.run.stop = stop;
    PONDER_TRY(judge_, FixJudge::open(std::move(task)));
  }
  return judge_->judge(std::move(stop));
}

Result<std::string> ProjectWorld::dump() {
  PONDER_CHECK(lay_out());
  PONDER_TRY(const TreeChanges found, changes_between(task_.base(), task_.work()));
  std::string out;
  for (const TreeChange& change : found.changes) {
    out += fmt::format("{} {} {} {} {}\n", change.path, static_cast<int>(change.kind),
                       change.lines.first, change.lines.count, change.is_executable);
    for (const std::string& line : change.lines.lines) out += line;
    out += change.content;
  }
  return out;
}

}  // namespace ponder::tools
