#include "runtime/cli/mcp_commands.h"

#include <CLI/CLI.hpp>
#include <memory>

namespace ponder::cli {
namespace {

using Action = std::function<int()>;

void add_pin_commands(CLI::App& group, const Environment& environment, Action& action) {
  auto* list = group.add_subcommand("list", "tools of MCP servers that were approved, or wait");
  auto list_options = std::make_shared<McpPinsOptions>();
  list->add_option("server", list_options->server, "only this server's");
  list->add_flag("--json", list_options->json, "print JSON, with the whole definitions");
  list->callback([&action, &environment, list_options] {
    action = [&environment, list_options] { return list_mcp_pins(environment, *list_options); };
  });
  auto* approve = group.add_subcommand(
      "approve", "take a server's tools as they are described now; look at them first");
  auto options = std::make_shared<McpPinsOptions>();
  approve->add_option("server", options->server, "the server's name")->required();
  approve->add_option("tools", options->tools, "only these (default: all that wait)");
  approve->callback([&action, &environment, options] {
    action = [&environment, options] { return approve_mcp_pins(environment, *options); };
  });
}

}  // namespace

void add_mcp_commands(CLI::App& app, const Environment& environment, Action& action) {
  auto* group = app.add_subcommand("mcp", "servers that speak the Model Context Protocol");
  group->require_subcommand(1);
  add_pin_commands(*group, environment, action);
  auto* command = group->add_subcommand(
      "try", "what a server offers; --call also calls one of its tools. Nothing is approved by it");
  auto options = std::make_shared<McpTryOptions>();
  command->add_option("command", options->command, "the server's program and arguments, after --");
  command->add_option("--url", options->url, "or where it is");
  command->add_option("--token-env", options->token_variable,
                      "environment variable that holds a bearer token");
  command->add_option("--era", options->era, "the protocol's: modern is 2026-07-28")
      ->check(CLI::IsMember({"auto", "modern", "legacy"}))
      ->capture_default_str();
  command->add_option("--call", options->tool, "a tool as this command lists it");
  command->add_option("--arguments", options->arguments, "its arguments, JSON")
      ->capture_default_str();
  command->add_option("--seconds", options->seconds_max, "to connect, and for the call")
      ->capture_default_str();
  command->add_flag("--json", options->json, "print JSON");
  command->callback([&action, &environment, options] {
    action = [&environment, options] { return try_mcp_server(environment, *options); };
  });
}

}  // namespace ponder::cli
