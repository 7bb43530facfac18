#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace ponder::tools {

/// Lines [line, ..) of the old text and what stands in their place. Lines carry their ends.
struct PatchHunk {
  std::size_t line = 1;             // of the old text, from 1; only a hint where to look first
  std::vector<std::string> before;  // context and removed lines
  std::vector<std::string> after;   // context and added lines
};

/// What a patch does to one file.
struct FilePatch {
  std::string path;  // without "a/" and "b/"
  bool is_creation = false;
  bool is_deletion = false;
  std::vector<PatchHunk> hunks;
};

/// Reads a unified diff, as `diff -u` and `git diff` write it; other lines between files are
/// skipped. `invalid_argument` names the line: a hunk that is shorter or longer than it says, or
/// that belongs to no file; renames, modes and binary patches, which are not done here; no file at
/// all.
Result<std::vector<FilePatch>> parse_patch(std::string_view patch);

/// `text` with the hunks applied. A hunk stands where its old lines do, nearest to its line number;
/// nothing is guessed: lines that differ in a blank are other lines. `invalid_argument` names the
/// hunk whose lines are not there.
Result<std::string> apply_hunks(std::string_view text, const std::vector<PatchHunk>& hunks);

}  // namespace ponder::tools
