#include "tools/fix/sandboxed_run.h"

#include <utility>

#include "base/async/run_blocking.h"

namespace ponder::tools {

Result<ProcessResult> run_in(const SandboxedRun& how, const std::filesystem::path& folder,
                             ProcessRequest request) {
  SandboxPolicy policy;
  policy.isolation = how.isolation;
  policy.writable = {folder};
  policy.readable = how.readable;
  policy.limits = how.limits;
  request.working_folder = folder;
  const Deadline deadline = Deadline::after(system_clock(), how.seconds_max);
  auto result =
      run_blocking(run_process(std::move(request), std::move(policy), deadline), how.stop);
  if (how.stop.stop_requested()) return fail(Errc::cancelled, "the run was stopped");
  return result;
}

}  // namespace ponder::tools
