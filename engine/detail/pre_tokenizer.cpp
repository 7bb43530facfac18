#include "engine/detail/pre_tokenizer.h"

#include <algorithm>
#include <cstddef>
#include <memory>

#include "engine/detail/unicode_table.h"
#include "engine/detail/utf8.h"

namespace ponder::engine::detail {

const std::string_view kDigitPattern = R"(\p{N}{1,3})";
const std::string_view kCjkPattern = "[一-龥぀-ゟ゠-ヿ]+";
const std::string_view kWordPattern = R"([!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+)"
                                      "|[^\r\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+"
                                      "| ?[\\p{P}\\p{S}]+[\r\n]*"
                                      "|\\s*[\r\n]+"
                                      "|\\s+(?!\\S)"
                                      "|\\s+";

const CharClass* char_classes() {
  constexpr std::size_t kNumCodePoints = 0x110000;
  static const std::unique_ptr<const CharClass[]> table = [] {
    auto classes = std::make_unique<CharClass[]>(kNumCodePoints);
    for (std::size_t i = 0; i < kNumCharClassRanges; ++i) {
      const std::size_t begin = kCharClassRanges[i] >> 3;
      const bool is_last = i + 1 == kNumCharClassRanges;
      const std::size_t end = is_last ? kNumCodePoints : kCharClassRanges[i + 1] >> 3;
      std::fill(classes.get() + begin, classes.get() + end,
                static_cast<CharClass>(kCharClassRanges[i] & 7));
    }
    return classes;
  }();
  return table.get();
}

namespace {

struct Char {
  char32_t code_point;
  CharClass kind;
  std::size_t num_bytes;

  bool is(char32_t c) const { return code_point == c; }
  bool is_newline() const { return is('\r') || is('\n'); }
  bool is_word() const { return kind == CharClass::letter || kind == CharClass::mark; }
  bool is_mark_up() const { return kind == CharClass::punctuation || kind == CharClass::symbol; }
};

bool is_ascii_letter(char c) { return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z'); }

bool is_cjk(char32_t c) { return (c >= 0x4E00 && c <= 0x9FA5) || (c >= 0x3040 && c <= 0x30FF); }

/// Finds matches of kWordPattern in one piece of the earlier splits.
class WordScanner {
 public:
  WordScanner(std::string_view text, const CharClass* classes) : text_(text), classes_(classes) {}

  void scan(std::vector<std::string_view>& pieces) const {
    std::size_t unmatched = 0;  // where the characters begin that nothing matched
    std::size_t at = 0;
    while (at < text_.size()) {
      const std::size_t end = match(at);
      if (end == at) {
        at += char_at(at).num_bytes;
        continue;
      }
      if (unmatched < at) pieces.push_back(text_.substr(unmatched, at - unmatched));
      pieces.push_back(text_.substr(at, end - at));
      unmatched = at = end;
    }
    if (unmatched < at) pieces.push_back(text_.substr(unmatched));
  }

 private:
  /// At the end: a character of no class.
  Char char_at(std::size_t at) const {
    if (at >= text_.size()) return {kInvalidUnit, CharClass::other, 0};
    const Utf8Unit unit = utf8_unit(text_, at);
    const bool is_valid = unit.code_point != kInvalidUnit;
    return {unit.code_point, is_valid ? classes_[unit.code_point] : CharClass::other,
            unit.num_bytes};
  }

  template <class Predicate>
  std::size_t skip(std::size_t at, Predicate matches) const {
    for (Char c = char_at(at); c.num_bytes > 0 && matches(c); c = char_at(at)) at += c.num_bytes;
    return at;
  }

  /// The end of the match that starts here; `at` when there is none. The alternatives in order.
  std::size_t match(std::size_t at) const {
    const Char first = char_at(at);
    const std::size_t next = at + first.num_bytes;
    if (first.is_mark_up()) {
      if (first.code_point < 0x80 && next < text_.size() && is_ascii_letter(text_[next])) {
        return skip(next, [](const Char& c) {
          return c.code_point < 0x80 && is_ascii_letter(static_cast<char>(c.code_point));
        });
      }
      return match_mark_up(at);
    }
    const auto is_word = [](const Char& c) { return c.is_word(); };
    if (first.is_word()) return skip(at, is_word);
    if (!first.is_newline() && char_at(next).is_word()) return skip(next, is_word);
    if (first.is(' ') && char_at(next).is_mark_up()) return match_mark_up(next);
    if (first.kind == CharClass::space) return match_blanks(at);
    return at;
  }

  std::size_t match_mark_up(std::size_t at) const {
    const std::size_t end = skip(at, [](const Char& c) { return c.is_mark_up(); });
    return skip(end, [](const Char& c) { return c.is_newline(); });
  }

  /// Blanks up to their last line break; else all of them at the end of the piece; else all but
  /// the last, which goes with what follows; else the single one.
  std::size_t match_blanks(std::size_t at) const {
    std::size_t end = at;
    std::size_t last = at;  // start of the last blank
    std::size_t after_newline = at;
    for (Char c = char_at(end); c.kind == CharClass::space; c = char_at(end)) {
      last = end;
      end += c.num_bytes;
      if (c.is_newline()) after_newline = end;
    }
    if (after_newline > at) return after_newline;
    return end == text_.size() || last == at ? end : last;
  }

  std::string_view text_;
  const CharClass* classes_;
};

}  // namespace

void split_pieces(std::string_view text, std::vector<std::string_view>& pieces) {
  enum class Kind { digits, cjk, rest };
  constexpr std::size_t kDigitsMax = 3;
  const CharClass* classes = char_classes();
  const auto kind_of = [&](char32_t c) {
    if (c == kInvalidUnit) return Kind::rest;
    return classes[c] == CharClass::number ? Kind::digits : is_cjk(c) ? Kind::cjk : Kind::rest;
  };
  std::size_t begin = 0;
  while (begin < text.size()) {
    Utf8Unit unit = utf8_unit(text, begin);
    const Kind kind = kind_of(unit.code_point);
    std::size_t end = begin;
    std::size_t num_chars = 0;
    do {
      end += unit.num_bytes;
      ++num_chars;
      if (end == text.size() || (kind == Kind::digits && num_chars == kDigitsMax)) break;
      unit = utf8_unit(text, end);
    } while (kind_of(unit.code_point) == kind);
    const std::string_view part = text.substr(begin, end - begin);
    if (kind == Kind::digits) {
      pieces.push_back(part);  // the word pattern matches no digit
    } else {
      WordScanner(part, classes).scan(pieces);
    }
    begin = end;
  }
}

}  // namespace ponder::engine::detail
