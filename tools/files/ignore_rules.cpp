#include "tools/files/ignore_rules.h"

#include "tools/files/glob.h"
#include "tools/files/text_lines.h"

namespace ponder::tools {
namespace {

/// Without the line's end and the blanks before it that no backslash keeps.
std::string_view pattern_of(std::string_view line) {
  while (line.ends_with('\n') || line.ends_with('\r')) line.remove_suffix(1);
  while (line.ends_with(' ') && !line.ends_with("\\ ")) line.remove_suffix(1);
  return line;
}

std::string with_slash(const std::string& folder) { return folder.empty() ? "" : folder + "/"; }

}  // namespace

void IgnoreRules::add(const std::string& folder, std::string_view gitignore) {
  constexpr std::size_t kBytesMax = 256 << 10;
  for (const std::string_view line : split_lines(gitignore)) {
    std::string_view pattern = pattern_of(line);
    if (pattern.empty() || pattern.front() == '#' || pattern.size() > kGlobBytesMax) continue;
    Rule rule;
    rule.folder = with_slash(folder);
    rule.takes_back = pattern.front() == '!';
    if (rule.takes_back) pattern.remove_prefix(1);
    rule.folders_only = pattern.ends_with('/');
    if (rule.folders_only) pattern.remove_suffix(1);
    // A slash anywhere but at the end ties the pattern to its folder.
    const bool is_tied = pattern.find('/') != std::string_view::npos;
    if (pattern.starts_with('/')) pattern.remove_prefix(1);
    if (pattern.empty()) continue;
    rule.pattern = is_tied ? std::string(pattern) : "**/" + std::string(pattern);
    if (rule.pattern.size() > kBytesMax - bytes_) return;
    bytes_ += rule.pattern.size();
    rules_.push_back(std::move(rule));
  }
}

bool IgnoreRules::ignores(std::string_view path, bool is_folder) const {
  if (path == ".git" || path.ends_with("/.git")) return true;
  for (auto rule = rules_.rbegin(); rule != rules_.rend(); ++rule) {
    if (rule->folders_only && !is_folder) continue;
    if (!path.starts_with(rule->folder)) continue;
    if (glob_matches(rule->pattern, path.substr(rule->folder.size()))) return !rule->takes_back;
  }
  return false;
}

void IgnoreRules::remove(const std::string& folder) {
  const std::string said_in = with_slash(folder);
  while (!rules_.empty() && rules_.back().folder == said_in) {
    bytes_ -= rules_.back().pattern.size();
    rules_.pop_back();
  }
}

}  // namespace ponder::tools
