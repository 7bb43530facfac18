#include "runtime/cli/line_place.h"

#include <algorithm>
#include <array>
#include <iterator>

namespace ponder::cli {
namespace {

struct Range {
  char32_t first;
  char32_t last;
};

/// East Asian Wide and Fullwidth, and pictures; blocks rather than single characters.
constexpr std::array kWide = {
    Range{0x1100, 0x115F},   Range{0x2E80, 0x303E},   Range{0x3041, 0x33FF},
    Range{0x3400, 0x4DBF},   Range{0x4E00, 0x9FFF},   Range{0xA000, 0xA4CF},
    Range{0xA960, 0xA97F},   Range{0xAC00, 0xD7A3},   Range{0xF900, 0xFAFF},
    Range{0xFE30, 0xFE6F},   Range{0xFF00, 0xFF60},   Range{0xFFE0, 0xFFE6},
    Range{0x1F300, 0x1F64F}, Range{0x1F680, 0x1F6FF}, Range{0x1F900, 0x1F9FF},
    Range{0x20000, 0x3FFFD}};

/// What is drawn into the character before.
constexpr std::array kNoColumns = {
    Range{0x0300, 0x036F}, Range{0x0483, 0x0489}, Range{0x0591, 0x05BD}, Range{0x064B, 0x065F},
    Range{0x1AB0, 0x1AFF}, Range{0x1DC0, 0x1DFF}, Range{0x200B, 0x200F}, Range{0x20D0, 0x20FF},
    Range{0xFE00, 0xFE0F}, Range{0xFE20, 0xFE2F}};

template <std::size_t N>
bool is_in(const std::array<Range, N>& ranges, char32_t character) {
  return std::ranges::any_of(ranges, [character](const Range& range) {
    return character >= range.first && character <= range.last;
  });
}

}  // namespace

std::size_t columns_of(char32_t character) {
  if (character < 0x20 || (character >= 0x7F && character < 0xA0)) return 0;
  if (character < 0x300) return 1;
  if (is_in(kNoColumns, character)) return 0;
  return is_in(kWide, character) ? 2 : 1;
}

void LinePlace::take(std::string_view text) {
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (escape_ != Escape::none) {  // ESC [ ... letter
      const bool is_end = escape_ == Escape::begun ? byte != '[' : byte >= 0x40;
      escape_ = is_end ? Escape::none : Escape::sequence;
    } else if (byte == 0x1B) {
      escape_ = Escape::begun;
    } else if (byte < 0x80) {
      bytes_missing_ = 0;
      put(byte);
    } else if (byte < 0xC0) {
      character_ = character_ << 6 | (byte & 0x3FU);
      if (bytes_missing_ > 0 && --bytes_missing_ == 0) put(character_);
    } else {
      bytes_missing_ = byte >= 0xF0 ? 3 : byte >= 0xE0 ? 2 : 1;
      character_ = byte & (0x3FU >> bytes_missing_);
    }
  }
}

void LinePlace::put(char32_t character) {
  constexpr std::size_t kTabColumns = 8;
  if (character == '\n' || character == '\r') {
    column_ = 0;
  } else if (character == '\t') {
    column_ = (column_ / kTabColumns + 1) * kTabColumns;
    if (columns_ != 0) column_ = std::min(column_, columns_ - 1);  // no tab leads over the edge
  } else {
    const std::size_t width = columns_of(character);
    const bool is_next_line = columns_ != 0 && width != 0 && column_ + width > columns_;
    column_ = is_next_line ? width : column_ + width;
  }
}

}  // namespace ponder::cli
