#pragma once

#include <CLI/CLI.hpp>
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "runtime/cli/commands.h"

/// `ponder tool`: writing, checking, running and testing a tool in a Lua file.
namespace ponder::cli {

struct ToolNewOptions {
  std::string name;
  std::filesystem::path folder = ".";
};

struct ToolRunOptions {
  std::filesystem::path file;
  std::string arguments = "{}";
  std::vector<std::string> grants;
  std::vector<std::string> secrets;  // NAME=FILE: the first line of a file
  std::filesystem::path data_folder;
  std::string sandbox = "isolated";
};

struct ToolTestOptions {
  std::filesystem::path file;
  bool json = false;
};

int tool_new(const ToolNewOptions& options);
int tool_check(const std::filesystem::path& file);
int tool_run(const Environment& environment, const ToolRunOptions& options);
int tool_test(const Environment& environment, const ToolTestOptions& options);

void add_tool_commands(CLI::App& app, const Environment& environment, std::function<int()>& action);

}  // namespace ponder::cli
