#pragma once

#include <string>
#include <vector>

#include "base/result.h"
#include "tools/process/sandbox_policy.h"

namespace ponder::tools {

/// What this machine can keep of a sandbox's promises, found out by trying.
struct SandboxSupport {
  bool has_seccomp = false;
  int landlock_abi = 0;         // 0: none
  std::string bubblewrap;       // the program's path; empty when it is not installed
  std::string namespace_error;  // why namespaces of one's own are refused; empty: they are not
  /// Whether the number of processes can be limited: for root, whom rlimits do not bind, that takes
  /// a control group.
  bool limits_processes = false;
};

/// Landlock refuses truncation since ABI 3 and signals to others since ABI 6 (Linux 6.12).
inline constexpr int kLandlockAbiMin = 6;

/// Probes once for the process; starts a child for it. Thread: any.
const SandboxSupport& sandbox_support();

/// Why `isolation` cannot be had with this support, with the remedy (`unavailable`).
Status check_support(const SandboxSupport& support, Isolation isolation);

/// Lines for people: each protection and whether it is there.
std::vector<std::string> describe(const SandboxSupport& support);

}  // namespace ponder::tools
