#pragma once

#include <cstddef>
#include <filesystem>
#include <limits>
#include <vector>

#include "base/result.h"

namespace ponder::tools {

/// What git takes for a repository, whose files name programs that git runs: a `.git`, which is a
/// folder, a file that names one, or a link; or a folder that is itself one, whatever its name, in
/// which git runs them for whoever stands there.
struct GitPlace {
  std::filesystem::path path;
  std::filesystem::path link;  // where it leads, if it is a link
  bool is_bare = false;        // a folder that is itself a repository; it may be all of a project
  friend bool operator==(const GitPlace&, const GitPlace&) = default;
};

/// Whether a folder in which `has(name)` says what there is, links included, is one to git: a HEAD
/// beside objects and refs, or beside a commondir, which says where those are.
template <class Has>
bool is_bare_repository(const Has& has) {
  return has("HEAD") && (has("commondir") || (has("objects") && has("refs")));
}

inline constexpr std::size_t kGitEntriesMax = 200'000;
inline constexpr std::size_t kGitEntriesUnlimited = std::numeric_limits<std::size_t>::max();

/// Every repository in `folder` and below it, a folder before what lies in it. Links to folders are
/// not followed. A folder that its owner, who we are, may not look into becomes readable first: a
/// program might have hidden something. `exhausted` when there are more than `entries_max` entries
/// to look at; `unavailable` when a folder cannot be read. Requires: nobody changes the folder
/// meanwhile.
Result<std::vector<GitPlace>> git_places(const std::filesystem::path& folder,
                                         std::size_t entries_max = kGitEntriesMax);

/// Removes it, whatever rights a program took from us; of a folder that is itself a repository its
/// HEAD alone, without which it is none: the rest may be a person's. Requires: nobody changes its
/// folder.
Status remove_git(const GitPlace& place);

}  // namespace ponder::tools
