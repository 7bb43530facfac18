#include "runtime/workflow/config.h"

#include <fmt/format.h>
#include <toml++/toml.h>

#include <algorithm>
#include <fstream>
#include <initializer_list>
#include <string_view>
#include <utility>

namespace ponder::runtime {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kProviders[] = {"searxng", "brave", "tavily", "duckduckgo", "local"};

tl::unexpected<Error> fault_at(const toml::node& node, const std::string& message) {
  const toml::source_region& place = node.source();
  const std::string file = place.path ? *place.path : "configuration";
  return fail(Errc::invalid_argument, fmt::format("{}:{}: {}", file, place.begin.line, message));
}

/// One table of the file, read key by key; a key that nobody asks for is a fault.
class Section {
 public:
  Section(const toml::table& table, const fs::path& folder, const fs::path& home)
      : table_(table), folder_(folder), home_(home) {}

  Status expect_keys(std::initializer_list<std::string_view> known) const {
    for (const auto& [key, node] : table_) {
      if (std::find(known.begin(), known.end(), key.str()) != known.end()) continue;
      return fault_at(node, fmt::format("\"{}\" is not known here; known: {}", key.str(),
                                        fmt::join(known, ", ")));
    }
    return {};
  }
  const toml::node* find(std::string_view key) const { return table_.get(key); }
  const toml::table& table() const { return table_; }
  const fs::path& folder() const { return folder_; }

  Result<std::string> text(std::string_view key) const {
    const toml::node* node = find(key);
    if (node == nullptr) return std::string();
    return text_of(*node, key);
  }
  Result<std::vector<std::string>> texts(std::string_view key) const {
    std::vector<std::string> out;
    const toml::node* node = find(key);
    if (node == nullptr) return out;
    const toml::array* array = node->as_array();
    if (array == nullptr) {
      return fault_at(*node, fmt::format("\"{}\" is a list of texts", key));
    }
    for (const toml::node& item : *array) {
      PONDER_TRY(std::string value, text_of(item, key));
      out.push_back(std::move(value));
    }
    return out;
  }
  Result<fs::path> path(std::string_view key) const {
    PONDER_TRY(const std::string value, text(key));
    return value.empty() ? fs::path() : resolve(value);
  }
  Result<std::vector<fs::path>> paths(std::string_view key) const {
    PONDER_TRY(const auto values, texts(key));
    std::vector<fs::path> out;
    for (const std::string& value : values) out.push_back(resolve(value));
    return out;
  }
  /// `{ env = "NAME" }` or `{ file = "PATH" }`.
  Result<SecretSource> secret_of(const toml::node& node) const {
    const toml::table* table = node.as_table();
    if (table == nullptr) {
      return fault_at(node,
                      "a secret is { env = \"NAME\" } or { file = \"PATH\" }, never its value");
    }
    const Section inner(*table, folder_, home_);
    PONDER_CHECK(inner.expect_keys({"env", "file"}));
    SecretSource out;
    PONDER_TRY(out.variable, inner.text("env"));
    PONDER_TRY(out.file, inner.path("file"));
    if (out.variable.empty() == out.file.empty()) {
      return fault_at(node, "a secret has either env or file");
    }
    return out;
  }
  Result<std::optional<SecretSource>> secret(std::string_view key) const {
    const toml::node* node = find(key);
    if (node == nullptr) return std::nullopt;
    PONDER_TRY(SecretSource out, secret_of(*node));
    return out;
  }
  /// A table below this one; none when there is none.
  Result<std::optional<Section>> section(std::string_view key) const {
    const toml::node* node = find(key);
    if (node == nullptr) return std::nullopt;
    PONDER_TRY(Section out, section_of(*node, key));
    return out;
  }
  Result<Section> section_of(const toml::node& node, std::string_view key) const {
    if (const toml::table* table = node.as_table()) return Section(*table, folder_, home_);
    return fault_at(node, fmt::format("\"{}\" is a table", key));
  }

 private:
  static Result<std::string> text_of(const toml::node& node, std::string_view key) {
    if (const auto value = node.value_exact<std::string>()) return *value;
    return fault_at(node, fmt::format("\"{}\" takes text in quotes", key));
  }
  fs::path resolve(const std::string& value) const {
    if (value == "~") return home_;
    if (value.starts_with("~/")) return (home_ / value.substr(2)).lexically_normal();
    return (folder_ / value).lexically_normal();
  }

