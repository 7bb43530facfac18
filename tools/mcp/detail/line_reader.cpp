#include "tools/mcp/detail/line_reader.h"

#include <fmt/format.h>

#include <utility>

namespace ponder::mcp {

void LineReader::feed(std::string_view bytes, const Sink& sink) {
  while (!bytes.empty()) {
    const std::size_t end = bytes.find('\n');
    const std::string_view piece = bytes.substr(0, end);
    if (!is_skipping_ && line_.size() + piece.size() > bytes_max_) {
      is_skipping_ = true;
      line_ = {};
      sink(fail(Errc::exhausted, fmt::format("a line is longer than {} bytes", bytes_max_)));
    }
    if (!is_skipping_) line_ += piece;
    if (end == std::string_view::npos) return;
    end_line(sink);
    bytes.remove_prefix(end + 1);
  }
}

void LineReader::end_line(const Sink& sink) {
  const bool was_skipping = std::exchange(is_skipping_, false);
  std::string line = std::exchange(line_, {});
  if (line.ends_with('\r')) line.pop_back();
  if (!was_skipping && line.find_first_not_of(" \t") != std::string::npos) {
    sink(std::string_view(line));
  }
}

}  // namespace ponder::mcp
