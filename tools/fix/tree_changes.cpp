#include "tools/fix/tree_changes.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <map>
#include <set>
#include <system_error>
#include <utility>

#include "tools/files/file_tree.h"
#include "tools/files/glob.h"
#include "tools/files/rooted_folder.h"
#include "tools/files/text_lines.h"

namespace ponder::tools {
namespace fs = std::filesystem;
namespace {

constexpr std::size_t kStepsMax = std::size_t{16} << 20;
constexpr std::uint64_t kFileBytesMax = 4 << 20;

/// What running a project leaves behind where no .gitignore says so.
constexpr std::array kLeftBehind = {
    "**/__pycache__/**", "**/.pytest_cache/**", "**/*.pyc", "**/*.o", "**/*.gcda", "**/Testing/**"};

bool is_left_behind(const std::string& path) {
  return std::any_of(kLeftBehind.begin(), kLeftBehind.end(),
                     [&](const char* pattern) { return glob_matches(pattern, path); });
}

bool is_binary(std::string_view content) { return content.find('\0') != std::string_view::npos; }

using Lines = std::vector<std::string_view>;

/// length[i][j]: the longest common subsequence of before[i..] and after[j..], as one array.
class CommonLengths {
 public:
  CommonLengths(const Lines& before, const Lines& after)
      : columns_(after.size() + 1), lengths_((before.size() + 1) * columns_) {
    for (std::size_t i = before.size(); i-- > 0;) {
      for (std::size_t j = after.size(); j-- > 0;) {
        lengths_[i * columns_ + j] =
            before[i] == after[j] ? at(i + 1, j + 1) + 1 : std::max(at(i + 1, j), at(i, j + 1));
      }
    }
  }
  std::uint32_t at(std::size_t i, std::size_t j) const { return lengths_[i * columns_ + j]; }

 private:
  std::size_t columns_;
  std::vector<std::uint32_t> lengths_;
};

/// Appends to `out` a change at `first`, or lengthens the last one where it ends there.
LineChange& change_at(std::vector<LineChange>& out, std::size_t first) {
  if (out.empty() || out.back().first + out.back().count != first) {
    out.emplace_back();
    out.back().first = first;
  }
  return out.back();
}

/// Changes of the part that is left when equal lines at both ends are taken off.
std::vector<LineChange> changes_of(const Lines& before, const Lines& after, std::size_t offset) {
  std::vector<LineChange> out;
  if (before.empty() && after.empty()) return out;
  if ((before.size() + 1) * (after.size() + 1) > kStepsMax) {
    out.emplace_back();
    out.back() = {offset, before.size(), {after.begin(), after.end()}};
    return out;
  }
  const CommonLengths common(before, after);
  std::size_t i = 0;
  std::size_t j = 0;
  while (i < before.size() || j < after.size()) {
    if (i < before.size() && j < after.size() && before[i] == after[j]) {
      ++i;
      ++j;
    } else if (i < before.size() && j < after.size() &&
               common.at(i + 1, j + 1) == common.at(i, j)) {
      // A line for a line, so that what follows both is compared with each other next.
      LineChange& change = change_at(out, offset + i++);
      ++change.count;
      change.lines.emplace_back(after[j++]);
    } else if (j < after.size() &&
               (i == before.size() || common.at(i, j + 1) > common.at(i + 1, j))) {
      change_at(out, offset + i).lines.emplace_back(after[j++]);
    } else {
      ++change_at(out, offset + i).count;
      ++i;
    }
  }
  return out;
}

/// Compares two trees; one use.
class TreeComparison {
 public:
  TreeComparison(RootedFolder before, RootedFolder after)
      : before_(std::move(before)), after_(std::move(after)) {}

  Result<TreeChanges> run() {
    PONDER_TRY(auto files_before, files_of(before_, false));
    PONDER_TRY(auto files_after, files_of(after_, true));
    std::set<std::string> paths;
    for (const auto& [path, kind] : files_before) paths.insert(path);
    for (const auto& [path, kind] : files_after) paths.insert(path);
    for (const std::string& path : paths) {
      // A file that is seen in one tree is looked for by its name in the other, where git may
      // ignore it: a .gitignore has changed, or only one of them says what it tracks.
      const bool was_there = files_before.contains(path) || before_.exists(path);
      const bool is_there = files_after.contains(path) || (was_there && after_.exists(path));
      if (was_there && kind_before(files_before, path) != FileEntry::Kind::file) continue;
      PONDER_CHECK(compare(path, was_there, is_there));
    }
    return std::move(out_);
  }

 private:
  using Files = std::map<std::string, FileEntry::Kind>;

  Result<Files> files_of(const RootedFolder& root, bool names_links) {
    Files files;
    const auto take = [&](const std::string& path, const FileEntry& entry) {
      if (entry.kind == FileEntry::Kind::folder) return true;
      if (names_links && entry.kind != FileEntry::Kind::file) links_.insert(path);
      if (!is_left_behind(path)) files.emplace(path, entry.kind);
      return true;
    };
    PONDER_TRY(const bool was_all, walk_tree(root, "", WalkLimits(), take));
    if (!was_all) {
      return fail(Errc::exhausted, fmt::format("{}: too many files", root.path().string()));
    }
    return files;
  }

