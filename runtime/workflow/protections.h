#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "runtime/workflow/toolset.h"
#include "tools/process/sandbox_policy.h"
#include "tools/registry.h"

namespace ponder::runtime {

/// Which programs a session's tools can start, and what keeps them in: lines for the session's log,
/// so that whoever reads it later knows what held on the machine where it began.
///
/// Thread: one at a time.
class Protections {
 public:
  /// The workflow's own tools start programs.
  void add_own(tools::Isolation isolation);
  /// What add_toolset has added: the tools of the registry from the first-th on, and the servers.
  void add_toolset(const tools::Registry& registry, std::size_t first,
                   const ToolsetOptions& toolset);

  /// A line for each kind of programs, then what the machine can keep of a sandbox's promises, as
  /// `ponder doctor` says it. Empty when no tool starts a program; then nothing is probed either.
  std::vector<std::string> lines() const;

 private:
  std::vector<std::string> programs_;
};

}  // namespace ponder::runtime
