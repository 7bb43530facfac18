#include "base/http/sse.h"

#include <fmt/format.h>

#include <charconv>
#include <cstdint>
#include <system_error>
#include <utility>

namespace ponder::http {
namespace {

constexpr std::string_view kByteOrderMark = "\xEF\xBB\xBF";

}  // namespace

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
    last_event_id_ = id_;
    if (!has_data_) return {};
    const std::string data = std::exchange(data_, {});
    has_data_ = false;
    return sink(data);
  }
  std::string line = std::exchange(line_, {});
  if (std::exchange(is_first_line_, false) && line.starts_with(kByteOrderMark)) {
    line.erase(0, kByteOrderMark.size());
  }
  const std::size_t colon = line.find(':');
  std::string_view value;
  if (colon != std::string::npos) value = std::string_view(line).substr(colon + 1);
  if (value.starts_with(' ')) value.remove_prefix(1);
  take_field(std::string_view(line).substr(0, colon), value);
  return {};
}

void SseReader::take_field(std::string_view name, std::string_view value) {
  if (name == "data") {
    if (has_data_) data_ += '\n';
    data_ += value;
    has_data_ = true;
  } else if (name == "id") {
    if (value.find('\0') == std::string_view::npos) id_ = value;
  } else if (name == "retry") {
    std::uint32_t ms = 0;
    const auto [end, error] = std::from_chars(value.data(), value.data() + value.size(), ms);
    const bool is_number = error == std::errc() && end == value.data() + value.size();
    if (is_number && !value.empty()) retry_ = std::chrono::milliseconds(ms);
  }
}

}  // namespace ponder::http
