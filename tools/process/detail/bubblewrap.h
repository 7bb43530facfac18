#pragma once

#include <sys/types.h>

#include <filesystem>
#include <string>
#include <vector>

#include "tools/process/run_process.h"
#include "tools/process/sandbox_policy.h"

namespace ponder::tools {

/// The folders that hold programs, libraries and what they read at start.
const std::vector<std::filesystem::path>& system_folders();

/// Descriptors of the new process; -1: none.
struct BubblewrapFds {
  int seccomp = -1;  // the filter, as bytes
  int status = -1;   // where bubblewrap writes JSON lines; see setup_succeeded
  int options = -1;  // further options, each ended by a zero byte; see environment_options
  int waiter = -1;   // the file of the waiter (waiter.h), which then runs the program
  int report = -1;   // where it writes how the program ended
};

/// The command line by which bubblewrap runs `request` under `policy`. The program gets at most
/// `limits.processes_max` processes where rlimits bind it.
std::vector<std::string> bubblewrap_arguments(const std::string& bubblewrap,
                                              const ProcessRequest& request,
                                              const SandboxPolicy& policy,
                                              const BubblewrapFds& fds);

/// The options by which bubblewrap gives its program the variables `environment` (NAME=value) and
/// no others. It runs outside of the sandbox itself, where a variable such as LD_PRELOAD would run
/// anything: its own environment is none of the program's.
std::string environment_options(const std::vector<std::string>& environment);

/// Whether the program was begun, from what bubblewrap wrote to its status descriptor: it names an
/// exit code for that case only.
bool setup_succeeded(const std::string& status_lines);

/// The first process of the sandbox, with which all others end, as bubblewrap names it there before
/// it begins to set the sandbox up: its number outside of the sandbox, or 0 as long as none is
/// named.
pid_t init_process(const std::string& status_lines);

}  // namespace ponder::tools
