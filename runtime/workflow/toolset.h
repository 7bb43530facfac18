#pragma once

#include <boost/asio/any_io_executor.hpp>
#include <filesystem>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "base/clock.h"
#include "base/result.h"
#include "runtime/session/event.h"
#include "runtime/workflow/config.h"
#include "tools/mcp/mcp_options.h"
#include "tools/process/sandbox_policy.h"
#include "tools/registry.h"

namespace ponder::runtime {

/// Where the user's own tools, the web and MCP servers come from.
struct ToolsetOptions {
  Config config;  // with what the command line adds to it
  /// For what outlives a session: databases of tools, approved definitions of MCP servers.
  std::filesystem::path state_folder;
  /// The value of an environment variable; empty where it is not set. May be null: none is.
  std::function<std::string(const std::string& name)> variable;
  /// Gets lines for the person: a server that is away, a tool file that changed. May be null.
  /// Called on the caller's thread or the session's executor.
  std::function<void(const std::string& line)> tell;
  tools::Isolation isolation = tools::Isolation::isolated;  // of programs that tools run
  /// The command line names some of it, or the configuration: it is wanted for this run. Otherwise
  /// all is of the configuration that is always read.
  bool is_named = false;

  bool is_empty() const { return config.tools.files.empty() && !config.web && config.mcp.empty(); }
};

/// Adds the tools of a configuration to a workflow's, and gives the capabilities that the session
/// is to be granted for them. Blocks until every MCP server has answered or is given up; one that
/// is away is told and stops nothing. Errors: `invalid_argument` for tool files with faults, a line
/// for each; `not_found` for a secret that is not set.
///
/// Lifetime: `clock` and `pool` outlive the registry's calls.
Result<std::vector<std::string>> add_toolset(tools::Registry& registry,
                                             const ToolsetOptions& options, const Clock& clock,
                                             boost::asio::any_io_executor pool);

/// Where the approved definitions of MCP servers' tools are kept.
std::filesystem::path mcp_pins_file(const std::filesystem::path& state_folder);

/// What of our environment is handed on to a server's program: PATH and HOME.
std::vector<std::pair<std::string, std::string>> mcp_environment(
    const std::function<std::string(const std::string& name)>& variable);

/// The servers of a configuration, for those who look at them without an agent. `not_found` for a
/// secret that is not set.
Result<mcp::Options> mcp_options(const ToolsetOptions& options);

/// Whether the session's model was told that a person can be asked. What it was told there is,
/// there is, whether somebody is here now or not.
bool was_person_there(const SessionStarted& start);

/// Tells where a session's tools are not what its log says they were: they are gone, or describe
/// themselves in other words. The session goes on; calls of what is gone fail.
void tell_changed_tools(const SessionStarted& start, const tools::Registry& registry,
                        const ToolsetOptions& options);

}  // namespace ponder::runtime
