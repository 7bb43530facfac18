#include <fmt/core.h>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>
#include <nlohmann/json.hpp>
#include <optional>
#include <variant>

#include "base/assert.h"
#include "runtime/cli/commands.h"
#include "runtime/cli/terminal.h"
#include "runtime/cli/terminal_services.h"
#include "runtime/cli/version.h"
#include "runtime/session/event.h"
#include "runtime/workflow/toolset.h"
#include "tools/mcp/mcp_tools.h"
#include "tools/mcp/pins.h"

/// `ponder mcp list|approve|try`.
namespace ponder::cli {
namespace {

namespace asio = boost::asio;
using nlohmann::json;

std::filesystem::path pins_file(const Environment& environment) {
  return runtime::mcp_pins_file(environment.state_folder);
}

json definition_json(const std::string& text) {
  return text.empty() ? json() : json::parse(text, nullptr, /*allow_exceptions=*/false);
}

const char* state_of(const mcp::Pins::Entry& entry) {
  if (entry.waiting.empty()) return "approved";
  return entry.approved.empty() ? "new, waits" : "changed, waits";
}

/// A server's own words, safe to print.
std::string shown(const json& value) {
  return printable(value.dump(-1, ' ', false, json::error_handler_t::replace));
}

void print_difference(const mcp::Pins::Entry& entry) {
  const json before = definition_json(entry.approved);
  const json now = definition_json(entry.waiting);
  if (!now.is_object()) return;
  for (const auto& [key, value] : now.items()) {
    const bool is_known = before.is_object() && before.contains(key);
    if (is_known && before[key] == value) continue;
    if (is_known) fmt::print("    - {}: {}\n", printable(key), shown(before[key]));
    fmt::print("    + {}: {}\n", printable(key), shown(value));
  }
  if (!before.is_object()) return;
  for (const auto& [key, value] : before.items()) {
    if (!now.contains(key)) fmt::print("    - {}: {}\n", printable(key), shown(value));
  }
}

asio::awaitable<void> call(tools::Tool* tool, std::string arguments, tools::ToolContext context,
                           std::optional<Result<tools::ToolOutput>>* out) {
  auto output = co_await tool->invoke(std::move(arguments), context);
  out->emplace(std::move(output));
}

Result<tools::ToolOutput> call_tool(const tools::Registry& registry, const McpTryOptions& options) {
  const std::vector<std::string> grants = {mcp::kCapability};
  context::ToolCall wanted;
  wanted.name = options.tool;
  wanted.arguments = options.arguments;
  const auto admitted = registry.admit(wanted, grants);
  if (const auto* refusal = std::get_if<tools::Refusal>(&admitted)) {
    return fail(Errc::invalid_argument, refusal->message);
  }
  constexpr std::size_t kOutputBytesMax = 1 << 20;
  const Deadline deadline =
      Deadline::after(system_clock(), std::chrono::seconds(options.seconds_max));
  tools::ToolContext context(system_clock(), deadline, kOutputBytesMax);
  TerminalServices services;
  context.services = &services;
  asio::io_context io;
  std::optional<Result<tools::ToolOutput>> result;
  std::exception_ptr thrown;
  auto work = call(std::get<tools::Tool*>(admitted), options.arguments, context, &result);
  asio::co_spawn(io, std::move(work),
                 [&thrown](std::exception_ptr error) { thrown = std::move(error); });
  io.run();
  if (thrown) std::rethrow_exception(thrown);
  PONDER_ASSERT(result);
  return std::move(*result);
}

Result<mcp::Options> options_for(const Environment& environment, const McpTryOptions& options) {
  mcp::ServerOptions server;
  server.name = "server";
  server.command = options.command;
  server.working_folder = std::filesystem::current_path();
  server.url = options.url;
  server.era = options.era;
  server.connect_ms_max = std::chrono::seconds(options.seconds_max);
  server.call_ms_max = std::chrono::seconds(options.seconds_max);
  if (!options.token_variable.empty()) {
    server.bearer_token = environment.variable(options.token_variable);
    if (server.bearer_token.empty()) {
      return fail(Errc::not_found,
                  fmt::format("the variable {} is not set", options.token_variable));
    }
  }
  mcp::Options all;
  all.servers.push_back(std::move(server));
  all.environment = runtime::mcp_environment(environment.variable);
  all.client_version = version_line();
  return all;
}

void show_server(const mcp::ServerReport& report, const tools::Registry& registry, bool as_json) {
  if (as_json) {
    json tools = json::array();
    for (const context::ToolSpec& spec : registry.specs()) {
      tools.push_back({{"name", spec.name},
                       {"description", spec.description},
                       {"parameters", definition_json(spec.parameters)}});
    }
    const json out = {{"summary", report.summary},
                      {"remarks", report.remarks},
                      {"instructions", report.instructions},
                      {"tools", tools}};
    fmt::print("{}\n", out.dump(-1, ' ', false, json::error_handler_t::replace));
    return;
  }
  fmt::print("{}\n", printable(report.summary));
  for (const context::ToolSpec& spec : registry.specs()) {
    const std::string& text = spec.description;
    fmt::print("  {} ({}): {}\n", printable(spec.name),
               runtime::effect_name(registry.find(spec.name)->effect()),
               printable(text.substr(0, text.find('\n'))));
  }
  for (const std::string& remark : report.remarks) {
    fmt::print("not offered: {}\n", printable(remark));
  }
}

}  // namespace

int list_mcp_pins(const Environment& environment, const McpPinsOptions& options) {
  const auto pins = mcp::Pins::load(pins_file(environment));
  if (!pins) return complain(pins.error().message);
  json all = json::array();
  for (const mcp::Pins::Entry& entry : pins->entries()) {
    if (!options.server.empty() && entry.server != options.server) continue;
    if (options.json) {
      all.push_back({{"server", entry.server},
                     {"tool", entry.tool},
                     {"approved", definition_json(entry.approved)},
                     {"waiting", definition_json(entry.waiting)}});
      continue;
    }
    fmt::print("{} {}: {}\n", printable(entry.server), printable(entry.tool), state_of(entry));
    if (!entry.waiting.empty()) print_difference(entry);
  }
  if (options.json) fmt::print("{}\n", all.dump());
  return 0;
}

int approve_mcp_pins(const Environment& environment, const McpPinsOptions& options) {
  auto pins = mcp::Pins::load(pins_file(environment));
  if (!pins) return complain(pins.error().message);
  const auto approved = pins->approve_waiting(options.server, options.tools);
  if (!approved) return complain(approved.error().message);
  const Status saved = pins->save();
  if (!saved) return complain(saved.error().message);
  fmt::print("{} approved\n", *approved);
  return 0;
}

int try_mcp_server(const Environment& environment, const McpTryOptions& options) {
  tools::Registry registry;
  const auto how = options_for(environment, options);
  if (!how) return complain(how.error().message);
  mcp::Waiting waiting;
  waiting.tell = [](const std::string& server) {
    fmt::print(stderr, "ponder: waiting for mcp {}\n", printable(server));
  };
  const auto report = mcp::add_mcp_tools(registry, *how, waiting);
  if (!report) return complain(report.error().message);
  const mcp::ServerReport& server = report->front();
  if (!server.is_connected) return complain(server.summary);
  if (options.tool.empty()) {
    show_server(server, registry, options.json);
    return 0;
  }
  const auto output = call_tool(registry, options);
  if (!output) return complain(output.error().message);
  if (options.json) {
    const json out = {{"content", output->content}, {"is_error", output->is_error}};
    fmt::print("{}\n", out.dump(-1, ' ', false, json::error_handler_t::replace));
  } else {
    fmt::print("{}\n", printable(output->content));
  }
  return output->is_error ? 1 : 0;
}

}  // namespace ponder::cli
