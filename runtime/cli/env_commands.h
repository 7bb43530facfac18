#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <string>

#include "runtime/cli/commands.h"

namespace CLI {
class App;
}

/// `ponder env`: writing, checking and trying environments (docs/environments.md).
namespace ponder::cli {

struct EnvNewOptions {
  std::string name;
  std::filesystem::path folder = ".";
};

struct EnvCheckOptions {
  std::string name;  // of the library, or a .lua file
  std::uint32_t num_tasks = 20;
  std::uint64_t task_seed = 1'000'000;
  std::string size = "S";
  bool json = false;
  ProjectOptions project;  // where tasks are projects: the sandbox
};

struct EnvRunOptions {
  std::string name;
  std::uint64_t task_seed = 1'000'000;
  std::optional<std::uint64_t> world_seed;  // none: the one that `ponder eval` would use
  std::string size = "S";
  std::string kind;
  std::string player = "oracle";  // or none, model
  ModelOptions model;
  ProjectOptions project;  // where tasks are projects: the sandbox
};

/// Writes NAME.lua. Fails when the file is there.
int env_new(const EnvNewOptions& options);
/// 0: no problem was found.
int env_check(const Environment& environment, const EnvCheckOptions& options);
/// 0: the task was solved, or was only shown.
int env_run(const Environment& environment, const EnvRunOptions& options);
/// The environments of the library, a line each.
int env_list(const Environment& environment);

void add_env_commands(CLI::App& app, const Environment& environment, std::function<int()>& action);

}  // namespace ponder::cli
