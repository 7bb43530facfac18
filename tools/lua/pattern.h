#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>

namespace ponder::tools::lua {

/// Lua's patterns with a bound on the work: a pattern such as ".-.-.-x" on a long text would keep
/// Lua's own matcher busy for hours inside one C call, where no limit reaches it.
///
/// Same language as Lua 5.4's manual, section 6.4.1, with ASCII character classes. Holds no memory
/// of its own, so that a Lua error may jump over it.
class PatternMatcher {
 public:
  static constexpr std::size_t npos = static_cast<std::size_t>(-1);
  static constexpr std::ptrdiff_t kPosition = -2;  // length of a capture that is a place: "()"
  static constexpr int kCapturesMax = 32;

  struct Capture {
    std::size_t begin;
    std::ptrdiff_t length;
  };

  PatternMatcher(std::string_view subject, std::string_view pattern, std::int64_t steps_max)
      : subject_(subject), pattern_(pattern), steps_max_(steps_max) {}

  /// The first match at or after `from` that does not end at `skipped_end`. With `is_anchored` only
  /// at `from`; a leading '^' has no meaning of its own here.
  bool search(std::size_t from, std::size_t skipped_end, bool is_anchored);

  std::size_t begin() const { return begin_; }  // of the last match found
  std::size_t end() const { return end_; }
  int num_captures() const { return num_captures_; }
  Capture capture(int index) const { return captures_[static_cast<std::size_t>(index)]; }
  /// Why the pattern could not be matched; nullptr when it could.
  const char* error() const { return error_; }
  std::int64_t steps() const { return steps_; }

 private:
  static constexpr std::ptrdiff_t kOpen = -1;
  static constexpr int kDepthMax = 200;

  std::size_t match(std::size_t s, std::size_t p);
  std::size_t match_here(std::size_t s, std::size_t p);
  /// A construct other than a single character class; false when there is none at `p`. Otherwise
  /// `s` is npos or where to go on, and `p` behind the construct.
  bool match_construct(std::size_t& s, std::size_t& p);
  std::size_t expand_most(std::size_t s, std::size_t p, std::size_t class_end);
  std::size_t expand_least(std::size_t s, std::size_t p, std::size_t class_end);
  std::size_t start_capture(std::size_t s, std::size_t p, std::ptrdiff_t length);
  std::size_t end_capture(std::size_t s, std::size_t p);
  std::size_t match_balance(std::size_t s, std::size_t p);
  std::size_t match_frontier(std::size_t s, std::size_t& p);
  std::size_t match_back_reference(std::size_t s, char digit);
  std::size_t class_end(std::size_t p);
  bool fits_single(std::size_t s, std::size_t p, std::size_t class_end);
  bool fits_set(unsigned char c, std::size_t p, std::size_t set_end);
  std::size_t fail(const char* error);
  bool charge(std::size_t steps);

  std::string_view subject_;
  std::string_view pattern_;
  std::int64_t steps_max_;
  std::int64_t steps_ = 0;
  const char* error_ = nullptr;
  std::size_t begin_ = 0;
  std::size_t end_ = 0;
  int depth_ = 0;
  int num_captures_ = 0;
  std::array<Capture, kCapturesMax> captures_{};
};

}  // namespace ponder::tools::lua
