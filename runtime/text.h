#pragma once

#include <cstddef>
#include <string>
#include <string_view>

#include "base/text.h"

namespace ponder::runtime {

/// The first line, at most `bytes_max` bytes, for titles and messages.
std::string first_line(std::string_view text, std::size_t bytes_max);

}  // namespace ponder::runtime
