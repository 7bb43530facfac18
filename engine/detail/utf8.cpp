#include "engine/detail/utf8.h"

#include <algorithm>

namespace ponder::engine::detail {
namespace {

struct Lead {
  std::size_t num_bytes;     // 0: no lead byte
  unsigned char second_min;  // the second byte's range keeps out overlong forms, surrogates
  unsigned char second_max;  // and what lies beyond U+10FFFF
};

Lead lead_of(unsigned char byte) {
  if (byte >= 0xC2 && byte <= 0xDF) return {2, 0x80, 0xBF};
  if (byte == 0xE0) return {3, 0xA0, 0xBF};
  if (byte == 0xED) return {3, 0x80, 0x9F};
  if (byte >= 0xE1 && byte <= 0xEF) return {3, 0x80, 0xBF};
  if (byte == 0xF0) return {4, 0x90, 0xBF};
  if (byte >= 0xF1 && byte <= 0xF3) return {4, 0x80, 0xBF};
  if (byte == 0xF4) return {4, 0x80, 0x8F};
  return {0, 0, 0};
}

/// How many bytes from `at` on belong to the sequence that `lead` announces, itself included.
std::size_t valid_prefix(std::string_view text, std::size_t at, const Lead& lead) {
  const std::size_t end = std::min(text.size(), at + lead.num_bytes);
  std::size_t i = at + 1;
  for (; i < end; ++i) {
    const auto byte = static_cast<unsigned char>(text[i]);
    const bool is_second = i == at + 1;
    if (byte < (is_second ? lead.second_min : 0x80)) break;
    if (byte > (is_second ? lead.second_max : 0xBF)) break;
  }
  return i - at;
}

}  // namespace

Utf8Unit utf8_unit_slow(std::string_view text, std::size_t at) {
  const auto first = static_cast<unsigned char>(text[at]);
  if (first < 0x80) return {first, 1};
  const Lead lead = lead_of(first);
  if (lead.num_bytes == 0 || valid_prefix(text, at, lead) != lead.num_bytes) {
    return {kInvalidUnit, 1};
  }
  char32_t code_point = first & (0x7FU >> lead.num_bytes);
  for (std::size_t i = 1; i < lead.num_bytes; ++i) {
    code_point = code_point << 6 | (static_cast<unsigned char>(text[at + i]) & 0x3FU);
  }
  return {code_point, lead.num_bytes};
}

std::size_t incomplete_utf8_suffix(std::string_view text) {
  for (std::size_t length = 1; length <= std::min<std::size_t>(3, text.size()); ++length) {
    const std::size_t at = text.size() - length;
    const Lead lead = lead_of(static_cast<unsigned char>(text[at]));
    if (lead.num_bytes > length && valid_prefix(text, at, lead) == length) return length;
  }
  return 0;
}

}  // namespace ponder::engine::detail
