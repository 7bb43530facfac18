#include "tools/web/detail/markdown_writer.h"

#include <algorithm>
#include <utility>

namespace ponder::tools::html {
namespace {

bool is_control(char c) { return static_cast<unsigned char>(c) < 0x20 || c == 0x7F; }

std::size_t longest_run(std::string_view text, char wanted) {
  std::size_t longest = 0;
  std::size_t run = 0;
  for (const char c : text) {
    run = c == wanted ? run + 1 : 0;
    longest = std::max(longest, run);
  }
  return longest;
}

}  // namespace

void MarkdownWriter::append(std::string_view text) {
  if (out_.size() + text.size() <= kTextBytesMax) out_ += text;
}

void MarkdownWriter::begin_word() {
  const bool is_first = out_.empty();
  if (is_first || gap_ > 0) {
    if (gap_ == 2 && !is_first) {
      std::string empty = "\n" + marks_;
      empty.erase(empty.find_last_not_of(' ') + 1);
      append(empty);
    }
    if (!is_first) append("\n");
    append(first_marks_ ? *first_marks_ : marks_);
    first_marks_.reset();
  } else if (has_blank_) {
    append(" ");
  }
  gap_ = 0;
  has_blank_ = false;
}

void MarkdownWriter::text(std::string_view text) {
  std::string word;
  const auto end_word = [&] {
    if (word.empty()) return;
    begin_word();
    append(word);
    word.clear();
  };
  for (std::size_t i = 0; i < text.size(); ++i) {
    const bool is_nbsp = text.substr(i, 2) == "\xC2\xA0";
    if (is_nbsp || text[i] == ' ' || (text[i] >= '\t' && text[i] <= '\r')) {
      end_word();
      has_blank_ = true;
      i += is_nbsp ? 1 : 0;
    } else if (!is_control(text[i])) {
      word += text[i];
    }
  }
  end_word();
}

void MarkdownWriter::word(std::string_view word) {
  begin_word();
  append(word);
}

void MarkdownWriter::code(std::string_view code, std::string_view language) {
  const std::string fence(std::max<std::size_t>(3, longest_run(code, '`') + 1), '`');
  end_paragraph();
  word(fence + std::string(language));
  while (!code.empty()) {
    const std::size_t end = code.find('\n');
    std::string line(code.substr(0, end));
    std::erase_if(line, [](char c) { return is_control(c) && c != '\t'; });
    end_line();
    word(line);
    if (end == std::string_view::npos) break;
    code.remove_prefix(end + 1);
  }
  end_line();
  word(fence);
  end_paragraph();
}

std::string MarkdownWriter::enter(std::string_view first, std::string_view others) {
  std::string before = marks_;
  if (marks_.size() + others.size() > kMarksBytesMax) return before;
  first_marks_ = (first_marks_ ? *first_marks_ : marks_) + std::string(first);
  marks_ += others;
  return before;
}

void MarkdownWriter::leave(std::string marks) {
  marks_ = std::move(marks);
  first_marks_.reset();  // of something that held no text
}

std::string MarkdownWriter::take() { return std::exchange(out_, {}); }

}  // namespace ponder::tools::html
