#pragma once

#include <boost/asio/awaitable.hpp>
#include <boost/asio/io_context.hpp>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>

#include "base/result.h"
#include "runtime/approval.h"
#include "runtime/cli/commands.h"
#include "runtime/model_client.h"
#include "runtime/session_store.h"

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

/// The model of --model, PONDER_MODEL or the shipped one: a directory is loaded into the embedded
/// engine, an address becomes a remote client.
Result<std::unique_ptr<runtime::ModelClient>> open_model(const Environment& environment,
                                                         const ModelOptions& options);

/// How completions are drawn, as the options say.
runtime::Sampling sampling_of(const ModelOptions& options);

/// When a new session's prompts are cut, and how, as the options say.
runtime::ContextBudget budget_of(const ContextLimits& limits);

/// What `--approve` says: ask, never or always. Requires: one of these.
runtime::ApprovalMode approval_mode_of(const std::string& name);

/// Runs `work` on `io` until it ends and gives its exit status. The first Ctrl-C (or SIGTERM) calls
/// `interrupt`, which should make the work end soon; without one it cancels the coroutine. The
/// second ends the program at once, with the log as it is on the disk.
int run_interruptibly(boost::asio::io_context& io, boost::asio::awaitable<int> work,
                      std::function<void()> interrupt = {});

}  // namespace ponder::cli
