#include "tools/mcp/mcp_tools.h"

#include <arpa/inet.h>
#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <set>

#include "tools/mcp/detail/host.h"
#include "tools/mcp/detail/mcp_tool.h"
#include "tools/mcp/pins.h"

namespace ponder::mcp {
namespace {

using tools::Effect;

bool is_server_name(const std::string& name) {
  constexpr std::size_t kBytesMax = 32;
  return !name.empty() && name.size() <= kBytesMax &&
         std::all_of(name.begin(), name.end(),
                     [](unsigned char c) { return std::isalnum(c) != 0 || c == '_' || c == '-'; });
}

bool is_this_machine(const std::string& host) {
  return host == "localhost" || host == "::1" ||
         (host.starts_with("127.") && inet_addr(host.c_str()) != INADDR_NONE);
}

Status check_options(const ServerOptions& server) {
  const auto wrong = [&server](std::string what) {
    return fail(Errc::invalid_argument, fmt::format("MCP server '{}': {}", server.name, what));
  };
  if (!is_server_name(server.name)) return wrong("the name is not 1 to 32 letters and digits");
  if (server.command.empty() == server.url.empty()) return wrong("it needs a command or a url");
  if (server.era != "auto" && server.era != "modern" && server.era != "legacy") {
    return wrong(fmt::format("era '{}' is not auto, modern or legacy", server.era));
  }
  if (server.url.empty()) return {};
  const auto url = http::parse_url(server.url);
  if (!url) return wrong(url.error().message);
  if (!server.bearer_token.empty() && !url->is_tls && !is_this_machine(url->host)) {
    return wrong("its token would be sent without TLS: the url must begin with https://");
  }
  const auto is_token_letter = [](unsigned char c) { return c > ' ' && c < 0x7F; };
  const std::string& token = server.bearer_token;
  if (!std::all_of(token.begin(), token.end(), is_token_letter)) {
    return wrong("its token holds characters that no token has");
  }
  return {};
}

Status check_all(const Options& options) {
  std::set<std::string> names;
  for (const ServerOptions& server : options.servers) {
    PONDER_CHECK(check_options(server));
    if (names.insert(server.name).second) continue;
    return fail(Errc::invalid_argument, fmt::format("there are two MCP servers '{}'", server.name));
  }
  return {};
}

constexpr const char* kNothing = R"({"type":"object","properties":{}})";
constexpr const char* kUri =
    R"({"type":"object","properties":{"uri":{"type":"string"}},"required":["uri"]})";
constexpr const char* kPrompt =
    R"({"type":"object","properties":{"name":{"type":"string"},"arguments":{"type":"object",)"
    R"("additionalProperties":{"type":"string"}}},"required":["name"]})";

/// Puts what one server offers into the registry.
class Offer {
 public:
  Offer(tools::Registry& registry, std::shared_ptr<Host> host, std::size_t index,
        const Options& options, Pins* pins)
      : registry_(&registry),
        host_(std::move(host)),
        index_(index),
        options_(&options),
        pins_(pins) {}

  ServerReport make(const Status& started) {
    const Server& server = host_->server(index_);
    report_.name = server.options().name;
    if (!started) {
      report_.summary = started.error().message;
      return std::move(report_);
    }
    report_.is_connected = true;
    report_.remarks = server.faults();
    report_.instructions = server.identity().instructions;
    add_tools();
    if (server.has("resources")) add_resources();
    if (server.has("prompts")) add_prompts();
    const ServerIdentity& identity = server.identity();
    report_.summary = fmt::format("{} {}, MCP {}: {} tools", identity.name, identity.version,
                                  identity.protocol_version, num_tools_);
    return std::move(report_);
  }

 private:
  const ServerOptions& server() const { return host_->server(index_).options(); }

