#include <memory>

#include "runtime/cli/tool_command.h"

namespace ponder::cli {
namespace {

void add_run_command(CLI::App& group, const Environment& environment,
                     std::function<int()>& action) {
  auto* command = group.add_subcommand("run", "call a tool once, with what you grant it");
  auto options = std::make_shared<ToolRunOptions>();
  command->add_option("file", options->file, "the tool's Lua file")->required();
  command->add_option("--args", options->arguments, "the arguments, as JSON")
      ->capture_default_str();
  command->add_option("--grant", options->grants,
                      "what it may have, such as http:api.example.com or fs:DIR; repeat for more");
  command->add_option("--secret", options->secrets,
                      "NAME=FILE: a secret is the first line of a file; repeat for more");
  command->add_option("--data", options->data_folder,
                      "folder of the tool's database (default: that of your sessions)");
  command->add_option("--sandbox", options->sandbox, "how its programs are kept in")
      ->check(CLI::IsMember({"isolated", "confined"}))
      ->capture_default_str();
  command->callback([&action, &environment, options] {
    action = [&environment, options] { return tool_run(environment, *options); };
  });
}

}  // namespace

void add_tool_commands(CLI::App& app, const Environment& environment,
                       std::function<int()>& action) {
  auto* group = app.add_subcommand("tool", "write, check, run and test a tool in a Lua file");
  group->require_subcommand(1);

  auto* new_command = group->add_subcommand("new", "write a commented tool that works at once");
  auto new_options = std::make_shared<ToolNewOptions>();
  new_command->add_option("name", new_options->name, "the tool's name")->required();
  new_command->add_option("--folder", new_options->folder, "where NAME.lua is written")
      ->check(CLI::ExistingDirectory)
      ->capture_default_str();
  new_command->callback(
      [&action, new_options] { action = [new_options] { return tool_new(*new_options); }; });

  auto* check_command = group->add_subcommand("check", "say all that is wrong with a tool's file");
  auto file = std::make_shared<std::filesystem::path>();
  check_command->add_option("file", *file, "the tool's Lua file")->required();
  check_command->callback([&action, file] { action = [file] { return tool_check(*file); }; });

  add_run_command(*group, environment, action);

  auto* test_command = group->add_subcommand(
      "test", "run a tool's examples, made-up arguments and hostile answers; nothing is touched");
  auto test_options = std::make_shared<ToolTestOptions>();
  test_command->add_option("file", test_options->file, "the tool's Lua file")->required();
  test_command->add_flag("--json", test_options->json, "print JSON");
  test_command->callback([&action, &environment, test_options] {
    action = [&environment, test_options] { return tool_test(environment, *test_options); };
  });
}

}  // namespace ponder::cli
