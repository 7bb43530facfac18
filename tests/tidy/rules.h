#pragma once

#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

/// The rules of the house that a machine can check, as pure functions from a file's text to what
/// is wrong with it, so that each rule is itself tested on text that breaks it.
namespace ponder::tidy {

struct Finding {
  std::string path;
  int line;  // 1-based; 0 for the file as a whole
  std::string what;
  friend bool operator==(const Finding&, const Finding&) = default;
};
using Findings = std::vector<Finding>;

/// Includes that point against the direction of dependencies, or into another folder's detail/.
Findings check_includes(const std::string& path, std::string_view text);
/// Lines over 100 columns, tabs, blanks at the end, leftover notes such as "to do".
Findings check_lines(const std::string& path, std::string_view text);
/// Files over 500 lines and functions over 70, but for the listed exceptions.
Findings check_sizes(const std::string& path, std::string_view text);
/// Calls that have a better replacement in this project.
Findings check_banned(const std::string& path, std::string_view text);
/// Expressions with co_await that g++ 12 miscompiles.
Findings check_co_await(const std::string& path, std::string_view text);
/// Anything of the standard library in a file compiled for one instruction set.
Findings check_isa_file(const std::string& path, std::string_view text);
/// Relative links in Markdown that lead nowhere. `root` is the source tree.
Findings check_links(const std::filesystem::path& root, const std::string& path,
                     std::string_view text);

/// All rules that apply to the file at `path` (relative to the root, with '/').
Findings check_file(const std::filesystem::path& root, const std::string& path,
                    std::string_view text);

}  // namespace ponder::tidy
