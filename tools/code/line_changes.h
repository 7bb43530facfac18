#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace ponder::tools {

/// A piece of a line of code and what takes its place.
struct TextPair {
  std::string old_text;  // not empty
  std::string new_text;  // empty: the piece goes
};

/// Without blanks, tabs and line ends at both ends; a view into `text`, also when it is empty.
std::string_view trimmed(std::string_view text);

/// Reads `old => new`; blanks around both are dropped. Fails with invalid_argument when there is no
/// arrow, or nothing before it.
Result<TextPair> parse_text_pair(std::string_view text);

/// The lines that a change makes of `line`: one for each place where the old text stands, from left
/// to right. It stands where it is no part of a longer word or operator: `<` is not in `a <= b`,
/// `i` not in `line[i_1]`. Where nothing takes its place, one blank behind it goes as well.
std::vector<std::string> changed_lines(std::string_view line, const TextPair& change);

}  // namespace ponder::tools
