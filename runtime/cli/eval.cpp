#include "runtime/workflow/eval.h"

#include <fmt/core.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "runtime/cli/commands.h"
#include "runtime/cli/compose.h"
#include "runtime/whole_file.h"
#include "tools/fix/fix_tasks.h"

/// `ponder eval`: the success rate on generated tasks, with real tools.
namespace ponder::cli {
namespace {

namespace asio = boost::asio;

void print_case(const runtime::EvalCase& done) {
  fmt::print(stderr, "{} {:<14} {:<8} {} steps, {} tokens{}{}\n", done.task_seed, done.kind,
             done.is_solved ? "solved" : "FAILED", done.steps, done.usage.tokens_generated,
             done.failure.empty() ? "" : ": ", done.failure);
}

asio::awaitable<int> evaluate(runtime::ModelClient& model, runtime::SessionStore& store,
                              runtime::EvalOptions how, bool as_json, bool is_verbose) {
  std::function<void(const runtime::EvalCase&)> on_case = [](const runtime::EvalCase&) {};
  if (is_verbose) on_case = print_case;
  const auto report = co_await runtime::run_eval(model, store, system_clock(), how, on_case);
  if (!report) co_return complain(report.error().message);
  fmt::print("{}\n", as_json ? runtime::eval_json(*report) : runtime::eval_table(*report));
  co_return 0;
}

/// The two steps of a script that solves the task, for sessions in whose request its id stands.
std::string solving_steps(const tools::GeneratedFixTask& task) {
  using nlohmann::json;
  const std::string when = "(" + task.info.id + ")";
  const json call = {{"name", "apply_patch"}, {"arguments", {{"patch", task.reference_patch}}}};
  const json patch = {{"when", when}, {"calls", {call}}};
  const json answer = {{"when", when}, {"content", "Fixed."}};
  return patch.dump() + "\n" + answer.dump() + "\n";
}

Status export_tasks(const std::filesystem::path& library, const EvalOptions& options) {
  PONDER_TRY(auto generator, tools::FixTaskGenerator::open(library));
  std::string script;
  for (std::uint64_t i = 0; i < options.count; ++i) {
    PONDER_TRY(const auto task,
               generator.generate(options.seed + i, {options.language, options.bug_class}));
    const std::string name = fmt::format("{:08}", options.seed + i);
    PONDER_CHECK(tools::write_fix_task(options.export_dir / name, task));
    script += solving_steps(task);
  }
  return runtime::write_whole_file(options.export_dir / "solutions.jsonl", script);
}

/// At most each task of a folder once, beginning with the one that the seed falls on.
Status take_folder(const EvalOptions& options, runtime::EvalOptions& how) {
  if (options.tasks.empty()) return {};
  PONDER_TRY(const auto tasks, tools::list_fix_tasks(options.tasks));
  how.count = std::min(how.count, static_cast<std::uint32_t>(tasks.size()));
  how.seed = options.seed % tasks.size();
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
  const auto model = open_model(environment, options.model);
  if (!model) return complain(model.error().message);
  runtime::EvalOptions how;
  how.workflow = options.workflow;
  how.library = *library;
  how.count = options.count;
  how.seed = options.seed;
  how.sampling = sampling_of(options.model);
  how.concurrency_max = options.concurrency_max;
  how.fix.filter = {options.language, options.bug_class};
  how.isolation = project_of(options.project).isolation;
  how.readable = project_of(options.project).readable;
  const Status taken = take_folder(options, how);
  if (!taken) return complain(taken.error().message);
  return run_interruptibly(io, evaluate(**model, **store, how, options.json, options.verbose));
}

}  // namespace ponder::cli
