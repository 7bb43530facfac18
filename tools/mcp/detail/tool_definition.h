#pragma once

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "tools/mcp/detail/connection.h"
#include "tools/mcp/mcp_options.h"
#include "tools/mcp/pins.h"

namespace ponder::mcp {

/// A parameter that is repeated in a header of its call (specification 2026-07-28,
/// basic/transports/streamable-http#custom-headers-from-tool-parameters).
struct HeaderParameter {
  std::string header;             // "Mcp-Param-Region"
  std::vector<std::string> path;  // of keys, from the arguments down
};

/// A tool of a server, as an entry of `tools/list` describes it.
struct ToolDefinition {
  std::string name;  // the server's
  std::string description;
  std::string input_schema;
  std::string output_schema;  // empty: none
  std::vector<HeaderParameter> header_parameters;
  std::optional<std::string> header_fault;  // why no headers can be made of it
  bool is_read_only = false;                // the hints
  bool is_idempotent = false;
  Definition definition;
};

/// `invalid_argument` when it has no name or no schema for its arguments.
Result<ToolDefinition> read_tool(const Json& entry);

/// The name under which an agent knows a tool: SERVER_tool, in the letters that all chat formats
/// take. A name that is too long is cut and ends in eight letters of its digest.
std::string agent_tool_name(const std::string& server, const std::string& tool);

tools::Effect effect_of(const ToolDefinition& tool, const ServerOptions& options);

/// The headers that repeat these arguments.
Headers parameter_headers(const ToolDefinition& tool, const Json& arguments);

}  // namespace ponder::mcp
