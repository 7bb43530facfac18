#pragma once

#include <boost/asio/awaitable.hpp>
#include <stop_token>
#include <string>

#include "base/result.h"
#include "runtime/agent/agent.h"
#include "runtime/cli/commands.h"
#include "runtime/session/session_state.h"
#include "runtime/workflow/workflow.h"

/// Going on with a session that a crash, or another program, left before its end.
namespace ponder::cli {

/// Whether there is anything to go on with: an open turn, words that wait, a request that was not
/// put to the agent yet, or artefacts that are still to be written.
bool has_rest(const runtime::SessionState& state, const runtime::Workflow& workflow);

/// The turn and what follows from it; the exit status. An error left the session as it is. A
/// request to stop ends the verdict (conclude.h), never the turn. Requires: has_rest().
boost::asio::awaitable<Result<int>> go_on(runtime::Agent& agent, runtime::Workflow& workflow,
                                          bool is_quiet, std::stop_token stop = {});

/// The model as the log names it: a folder, or an address and the endpoint's name for the model.
void choose_logged_model(const std::string& logged, ModelOptions& options);

}  // namespace ponder::cli
