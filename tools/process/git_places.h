#pragma once

#include <cstddef>
#include <filesystem>
#include <limits>
#include <vector>

#include "base/result.h"

namespace ponder::tools {

/// A `.git`: a folder, a file that names one, or a link. Git runs programs that are named there.
struct GitPlace {
  std::filesystem::path path;
  std::filesystem::path link;  // where it leads, if it is a link
  friend bool operator==(const GitPlace&, const GitPlace&) = default;
};

inline constexpr std::size_t kGitEntriesMax = 200'000;
inline constexpr std::size_t kGitEntriesUnlimited = std::numeric_limits<std::size_t>::max();

/// Every `.git` in `folder` and below it. Links to folders are not followed. A folder that its
/// owner, who we are, may not look into becomes readable first: a program might have hidden
/// something. `exhausted` when there are more than `entries_max` entries to look at; `unavailable`
/// when a folder cannot be read. Requires: nobody changes the folder meanwhile.
Result<std::vector<GitPlace>> git_places(const std::filesystem::path& folder,
                                         std::size_t entries_max = kGitEntriesMax);

/// Removes it, whatever rights a program took from us. Requires: nobody changes its folder.
Status remove_git(const GitPlace& place);

}  // namespace ponder::tools
