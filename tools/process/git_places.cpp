#include "tools/process/git_places.h"

#include <fmt/format.h>

#include <set>
#include <string>
#include <system_error>
#include <utility>

namespace ponder::tools {
namespace {

namespace fs = std::filesystem;

constexpr fs::perms kReadable = fs::perms::owner_read | fs::perms::owner_exec;

tl::unexpected<Error> unreadable(const fs::path& path, const std::error_code& error) {
  return fail(Errc::unavailable, fmt::format("{}: {}", path.string(), error.message()));
}

/// Adds rights of the owner where they are missing. What belongs to somebody else stays as it is:
/// a program of ours cannot have put anything there.
void allow(const fs::path& folder, fs::perms rights) {
  std::error_code ignored;
  const fs::perms now = fs::symlink_status(folder, ignored).permissions();
  if ((now & rights) != rights) fs::permissions(folder, rights, fs::perm_options::add, ignored);
}

bool is_folder(const fs::directory_entry& entry) {
  std::error_code ignored;
  return entry.symlink_status(ignored).type() == fs::file_type::directory;
}

}  // namespace

Result<std::vector<GitPlace>> git_places(const fs::path& folder, std::size_t entries_max) {
  std::vector<GitPlace> found;
  std::vector<fs::path> folders = {folder};  // still to be looked at
  std::size_t num_entries = 0;
  while (!folders.empty()) {
    const fs::path current = std::move(folders.back());
    folders.pop_back();
    allow(current, kReadable);
    std::error_code error;
    std::set<std::string> parts;  // of a repository
    auto entry =
        fs::directory_iterator(current, fs::directory_options::skip_permission_denied, error);
    for (; !error && entry != fs::directory_iterator(); entry.increment(error)) {
      if (++num_entries > entries_max) {
        return fail(Errc::exhausted, fmt::format("{} holds more than {} entries: too many to look "
                                                 "for git repositories; name a smaller one",
                                                 folder.string(), entries_max));
      }
      const std::string name = entry->path().filename().string();
      if (name == "HEAD" || name == "objects" || name == "refs" || name == "commondir") {
        parts.insert(name);
      }
      if (name == ".git") {
        std::error_code no_link;
        found.push_back({entry->path(), fs::read_symlink(entry->path(), no_link)});
      } else if (is_folder(*entry)) {
        folders.push_back(entry->path());
      }
    }
    if (error) return unreadable(current, error);
    if (is_bare_repository([&parts](const char* part) { return parts.contains(part); })) {
      found.push_back({current, {}, true});
    }
  }
  return found;
}

Status remove_git(const GitPlace& place) {
  const fs::path doomed = place.is_bare ? place.path / "HEAD" : place.path;
  allow(doomed.parent_path(), fs::perms::owner_all);
  std::error_code error;
  std::vector<fs::path> folders;
  if (is_folder(fs::directory_entry(doomed, error))) folders.push_back(doomed);
  while (!folders.empty()) {
    const fs::path current = std::move(folders.back());
    folders.pop_back();
    allow(current, fs::perms::owner_all);
    for (const auto& entry : fs::directory_iterator(current, error)) {
      if (is_folder(entry)) folders.push_back(entry.path());
    }
  }
  fs::remove_all(doomed, error);
  if (error) return unreadable(doomed, error);
  return {};
}

}  // namespace ponder::tools
