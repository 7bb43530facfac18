#include "context/detail/text_output.h"

#include <algorithm>

namespace ponder::context::detail {

void FenceTracker::add(std::string_view text) {
  constexpr int kFenceTicks = 3;
  for (const char c : text) {
    if (c == '\n') {
      is_line_start_ = true;
      num_ticks_ = 0;
    } else if (is_line_start_ && c == '`') {
      if (++num_ticks_ == kFenceTicks) is_open_ = !is_open_;
    } else if (c != ' ' || num_ticks_ > 0) {
      is_line_start_ = false;
    }
  }
}

void TextOutput::put(Channel channel, std::string_view text) {
  if (text.empty()) return;
  if (channel != channel_) flush();
  channel_ = channel;
  if (channel == Channel::content) fence_.add(text);
  delta_ += text;
}

void TextOutput::flush() {
  if (delta_.empty()) return;
  if (channel_ == Channel::reasoning) {
    out_.reasoning += delta_;
    sink_.on_reasoning(delta_);
  } else {
    out_.content += delta_;
    sink_.on_content(delta_);
  }
  delta_.clear();
}

std::size_t incomplete_utf8_tail(std::string_view text) {
  for (std::size_t back = 1; back <= std::min<std::size_t>(3, text.size()); ++back) {
    const auto byte = static_cast<unsigned char>(text[text.size() - back]);
    if ((byte & 0xC0) == 0x80) continue;
    const std::size_t length = byte >= 0xF0 ? 4 : byte >= 0xE0 ? 3 : byte >= 0xC0 ? 2 : 1;
    return length > back ? back : 0;
  }
  return 0;
}

}  // namespace ponder::context::detail
