#pragma once

#include <boost/asio/any_io_executor.hpp>
#include <filesystem>
#include <string>

#include "base/result.h"
#include "tools/code/code_tools.h"

namespace ponder::tools {

/// What differs in a project's folder from its last commit, as a patch for `git apply`: staged or
/// not, and with the new files that git does not ignore. Nothing is staged by it.
///
/// `artefacts` is no part of it, where it lies in the project. Blocks, at most for some minutes.
/// Errors: `unavailable` when git cannot tell, as in a folder that is no repository; `exhausted`
/// for a patch of more than 16 MiB; those of ProjectRunner. Lifetime: `pool` outlives the call.
Result<std::string> uncommitted_changes(const CodeProject& project,
                                        boost::asio::any_io_executor pool,
                                        const std::filesystem::path& artefacts);

}  // namespace ponder::tools
