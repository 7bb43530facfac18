#pragma once

#include <optional>
#include <string>

#include "base/result.h"
#include "tools/detail/unique_fd.h"
#include "tools/process/detail/control_group.h"
#include "tools/process/detail/group_warden.h"
#include "tools/process/detail/spawn.h"
#include "tools/process/run_process.h"

namespace ponder::tools {

/// A folder of one's own under the system's folder for temporary files, removed with the object.
class TemporaryFolder {
 public:
  static Result<TemporaryFolder> create();
  TemporaryFolder(TemporaryFolder&& other) noexcept;
  TemporaryFolder& operator=(TemporaryFolder&&) = delete;
  ~TemporaryFolder();
  const std::filesystem::path& path() const { return path_; }

 private:
  explicit TemporaryFolder(std::filesystem::path path) : path_(std::move(path)) {}
  std::filesystem::path path_;
};

/// A program that runs in its sandbox, and what it holds on to. Members end from the last to the
/// first: the process before what limits it.
struct Launched {
  std::optional<TemporaryFolder> temporary;      // confined
  std::optional<ProcessGroupLimit> group_limit;  // for root
  UniqueFd standard_output;
  UniqueFd standard_error;
  UniqueFd status;                    // isolated: what bubblewrap says of itself
  UniqueFd report;                    // isolated: how the program ended (waiter.h)
  std::optional<GroupWarden> warden;  // confined: leads the group of the process
  SpawnedProcess process;
};

/// Checks the policy against itself and against this machine, and starts the program.
Result<Launched> launch(const ProcessRequest& request, const SandboxPolicy& policy);

}  // namespace ponder::tools
