#include "runtime/cli/go_on.h"

#include <utility>

#include "runtime/cli/compose.h"
#include "runtime/cli/conclude.h"

namespace ponder::cli {
namespace {

/// True when the session was made for a request that was not put to the agent yet.
bool wants_first_turn(const runtime::SessionState& state, const runtime::Workflow& workflow) {
  return state.turns == 0 && !workflow.request().empty();
}

}  // namespace

bool has_rest(const runtime::SessionState& state, const runtime::Workflow& workflow) {
  return state.wants_resume() || wants_first_turn(state, workflow) ||
         wants_conclusion(state, workflow);
}

// NOLINTNEXTLINE(cppcoreguidelines-avoid-reference-coroutine-parameters): the caller waits for it
boost::asio::awaitable<Result<int>> go_on(runtime::Agent& agent, runtime::Workflow& workflow,
                                          bool is_quiet, std::stop_token stop) {
  if (!wants_conclusion(agent.state(), workflow)) {
    const bool is_first = wants_first_turn(agent.state(), workflow);
    auto work = is_first ? agent.run_turn(workflow.request()) : agent.resume();
    const auto end = co_await std::move(work);
    if (!end) co_return tl::unexpected<Error>(end.error());
    if (end->reason == runtime::TurnEnd::cancelled) co_return kInterruptedStatus;
    if (end->reason != runtime::TurnEnd::answered) co_return 1;
  }
  auto status = co_await conclude(agent, workflow, is_quiet, std::move(stop));
  co_return status;
}

void choose_logged_model(const std::string& logged, ModelOptions& options) {
  const bool is_address = logged.starts_with("http://") || logged.starts_with("https://");
  const std::size_t blank = is_address ? logged.find(' ') : std::string::npos;
  options.model = logged.substr(0, blank);
  options.is_from_log = true;
  if (blank != std::string::npos) options.model_name = logged.substr(blank + 1);
}

}  // namespace ponder::cli
