#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace ponder::tools {

/// The paths that a git repository tracks, by its index: git ignores none of them, whatever the
/// .gitignore files say.
///
/// Thread: any number once it is made.
class TrackedFiles {
 public:
  /// Nothing is tracked.
  TrackedFiles() = default;
  /// Reads the content of a file .git/index, of the versions 2 to 4 with SHA-1 or SHA-256. The
  /// index is a stranger's: `corrupt` for what is none, or is cut off, or has no names of its own
  /// (a split index); `exhausted` when its names take over 64 MiB.
  static Result<TrackedFiles> parse(std::string_view index);

  /// Whether the file, link or submodule is tracked.
  bool contains(std::string_view path) const;
  /// Whether anything below the folder is tracked.
  bool contains_below(std::string_view folder) const;

 private:
  explicit TrackedFiles(std::vector<std::string> paths);
  std::vector<std::string> paths_;  // sorted
};

}  // namespace ponder::tools
