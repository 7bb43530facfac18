#include "runtime/eval.h"

#include <fmt/core.h>

#include "runtime/cli/commands.h"
#include "runtime/cli/compose.h"

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

}  // namespace

int eval(const Environment& environment, const EvalOptions& options) {
  const auto library = library_dir(environment);
  if (!library) return complain(library.error().message);
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
  return run_interruptibly(io, evaluate(**model, **store, how, options.json, options.verbose));
}

}  // namespace ponder::cli
