#pragma once

#include <linux/filter.h>
#include <sys/types.h>

#include <csignal>
#include <cstdint>
#include <string>
#include <vector>

#include "base/result.h"
#include "tools/detail/unique_fd.h"
#include "tools/process/sandbox_policy.h"

namespace ponder::tools {

/// What the new process does to itself between its birth and the program.
struct SpawnRequest {
  std::string program;  // a path
  std::vector<std::string> argv;
  std::vector<std::string> environment;  // NAME=value
  std::string working_folder;            // empty: ours
  int standard_input = -1;
  int standard_output = -1;
  int standard_error = -1;
  std::vector<int> inherited;  // become descriptors 3, 4, ..; at most kInheritedMax
  ProcessLimits limits;
  std::uint64_t processes_max = 0;  // for RLIMIT_NPROC; 0: leaves it
  bool drops_capabilities = false;
  int landlock_ruleset = -1;         // -1: none
  std::vector<sock_filter> seccomp;  // empty: none
  std::string control_group_procs;   // the cgroup.procs file to join; empty: none
  pid_t group = 0;                   // the process group to join; 0: leads one of its own
  bool outlives_us = false;          // is not killed when the thread that started it dies
};
inline constexpr std::size_t kInheritedMax = 5;

/// A child, and the process group that it leads or has joined.
///
/// Invariant: kills its process, and waits for its end, if nobody has reaped it before.
class SpawnedProcess {
 public:
  SpawnedProcess(pid_t pid, pid_t group, UniqueFd pidfd)
      : group_(group == 0 ? pid : group), pidfd_(std::move(pidfd)) {}
  SpawnedProcess(SpawnedProcess&&) noexcept = default;
  SpawnedProcess& operator=(SpawnedProcess&&) = delete;
  ~SpawnedProcess();

  /// Readable when the process has ended.
  int pidfd() const { return pidfd_.get(); }
  pid_t group() const { return group_; }
  /// A signal to the process and to all of its group.
  void signal_group(int signal);
  /// SIGKILL, also to a process that has left its group.
  void kill_group();
  /// A handle of a child of this process, which is no child of ours; empty when it is none, or has
  /// ended.
  UniqueFd open_child(pid_t child) const;
  /// Waits for the end of the process, kills what is left of the group, and gives what waitid(2)
  /// says: CLD_EXITED and the exit code, or another code and a signal. Requires: called once.
  siginfo_t reap();

 private:
  pid_t group_;
  UniqueFd pidfd_;  // without one the process is not ours any more
};

/// Starts a process. All other descriptors are closed in it, its signals are as at birth, and it
/// is killed when the thread that started it dies, unless it is to outlive us. Blocks until the
/// program runs or cannot: `not_found`, or `unavailable` with the step that failed.
Result<SpawnedProcess> spawn(const SpawnRequest& request);

}  // namespace ponder::tools
