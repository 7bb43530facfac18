#pragma once

#include <boost/asio/awaitable.hpp>
#include <boost/asio/io_context.hpp>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "base/result.h"
#include "runtime/agent/approval.h"
#include "runtime/cli/commands.h"
#include "runtime/model/model_client.h"
#include "runtime/session/money.h"
#include "runtime/session/session_state.h"
#include "runtime/session/session_store.h"
#include "runtime/workflow/workflow.h"
#include "tools/code/code_tools.h"

/// Putting the program together for one command: paths, store, model, and Ctrl-C.
namespace ponder::cli {

/// The shipped Lua library, or where PONDER_LIBRARY points.
Result<std::filesystem::path> library_dir(const Environment& environment);

/// The store named by PONDER_SESSIONS: an SQLite file, or an address postgresql://...
Result<std::unique_ptr<runtime::SessionStore>> open_store(const Environment& environment);

/// What to tell who wants to share work in a store that has no queue.
inline constexpr const char* kNoQueue =
    "only a store on PostgreSQL has a queue: set PONDER_SESSIONS=postgresql://... "
    "(docs/postgresql.md)";

/// The model of --model, PONDER_MODEL or the shipped one of that name: a directory is loaded into
/// the embedded engine, an address becomes a remote client.
Result<std::unique_ptr<runtime::ModelClient>> open_model(const Environment& environment,
                                                         const ModelOptions& options,
                                                         const std::string& shipped = "mini");

/// Says to the person that a shipped model takes on a workflow that it has not learned, where
/// nobody named a model.
void warn_of_unlearned(const Environment& environment, const ModelOptions& options,
                       const std::string& workflow, const std::string& shipped);

/// How completions are drawn, as the options say.
runtime::Sampling sampling_of(const ModelOptions& options);

/// When a new session's prompts are cut, and how, as the options say.
runtime::ContextBudget budget_of(const ContextLimits& limits);

/// What completions cost, and what a session may.
struct Money {
  runtime::Prices prices;
  std::string currency;
  std::optional<std::int64_t> cost_pico_max;  // none: nothing was said
};
/// Fails when the list or the amount cannot be read, or a budget is set and the model has no price.
Result<Money> money_of(const Environment& environment, const MoneyOptions& options,
                       const runtime::ModelClient& model);

/// `limits` with what the options say about what a turn may take, and a session cost.
runtime::Limits limits_with(runtime::Limits limits, const BudgetOptions& budget,
                            std::optional<std::int64_t> cost_pico_max);

/// The project of the workflows "code" and "fix", as the options say. Requires: a sandbox that
/// exists.
tools::CodeProject project_of(const ProjectOptions& options);

/// `invalid_argument` for what says something of a project where the workflow has none.
Status check_project(const std::string& workflow, const ProjectOptions& options);

/// What a session of the workflow "code" goes on with instead of what its log says; nothing without
/// --folder. `invalid_argument` for a test command without one.
Result<std::optional<tools::CodeProject>> project_said(const ProjectOptions& options);

/// What `--approve` says: ask, never or always. Requires: one of these.
runtime::ApprovalMode approval_mode_of(const std::string& name);
/// The same, but for a workflow that is contained, whose calls need nobody's word.
runtime::ApprovalMode approval_mode_for(const runtime::Workflow& workflow, const std::string& name);

/// `invalid_argument` for a session that a call of another one waits for; says what to do instead.
Status expect_no_sub_agent(const runtime::SessionId& id, const runtime::SessionState& state);

/// The exit status of a command that a signal ended: as a shell has it for SIGINT.
inline constexpr int kInterruptedStatus = 130;

/// Runs `work` on `io` until it ends and gives its exit status. The first Ctrl-C (or SIGTERM) calls
/// `interrupt`, which should make the work end soon; without one it cancels the coroutine. The
/// second ends the program at once, with the log as it is on the disk.
int run_interruptibly(boost::asio::io_context& io, boost::asio::awaitable<int> work,
                      std::function<void()> interrupt = {});

}  // namespace ponder::cli
