#pragma once

#include <filesystem>
#include <string>

#include "base/result.h"
#include "tools/fix/sandboxed_run.h"

namespace ponder::tools {

/// Copies a project's files to `to`, which is made: what git tracks and what it does not ignore
/// where the project is a repository of git's, everything else where it is none. Never a `.git`,
/// so that the copy holds neither history nor branches. Links that lead out of the project are left
/// out. Reads `from` and changes nothing in it.
///
/// Fails with `not_found`, `exhausted` (more than 100,000 files) or what the system refuses.
Status copy_project(const SandboxedRun& how, const std::filesystem::path& from,
                    const std::filesystem::path& to);

/// A copy of a whole tree, links as links; what was at `to` is removed first.
Status copy_tree(const std::filesystem::path& from, const std::filesystem::path& to);

/// Makes `folder` a repository of git's with one commit that holds everything in it.
Status begin_history(const SandboxedRun& how, const std::filesystem::path& folder);

/// The difference of two trees below `parent` as `git apply` reads it; empty when there is none.
/// Requires: the folders are `parent`/a and `parent`/b.
Result<std::string> diff_trees(const SandboxedRun& how, const std::filesystem::path& parent);

/// `invalid_argument` with git's words when the patch does not apply to `folder`, which is not
/// changed.
Status check_patch(const SandboxedRun& how, const std::filesystem::path& folder,
                   const std::string& patch);

}  // namespace ponder::tools
