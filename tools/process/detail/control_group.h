#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>

#include "base/result.h"

namespace ponder::tools {

/// A control group that limits how many processes are in it; removed with the object.
///
/// For root alone, whom RLIMIT_NPROC does not bind: others may not make one, and need none.
class ProcessGroupLimit {
 public:
  /// `unavailable` when the system has no `pids` controller that we may use.
  static Result<ProcessGroupLimit> create(std::uint32_t processes_max);
  ProcessGroupLimit(ProcessGroupLimit&& other) noexcept;
  ProcessGroupLimit& operator=(ProcessGroupLimit&&) = delete;
  ~ProcessGroupLimit();

  /// A process that writes "0" here joins, with all that it starts.
  std::string procs_file() const { return (folder_ / "cgroup.procs").string(); }

 private:
  explicit ProcessGroupLimit(std::filesystem::path folder) : folder_(std::move(folder)) {}
  std::filesystem::path folder_;
};

}  // namespace ponder::tools
