#pragma once

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/awaitable.hpp>
#include <filesystem>
#include <string>

#include "base/clock.h"
#include "base/result.h"
#include "tools/process/run_process.h"

namespace ponder::tools {

/// run_process() in a folder that the program may write to, beside what `policy` allows. Every
/// `.git` in it stays as it is, and one that the program made is removed: git would run what it
/// names. `note` gets a line for each that was removed.
///
/// Lifetime: `pool`, which walks the folder, outlives the call; `note` too.
boost::asio::awaitable<Result<ProcessResult>> run_guarded(
    ProcessRequest request, SandboxPolicy policy, std::filesystem::path folder, Deadline deadline,
    boost::asio::any_io_executor pool, std::string* note);

}  // namespace ponder::tools
