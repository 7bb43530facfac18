#pragma once

#include <filesystem>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "tools/tool.h"

namespace ponder::runtime {

/// Where the value of a secret is: in an environment variable or a file, exactly one of them. The
/// value stands neither in the configuration nor in any log.
struct SecretSource {
  std::string variable;
  std::filesystem::path file;
};

/// The secret's value, of a file its first line. `variable` gives the value of an environment
/// variable, empty where it is not set. `not_found` names what is not set or cannot be read.
Result<std::string> read_secret(
    const SecretSource& source,
    const std::function<std::string(const std::string& name)>& variable);

/// The user's own tools, and what they may do.
struct ToolsConfig {
  std::vector<std::filesystem::path> files;  // Lua files, and folders of such
  std::vector<std::string> grants;           // as docs/writing-tools.md lists them
};

/// How web_search and web_fetch work.
struct WebConfig {
  /// "searxng", "brave", "tavily", "duckduckgo" or "local"; empty: nothing is searched, but by the
  /// index of the folder in which the program runs, where there is one.
  std::string search;
  std::string address;          // of the provider, where it has no fixed one
  std::filesystem::path index;  // of "local", as `ponder index` made it
  std::optional<SecretSource> key;
  std::vector<std::string> allow;  // hosts that may be read although they are not public
};

/// The same, when it says enough; an index alone means "local". `invalid_argument` names a provider
/// that is not known, or what it needs.
Result<WebConfig> check_web(WebConfig web);

/// A server of tools that speaks the Model Context Protocol: a command or an address.
struct McpServerConfig {
  std::string name;
  std::vector<std::string> command;
  std::filesystem::path folder;  // where it runs: that of the configuration, or the current one
  std::map<std::string, std::string> environment;
  std::map<std::string, SecretSource> secret_environment;
  std::string url;
  std::optional<SecretSource> token;           // sent as "Authorization: Bearer"
  std::map<std::string, tools::Effect> trust;  // what its tools are taken for; others: irreversible
};

/// What the user has set up for every agent. Read from a file of the user's own and never from a
/// project's folder, whose author may be somebody else.
struct Config {
  ToolsConfig tools;
  std::map<std::string, SecretSource> secrets;  // what ctx.secret(NAME) gives
  std::optional<WebConfig> web;                 // none: agents do not reach the web
  std::vector<McpServerConfig> mcp;             // by name
};

/// Reads a configuration (TOML; docs/configuration.md). Paths in it are relative to its folder;
/// "~/" is `home`. Errors, with file and line: `not_found`; `invalid_argument` for what is no TOML,
/// a key that is not known, a value of the wrong type, or a combination that means nothing.
Result<Config> load_config(const std::filesystem::path& file, const std::filesystem::path& home);

}  // namespace ponder::runtime
