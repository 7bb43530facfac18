#include <fmt/core.h>

#include <boost/asio/this_coro.hpp>
#include <system_error>

#include "runtime/agent/agent.h"
#include "runtime/cli/commands.h"
#include "runtime/cli/compose.h"
#include "runtime/cli/conclude.h"
#include "runtime/cli/desk_lines.h"
#include "runtime/cli/live_view.h"
#include "runtime/cli/toolset_flags.h"
#include "runtime/session/work_queue.h"
#include "runtime/workflow/shipped_model.h"
#include "runtime/workflow/workflow.h"

/// `ponder run`: one request, from the user's words to verified artefacts.
namespace ponder::cli {
namespace {

namespace asio = boost::asio;

/// What the coroutine below works with; all outlive it.
struct Run {
  runtime::Workflow* workflow = nullptr;
  runtime::AgentParts parts;
  runtime::SessionStarted start;
  runtime::WorkQueue* queue = nullptr;  // where to leave the session; null: run it here
  bool is_quiet = false;                // events are printed as JSON: nothing else may be
  std::unique_ptr<runtime::Agent> agent;
};

void report(const Run& run, const std::string& line) {
  if (!run.is_quiet) put_out(line + "\n");
}

int leave_in_queue(Run& run) {
  const Status put = run.queue->put(run.agent->id());
  if (!put) return complain(put.error().message);
  report(run, fmt::format("session {} waits for `ponder work`", run.agent->id().value));
  return 0;
}

/// Cancelling it ends whatever it is at; the turn's end, if one had begun, is in the log.
asio::awaitable<int> run_session(Run& run) {
  auto agent = co_await runtime::Agent::start(run.parts, run.start);
  if (!agent) co_return complain(agent.error().message);
  run.agent = std::move(*agent);
  if (run.queue != nullptr) co_return leave_in_queue(run);
  const auto cancellation = co_await asio::this_coro::cancellation_state;
  if (cancellation.cancelled() != asio::cancellation_type::none) {  // no turn needs to begin
    if (!run.is_quiet) tell_interrupted(*run.agent);
    co_return kInterruptedStatus;
  }
  const auto end = co_await run.agent->run_turn(run.workflow->request());
  if (!end) co_return complain(end.error().message);
  if (end->reason == runtime::TurnEnd::cancelled) {
    report(run, fmt::format("interrupted; the session goes on with: ponder chat --session {}",
                            run.agent->id().value));
    co_return kInterruptedStatus;
  }
  if (end->reason != runtime::TurnEnd::answered) {
    const std::string& id = run.agent->id().value;
    report(run, fmt::format("session {} (ponder chat --session {})", id, id));
    co_return complain(fmt::format("the turn ended without an answer ({}): {}",
                                   runtime::turn_end_name(end->reason), end->detail));
  }
  const auto status = co_await conclude(*run.agent, *run.workflow, run.is_quiet);
  if (!status) co_return complain(status.error().message);
  co_return *status;
}

asio::awaitable<int> run_and_close(Run& run, DeskLines& lines) {
  co_await asio::this_coro::throw_if_cancelled(false);
  lines.begin();
  const int status = co_await run_session(run);
  co_await lines.close();
  co_return status;
}

/// The folder for the artefacts, if any are wanted.
Status make_folder(const std::filesystem::path& out) {
  std::error_code unwritable;
  if (!out.empty()) std::filesystem::create_directories(out, unwritable);
  if (!unwritable) return {};
  return fail(Errc::unavailable,
              fmt::format("{}: {}; choose another --out", out.string(), unwritable.message()));
}

}  // namespace

int run(const Environment& environment, const RunOptions& options) {
  if (options.request.empty() && !options.task_seed)
    return complain("nothing to do: give a request in quotes, or --task SEED");
  if (!options.request.empty() && options.task_seed)
    return complain("a request or a generated task: give one of them, not both");
  const Status project = check_project(options.workflow, options.project);
  if (!project) return complain(project.error().message);
  const auto library = library_dir(environment);
  if (!library) return complain(library.error().message);
  runtime::WorkflowOptions how;
  how.name = options.workflow;
  how.library = *library;
  how.world_seed = options.world_seed;
  how.size = options.size;
  how.task_seed = options.task_seed;
  how.request = options.request;
  how.project = project_of(options.project);
  how.fix.protects = options.fix.protects;
  how.fix.repeats = options.fix.repeats;
  how.has_person = DeskLines::is_person_there() && !options.json && !options.queued;
  if (!options.out.empty()) how.directory = std::filesystem::absolute(options.out);
  auto toolset = toolset_of(environment, options.toolset);
  if (!toolset) return complain(toolset.error().message);
  how.toolset = std::move(*toolset);
  const auto workflow = runtime::Workflow::open(how);
  if (!workflow) return complain(workflow.error().message);
  const Status folder = make_folder(options.out);
  if (!folder) return complain(folder.error().message);
  const auto store = open_store(environment);
  if (!store) return complain(store.error().message);
  if (options.queued && (*store)->queue() == nullptr) return complain(kNoQueue);
  asio::io_context io(1);
  const std::string shipped = runtime::shipped_model_for(options.workflow, *library);
  const auto model = open_model(environment, options.model, shipped);
  if (!model) return complain(model.error().message);
  warn_of_unlearned(environment, options.model, options.workflow, shipped);
  const auto money = money_of(environment, options.money, **model);
  if (!money) return complain(money.error().message);

  Run run{.workflow = workflow->get(),
          .parts = runtime::AgentParts(**model, (*workflow)->registry(), **store, system_clock()),
          .start = (*workflow)->session_start(),
          .queue = options.queued ? (*store)->queue() : nullptr,
          .is_quiet = options.json,
          .agent = nullptr};
  run.start.model = (*model)->description();
  run.start.family = (*model)->family();
  run.start.sampling = sampling_of(options.model);
  run.start.context = budget_of(options.context);
  run.start.limits = limits_with(run.start.limits, options.budget, money->cost_pico_max);
  run.start.limits.agent_depth_max = options.agent_depth_max;
  run.start.currency = money->currency;
  run.parts.prices = money->prices;
  run.parts.grants = (*workflow)->grants();
  Output output;
  LiveView live(inspect_stdout(environment.no_color || options.json),
                (*model)->tokens_context_max(), system_clock(), output);
  JsonView json;
  runtime::EventSink* view = &live;
  if (options.json) view = &json;
  run.parts.sinks.push_back(view);
  DeskLines lines(io, output, options.json);
  run.parts.approvals.mode = approval_mode_for(**workflow, options.approve);
  run.parts.approvals.approver = lines.desk();
  run.parts.questions.respondent = lines.desk();
  return run_interruptibly(io, run_and_close(run, lines));
}

int verify(const Environment& environment, const std::filesystem::path& dir, bool json) {
  std::error_code unreadable;
  if (!std::filesystem::exists(dir / "proof.json", unreadable)) {
    return complain(fmt::format(
        "{}: there is no proof.json; it is checked what `ponder run ENVIRONMENT --out` wrote",
        dir.string()));
  }
  const auto library = library_dir(environment);
  if (!library) return complain(library.error().message);
  const auto verdict = runtime::verify_artefacts(*library, dir);
  if (!verdict) return complain(verdict.error().message);
  if (json)
    fmt::print("{}\n", verdict->report);
  else
    fmt::print("{}: {}\n", verdict->is_solved ? "verified" : "not verified",
               printable(verdict->detail));
  return verdict->is_solved ? 0 : 1;
}

}  // namespace ponder::cli
