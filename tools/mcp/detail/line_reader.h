#pragma once

#include <cstddef>
#include <functional>
#include <string>
#include <string_view>

#include "base/result.h"

namespace ponder::mcp {

/// Lines out of bytes that come in any pieces, each at most so many bytes long.
class LineReader {
 public:
  /// Gets each line without its end, or `exhausted` once for a line that was too long and is
  /// skipped. Blank lines are passed over.
  using Sink = std::function<void(Result<std::string_view> line)>;
  explicit LineReader(std::size_t bytes_max) : bytes_max_(bytes_max) {}

  void feed(std::string_view bytes, const Sink& sink);

 private:
  void end_line(const Sink& sink);

  std::size_t bytes_max_;
  std::string line_;
  bool is_skipping_ = false;
};

}  // namespace ponder::mcp
