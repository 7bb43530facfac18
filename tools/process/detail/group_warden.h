#pragma once

#include <sys/types.h>

#include "base/result.h"
#include "tools/detail/unique_fd.h"
#include "tools/process/detail/spawn.h"

namespace ponder::tools {

/// Kills a process group when this process ends, also by SIGKILL: then nobody else would be left to
/// do it, and only a namespace of processes ends by itself.
///
/// A process outside of every sandbox that leads the group, so that the group's number is in use,
/// and means no other one, as long as it watches. It waits at a pipe that only we hold open. The
/// programs of the group cannot signal it: Landlock keeps them from what is not theirs.
/// Ends its group with the object. Thread: one at a time.
class GroupWarden {
 public:
  /// Blocks as spawn() does. `unavailable` when there is no shell or no new process.
  static Result<GroupWarden> start();
  GroupWarden(GroupWarden&&) noexcept = default;

  /// For SpawnRequest::group.
  pid_t group() const { return process_.group(); }

 private:
  GroupWarden(UniqueFd alive, SpawnedProcess process)
      : alive_(std::move(alive)), process_(std::move(process)) {}
  UniqueFd alive_;  // the only writing end: it closes with us
  SpawnedProcess process_;
};

}  // namespace ponder::tools
