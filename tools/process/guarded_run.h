#pragma once

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/awaitable.hpp>
#include <filesystem>
#include <string>

#include "base/clock.h"
#include "base/result.h"
#include "tools/process/run_process.h"
#include "tools/process/sandbox_policy.h"

namespace ponder::tools {

/// run_process() in a folder that the program may write to, beside what `policy` allows, and where
/// people use git, which runs programs that a repository names. Each repository that is there
/// before (git_places.h) is read-only for the program; each that it makes is removed, however it
/// ended, and `note` gets a line for it. Of programs that run in one folder at the same time, the
/// last one to end does the removing: as long as another runs, it could put something else in the
/// way.
///
/// Two gaps: what a `.git` that is a link leads to can be written, if it lies in the folder and is
/// no repository by itself; and nothing is removed when this process is killed.
///
/// Errors: those of run_process() and git_places(); `invalid_argument` where the folder itself is a
/// repository, of which nothing may be written; `unavailable` when the folder could not be
/// looked through afterwards: a person must, before git is used there.
/// Thread: resumes on the caller's executor; what blocks runs on `pool`. A call that is cancelled
/// ends when the folder has been looked through. Lifetime: `pool` and `note` outlive the call.
boost::asio::awaitable<Result<ProcessResult>> run_guarded(
    ProcessRequest request, SandboxPolicy policy, std::filesystem::path folder, Deadline deadline,
    boost::asio::any_io_executor pool, std::string* note);

}  // namespace ponder::tools
