#pragma once

#include <chrono>
#include <functional>
#include <string>
#include <vector>

#include "base/result.h"
#include "tools/mcp/mcp_options.h"
#include "tools/registry.h"

namespace ponder::mcp {

/// What became of a configured server, in lines for a person.
struct ServerReport {
  std::string name;
  bool is_connected = false;
  std::string summary;               // what it is, or why it is not there
  std::vector<std::string> remarks;  // tools that are not offered, and why
  std::string instructions;          // its own words for models; foreign text, in no prompt
};
using Report = std::vector<ServerReport>;

/// Who hears that a server takes its time to begin, so that nobody wonders what is waited for.
struct Waiting {
  std::chrono::milliseconds told_after{2000};
  /// Gets the server's name, once, on the thread that waits. May be null.
  std::function<void(const std::string& server)> tell;
};

/// Connects to the servers and adds what they offer to a registry: their tools as NAME_tool, and
/// for servers with resources or prompts NAME_list_resources, NAME_read_resource,
/// NAME_list_prompts and NAME_get_prompt.
///
/// A server that cannot be reached, or a tool that cannot be used, is a line of the report and
/// stops nothing. A tool is offered only with the definition that was approved (tools/mcp/pins.h);
/// without a pins file every definition is. What a server changes later is not offered, and a
/// changed tool is refused when it is called, so that a prompt's list of tools stays as it is.
///
/// The tools need the capability kCapability. Server-sent progress, log messages and questions go
/// to the call's CallServices. A server that dies is an error of the call that was under way; it
/// is started again for the next one.
///
/// Blocks until every server has answered or its connect_ms_max is over: call it where a session is
/// put together. Lifetime: the servers end with the last of their tools. Errors:
/// `invalid_argument` for options that contradict themselves, `corrupt` or `unavailable` for the
/// pins file.
Result<Report> add_mcp_tools(tools::Registry& registry, const Options& options,
                             const Waiting& waiting = {});

}  // namespace ponder::mcp
