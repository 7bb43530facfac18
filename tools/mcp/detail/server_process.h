#pragma once

#include <sys/types.h>

#include <filesystem>
#include <string>
#include <utility>
#include <vector>

#include "base/result.h"
#include "tools/detail/unique_fd.h"
#include "tools/process/detail/spawn.h"

namespace ponder::mcp {

/// The program of a server that is spoken to over its standard streams.
struct ServerCommand {
  std::vector<std::string> argv;
  std::filesystem::path working_folder;  // empty: "/"
  /// All that it gets, beside PATH, LANG and HOME, which have defaults.
  std::vector<std::pair<std::string, std::string>> environment;
};

/// A server that runs, and our ends of its streams.
struct ServerProcess {
  tools::SpawnedProcess process;
  tools::UniqueFd input;   // a socket: writing to a server that has gone is an error, not a signal
  tools::UniqueFd output;  // pipes
  tools::UniqueFd errors;
};

/// Starts a server with the user's rights, in a process namespace of its own where the machine
/// allows that: whatever it starts dies with it then. Elsewhere its process group does.
/// `not_found` when there is no such program; `unavailable` when it cannot be started.
Result<ServerProcess> start_server(const ServerCommand& command);

}  // namespace ponder::mcp