  const toml::table& table_;
  fs::path folder_;
  fs::path home_;
};

Result<ToolsConfig> read_tools(const Section& section) {
  PONDER_CHECK(section.expect_keys({"files", "grant"}));
  ToolsConfig out;
  PONDER_TRY(out.files, section.paths("files"));
  PONDER_TRY(out.grants, section.texts("grant"));
  return out;
}

Result<WebConfig> read_web(const Section& section) {
  PONDER_CHECK(section.expect_keys({"search", "address", "index", "key", "allow"}));
  WebConfig out;
  PONDER_TRY(out.search, section.text("search"));
  PONDER_TRY(out.address, section.text("address"));
  PONDER_TRY(out.index, section.path("index"));
  PONDER_TRY(out.key, section.secret("key"));
  PONDER_TRY(out.allow, section.texts("allow"));
  auto checked = check_web(std::move(out));
  if (!checked) return fault_at(section.table(), "web: " + checked.error().message);
  return checked;
}

Result<tools::Effect> effect_of(const Section& section, std::string_view tool) {
  PONDER_TRY(const std::string name, section.text(tool));
  const auto effect = tools::effect_named(name);
  if (effect) return *effect;
  return fault_at(*section.find(tool),
                  effect.error().message + "; known: pure, idempotent, compensable, irreversible");
}

Status read_environment(const Section& section, McpServerConfig& out) {
  for (const auto& [key, node] : section.table()) {
    const std::string name(key.str());
    if (node.is_table()) {
      PONDER_TRY(out.secret_environment[name], section.secret_of(node));
    } else {
      PONDER_TRY(out.environment[name], section.text(name));
    }
  }
  return {};
}

Result<McpServerConfig> read_server(const std::string& name, const toml::node& node,
                                    const Section& section) {
  PONDER_CHECK(section.expect_keys({"command", "env", "url", "token", "trust"}));
  McpServerConfig out;
  out.name = name;
  PONDER_TRY(out.command, section.texts("command"));
  out.folder = section.folder();
  PONDER_TRY(out.url, section.text("url"));
  PONDER_TRY(out.token, section.secret("token"));
  if (out.command.empty() == out.url.empty()) {
    return fault_at(node, fmt::format("mcp.{} has either command or url", name));
  }
  PONDER_TRY(const auto environment, section.section("env"));
  if (environment) {
    PONDER_CHECK(read_environment(*environment, out));
  }
  PONDER_TRY(const auto trust, section.section("trust"));
  if (!trust) return out;
  for (const auto& [tool, ignored] : trust->table()) {
    PONDER_TRY(out.trust[std::string(tool.str())], effect_of(*trust, tool.str()));
  }
  return out;
}

Result<Config> read_config(const Section& root) {
  PONDER_CHECK(root.expect_keys({"tools", "secrets", "web", "mcp"}));
  Config out;
  PONDER_TRY(const auto tools, root.section("tools"));
  if (tools) {
    PONDER_TRY(out.tools, read_tools(*tools));
  }
  PONDER_TRY(const auto secrets, root.section("secrets"));
  if (secrets) {
    for (const auto& [name, node] : secrets->table()) {
      PONDER_TRY(out.secrets[std::string(name.str())], secrets->secret_of(node));
    }
  }
  PONDER_TRY(const auto web, root.section("web"));
  if (web) {
    PONDER_TRY(out.web, read_web(*web));
  }
  PONDER_TRY(const auto servers, root.section("mcp"));
  if (!servers) return out;
  for (const auto& [name, node] : servers->table()) {
    PONDER_TRY(const Section server, servers->section_of(node, name.str()));
    PONDER_TRY(auto read, read_server(std::string(name.str()), node, server));
    out.mcp.push_back(std::move(read));
  }
  return out;
}

}  // namespace

Result<WebConfig> check_web(WebConfig web) {
  const auto needs = [&](const char* what) {
    return fail(Errc::invalid_argument, fmt::format("\"{}\" needs {}", web.search, what));
  };
  if (web.search.empty() && !web.index.empty()) web.search = "local";
  const bool is_known =
      std::find(std::begin(kProviders), std::end(kProviders), web.search) != std::end(kProviders);
  if (!web.search.empty() && !is_known) {
    return fail(Errc::invalid_argument, fmt::format("\"{}\" is no search provider; known: {}",
                                                    web.search, fmt::join(kProviders, ", ")));
  }
  if (web.search == "searxng" && web.address.empty()) return needs("address");
  if (web.search == "local" && web.index.empty()) return needs("index");
  if ((web.search == "brave" || web.search == "tavily") && !web.key) return needs("key");
  return web;
}

Result<std::string> read_secret(
    const SecretSource& source,
    const std::function<std::string(const std::string& name)>& variable) {
  if (!source.variable.empty()) {
    std::string value = variable ? variable(source.variable) : std::string();
    if (!value.empty()) return value;
    return fail(Errc::not_found, fmt::format("the variable {} is not set", source.variable));
  }
  std::ifstream in(source.file);
  std::string line;
  if (!std::getline(in, line) || line.empty()) {
    return fail(Errc::not_found, fmt::format("{}: no secret can be read", source.file.string()));
  }
  if (line.ends_with('\r')) line.pop_back();
  return line;
}

Result<Config> load_config(const fs::path& file, const fs::path& home) {
  std::error_code error;
  if (!fs::is_regular_file(file, error)) {
    return fail(Errc::not_found, fmt::format("{}: no such file", file.string()));
  }
  try {
    const toml::table table = toml::parse_file(file.string());
    return read_config(Section(table, fs::absolute(file).parent_path(), home));
  } catch (const toml::parse_error& e) {
    return fail(Errc::invalid_argument,
                fmt::format("{}:{}: {}", file.string(), e.source().begin.line, e.description()));
  }
}

}  // namespace ponder::runtime
