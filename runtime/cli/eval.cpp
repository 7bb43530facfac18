#include "runtime/workflow/eval.h"

#include <fmt/core.h>

#include <algorithm>
#include <boost/asio/thread_pool.hpp>
#include <nlohmann/json.hpp>

#include "runtime/cli/commands.h"
#include "runtime/cli/compose.h"
#include "runtime/cli/terminal.h"
#include "runtime/whole_file.h"
#include "runtime/workflow/fix_workflow.h"
#include "runtime/workflow/shipped_model.h"
#include "tools/environment.h"
#include "tools/fix/fix_tasks.h"

/// `ponder eval`: the success rate on generated tasks, with real tools.
namespace ponder::cli {
namespace {

namespace asio = boost::asio;

void print_case(const runtime::EvalCase& done) {
  fmt::print(stderr, "{} {:<14} {:<8} {} steps, {} tokens{}{}\n", done.task_seed, done.kind,
             done.is_solved ? "solved" : "FAILED", done.steps, done.usage.tokens_generated,
             done.failure.empty() ? "" : ": ", printable(done.failure));
}

int gave_up(const Error& error) {
  const int status = complain(error.message);
  return error.code == Errc::cancelled ? kInterruptedStatus : status;
}

asio::awaitable<int> evaluate(runtime::ModelClient& model, runtime::SessionStore& store,
                              runtime::EvalOptions how, bool as_json, bool is_verbose) {
  std::function<void(const runtime::EvalCase&)> on_case = [](const runtime::EvalCase&) {};
  if (is_verbose) on_case = print_case;
  const auto report = co_await runtime::run_eval(model, store, system_clock(), how, on_case);
  if (!report) co_return gave_up(report.error());
  fmt::print("{}\n", as_json ? runtime::eval_json(*report) : runtime::eval_table(*report));
  co_return report->broken_off ? gave_up(*report->broken_off) : 0;
}

/// The kind that the options ask for; empty: any.
std::string kind_of(const EvalOptions& options) {
  if (options.language.empty() || options.bug_class.empty()) {
    return options.kind + options.language + options.bug_class;
  }
  return options.language + "/" + options.bug_class;
}

/// The steps of a script that solves the task that the environment has begun, for sessions in whose
/// request its id stands.
Result<std::string> solving_steps(tools::Environment& world, const tools::Task& task) {
  using nlohmann::json;
  const std::string when = "(" + task.id + ")";
  PONDER_TRY(const auto calls, world.oracle());
  std::string script;
  for (const context::ToolCall& call : calls) {
    const json arguments = json::parse(call.arguments);
    const json one = {{"name", call.name}, {"arguments", arguments}};
    script += json({{"when", when}, {"calls", {one}}}).dump() + "\n";
  }
  return script + json({{"when", when}, {"content", "Fixed."}}).dump() + "\n";
}

Status export_tasks(const std::filesystem::path& library, const EvalOptions& options) {
  asio::thread_pool pool(1);
  tools::WorldOptions how;
  how.library = library;
  how.name = options.workflow;
  PONDER_TRY(const auto world, tools::Environment::open(how, pool.get_executor()));
  if (!world->card().is_project) {
    return fail(Errc::invalid_argument,
                fmt::format("the tasks of {} are no projects: there are no files to write",
                            options.workflow));
  }
  std::string script;
  for (std::uint64_t i = 0; i < options.count; ++i) {
    PONDER_TRY(const tools::Task task, world->task(options.seed + i, kind_of(options)));
    PONDER_TRY(const auto project, tools::generated_fix_task(task.json));
    const std::string name = fmt::format("{:08}", options.seed + i);
    PONDER_CHECK(tools::write_fix_task(options.export_dir / name, project));
    PONDER_CHECK(world->begin(task));
    PONDER_TRY(const std::string steps, solving_steps(*world, task));
    script += steps;
  }
  return runtime::write_whole_file(options.export_dir / "solutions.jsonl", script);
}

/// At most each task of a folder once, beginning with the one that the seed falls on.
Status take_folder(const EvalOptions& options, runtime::EvalOptions& how) {
  if (options.tasks.empty()) return {};
  PONDER_TRY(const auto tasks, tools::list_fix_tasks(options.tasks));
  how.count = std::min(how.count, static_cast<std::uint32_t>(tasks.size()));
  how.seed = options.seed % tasks.size();
  how.workflow = runtime::kFixWorkflow;
  how.fix.tasks = std::filesystem::absolute(options.tasks);
  return {};
}

}  // namespace

int eval(const Environment& environment, const EvalOptions& options) {
  const auto library = library_dir(environment);
  if (!library) return complain(library.error().message);
  if (!options.export_dir.empty()) {
    const Status written = export_tasks(*library, options);
    return written ? 0 : complain(written.error().message);
  }
  const auto store = open_store(environment);
  if (!store) return complain(store.error().message);
  asio::io_context io(1);
  const std::string shipped = runtime::shipped_model_for(options.workflow, *library);
  const auto model = open_model(environment, options.model, shipped);
  if (!model) return complain(model.error().message);
  warn_of_unlearned(environment, options.model, options.workflow, shipped);
  runtime::EvalOptions how;
  how.workflow = options.workflow;
  how.library = *library;
  how.count = options.count;
  how.seed = options.seed;
  how.sampling = sampling_of(options.model);
  how.concurrency_max = options.concurrency_max;
  how.kind = kind_of(options);
  how.isolation = project_of(options.project).isolation;
  how.readable = project_of(options.project).readable;
  if (options.workflow == runtime::kFixWorkflow && options.tasks.empty()) {
    return complain("fix has no tasks of its own: --tasks DIR, or an environment's name");
  }
  const Status taken = take_folder(options, how);
  if (!taken) return complain(taken.error().message);
  return run_interruptibly(io, evaluate(**model, **store, how, options.json, options.verbose));
}

}  // namespace ponder::cli
