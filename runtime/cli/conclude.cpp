#include "runtime/cli/conclude.h"

#include <fmt/core.h>

#include <boost/asio/thread_pool.hpp>
#include <filesystem>
#include <utility>

#include "base/async/offload.h"
#include "runtime/cli/commands.h"
#include "runtime/cli/compose.h"
#include "runtime/cli/live_view.h"
#include "runtime/workflow/judging.h"

namespace ponder::cli {
namespace {

namespace fs = std::filesystem;

/// A path as the user would write it: relative when it is below the current folder.
std::string shown(const fs::path& path) {
  const fs::path relative = path.lexically_proximate(fs::current_path());
  return relative.empty() || *relative.begin() == ".." ? path.string() : relative.string();
}

void tell(const runtime::Agent& agent, const runtime::WorkflowFinished& finished, bool is_checked) {
  for (const auto& file : finished.files) {
    put_out(fmt::format("wrote {}\n", shown(fs::path(finished.directory) / file)));
  }
  put_out(fmt::format("session {}\n", agent.id().value));
  if (!finished.is_solved || finished.detail.empty()) return;
  put_out(
      fmt::format("{}: {}\n", is_checked ? "verified" : "not checked", printable(finished.detail)));
}

}  // namespace

void tell_interrupted(const runtime::Agent& agent) {
  put_out(fmt::format("interrupted; the session goes on with: ponder sessions resume {}\n",
                      agent.id().value));
}

bool wants_conclusion(const runtime::SessionState& state, const runtime::Workflow& workflow) {
  const bool was_answered = state.last_end &&
                            state.last_end->reason == runtime::TurnEnd::answered &&
                            !state.wants_resume();
  return was_answered && !state.workflow && !workflow.directory().empty();
}

// NOLINTNEXTLINE(cppcoreguidelines-avoid-reference-coroutine-parameters): the caller waits for it
boost::asio::awaitable<Result<int>> conclude(runtime::Agent& agent, runtime::Workflow& workflow,
                                             bool is_quiet, std::stop_token stop) {
  // Judging may run a project's tests for minutes: meanwhile signals and other sessions are served.
  boost::asio::thread_pool judging(1);
  const auto pool = judging.get_executor();
  const auto verdict = co_await runtime::judge_on(pool, workflow, agent.state(), std::move(stop));
  if (!verdict && verdict.error().code == Errc::cancelled) {
    if (!is_quiet) tell_interrupted(agent);
    co_return kInterruptedStatus;
  }
  if (!verdict) co_return tl::unexpected<Error>(verdict.error());
  runtime::WorkflowFinished finished;
  finished.is_solved = verdict->is_solved;
  finished.detail = verdict->detail;
  if (verdict->has_answer && !workflow.directory().empty()) {
    auto write = [&workflow, &agent] {
      return workflow.write_artefacts(workflow.directory(), agent.id(), agent.state());
    };
    const auto files = co_await offload(pool, std::move(write));
    if (!files) co_return tl::unexpected<Error>(files.error());
    finished.directory = workflow.directory().string();
    finished.files = *files;
  }
  const auto recorded = co_await agent.record(finished);
  if (!recorded) co_return tl::unexpected<Error>(recorded.error());
  if (!is_quiet) tell(agent, finished, verdict->is_checked);
  if (!verdict->is_solved) co_return complain("not verified: " + printable(verdict->detail));
  // A request that no trip can meet was answered rightly, but there is no trip.
  co_return verdict->has_answer ? 0 : 1;
}

}  // namespace ponder::cli
