#include "tools/files/file_tree.h"

#include <optional>

#include "tools/files/ignore_rules.h"
#include "tools/files/tracked_files.h"

namespace ponder::tools {
namespace {

constexpr std::uint64_t kIgnoreFileBytesMax = 1 << 20;
constexpr std::uint64_t kIndexBytesMax = 64 << 20;

class Walk {
 public:
  Walk(const RootedFolder& root, const WalkLimits& limits,
       const std::function<bool(const std::string&, const FileEntry&)>& visit)
      : root_(root), limits_(limits), visit_(visit) {}

  /// The rules of the folders above `folder` hold inside it too.
  void learn_above(const std::string& folder) {
    if (folder.empty()) return;
    learn("");
    for (auto slash = folder.find('/'); slash != std::string::npos;
         slash = folder.find('/', slash + 1)) {
      learn(folder.substr(0, slash));
    }
  }

  /// Below a folder that is ignored only what is tracked is not.
  Status enter(const std::string& folder, std::size_t depth, bool is_ignored) {
    const auto entries = root_.list(folder.empty() ? "." : folder, limits_.entries_max);
    if (!entries && depth > 1) {  // one folder that cannot be read is no reason to see nothing
      is_complete_ = false;
      return {};
    }
    PONDER_CHECK(entries);
    learn(folder);
    for (const FileEntry& entry : *entries) {
      if (limits_.keep_going && !limits_.keep_going()) {
        is_complete_ = false;
        has_ended_ = true;
      }
      if (has_ended_) break;
      const std::string path = folder.empty() ? entry.name : folder + "/" + entry.name;
      const bool is_folder = entry.kind == FileEntry::Kind::folder;
      const bool is_out = is_ignored || rules_.ignores(path, is_folder);
      if (entry.name == ".git" || (is_out && !is_tracked(path, is_folder))) continue;
      if (++num_entries_ > limits_.entries_max) {
        is_complete_ = false;
        has_ended_ = true;
        break;
      }
      if (!visit_(path, entry)) has_ended_ = true;
      if (!is_folder || has_ended_) continue;
      if (depth >= limits_.depth_max) {
        is_complete_ = false;
        continue;
      }
      PONDER_CHECK(enter(path, depth + 1, is_out));
    }
    rules_.remove(folder);
    return {};
  }

  bool is_complete() const { return is_complete_; }

 private:
  void learn(const std::string& folder) {
    if (folder.empty()) {  // of all files that speak, it speaks first, and so decides last
      const auto exclude = root_.read(".git/info/exclude", kIgnoreFileBytesMax);
      if (exclude) rules_.add(folder, *exclude);
    }
    const std::string file = folder.empty() ? ".gitignore" : folder + "/.gitignore";
    const auto text = root_.read(file, kIgnoreFileBytesMax);
    if (text) rules_.add(folder, *text);
  }

  /// The index is read when something is ignored for the first time. Where it cannot be read, as
  /// in a worktree whose repository lies elsewhere, nothing is tracked.
  bool is_tracked(const std::string& path, bool is_folder) {
    if (!tracked_) {
      tracked_.emplace();
      const auto index = root_.read(".git/index", kIndexBytesMax);
      if (index) {
        auto tracked = TrackedFiles::parse(*index);
        if (tracked) tracked_ = std::move(*tracked);
      }
    }
    return tracked_->contains(path) || (is_folder && tracked_->contains_below(path));
  }

  const RootedFolder& root_;
  const WalkLimits& limits_;
  const std::function<bool(const std::string&, const FileEntry&)>& visit_;
  IgnoreRules rules_;
  std::optional<TrackedFiles> tracked_;
  std::size_t num_entries_ = 0;
  bool is_complete_ = true;
  bool has_ended_ = false;
};

}  // namespace

Result<bool> walk_tree(const RootedFolder& root, const std::string& folder,
                       const WalkLimits& limits,
                       const std::function<bool(const std::string&, const FileEntry&)>& visit) {
  Walk walk(root, limits, visit);
  walk.learn_above(folder);
  PONDER_CHECK(walk.enter(folder, 1, false));
  return walk.is_complete();
}

}  // namespace ponder::tools
