#pragma once

#include <chrono>
#include <filesystem>
#include <stop_token>
#include <string>
#include <vector>

#include "base/result.h"
#include "tools/process/run_process.h"

namespace ponder::tools {

/// How programs are run on the copies of a project: in a sandbox without a network.
struct SandboxedRun {
  Isolation isolation = Isolation::isolated;
  std::vector<std::filesystem::path> readable;  // beside the project, such as an interpreter's
  ProcessLimits limits;
  std::chrono::seconds seconds_max{600};
  std::stop_token stop;  // ends what runs, with all that it started
};

/// Runs a program in `folder`, which alone it may write to, and waits for its end. Blocks.
/// Errors are run_process's; `cancelled` when it was stopped.
Result<ProcessResult> run_in(const SandboxedRun& how, const std::filesystem::path& folder,
                             ProcessRequest request);

}  // namespace ponder::tools
