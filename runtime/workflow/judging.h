#pragma once

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/awaitable.hpp>
#include <stop_token>

#include "base/result.h"
#include "runtime/workflow/workflow.h"

namespace ponder::runtime {

/// Workflow::judge() on a thread of `pool`, for it blocks. Cancelling the coroutine stops it, as
/// does a request to `stop`, and the verdict is `cancelled`, unless it was there already.
///
/// Lifetime: both live until the await returns, and nobody else uses the workflow meanwhile.
boost::asio::awaitable<Result<WorkflowVerdict>> judge_on(boost::asio::any_io_executor pool,
                                                         Workflow& workflow,
                                                         const SessionState& state,
                                                         std::stop_token stop = {});

}  // namespace ponder::runtime
