#pragma once

#include <boost/asio/any_io_executor.hpp>
#include <chrono>
#include <memory>

#include "base/result.h"
#include "tools/code/code_tools.h"
#include "tools/code/suspects.h"
#include "tools/registry.h"

namespace ponder::tools {

/// How long `try_lines` may take. Its calls are not held to the time of a usual call.
struct TryTimes {
  std::chrono::seconds try_max{60};     // the tests, once; what takes longer has failed
  std::chrono::seconds call_max{1200};  // all of a call; its first try may always end
};

/// Adds `try_lines`: one line of a file is replaced by one text after the other, the tests run with
/// each, and the first with which they pass stays (needs kReadFiles, kWriteFiles, kRunPrograms). A
/// model that can guess, but not be sure, finds out in one call. However the call ends, a text that
/// was not found right does not stay. After a failure it says which of the suspects is next.
///
/// A call whose time is over says how many texts it had time for; the same call once more goes on
/// with the others. One call runs at a time.
///
/// Requires: a test command; `suspects`, which no one else changes. Lifetime: `pool` outlives the
/// registry's calls. Fails as add_code_tools does.
Status add_try_lines(Registry& registry, const CodeProject& project,
                     std::shared_ptr<Suspects> suspects, boost::asio::any_io_executor pool,
                     TryTimes times = {});

}  // namespace ponder::tools
