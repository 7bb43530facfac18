#include "runtime/text.h"

namespace ponder::runtime {

bool is_blank(std::string_view text) {
  return text.find_first_not_of(" \t\r\n\f\v") == std::string_view::npos;
}

std::string first_line(std::string_view text, std::size_t bytes_max) {
  const std::string_view line = text.substr(0, text.find('\n'));
  return std::string(cut_utf8(line, bytes_max));
}

}  // namespace ponder::runtime
