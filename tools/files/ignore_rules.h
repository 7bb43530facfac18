#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

namespace ponder::tools {

/// What a tree's .gitignore files name, as gitignore(5) says: the last pattern that matches
/// decides, patterns of deeper folders come later, `!` takes back. `.git` itself is always named.
class IgnoreRules {
 public:
  /// Adds patterns of `folder`, as of its .gitignore; "" is the root. Folders are added before what
  /// is in them. Foreign files make no walk endless: patterns over kGlobBytesMax are left out, and
  /// those beyond 256 KiB of all that hold together.
  void add(const std::string& folder, std::string_view gitignore);
  /// Whether `path` is named. What lies in a folder that is named is not asked about.
  bool ignores(std::string_view path, bool is_folder) const;
  /// Forgets the patterns of `folder`, which were added last.
  void remove(const std::string& folder);

 private:
  struct Rule {
    std::string folder;   // where it was said, with '/' at its end, or ""
    std::string pattern;  // matched against the path from there
    bool takes_back = false;
    bool folders_only = false;
  };
  std::vector<Rule> rules_;
  std::size_t bytes_ = 0;  // of their patterns
};

}  // namespace ponder::tools
