#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

namespace ponder::tools {

/// Text from elsewhere between two lines that say so, for a model that is to take it as data and
/// not as instructions. The lines hold the characters U+27E6 and U+27E7, which `text` cannot: they
/// become "[[" and "]]" there, so nothing in it looks like such a line.
///
/// What a person would not see is left out: control characters, the marks that turn the direction
/// of writing, zero-width spaces, and the tag characters U+E0000 to U+E007F.
std::string fenced(std::string_view text, std::string_view evidence);

/// One line of foreign text for a place where only a line is expected: no line ends, no fences,
/// nothing invisible, at most `bytes_max` bytes.
std::string foreign_line(std::string_view text, std::size_t bytes_max);

/// Where the pages of `text` end, each at most `page_bytes_max` long: behind a paragraph, a line or
/// a word where one ends in the page's second half, else behind a character. At least one page.
std::vector<std::size_t> page_ends(std::string_view text, std::size_t page_bytes_max);

}  // namespace ponder::tools
