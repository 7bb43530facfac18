#pragma once

#include <cstddef>
#include <string_view>

/// UTF-8 as bytes from anywhere: what is valid is a character, every other byte stands alone.
namespace ponder::engine::detail {

struct Utf8Unit {
  char32_t code_point;    // kInvalidUnit for a byte that starts no valid sequence
  std::size_t num_bytes;  // 1 to 4
};

inline constexpr char32_t kInvalidUnit = 0x110000;

/// The character at text[at]. Requires: at < text.size().
Utf8Unit utf8_unit_slow(std::string_view text, std::size_t at);

inline Utf8Unit utf8_unit(std::string_view text, std::size_t at) {
  const auto first = static_cast<unsigned char>(text[at]);
  return first < 0x80 ? Utf8Unit{first, 1} : utf8_unit_slow(text, at);
}

/// How many bytes at the end of text begin a valid sequence that is not complete: 0 to 3.
std::size_t incomplete_utf8_suffix(std::string_view text);

}  // namespace ponder::engine::detail
