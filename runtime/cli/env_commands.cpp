#include "runtime/cli/env_commands.h"

#include <fmt/core.h>
#include <fmt/ranges.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <boost/asio/thread_pool.hpp>
#include <cctype>
#include <memory>
#include <system_error>
#include <utility>

#include "runtime/cli/compose.h"
#include "runtime/cli/live_view.h"
#include "runtime/cli/shared_options.h"
#include "runtime/whole_file.h"
#include "runtime/workflow/eval.h"
#include "tools/environment.h"
#include "tools/environment_check.h"
#include "tools/environment_template.h"
#include "tools/player.h"

namespace ponder::cli {
namespace {

namespace asio = boost::asio;
namespace fs = std::filesystem;

/// A pool whose thread has ended when it goes.
struct Pool {
  ~Pool() { threads.join(); }
  asio::thread_pool threads{1};
};

bool is_plain_name(const std::string& name) {
  const auto fits = [](char c) {
    return std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '_';
  };
  return !name.empty() && std::isdigit(static_cast<unsigned char>(name.front())) == 0 &&
         std::all_of(name.begin(), name.end(), fits);
}

std::string with_name(std::string_view text, const std::string& name) {
  constexpr std::string_view kPlaceholder = "NAME";
  std::string out;
  std::size_t from = 0;
  for (std::size_t at = text.find(kPlaceholder); at != std::string_view::npos;
       at = text.find(kPlaceholder, from)) {
    out.append(text.substr(from, at - from)).append(name);
    from = at + kPlaceholder.size();
  }
  return out.append(text.substr(from));
}

std::string tally_line(const char* what, const tools::Tally& tally) {
  return fmt::format("  {:<18} {:>5} of {:>5}  {:>5.1f}%\n", what, tally.hits, tally.total,
                     tally.share() * 100);
}

void print_report(const std::string& name, const tools::CheckReport& report) {
  std::uint32_t num_tasks = 0;
  for (const auto& [kind, count] : report.kinds) num_tasks += count;
  fmt::print("{}: {} tools, {} tasks in {} worlds, {} of them infeasible\n", name, report.num_tools,
             num_tasks, report.num_worlds, report.num_infeasible);
  fmt::print("{}", tally_line("oracle", report.oracle));
  fmt::print("{}", tally_line("empty submission", report.empty));
  fmt::print("{}", tally_line("random agent", report.random));
  fmt::print("{}", tally_line("mutants refused", report.mutants));
  for (const auto& [kind, count] : report.kinds) {
    fmt::print("  kind {:<20} {:>5} tasks\n", printable(kind), count);
  }
  for (const auto& [difficulty, level] : report.levels) {
    fmt::print("  difficulty {:<14} {:>5} tasks, mean effort {:.2f}\n", difficulty, level.tasks,
               level.effort_mean());
  }
  for (const std::string& problem : report.problems) {
    fmt::print("problem: {}\n", printable(problem));
  }
  if (report.problems.empty()) fmt::print("sound\n");
}

/// Says what a call was and what came back.
void show_call(const context::ToolCall& call, const tools::ToolOutput& output) {
  fmt::print("-> {}({})\n<- {}\n", call.name, printable(call.arguments), printable(output.content));
}

/// Makes the oracle's calls through the tools.
Status play_oracle(tools::Environment& world, tools::Player& player) {
  PONDER_TRY(const auto calls, world.oracle());
  for (std::size_t i = 0; i < calls.size(); ++i) {
    PONDER_TRY(const tools::ToolOutput output, player.call(calls[i], fmt::format("oracle/{}", i)));
    show_call(calls[i], output);
  }
  return {};
}

/// Shows the task and what there is to solve it with.
void show_task(const tools::Environment& world, const tools::Player& player,
               const tools::Task& task) {
  fmt::print("{}: world {} of size {}, task {}\n", world.name(), world.world().seed,
             world.world().size, task.id);
  if (task.difficulty) fmt::print("difficulty {}\n", *task.difficulty);
  if (!world.instructions().empty()) fmt::print("\n{}\n", printable(world.instructions()));
  fmt::print("\n> {}\n\n", printable(task.text));
  for (const context::ToolSpec& tool : player.registry().specs()) {
    fmt::print("{}: {}\n", tool.name, printable(tool.description));
  }
  fmt::print("\n");
}

/// The sandbox of environments whose tasks are projects.
tools::SandboxedRun programs_of(const ProjectOptions& options) {
  tools::CodeProject project = project_of(options);
  tools::SandboxedRun run;
  run.isolation = project.isolation;
  run.readable = std::move(project.readable);
  return run;
}

Result<int> show_and_play(const fs::path& library, const EnvRunOptions& options) {
  Pool pool;
  tools::WorldOptions how;
  how.library = library;
  how.name = options.name;
  how.size = options.size;
  how.seed = options.world_seed.value_or(runtime::world_seed_of(options.task_seed));
  how.programs = programs_of(options.project);
  PONDER_TRY(const auto world, tools::Environment::open(how, pool.threads.get_executor()));
  PONDER_TRY(const tools::Task task, world->task(options.task_seed, options.kind));
  PONDER_CHECK(world->begin(task));
  PONDER_TRY(const auto player, tools::Player::make(*world));
  show_task(*world, *player, task);
  if (options.player == "none") return 0;
  PONDER_CHECK(play_oracle(*world, *player));
  PONDER_TRY(const tools::Judgement judged, world->judge());
  fmt::print("\n{}: {}\n", judged.is_solved ? "solved" : "not solved", printable(judged.detail));
  return judged.is_solved ? 0 : 1;
}

}  // namespace

int env_new(const EnvNewOptions& options) {
  if (!is_plain_name(options.name)) {
    return complain(fmt::format("'{}': a name has letters, digits and _", options.name));
  }
  const fs::path path = options.folder / (options.name + ".lua");
  std::error_code error;
  if (fs::exists(path, error)) return complain(path.string() + " is already there");
  const Status written =
      runtime::write_whole_file(path, with_name(tools::environment_template(), options.name));
  if (!written) return complain(written.error().message);
  fmt::print("wrote {}; next: ponder env check {}\n", path.string(), path.string());
  return 0;
}

int env_check(const Environment& environment, const EnvCheckOptions& options) {
  const auto library = library_dir(environment);
  if (!library) return complain(library.error().message);
  Pool pool;
  tools::CheckOptions how;
  how.world.library = *library;
  how.world.name = options.name;
  how.world.size = options.size;
  how.world.programs = programs_of(options.project);
  how.world_seed_of = runtime::world_seed_of;
  how.task_seed = options.task_seed;
  how.num_tasks = options.num_tasks;
  const auto report = tools::check_environment(how, pool.threads.get_executor());
  if (!report) return complain(report.error().message);
  if (options.json) {
    fmt::print("{}\n", tools::check_report_json(options.name, *report));
  } else {
    print_report(options.name, *report);
  }
  return report->problems.empty() ? 0 : 1;
}

int env_run(const Environment& environment, const EnvRunOptions& options) {
  const auto library = library_dir(environment);
  if (!library) return complain(library.error().message);
  if (options.player == "model") {
    RunOptions run_options;
    run_options.model = options.model;
    run_options.workflow = options.name;
    run_options.task_seed = options.task_seed;
    run_options.world_seed = options.world_seed.value_or(runtime::world_seed_of(options.task_seed));
    run_options.size = options.size;
    run_options.project = options.project;
    return run(environment, run_options);
  }
  const auto status = show_and_play(*library, options);
  return status ? *status : complain(status.error().message);
}

int env_list(const Environment& environment) {
  const auto library = library_dir(environment);
  if (!library) return complain(library.error().message);
  Pool pool;
  for (const std::string& name : tools::environment_names(*library)) {
    tools::WorldOptions how;
    how.library = *library;
    how.name = name;
    const auto world = tools::Environment::open(how, pool.threads.get_executor());
    fmt::print("{:<12} {}\n", name,
               printable(world ? (*world)->card().description : world.error().message));
  }
  return 0;
}

void add_env_commands(CLI::App& app, const Environment& environment, std::function<int()>& action) {
  auto* group = app.add_subcommand("env", "write, check and try environments");
  group->require_subcommand(1);
  const auto sizes = CLI::IsMember({"S", "M", "L"});

  auto* list = group->add_subcommand("list", "the environments of the library");
  list->callback(
      [&action, &environment] { action = [&environment] { return env_list(environment); }; });

  auto* add = group->add_subcommand("new", "write NAME.lua, a small environment that works");
  auto add_options = std::make_shared<EnvNewOptions>();
  add->add_option("name", add_options->name, "letters, digits and _")->required();
  add->add_option("--folder", add_options->folder, "where to")->capture_default_str();
  add->callback(
      [&action, add_options] { action = [add_options] { return env_new(*add_options); }; });

  auto* check = group->add_subcommand("check", "is an environment sound?");
  auto check_options = std::make_shared<EnvCheckOptions>();
  check->add_option("name", check_options->name, "of the library, or a .lua file")->required();
  check->add_option("--tasks", check_options->num_tasks, "how many tasks to try")
      ->capture_default_str();
  check->add_option("--seed", check_options->task_seed, "seed of the first task")
      ->capture_default_str();
  check->add_option("--size", check_options->size, "size of the worlds")
      ->check(sizes)
      ->capture_default_str();
  check->add_flag("--json", check_options->json, "print JSON");
  add_sandbox_options(*check, check_options->project);
  check->callback([&action, &environment, check_options] {
    action = [&environment, check_options] { return env_check(environment, *check_options); };
  });

  auto* play = group->add_subcommand("run", "show a task and play it");
  auto play_options = std::make_shared<EnvRunOptions>();
  play->add_option("name", play_options->name, "of the library, or a .lua file")->required();
  play->add_option("--task-seed", play_options->task_seed, "the task")->capture_default_str();
  play->add_option("--seed", play_options->world_seed,
                   "seed of the world (default: the one that eval gives the task)");
  play->add_option("--size", play_options->size, "size of the world")
      ->check(sizes)
      ->capture_default_str();
  play->add_option("--kind", play_options->kind, "a kind of task instead of the drawn one");
  play->add_option("--play", play_options->player, "who plays it")
      ->check(CLI::IsMember({"oracle", "none", "model"}))
      ->capture_default_str();
  play->add_option("--model", play_options->model.model,
                   "with --play model: directory or endpoint (default: ponder-mini, for projects "
                   "ponder-mini-code)");
  play->add_option("--model-name", play_options->model.model_name,
                   "the endpoint's name for the model");
  add_sandbox_options(*play, play_options->project);
  play->callback([&action, &environment, play_options] {
    action = [&environment, play_options] { return env_run(environment, *play_options); };
  });
}

}  // namespace ponder::cli
