#pragma once

#include <boost/asio/any_io_executor.hpp>
#include <filesystem>
#include <string>
#include <vector>

#include "base/result.h"
#include "tools/process/sandbox_policy.h"
#include "tools/registry.h"

namespace ponder::tools {

/// What `shell`, `run_tests` and `git_diff` need to be granted.
inline constexpr const char* kRunPrograms = "exec";

/// How `git_diff`'s answer begins where there is nothing to compare with.
inline constexpr const char* kNoRepository = "the folder is not in a git repository";

/// A project that programs are run in.
struct CodeProject {
  std::filesystem::path folder;  // writable inside the sandbox, but for its .git folders
  std::string test_command;      // for sh; what run_tests runs. Empty: there is no such tool
  std::string test_reports;      // JUnit files that it writes: a pattern in the folder; or empty
  Isolation isolation = Isolation::isolated;
  std::vector<std::filesystem::path> readable;  // beside it, such as a compiler outside of /usr
  ProcessLimits limits;
};

/// Adds `shell`, `git_diff` and, with a test command, `run_tests`. Programs run in a sandbox with
/// that folder, without a network, and die with their call.
///
/// A `.git` that a program makes is removed and the model told: git would run what it names.
/// Lifetime: `pool` outlives the registry's calls. Fails (`unavailable`) when this machine cannot
/// keep the sandbox's promises: there is no running without.
Status add_code_tools(Registry& registry, const CodeProject& project,
                      boost::asio::any_io_executor pool);

}  // namespace ponder::tools
