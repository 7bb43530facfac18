#pragma once

#include <cstddef>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace ponder::tools {

/// Lines [first, first + count) of an old text, from 0, and what stands in their place. Lines carry
/// their ends.
struct LineChange {
  std::size_t first = 0;
  std::size_t count = 0;
  std::vector<std::string> lines;
};

/// The changes that make `after` of `before`, in order and apart from each other: each can be left
/// out on its own. The fewest lines (longest common subsequence); a single change where both texts
/// are so long that this would take more than about 16 million steps.
std::vector<LineChange> line_changes(std::string_view before, std::string_view after);

/// `before` with some of its line_changes, in their order.
std::string with_changes(std::string_view before, const std::vector<LineChange>& changes);

/// Something that was done to one file.
struct TreeChange {
  enum class Kind { lines, added, replaced, deleted };
  std::string path;
  Kind kind = Kind::lines;
  LineChange lines;            // Kind::lines: one of possibly many of this file
  std::string content;         // added, replaced: the whole file
  bool is_executable = false;  // added
};

struct TreeChanges {
  std::vector<TreeChange> changes;    // by path, those of a file in order
  std::vector<std::string> left_out;  // "PATH: why"; what no patch is made of
};

/// What was done to `before` to make `after`. What git ignores in `after` and what interpreters
/// leave behind is no change; links, special files and files over 4 MiB are left out, as is a text
/// file that became binary or a new binary file.
///
/// Reads `after` through RootedFolder, so that links in it lead nowhere.
Result<TreeChanges> changes_between(const std::filesystem::path& before,
                                    const std::filesystem::path& after);

/// Makes the changes in `folder`, a copy of what they were found against.
Status apply_changes(const std::filesystem::path& folder, const std::vector<TreeChange>& changes);

}  // namespace ponder::tools