  void add_tools() {
    const bool is_new = pins_ != nullptr && pins_->meet(report_.name);
    for (const ToolDefinition& tool : host_->server(index_).tools()) {
      const auto& wanted = server().tools;
      const bool is_wanted =
          wanted.empty() || std::find(wanted.begin(), wanted.end(), tool.name) != wanted.end();
      if (!is_wanted || !is_approved(tool, is_new)) continue;
      McpToolCard card = new_card(agent_tool_name(report_.name, tool.name));
      card.spec.description = tool.description;
      card.spec.parameters = tool.input_schema;
      card.effect = effect_of(tool, server());
      card.action.tool = tool.name;
      add(std::move(card));
    }
    for (const std::string& name : server().tools) {
      const auto& all = host_->server(index_).tools();
      const auto is_it = [&name](const ToolDefinition& tool) { return tool.name == name; };
      if (std::none_of(all.begin(), all.end(), is_it)) remark("there is no tool '" + name + "'");
    }
  }
  /// Whether a person has approved the tool as it is. A server that is seen for the first time may
  /// be taken as it is.
  bool is_approved(const ToolDefinition& tool, bool is_new) {
    if (pins_ == nullptr) return true;
    const Definition& definition = tool.definition;
    const Pins::Verdict verdict = pins_->verdict(report_.name, tool.name, definition);
    if (verdict == Pins::Verdict::approved) return true;
    if (is_new && options_->approves_first_use) {
      pins_->approve(report_.name, tool.name, definition);
      return true;
    }
    pins_->keep_waiting(report_.name, tool.name, definition);
    const char* what = verdict == Pins::Verdict::changed ? "has changed since it was approved"
                                                         : "was never approved";
    remark(fmt::format("tool '{}' {}: 'ponder mcp approve {}' after a look at 'ponder mcp list'",
                       tool.name, what, report_.name));
    return false;
  }
  void add_resources() {
    add_own("list_resources", "Lists what the server '{}' lets you read: addresses and templates.",
            kNothing, Action::Kind::list_resources);
    add_own("read_resource", "Reads a resource of the server '{}' by its address.", kUri,
            Action::Kind::read_resource);
  }
  void add_prompts() {
    add_own("list_prompts", "Lists the prepared prompts of the server '{}'.", kNothing,
            Action::Kind::list_prompts);
    add_own("get_prompt", "Gets a prepared prompt of the server '{}' by its name.", kPrompt,
            Action::Kind::get_prompt);
  }
  void add_own(const char* name, const char* description, const char* schema, Action::Kind kind) {
    McpToolCard card = new_card(agent_tool_name(report_.name, name));
    card.spec.description = fmt::format(fmt::runtime(description), report_.name);
    card.spec.parameters = schema;
    card.effect = Effect::pure;
    card.action.kind = kind;
    add(std::move(card));
  }
  McpToolCard new_card(std::string name) const {
    McpToolCard card;
    card.spec.name = std::move(name);
    card.server = index_;
    card.server_name = report_.name;
    card.call_ms_max = server().call_ms_max;
    card.calls_max = server().calls_max;
    return card;
  }
  void add(McpToolCard card) {
    const Status added = registry_->add(std::make_unique<McpTool>(std::move(card), host_));
    if (added) {
      ++num_tools_;
    } else {
      remark(added.error().message);
    }
  }
  void remark(std::string text) { report_.remarks.push_back(std::move(text)); }

  tools::Registry* registry_;
  std::shared_ptr<Host> host_;  // shared with the tools
  std::size_t index_;
  const Options* options_;
  Pins* pins_;  // null: nothing is pinned
  ServerReport report_;
  std::size_t num_tools_ = 0;
};

}  // namespace

Result<Report> add_mcp_tools(tools::Registry& registry, const Options& options,
                             const Waiting& waiting) {
  PONDER_CHECK(check_all(options));
  std::optional<Pins> pins;
  if (!options.pins_file.empty()) {
    PONDER_TRY(pins, Pins::load(options.pins_file));
  }
  auto host = std::make_shared<Host>();
  const std::vector<Status> started = host->start(options, waiting);
  Report report;
  for (std::size_t i = 0; i < started.size(); ++i) {
    Offer offer(registry, host, i, options, pins ? &*pins : nullptr);
    report.push_back(offer.make(started[i]));
  }
  if (pins && pins->has_changed()) {
    PONDER_CHECK(pins->save());
  }
  return report;
}

}  // namespace ponder::mcp
