#pragma once

#include <CLI/App.hpp>

#include "base/result.h"
#include "runtime/cli/commands.h"
#include "runtime/workflow/toolset.h"

namespace ponder::cli {

/// --config, --tools, --grant, --web and --mcp.
void add_toolset_flags(CLI::App& command, ToolsetFlags& flags);

/// The user's configuration with what the flags add. Without --config the configuration is that of
/// the environment, which need not exist. Lines for the person go to standard error.
Result<runtime::ToolsetOptions> toolset_of(const Environment& environment,
                                           const ToolsetFlags& flags);

}  // namespace ponder::cli
