#include "tools/code/project_runner.h"

#include <fmt/format.h>

#include <system_error>
#include <utility>

#include "tools/process/guarded_run.h"
#include "tools/process/sandbox_support.h"

namespace ponder::tools {
namespace asio = boost::asio;
namespace fs = std::filesystem;

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
                                                          Variables environment, Deadline deadline,
                                                          std::string* note) const {
  ProcessRequest request(std::move(argv));
  request.environment = std::move(environment);
  auto result = co_await run(std::move(request), deadline, note);
  co_return result;
}

asio::awaitable<Result<ProcessResult>> ProjectRunner::run(ProcessRequest request, Deadline deadline,
                                                          std::string* note) const {
  SandboxPolicy policy;
  policy.isolation = project_.isolation;
  policy.readable = project_.readable;
  policy.limits = project_.limits;
  request.working_folder = project_.folder;
  auto result = co_await run_guarded(std::move(request), std::move(policy), project_.folder,
                                     deadline, pool_, note);
  co_return result;
}

}  // namespace ponder::tools
