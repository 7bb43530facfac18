#pragma once

#include <boost/asio/any_io_executor.hpp>
#include <memory>

#include "base/result.h"
#include "tools/code/code_tools.h"
#include "tools/code/suspects.h"
#include "tools/registry.h"

namespace ponder::tools {

/// Adds `try_lines`: one line of a file is replaced by one text after the other, the tests run with
/// each, and the first with which they pass stays (needs kReadFiles, kWriteFiles, kRunPrograms). A
/// model that can guess, but not be sure, finds out in one call. However the call ends, a text that
/// was not found right does not stay. After a failure it says which of the suspects is next.
///
/// Requires: a test command; `suspects`, which no one else changes. Lifetime: `pool` outlives the
/// registry's calls. Fails as add_code_tools does.
Status add_try_lines(Registry& registry, const CodeProject& project,
                     std::shared_ptr<Suspects> suspects, boost::asio::any_io_executor pool);

}  // namespace ponder::tools