  FileEntry::Kind kind_before(const Files& files, const std::string& path) const {
    const auto found = files.find(path);
    if (found != files.end()) return found->second;
    std::error_code error;
    const bool is_file =
        fs::symlink_status(before_.path() / path, error).type() == fs::file_type::regular;
    return is_file ? FileEntry::Kind::file : FileEntry::Kind::other;
  }

  void leave_out(const std::string& path, const char* why) {
    out_.left_out.push_back(fmt::format("{}: {}", path, why));
  }

  Status compare(const std::string& path, bool was_there, bool is_there) {
    TreeChange change;
    change.path = path;
    if (!is_there) {
      change.kind = TreeChange::Kind::deleted;
      out_.changes.push_back(std::move(change));
      return {};
    }
    if (links_.contains(path)) {
      leave_out(path, "a link or a special file");
      return {};
    }
    auto after = after_.read(path, kFileBytesMax);
    if (!after) {
      leave_out(path, "cannot be read, or is too long");
      return {};
    }
    if (!was_there) return add(std::move(change), std::move(*after));
    PONDER_TRY(const std::string before, before_.read(path, kFileBytesMax));
    if (before == *after) return {};
    if (is_binary(before)) {
      change.kind = TreeChange::Kind::replaced;
      change.content = std::move(*after);
      out_.changes.push_back(std::move(change));
    } else if (is_binary(*after)) {
      leave_out(path, "a binary file");
    } else {
      for (LineChange& lines : line_changes(before, *after)) {
        change.lines = std::move(lines);
        out_.changes.push_back(change);
      }
    }
    return {};
  }

  Status add(TreeChange change, std::string content) {
    if (is_binary(content)) {
      leave_out(change.path, "a binary file");
      return {};
    }
    std::error_code error;
    const fs::file_status status = fs::symlink_status(after_.path() / change.path, error);
    change.is_executable =
        !error && (status.permissions() & fs::perms::owner_exec) != fs::perms::none;
    change.kind = TreeChange::Kind::added;
    change.content = std::move(content);
    out_.changes.push_back(std::move(change));
    return {};
  }

  RootedFolder before_;
  RootedFolder after_;
  std::set<std::string> links_;
  TreeChanges out_;
};

}  // namespace

std::vector<LineChange> line_changes(std::string_view before, std::string_view after) {
  Lines old_lines = split_lines(before);
  Lines new_lines = split_lines(after);
  std::size_t head = 0;
  const std::size_t shorter = std::min(old_lines.size(), new_lines.size());
  while (head < shorter && old_lines[head] == new_lines[head]) ++head;
  std::size_t tail = 0;
  while (tail < shorter - head &&
         old_lines[old_lines.size() - 1 - tail] == new_lines[new_lines.size() - 1 - tail]) {
    ++tail;
  }
  const auto middle = [&](const Lines& lines) {
    return Lines(lines.begin() + static_cast<std::ptrdiff_t>(head),
                 lines.end() - static_cast<std::ptrdiff_t>(tail));
  };
  return changes_of(middle(old_lines), middle(new_lines), head);
}

std::string with_changes(std::string_view before, const std::vector<LineChange>& changes) {
  const Lines lines = split_lines(before);
  std::string out;
  std::size_t at = 0;
  const auto keep_until = [&](std::size_t end) {
    for (; at < end; ++at) out += lines[at];
  };
  for (const LineChange& change : changes) {
    keep_until(change.first);
    for (const std::string& line : change.lines) out += line;
    at += change.count;
  }
  keep_until(lines.size());
  return out;
}

Result<TreeChanges> changes_between(const fs::path& before, const fs::path& after) {
  PONDER_TRY(RootedFolder old_tree, RootedFolder::open(before));
  PONDER_TRY(RootedFolder new_tree, RootedFolder::open(after));
  return TreeComparison(std::move(old_tree), std::move(new_tree)).run();
}

Status apply_changes(const fs::path& folder, const std::vector<TreeChange>& changes) {
  PONDER_TRY(const RootedFolder root, RootedFolder::open(folder));
  std::map<std::string, std::vector<LineChange>> lines;
  for (const TreeChange& change : changes) {
    if (change.kind == TreeChange::Kind::lines) {
      lines[change.path].push_back(change.lines);
    } else if (change.kind == TreeChange::Kind::deleted) {
      PONDER_CHECK(root.remove(change.path));
    } else {
      PONDER_CHECK(root.write(change.path, change.content));
    }
    if (change.kind != TreeChange::Kind::added || !change.is_executable) continue;
    std::error_code error;
    constexpr auto kRunnable = fs::perms::owner_exec | fs::perms::group_exec;
    fs::permissions(folder / change.path, kRunnable, fs::perm_options::add, error);
    if (error) return fail(Errc::unavailable, fmt::format("{}: {}", change.path, error.message()));
  }
  for (const auto& [path, own] : lines) {
    PONDER_TRY(const std::string text, root.read(path, kFileBytesMax));
    PONDER_CHECK(root.write(path, with_changes(text, own)));
  }
  return {};
}

}  // namespace ponder::tools
