#pragma once

#include <functional>

#include "runtime/cli/commands.h"

namespace CLI {
class App;
}

namespace ponder::cli {

/// Adds `ponder mcp ...` to the command line; the command that was given becomes `action`.
void add_mcp_commands(CLI::App& app, const Environment& environment, std::function<int()>& action);

}  // namespace ponder::cli
