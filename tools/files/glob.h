#pragma once

#include <cstddef>
#include <string_view>

namespace ponder::tools {

/// Longer patterns are nobody's; those that take them refuse them.
inline constexpr std::size_t kGlobBytesMax = 1000;

/// Whether a path matches a pattern as gitignore(5) writes it: `*` and `?` do not match '/',
/// `[a-z]` and `[!a-z]` are classes, a backslash takes the next character as it is, and `**` as a
/// whole part matches any number of folders. Takes at most pattern times path steps.
bool glob_matches(std::string_view pattern, std::string_view path);

}  // namespace ponder::tools
