#pragma once

#include <algorithm>
#include <cstddef>
#include <optional>
#include <string>
#include <string_view>

namespace ponder::tools::html {

/// Puts text together in lines and paragraphs, each line behind the marks of the lists and
/// quotations that it stands in. Blanks collapse, paragraphs are one empty line apart, and control
/// characters are dropped, whatever is put in.
///
/// Bounded: beyond kTextBytesMax nothing is added, and marks stop growing at kMarksBytesMax.
class MarkdownWriter {
 public:
  static constexpr std::size_t kTextBytesMax = 8 << 20;
  static constexpr std::size_t kMarksBytesMax = 24;

  /// Running text; blanks at its ends are kept as one.
  void text(std::string_view text);
  /// A word of ours, as it is.
  void word(std::string_view word);
  void end_line() { gap_ = std::max(gap_, 1); }
  /// The first paragraph behind a mark stands on the mark's line.
  void end_paragraph() {
    if (!first_marks_) gap_ = 2;
  }
  /// Nothing but a line end comes before the next word.
  void tighten() { gap_ = std::min(gap_, 1); }
  /// Lines as they are, between fences.
  void code(std::string_view code, std::string_view language);

  /// Marks in front of the lines to come: `first` before the next one, `others` before the rest.
  /// Gives what leave() takes to go back.
  std::string enter(std::string_view first, std::string_view others);
  void leave(std::string marks);

  std::string take();

 private:
  void begin_word();
  void append(std::string_view text);
  std::string out_;
  std::string marks_;
  std::optional<std::string> first_marks_;
  int gap_ = 0;  // line ends that come before the next word
  bool has_blank_ = false;
};

}  // namespace ponder::tools::html
