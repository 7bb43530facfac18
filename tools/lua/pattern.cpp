#include "tools/lua/pattern.h"

#include <cstring>

namespace ponder::tools::lua {
namespace {

bool is_between(unsigned char c, char low, char high) {
  return c >= static_cast<unsigned char>(low) && c <= static_cast<unsigned char>(high);
}
bool is_digit(unsigned char c) { return is_between(c, '0', '9'); }
bool is_lower(unsigned char c) { return is_between(c, 'a', 'z'); }
bool is_upper(unsigned char c) { return is_between(c, 'A', 'Z'); }
bool is_letter(unsigned char c) { return is_lower(c) || is_upper(c); }
bool is_graph(unsigned char c) { return is_between(c, '!', '~'); }

/// Whether `c` belongs to the class that `letter` names after a '%'; another character stands for
/// itself. ASCII whatever the locale, so that tools behave the same everywhere.
bool fits_class(unsigned char c, unsigned char letter) {
  bool fits = false;
  switch (is_upper(letter) ? letter - 'A' + 'a' : letter) {
    case 'a':
      fits = is_letter(c);
      break;
    case 'c':
      fits = c < 32 || c == 127;
      break;
    case 'd':
      fits = is_digit(c);
      break;
    case 'g':
      fits = is_graph(c);
      break;
    case 'l':
      fits = is_lower(c);
      break;
    case 'p':
      fits = is_graph(c) && !is_letter(c) && !is_digit(c);
      break;
    case 's':
      fits = c == ' ' || (c >= 9 && c <= 13);
      break;
    case 'u':
      fits = is_upper(c);
      break;
    case 'w':
      fits = is_letter(c) || is_digit(c);
      break;
    case 'x':
      fits = is_digit(c) || is_between(c, 'a', 'f') || is_between(c, 'A', 'F');
      break;
    default:
      return letter == c;
  }
  return is_upper(letter) ? !fits : fits;
}

}  // namespace

std::size_t PatternMatcher::fail(const char* error) {
  if (error_ == nullptr) error_ = error;
  return npos;
}

bool PatternMatcher::charge(std::size_t steps) {
  steps_ += static_cast<std::int64_t>(steps);
  if (steps_ <= steps_max_) return true;
  fail("the pattern takes too many steps on this text");
  return false;
}

bool PatternMatcher::search(std::size_t from, std::size_t skipped_end, bool is_anchored) {
  for (std::size_t s = from; s <= subject_.size(); ++s) {
    num_captures_ = 0;
    const std::size_t end = match(s, 0);
    if (error_ != nullptr) return false;
    if (end != npos && end != skipped_end) {
      begin_ = s;
      end_ = end;
      for (int i = 0; i < num_captures_; ++i) {
        if (capture(i).length == kOpen) {
          fail("unfinished capture");
          return false;
        }
      }
      return true;
    }
    if (is_anchored) return false;
  }
  return false;
}

std::size_t PatternMatcher::match(std::size_t s, std::size_t p) {
  if (depth_ >= kDepthMax) return fail("the pattern is too complex");
  ++depth_;
  const std::size_t end = match_here(s, p);
  --depth_;
  return end;
}

std::size_t PatternMatcher::match_here(std::size_t s, std::size_t p) {
  while (charge(1)) {
    if (p == pattern_.size()) return s;
    if (pattern_[p] == '(') {
      const bool is_place = p + 1 < pattern_.size() && pattern_[p + 1] == ')';
      return is_place ? start_capture(s, p + 2, kPosition) : start_capture(s, p + 1, kOpen);
    }
    if (pattern_[p] == ')') return end_capture(s, p + 1);
    if (pattern_[p] == '$' && p + 1 == pattern_.size()) return s == subject_.size() ? s : npos;
    if (match_construct(s, p)) {
      if (s == npos) return npos;
      continue;
    }
    const std::size_t ep = class_end(p);
    if (error_ != nullptr) return npos;
    const char suffix = ep < pattern_.size() ? pattern_[ep] : '\0';
    if (suffix == '*') return expand_most(s, p, ep);
    if (suffix == '-') return expand_least(s, p, ep);
    const bool fits = fits_single(s, p, ep);
    if (suffix == '+') return fits ? expand_most(s + 1, p, ep) : npos;
    if (suffix == '?') {
      const std::size_t end = fits ? match(s + 1, ep + 1) : npos;
      if (end != npos || error_ != nullptr) return end;
      p = ep + 1;
      continue;
    }
    if (!fits) return npos;
    ++s;
    p = ep;
  }
  return npos;
}

bool PatternMatcher::match_construct(std::size_t& s, std::size_t& p) {
  if (pattern_[p] != '%' || p + 1 >= pattern_.size()) return false;
  const char kind = pattern_[p + 1];
  if (kind == 'b') {
    s = match_balance(s, p + 2);
    p += 4;
    return true;
  }
  if (kind == 'f') {
    p += 2;
    s = match_frontier(s, p);
    return true;
  }
  if (is_digit(static_cast<unsigned char>(kind))) {
    s = match_back_reference(s, kind);
    p += 2;
    return true;
  }
  return false;
}

std::size_t PatternMatcher::expand_most(std::size_t s, std::size_t p, std::size_t ep) {
  std::size_t count = 0;
  while (fits_single(s + count, p, ep)) ++count;
  while (error_ == nullptr) {
    const std::size_t end = match(s + count, ep + 1);
    if (end != npos) return end;
    if (count == 0) return npos;
    --count;
  }
  return npos;
}

std::size_t PatternMatcher::expand_least(std::size_t s, std::size_t p, std::size_t ep) {
  while (error_ == nullptr) {
    const std::size_t end = match(s, ep + 1);
    if (end != npos) return end;
    if (!fits_single(s, p, ep)) return npos;
    ++s;
  }
  return npos;
}

std::size_t PatternMatcher::start_capture(std::size_t s, std::size_t p, std::ptrdiff_t length) {
  if (num_captures_ >= kCapturesMax) return fail("too many captures");
  captures_[static_cast<std::size_t>(num_captures_)] = {s, length};
  ++num_captures_;
  const std::size_t end = match(s, p);
  if (end == npos) --num_captures_;
  return end;
}

std::size_t PatternMatcher::end_capture(std::size_t s, std::size_t p) {
  int open = num_captures_ - 1;
  while (open >= 0 && capture(open).length != kOpen) --open;
  if (open < 0) return fail("invalid pattern capture");
  Capture& capture = captures_[static_cast<std::size_t>(open)];
  capture.length = static_cast<std::ptrdiff_t>(s - capture.begin);
  const std::size_t end = match(s, p);
  if (end == npos) capture.length = kOpen;
  return end;
}

std::size_t PatternMatcher::match_balance(std::size_t s, std::size_t p) {
  if (p + 1 >= pattern_.size()) return fail("malformed pattern (missing arguments to '%b')");
  if (s >= subject_.size() || subject_[s] != pattern_[p]) return npos;
  int depth = 1;
  for (std::size_t i = s + 1; i < subject_.size() && charge(1); ++i) {
    if (subject_[i] == pattern_[p + 1]) {
      if (--depth == 0) return i + 1;
    } else if (subject_[i] == pattern_[p]) {
      ++depth;
    }
  }
  return npos;
}

std::size_t PatternMatcher::match_frontier(std::size_t s, std::size_t& p) {
  if (p >= pattern_.size() || pattern_[p] != '[') {
    return fail("missing '[' after '%f' in pattern");
  }
  const std::size_t ep = class_end(p);
  if (error_ != nullptr) return npos;
  const auto before = static_cast<unsigned char>(s == 0 ? '\0' : subject_[s - 1]);
  const auto here = static_cast<unsigned char>(s < subject_.size() ? subject_[s] : '\0');
  const bool fits = !fits_set(before, p, ep - 1) && fits_set(here, p, ep - 1);
  p = ep;
  return fits ? s : npos;
}

std::size_t PatternMatcher::match_back_reference(std::size_t s, char digit) {
  const int index = digit - '1';
  if (index < 0 || index >= num_captures_ || capture(index).length == kOpen) {
    return fail("invalid capture index in pattern");
  }
  const Capture wanted = capture(index);
  if (wanted.length == kPosition) return npos;  // a place is no text, as in Lua
  const auto length = static_cast<std::size_t>(wanted.length);
  if (!charge(length / 16 + 1) || length > subject_.size() - s) return npos;
  const bool fits = std::memcmp(subject_.data() + wanted.begin, subject_.data() + s, length) == 0;
  return fits ? s + length : npos;
}

std::size_t PatternMatcher::class_end(std::size_t p) {
  const char first = pattern_[p++];
  if (first == '%') {
    if (p == pattern_.size()) return fail("malformed pattern (ends with '%')");
    return p + 1;
  }
  if (first != '[') return p;
  if (p < pattern_.size() && pattern_[p] == '^') ++p;
  do {  // a ']' in the first place stands for itself
    if (p >= pattern_.size()) return fail("malformed pattern (missing ']')");
    const char c = pattern_[p++];
    if (c == '%') ++p;
  } while (p >= pattern_.size() || pattern_[p] != ']');
  return p + 1;
}

bool PatternMatcher::fits_single(std::size_t s, std::size_t p, std::size_t ep) {
  if (s >= subject_.size() || !charge(1)) return false;
  const auto c = static_cast<unsigned char>(subject_[s]);
  switch (pattern_[p]) {
    case '.':
      return true;
    case '%':
      return fits_class(c, static_cast<unsigned char>(pattern_[p + 1]));
    case '[':
      return fits_set(c, p, ep - 1);
    default:
      return static_cast<unsigned char>(pattern_[p]) == c;
  }
}

bool PatternMatcher::fits_set(unsigned char c, std::size_t p, std::size_t set_end) {
  if (!charge((set_end - p) / 8)) return false;
  bool is_member = true;
  if (pattern_[p + 1] == '^') {
    is_member = false;
    ++p;
  }
  while (++p < set_end) {
    if (pattern_[p] == '%') {
      ++p;
      if (fits_class(c, static_cast<unsigned char>(pattern_[p]))) return is_member;
    } else if (p + 2 < set_end && pattern_[p + 1] == '-') {
      p += 2;
      const auto low = static_cast<unsigned char>(pattern_[p - 2]);
      if (low <= c && c <= static_cast<unsigned char>(pattern_[p])) return is_member;
    } else if (static_cast<unsigned char>(pattern_[p]) == c) {
      return is_member;
    }
  }
  return !is_member;
}

}  // namespace ponder::tools::lua
