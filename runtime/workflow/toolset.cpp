#include "runtime/workflow/toolset.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "runtime/agent/agent_tool.h"
#include "tools/mcp/mcp_tools.h"
#include "tools/script/grants.h"
#include "tools/script/lua_tools.h"
#include "tools/session/session_tools.h"
#include "tools/web/web_tools.h"

namespace ponder::runtime {
namespace {

void tell(const ToolsetOptions& options, const std::string& line) {
  if (options.tell) options.tell(line);
}

Result<std::string> secret(const ToolsetOptions& options, const SecretSource& source) {
  return read_secret(source, options.variable);
}

Status add_scripts(tools::Registry& registry, const ToolsetOptions& options, const Clock& clock,
                   const boost::asio::any_io_executor& pool) {
  if (options.config.tools.files.empty()) return {};
  tools::LuaToolsOptions scripts;
  scripts.paths = options.config.tools.files;
  scripts.grants = options.config.tools.grants;
  scripts.data_folder = options.state_folder / "tools";
  scripts.isolation = options.isolation;
  scripts.tell = options.tell;
  scripts.secrets = [secrets = options.config.secrets,
                     variable = options.variable](const std::string& name) -> Result<std::string> {
    const auto source = secrets.find(name);
    if (source == secrets.end()) {
      return fail(Errc::not_found, fmt::format("secret {} is not in the configuration", name));
    }
    return read_secret(source->second, variable);
  };
  const std::size_t num_before = registry.specs().size();
  PONDER_CHECK(tools::add_lua_tools(registry, scripts, clock, pool));
  if (registry.specs().size() == num_before) {
    tell(options, fmt::format("{}: no tool is in there (*.lua)",
                              options.config.tools.files.front().string()));
  }
  return {};
}

/// A tool that may not do what it declares is offered all the same: its calls say what is missing.
/// The person hears it before. Of the tools from the first-th on.
void tell_what_is_not_granted(const tools::Registry& registry, std::size_t first,
                              const std::vector<std::string>& granted,
                              const ToolsetOptions& options) {
  for (std::size_t i = first; i < registry.specs().size(); ++i) {
    const context::ToolSpec& spec = registry.specs()[i];
    for (const std::string& capability : registry.find(spec.name)->capabilities()) {
      if (std::find(granted.begin(), granted.end(), capability) != granted.end()) continue;
      tell(options, fmt::format("the tool {} needs {}, which is not granted (--grant)", spec.name,
                                capability));
    }
  }
}

Status add_web(tools::Registry& registry, const ToolsetOptions& options,
               const boost::asio::any_io_executor& pool) {
  if (!options.config.web) return {};
  const WebConfig& config = *options.config.web;
  tools::WebOptions web;
  web.search.provider = config.search;
  web.search.address = config.address;
  web.search.index = config.index;
  web.addresses.exempt = config.allow;
  if (config.key) {
    PONDER_TRY(web.search.api_key, secret(options, *config.key));
  }
  return tools::add_web_tools(registry, web, pool);
}

Result<mcp::ServerOptions> server_of(const ToolsetOptions& options, const McpServerConfig& config) {
  mcp::ServerOptions server;
  server.name = config.name;
  server.command = config.command;
  server.working_folder = config.folder;
  server.url = config.url;
  server.effects = config.trust;
  for (const auto& [name, value] : config.environment) server.environment.emplace_back(name, value);
  for (const auto& [name, source] : config.secret_environment) {
    PONDER_TRY(std::string value, secret(options, source));
    server.environment.emplace_back(name, std::move(value));
  }
  if (config.token) {
    PONDER_TRY(server.bearer_token, secret(options, *config.token));
  }
  return server;
}

Status add_servers(tools::Registry& registry, const ToolsetOptions& options) {
  if (options.config.mcp.empty()) return {};
  PONDER_TRY(const mcp::Options servers, mcp_options(options));
  mcp::Waiting waiting;
  waiting.tell = [&options](const std::string& server) {
    tell(options, fmt::format("waiting for mcp {}", server));
  };
  PONDER_TRY(const mcp::Report report, mcp::add_mcp_tools(registry, servers, waiting));
  for (const mcp::ServerReport& server : report) {
    if (!server.is_connected) tell(options, fmt::format("mcp {}: {}", server.name, server.summary));
    for (const std::string& remark : server.remarks) {
      tell(options, fmt::format("mcp {}: {}", server.name, remark));
    }
  }
  return {};
}

}  // namespace

std::filesystem::path mcp_pins_file(const std::filesystem::path& state_folder) {
  return state_folder / "mcp_tools.json";
}

std::vector<std::pair<std::string, std::string>> mcp_environment(
    const std::function<std::string(const std::string& name)>& variable) {
  std::vector<std::pair<std::string, std::string>> out;
  for (const char* name : {"PATH", "HOME"}) {
    std::string value = variable ? variable(name) : std::string();
    if (!value.empty()) out.emplace_back(name, std::move(value));
  }
  return out;
}

Result<mcp::Options> mcp_options(const ToolsetOptions& options) {
  mcp::Options out;
  out.pins_file = mcp_pins_file(options.state_folder);
  out.environment = mcp_environment(options.variable);
  for (const McpServerConfig& config : options.config.mcp) {
    PONDER_TRY(mcp::ServerOptions server, server_of(options, config));
    out.servers.push_back(std::move(server));
  }
  return out;
}

Result<std::vector<std::string>> add_toolset(tools::Registry& registry,
                                             const ToolsetOptions& options, const Clock& clock,
                                             boost::asio::any_io_executor pool) {
  const std::size_t num_before = registry.specs().size();
  PONDER_CHECK(add_scripts(registry, options, clock, pool));
  PONDER_TRY(std::vector<std::string> granted,
             tools::covered_capabilities(registry, options.config.tools.grants));
  tell_what_is_not_granted(registry, num_before, granted, options);
  PONDER_CHECK(add_web(registry, options, pool));
  if (options.config.web) granted.emplace_back(tools::kWeb);
  PONDER_CHECK(add_servers(registry, options));
  if (!options.config.mcp.empty()) granted.emplace_back(mcp::kCapability);
  return granted;
}

bool was_person_there(const SessionStarted& start) {
  return std::any_of(start.tools.begin(), start.tools.end(), [](const context::ToolSpec& tool) {
    return tool.name == tools::kAskUserTool;
  });
}

void tell_changed_tools(const SessionStarted& start, const tools::Registry& registry,
                        const ToolsetOptions& options) {
  for (const context::ToolSpec& told : start.tools) {
    if (told.name == kAgentTool) continue;  // the agent has it itself
    const tools::Tool* tool = registry.find(told.name);
    if (tool == nullptr) {
      tell(options, fmt::format("the tool {} of this session is not here now: its calls will fail "
                                "(--tools, --mcp, --web or the configuration can bring it back)",
                                told.name));
    } else if (tool->spec().description != told.description ||
               tool->spec().parameters != told.parameters) {
      tell(options, fmt::format("the tool {} has changed; the model of this session was told of it "
                                "as it was",
                                told.name));
    }
  }
}

}  // namespace ponder::runtime
