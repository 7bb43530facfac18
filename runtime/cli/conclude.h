#pragma once

#include <boost/asio/awaitable.hpp>
#include <stop_token>

#include "base/result.h"
#include "runtime/agent/agent.h"
#include "runtime/workflow/workflow.h"

namespace ponder::cli {

/// Tells the person whose command was interrupted how the session goes on.
void tell_interrupted(const runtime::Agent& agent);

/// True when a session was run for its artefacts and its last turn was answered, but the program
/// stopped before it could conclude.
bool wants_conclusion(const runtime::SessionState& state, const runtime::Workflow& workflow);

/// The end of a run: judges the finished turn, writes the artefacts where the workflow wants them,
/// notes both in the log, and tells the user unless `is_quiet`. Doing it again changes nothing but
/// the log. Gives the exit status; kInterruptedStatus when the coroutine was cancelled, or `stop`
/// was requested on its thread, before there was a verdict: then the log has none, and the session
/// can be gone on with. So it can after an error, of the judge, the disk or the store.
boost::asio::awaitable<Result<int>> conclude(runtime::Agent& agent, runtime::Workflow& workflow,
                                             bool is_quiet, std::stop_token stop = {});

}  // namespace ponder::cli
