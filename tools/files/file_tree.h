#pragma once

#include <cstddef>
#include <functional>
#include <string>

#include "base/result.h"
#include "tools/files/rooted_folder.h"

namespace ponder::tools {

/// How far a walk goes.
struct WalkLimits {
  std::size_t depth_max = 64;
  std::size_t entries_max = 100'000;
  std::function<bool()> keep_going;  // asked at each entry, ignored or not; false ends the walk
};

/// Calls `visit` with the path and the entry of everything below `folder` (with "" the whole tree)
/// that git does not ignore, folders before what is in them, in the order of names. Git ignores
/// what .gitignore files and .git/info/exclude name, unless it tracks it. The ignore file of a
/// user (core.excludesFile) lies elsewhere and has no say: the same tree is the same for everybody.
/// Links are visited and not followed. `visit` returns false to end the walk. Gives whether the
/// walk saw everything: not so when a limit ended it.
Result<bool> walk_tree(const RootedFolder& root, const std::string& folder,
                       const WalkLimits& limits,
                       const std::function<bool(const std::string&, const FileEntry&)>& visit);

}  // namespace ponder::tools
