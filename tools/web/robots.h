#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

namespace ponder::tools {

/// Comparisons of a character, of all rules together: some hundredth of a second.
inline constexpr std::size_t kRobotsStepsMax = 4'000'000;

/// What a site's robots.txt lets a program read (RFC 9309).
///
/// The rules of all groups that name the program count, or, where none does, those for "*". Of the
/// rules that match a path the longest decides; between equals, allowing does. `*` stands for
/// anything, `$` at the end for the end.
class RobotsRules {
 public:
  /// Reads at most the first 500 KiB; lines that say nothing are passed over. `product` is the
  /// program's name in lower case.
  RobotsRules(std::string_view robots_txt, std::string_view product);
  /// A site without rules, and one that may not be read at all.
  static RobotsRules all() { return RobotsRules("", "x"); }
  static RobotsRules none() { return RobotsRules("user-agent: *\ndisallow: /", "x"); }

  /// `target` is an address's path and query. What cannot be told within kRobotsStepsMax is not
  /// allowed: only rules that were made to take long do not end by then.
  bool allows(std::string_view target) const;

 private:
  struct Rule {
    std::string pattern;
    bool is_allowed;
  };
  std::vector<Rule> rules_;
};

}  // namespace ponder::tools
