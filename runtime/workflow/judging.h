#pragma once

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/awaitable.hpp>

#include "base/result.h"
#include "runtime/workflow/workflow.h"

namespace ponder::runtime {

/// Workflow::judge() on a thread of `pool`, for it blocks. Cancelling the coroutine stops it, and
/// the verdict is `cancelled`, unless it was there already.
///
/// Lifetime: both live until the await returns, and nobody else uses the workflow meanwhile.
boost::asio::awaitable<Result<WorkflowVerdict>> judge_on(boost::asio::any_io_executor pool,
                                                         Workflow& workflow,
                                                         const SessionState& state);

}  // namespace ponder::runtime
