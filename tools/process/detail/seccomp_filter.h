#pragma once

#include <linux/filter.h>

#include <vector>

#include "base/result.h"
#include "tools/process/sandbox_policy.h"

namespace ponder::tools {

/// A BPF program that refuses (EPERM) what a build, a test or a script does not need and what has
/// led out of sandboxes: tracing and memory of other processes, mounts and namespaces, kernel
/// modules, BPF, io_uring, keyrings, userfaultfd, clocks, typing into a terminal, and sockets of
/// families that no network namespace holds (vsock, alg, packet). `confined` loses all sockets,
/// System V's shared memory, semaphores and queues, the scheduling of other processes, leaving the
/// process group, by which the tree is killed, changes of owners and of extended attributes, and
/// modes that take a file from its owner, give it to everybody or make it run as
/// its owner.
Result<std::vector<sock_filter>> seccomp_filter(Isolation isolation, bool has_network);

}  // namespace ponder::tools
