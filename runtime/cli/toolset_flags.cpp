#include "runtime/cli/toolset_flags.h"

#include <fmt/core.h>

#include <algorithm>
#include <optional>
#include <sstream>
#include <utility>

#include "runtime/cli/terminal.h"
#include "tools/web/local_index.h"

namespace ponder::cli {
namespace {

namespace fs = std::filesystem;

/// "NAME=REST"; REST is empty without "=".
std::pair<std::string, std::string> split(const std::string& text) {
  const std::size_t at = text.find('=');
  if (at == std::string::npos) return {text, ""};
  return {text.substr(0, at), text.substr(at + 1)};
}

bool is_address(const std::string& text) {
  return text.starts_with("http://") || text.starts_with("https://");
}

/// `duckduckgo`, `searxng=http://localhost:8888`, `local=notes.db`; `local` alone is the index that
/// the configuration names, else the one of this folder.
Result<runtime::WebConfig> web_of(const std::string& flag,
                                  const std::optional<runtime::WebConfig>& configured) {
  const auto [provider, place] = split(flag);
  runtime::WebConfig web;
  web.search = provider;
  if (provider == "local") {
    const bool is_configured = configured && !configured->index.empty();
    web.index = is_configured ? configured->index : fs::current_path();
    if (!place.empty()) web.index = fs::absolute(place);
  } else {
    web.address = place;
  }
  if (provider == "brave") web.key = runtime::SecretSource{"BRAVE_API_KEY", {}};
  if (provider == "tavily") web.key = runtime::SecretSource{"TAVILY_API_KEY", {}};
  return runtime::check_web(std::move(web));
}

/// `NAME=https://host/mcp` or `NAME=program argument ...`.
Result<runtime::McpServerConfig> server_of(const std::string& flag) {
  const auto [name, place] = split(flag);
  if (name.empty() || place.empty()) {
    return fail(Errc::invalid_argument,
                fmt::format("--mcp {}: NAME=ADDRESS or NAME=\"PROGRAM ARGUMENTS\"", flag));
  }
  runtime::McpServerConfig server;
  server.name = name;
  server.folder = fs::current_path();
  if (is_address(place)) {
    server.url = place;
    return server;
  }
  std::istringstream words(place);
  for (std::string word; words >> word;) server.command.push_back(word);
  return server;
}

/// A web that nobody is named to search is searched by the index of this folder, where there is
/// one.
void use_index_here(runtime::ToolsetOptions& options) {
  if (!options.config.web || !options.config.web->search.empty()) return;
  const fs::path file = tools::index_file_of(fs::current_path());
  std::error_code unreadable;
  if (!fs::exists(file, unreadable)) return;
  options.config.web->search = "local";
  options.config.web->index = file;
  options.tell(fmt::format("web_search answers from {}", file.string()));
}

Result<runtime::Config> config_of(const Environment& environment, const ToolsetFlags& flags) {
  if (!flags.config.empty()) return runtime::load_config(flags.config, environment.home);
  std::error_code unreadable;
  const bool is_there = fs::exists(environment.config, unreadable);
  if (!is_there && environment.is_config_named) {
    return fail(Errc::not_found, fmt::format("PONDER_CONFIG names {}, and there is no such file",
                                             environment.config.string()));
  }
  if (!is_there) return runtime::Config();
  return runtime::load_config(environment.config, environment.home);
}

}  // namespace

void add_toolset_flags(CLI::App& command, ToolsetFlags& flags) {
  const std::string before = command.option_defaults()->get_group();
  command.option_defaults()->group("Tools beside the workflow's");
  command.add_option("--config", flags.config, "configuration (docs/configuration.md)")
      ->check(CLI::ExistingFile);
  command
      .add_option("--tools", flags.tools, "a tool in a Lua file, or a folder of such; repeatable")
      ->check(CLI::ExistingPath);
  command.add_option(
      "--grant", flags.grants,
      "what such tools may have, as http:api.example.com or fs-read:DIR; repeatable");
  command
      .add_option("--web", flags.web,
                  "search and read the web: duckduckgo, brave, tavily, searxng=ADDRESS, or "
                  "local=INDEX (ponder index); alone: the index of this folder")
      ->expected(0, 1)
      ->default_str("local");  // of the option without a value
  command.add_option("--mcp", flags.mcp,
                     "an MCP server: NAME=ADDRESS or NAME=\"PROGRAM ARGUMENTS\"; repeatable");
  command.option_defaults()->group(before);
}

Result<runtime::ToolsetOptions> toolset_of(const Environment& environment,
                                           const ToolsetFlags& flags) {
  runtime::ToolsetOptions out;
  PONDER_TRY(out.config, config_of(environment, flags));
  for (const fs::path& file : flags.tools) out.config.tools.files.push_back(fs::absolute(file));
  for (const std::string& grant : flags.grants) out.config.tools.grants.push_back(grant);
  if (!flags.web.empty()) {
    PONDER_TRY(out.config.web, web_of(flags.web, out.config.web));
  }
  for (const std::string& flag : flags.mcp) {
    PONDER_TRY(runtime::McpServerConfig server, server_of(flag));
    std::erase_if(out.config.mcp, [&](const auto& other) { return other.name == server.name; });
    out.config.mcp.push_back(std::move(server));
  }
  out.is_named = !flags.config.empty() || !flags.tools.empty() || !flags.grants.empty() ||
                 !flags.web.empty() || !flags.mcp.empty();
  out.state_folder = environment.state_folder;
  out.variable = environment.variable;
  out.tell = [](const std::string& line) { fmt::print(stderr, "ponder: {}\n", printable(line)); };
  use_index_here(out);
  return out;
}

}  // namespace ponder::cli
