#include "tools/code/project_runner.h"

#include <fmt/format.h>

#include <algorithm>
#include <system_error>
#include <utility>

#include "base/async/offload.h"
#include "tools/process/sandbox_support.h"

namespace ponder::tools {
namespace {

namespace asio = boost::asio;
namespace fs = std::filesystem;

std::string remove_new(const std::vector<fs::path>& before, const std::vector<fs::path>& after) {
  std::string note;
  for (const fs::path& folder : after) {
    if (std::find(before.begin(), before.end(), folder) != before.end()) continue;
    std::error_code error;
    fs::remove_all(folder, error);
    note += fmt::format("[{} was removed: a repository may not be made here]\n", folder.string());
  }
  return note;
}

}  // namespace

Result<ProjectRunner> ProjectRunner::open(CodeProject project, asio::any_io_executor pool) {
  PONDER_CHECK(check_support(sandbox_support(), project.isolation));
  std::error_code error;
  const fs::path folder = fs::canonical(project.folder, error);
  if (error) {
    return fail(Errc::not_found, fmt::format("{}: {}", project.folder.string(), error.message()));
  }
  project.folder = folder;
  return ProjectRunner(std::move(project), std::move(pool));
}

asio::awaitable<Result<ProcessResult>> ProjectRunner::run(std::vector<std::string> argv,
                                                          Deadline deadline,
                                                          std::string* note) const {
  auto find = [folder = project_.folder] { return git_folders(folder); };
  auto before = co_await offload(pool_, find);
  PONDER_CO_CHECK(before);
  SandboxPolicy policy;
  policy.isolation = project_.isolation;
  policy.writable = {project_.folder};
  policy.read_only = *before;
  policy.readable = project_.readable;
  policy.limits = project_.limits;
  ProcessRequest request(std::move(argv));
  request.working_folder = project_.folder;
  // Python takes compiled code for current that is as old, to the second, and as long as the
  // source: an edit of one character would not be seen.
  request.environment = {{"PYTHONDONTWRITEBYTECODE", "1"}};
  auto result = co_await run_process(std::move(request), std::move(policy), deadline);
  auto after = co_await offload(pool_, find);
  PONDER_CO_CHECK(after);
  *note = remove_new(*before, *after);
  co_return result;
}

}  // namespace ponder::tools
