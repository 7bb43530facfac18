#pragma once

#include <cstddef>
#include <string>
#include <string_view>

#include "base/text.h"

namespace ponder::runtime {

/// Whether there is nothing to read: no more than spaces and line breaks.
bool is_blank(std::string_view text);

/// The first line, at most `bytes_max` bytes, for titles and messages.
std::string first_line(std::string_view text, std::size_t bytes_max);

}  // namespace ponder::runtime
