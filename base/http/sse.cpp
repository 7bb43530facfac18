#include "base/http/sse.h"

#include <fmt/format.h>

#include <utility>

namespace ponder::http {

Status SseReader::feed(std::string_view bytes, const Sink& sink) {
  for (const char c : bytes) {
    const bool is_second_half = c == '\n' && last_was_cr_;
    last_was_cr_ = c == '\r';
    if (is_second_half) continue;
    if (c == '\n' || c == '\r') {
      PONDER_CHECK(take_line(sink));
      continue;
    }
    line_ += c;
    if (line_.size() + data_.size() > event_bytes_max_) {
      return fail(Errc::exhausted,
                  fmt::format("an event of the stream is longer than {} bytes", event_bytes_max_));
    }
  }
  return {};
}

Status SseReader::take_line(const Sink& sink) {
  if (line_.empty()) {
    if (!has_data_) return {};
    const std::string data = std::exchange(data_, {});
    has_data_ = false;
    return sink(data);
  }
  const std::string line = std::exchange(line_, {});
  const std::size_t colon = line.find(':');
  if (std::string_view(line).substr(0, colon) != "data") return {};
  std::string_view value;
  if (colon != std::string::npos) value = std::string_view(line).substr(colon + 1);
  if (value.starts_with(' ')) value.remove_prefix(1);
  if (has_data_) data_ += '\n';
  data_ += value;
  has_data_ = true;
  return {};
}

}  // namespace ponder::http
