#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace ponder::cli {

/// How many columns of a terminal a character takes: 0, 1 or 2. Near enough for prose of any
/// script; terminals differ about the rest.
std::size_t columns_of(char32_t character);

/// Where in its line the cursor of a terminal stands after the text that was written. Escape
/// sequences for colours take no room; text ends with whole characters in the end, not each time.
///
/// A terminal that has written its last column keeps the cursor there, and moves it only for the
/// next character. That wait is lost when the cursor is put elsewhere and back: the next character
/// would then overwrite the last one. Hence is_at_edge().
class LinePlace {
 public:
  /// 0: not a terminal, and never at an edge.
  explicit LinePlace(std::size_t columns) : columns_(columns) {}
  void resize(std::size_t columns) { columns_ = columns; }
  void take(std::string_view text);
  std::size_t column() const { return column_; }
  bool is_at_edge() const { return columns_ != 0 && column_ >= columns_; }

 private:
  void put(char32_t character);

  enum class Escape { none, begun, sequence };

  std::size_t columns_;
  std::size_t column_ = 0;
  Escape escape_ = Escape::none;
  char32_t character_ = 0;  // of which only the first bytes came
  int bytes_missing_ = 0;
};

}  // namespace ponder::cli
