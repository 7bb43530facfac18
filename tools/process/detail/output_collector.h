#pragma once

#include <cstddef>
#include <string>
#include <string_view>

#include "tools/process/run_process.h"

namespace ponder::tools {

/// Keeps the beginning and the end of a stream of any length in bounded memory: what failed is said
/// first or last.
class OutputCollector {
 public:
  explicit OutputCollector(std::size_t bytes_max)
      : head_max_(bytes_max / 2), tail_max_(bytes_max - bytes_max / 2) {}

  void add(std::string_view bytes);
  /// What was kept, with a line in place of what was dropped.
  ProcessOutput finish();

 private:
  std::size_t head_max_;
  std::size_t tail_max_;
  std::string head_;
  std::string tail_;  // up to twice tail_max_ before it is cut
  std::uint64_t bytes_dropped_ = 0;
};

}  // namespace ponder::tools
