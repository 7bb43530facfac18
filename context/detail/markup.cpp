#include "context/detail/markup.h"

#include <algorithm>

#include "base/assert.h"
#include "context/detail/token_markup.h"

namespace ponder::context::detail {
namespace {

constexpr std::string_view kBar = "｜";

bool is_word(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_'; }

class TagReader {
 public:
  TagReader(std::string_view text, std::string_view marker, Tag& tag)
      : text_(text.substr(0, kTagBytesMax)), marker_(marker), tag_(tag) {}

  Match read() {
    tag_ = Tag();
    pos_ = 1;
    const Match match = read_tag();
    tag_.num_read = std::max(pos_, num_ahead_);
    if (match != Match::partial || text_.size() < kTagBytesMax) return match;
    // More text cannot help: the tag is too long.
    if (tag_.kind == TagKind::other) return Match::no;
    tag_.is_well_formed = false;
    tag_.length = kTagBytesMax;
    return Match::yes;
  }

 private:
  Match read_tag() {
    if (const Match marker = read_marker(); marker != Match::yes) return marker;
    if (const Match element = read_element(); element != Match::yes) return element;
    const bool has_attributes = tag_.kind == TagKind::invoke || tag_.kind == TagKind::parameter;
    const Match rest = tag_.is_closer   ? read_closer_end()
                       : has_attributes ? read_attributes()
                                        : read_block_end();
    if (rest != Match::yes) return rest;
    tag_.length = pos_;
    tag_.is_canonical = is_canonical(text_.substr(0, pos_));
    return Match::yes;
  }

  bool is_at_end() const { return pos_ >= text_.size(); }
  char peek() const { return is_at_end() ? '\0' : text_[pos_]; }
  void skip_spaces() {
    while (is_space(peek())) ++pos_;
  }

  /// `<`, an optional slash, and the marker with one or two bars of either kind on both sides.
  Match read_marker() {
    // The strict parser tolerates `<`, newline, `/`.
    const bool has_newline = !marker_.empty() && peek() == '\n';
    if (has_newline) ++pos_;
    if (peek() == '/') {
      tag_.is_closer = true;
      ++pos_;
    } else if (has_newline && !is_at_end()) {
      return Match::no;
    }
    if (is_at_end()) return Match::partial;
    if (marker_.empty()) {
      tag_.has_exact_marker = true;
      return Match::yes;
    }
    const std::size_t marker_begin = pos_;
    const std::string_view core = marker_.substr(kBar.size(), marker_.size() - 2 * kBar.size());
    if (const Match bars = read_bars(); bars != Match::yes) return bars;
    if (peek() == ' ') ++pos_;
    const Match match = match_literal(text_.substr(pos_), core);
    if (match != Match::yes) return match;
    pos_ += core.size();
    if (const Match bars = read_bars(); bars != Match::yes) return bars;
    const std::string_view spelled = text_.substr(marker_begin, pos_ - marker_begin);
    tag_.has_exact_marker = spelled == marker_;
    return Match::yes;
  }

  Match read_bars() {
    if (peek() == ' ') ++pos_;
    int num_bars = 0;
    for (; num_bars < 2; ++num_bars) {
      const std::string_view rest = text_.substr(pos_);
      const Match wide = match_literal(rest, kBar);
      if (wide == Match::partial) return Match::partial;
      if (wide == Match::no && rest[0] != '|') break;
      pos_ += wide == Match::yes ? kBar.size() : 1;
    }
    return num_bars == 0 ? Match::no : Match::yes;
  }

  Match read_element() {
    if (peek() == ' ') ++pos_;
    const std::size_t begin = pos_;
    while (is_word(peek())) ++pos_;
    if (is_at_end()) return Match::partial;
    const std::string_view word = text_.substr(begin, pos_ - begin);
    if (word.starts_with("invoke")) {
      tag_.kind = TagKind::invoke;
      if (!tag_.is_closer) pos_ = begin + std::string_view("invoke").size();
    } else if (word.starts_with("parameter")) {
      tag_.kind = TagKind::parameter;
      if (!tag_.is_closer) pos_ = begin + std::string_view("parameter").size();
    } else if (word == "function_calls" || word == "tool_calls" || word == "calls") {
      tag_.kind = TagKind::block;
    }
    tag_.element = text_.substr(begin, pos_ - begin);
    return word.empty() && !tag_.is_closer ? Match::no : Match::yes;
  }

  /// A closer ends with `>`, or where something else stands in its place.
  Match read_closer_end() {
    while (peek() == ' ') ++pos_;
    if (is_at_end()) return Match::partial;
    if (peek() == '>') ++pos_;
    return Match::yes;
  }

  Match read_block_end() {
    while ((is_word(peek()) || peek() == ' ')) ++pos_;
    if (is_at_end()) return Match::partial;
    if (peek() == '>') {
      ++pos_;
      return Match::yes;
    }
    const bool ends_here = peek() == '\n' || peek() == '\r' || peek() == '<';
    return tag_.kind == TagKind::block && ends_here ? Match::yes : Match::no;
  }

  Match read_attributes() {
    for (;;) {
      skip_spaces();
      if (is_at_end()) return Match::partial;
      if (peek() == '>') {
        ++pos_;
        return Match::yes;
      }
      const std::size_t begin = pos_;
      while (is_word(peek())) ++pos_;
      const std::string_view key = text_.substr(begin, pos_ - begin);
      skip_spaces();
      if (is_at_end()) return Match::partial;
      if (key.empty() || peek() != '=') return give_up();
      ++pos_;
      skip_spaces();
      if (is_at_end()) return Match::partial;
      if (peek() != '"') return give_up();
      ++pos_;
      if (const Match value = read_value(key); value != Match::yes) return value;
    }
  }

  Match read_value(std::string_view key) {
    const std::size_t begin = pos_;
    for (;; ++pos_) {
      while (!is_at_end() && peek() != '"') ++pos_;
      if (is_at_end()) return Match::partial;
      const Match closes = closes_value(pos_ + 1);
      if (closes == Match::partial) return closes;
      if (closes == Match::yes) break;
    }
    const std::string_view value = text_.substr(begin, pos_ - begin);
    ++pos_;
    if (key == "name") {
      tag_.name = value;
    } else if (key == "string") {
      tag_.string_attr = value == "true"    ? StringAttr::is_true
                         : value == "false" ? StringAttr::is_false
                                            : StringAttr::invalid;
    }
    return Match::yes;
  }

  /// Whether a quote before `pos` ends its value: the tag's end or another attribute must follow,
  /// since names may hold quotes.
  Match closes_value(std::size_t pos) {
    while (pos < text_.size() && is_space(text_[pos])) ++pos;
    num_ahead_ = pos;
    if (pos >= text_.size()) return Match::partial;
    if (text_[pos] == '>') return Match::yes;
    const std::string_view rest = text_.substr(pos);
    for (const std::string_view key : {"name=\"", "string=\""}) {
      const Match match = match_literal(rest, key);
      if (match != Match::no) return match;
    }
    return Match::no;
  }

  /// The attributes cannot be read: the tag ends at its `>`, or before the next tag or line.
  Match give_up() {
    tag_.is_well_formed = false;
    while (!is_at_end() && peek() != '>' && peek() != '<' && peek() != '\n') ++pos_;
    if (is_at_end()) return Match::partial;
    if (peek() == '>') ++pos_;
    return Match::yes;
  }

  bool is_canonical(std::string_view tag) const {
    // A name that only resembles an element's is read as that element, and is not its spelling.
    const bool is_name = tag_.kind == TagKind::invoke ? tag_.element == "invoke"
                         : tag_.kind == TagKind::parameter
                             ? tag_.element == "parameter"
                             : tag_.element == "function_calls" || tag_.element == "tool_calls";
    if (!is_name) return false;
    const auto take = [&tag](std::string_view part) {
      const bool is_next = has_prefix(tag, part);
      if (is_next) tag.remove_prefix(part.size());
      return is_next;
    };
    if (!take(tag_.is_closer ? "</" : "<") || !take(marker_) || !take(tag_.element)) return false;
    const bool has_name = tag_.kind == TagKind::invoke || tag_.kind == TagKind::parameter;
    if (has_name && !tag_.is_closer) {
      if (!take(" name=\"") || !take(tag_.name) || !take("\"")) return false;
      if (tag_.kind == TagKind::parameter) {
        const bool is_text = tag_.string_attr == StringAttr::is_true;
        if (!take(is_text ? " string=\"true\"" : " string=\"false\"")) return false;
      }
    }
    return tag == ">";
  }

  std::string_view text_;
  std::string_view marker_;  // empty: the tag has none
  Tag& tag_;
  std::size_t pos_ = 0;
  std::size_t num_ahead_ = 0;  // how far was looked, if farther than pos_
};

/// A tag spelled as the encoder spells it, which is how most of them are.
class CanonicalReader {
 public:
  CanonicalReader(std::string_view text, const ChatFormat& format, Tag& tag)
      : text_(text.substr(0, kTagBytesMax)), format_(format), tag_(tag) {}

  bool read() {
    if (text_.size() < 2) return false;
    if (text_[1] == '/') {
      return read_closer(format_.param_close, TagKind::parameter, "parameter") ||
             read_closer(format_.invoke_close, TagKind::invoke, "invoke") ||
             read_block(format_.calls_close, true);
    }
    if (has_prefix(text_, format_.param_open)) return read_parameter();
    if (has_prefix(text_, format_.invoke_open)) return read_invoke();
    return read_block(format_.calls_open, false);
  }

 private:
  bool read_closer(std::string_view closer, TagKind kind, std::string_view element) {
    if (closer.starts_with('\n')) closer.remove_prefix(1);
    if (!has_prefix(text_, closer)) return false;
    take(kind, element, closer.size());
    tag_.is_closer = true;
    return true;
  }

  bool read_block(std::string_view spelled, bool is_closer) {
    const std::size_t begin = spelled.find_first_not_of('\n');
    if (begin == std::string_view::npos) return false;
    const std::string_view tag = spelled.substr(begin, spelled.find('>') + 1 - begin);
    if (!has_prefix(text_, tag)) return false;
    const std::size_t element = (is_closer ? 2 : 1) + format_.marker.size();
    take(TagKind::block, tag.substr(element, tag.size() - element - 1), tag.size());
    tag_.is_closer = is_closer;
    return true;
  }

  bool read_parameter() {
    if (!find_name(format_.param_open)) return false;
    const std::string_view rest = text_.substr(format_.param_open.size() + name_.size());
    const bool is_text = has_prefix(rest, format_.param_name_close_string);
    if (!is_text && !has_prefix(rest, format_.param_name_close_json)) return false;
    const std::string_view close =
        is_text ? format_.param_name_close_string : format_.param_name_close_json;
    take(TagKind::parameter, "parameter", text_.size() - rest.size() + close.size());
    tag_.string_attr = is_text ? StringAttr::is_true : StringAttr::is_false;
    return true;
  }

  bool read_invoke() {
    if (!find_name(format_.invoke_open)) return false;
    const std::size_t end = format_.invoke_open.size() + name_.size();
    if (!text_.substr(end).starts_with("\">")) return false;
    take(TagKind::invoke, "invoke", end + 2);
    return true;
  }

  bool find_name(std::string_view open) {
    const std::size_t end = text_.find('"', open.size());
    if (end == std::string_view::npos) return false;
    name_ = text_.substr(open.size(), end - open.size());
    return true;
  }

  void take(TagKind kind, std::string_view element, std::size_t length) {
    tag_ = Tag();
    tag_.kind = kind;
    tag_.is_canonical = true;
    tag_.has_exact_marker = true;
    tag_.element = element;
    tag_.name = name_;
    tag_.length = length;
    tag_.num_read = length;
  }

  std::string_view text_;
  const ChatFormat& format_;
  Tag& tag_;
  std::string_view name_;
};

/// The tags without their marker.
constexpr ChatFormat kUnmarked = [] {
  ChatFormat format;
  format.invoke_open = "<invoke name=\"";
  format.invoke_close = "</invoke>";
  format.param_open = "<parameter name=\"";
  format.param_name_close_string = "\" string=\"true\">";
  format.param_name_close_json = "\" string=\"false\">";
  format.param_close = "</parameter>";
  return format;
}();

/// Whether the text begins with an unmarked tag's name, as far as it goes.
bool may_be_unmarked(std::string_view text) {
  std::string_view word = text.substr(1);
  if (word.starts_with('/')) word.remove_prefix(1);
  for (const std::string_view name : {"invoke", "parameter", "function_calls", "tool_calls"}) {
    if (match_literal(word, name) != Match::no) return true;
  }
  return false;
}

}  // namespace

Match match_tag(std::string_view text, const ChatFormat& format, Tag& tag) {
  PONDER_ASSERT(text.starts_with('<'));
  tag.num_read = 0;
  const bool has_letter = text.size() > 1 && text[1] >= 'a';  // where a bar or a slash must stand
  if (has_letter && text[1] <= 'z') return Match::no;
  if (!may_be_markup(text)) return Match::no;
  if (format.calls_are_text) return match_token_tag(text, format, tag);
  if (CanonicalReader(text, format, tag).read()) return Match::yes;
  return TagReader(text, format.marker, tag).read();
}

Match match_unmarked_tag(std::string_view text, Tag& tag) {
  PONDER_ASSERT(text.starts_with('<'));
  tag.num_read = 0;
  if (!may_be_unmarked(text)) return Match::no;
  if (!CanonicalReader(text, kUnmarked, tag).read()) {
    const Match match = TagReader(text, {}, tag).read();
    if (match != Match::yes) return match;
  }
  const bool has_name = tag.is_closer || tag.kind == TagKind::block || !tag.name.empty();
  const bool is_one = tag.is_well_formed && tag.kind != TagKind::other && has_name;
  return is_one && text.substr(0, tag.length).ends_with('>') ? Match::yes : Match::no;
}

}  // namespace ponder::context::detail
