#include "tools/process/detail/output_collector.h"

#include <fmt/format.h>

#include <algorithm>

namespace ponder::tools {

void OutputCollector::add(std::string_view bytes) {
  const std::size_t fits = std::min(bytes.size(), head_max_ - head_.size());
  head_.append(bytes.substr(0, fits));
  bytes.remove_prefix(fits);
  if (bytes.size() > tail_max_) {
    bytes_dropped_ += bytes.size() - tail_max_ + tail_.size();
    tail_.clear();
    bytes.remove_prefix(bytes.size() - tail_max_);
  }
  tail_.append(bytes);
  if (tail_.size() < 2 * tail_max_) return;
  const std::size_t excess = tail_.size() - tail_max_;
  bytes_dropped_ += excess;
  tail_.erase(0, excess);
}

ProcessOutput OutputCollector::finish() {
  if (tail_.size() > tail_max_) {
    const std::size_t excess = tail_.size() - tail_max_;
    bytes_dropped_ += excess;
    tail_.erase(0, excess);
  }
  ProcessOutput out;
  out.bytes_dropped = bytes_dropped_;
  out.text = std::move(head_);
  if (bytes_dropped_ > 0) out.text += fmt::format("\n[{} bytes left out]\n", bytes_dropped_);
  out.text += tail_;
  return out;
}

}  // namespace ponder::tools
