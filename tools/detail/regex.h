#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

struct pcre2_real_code_8;
struct pcre2_real_match_data_8;

namespace ponder::tools {

/// A regular expression as JSON Schema uses it: searched anywhere in a text. Perl's, as PCRE2 has
/// them, on UTF-8.
///
/// Thread: any number of readers. Each match is bounded, for the whole of its text: a pattern that
/// explodes ends in `exhausted`, after some tenths of a second where the text is long.
class Regex {
 public:
  static Result<Regex> compile(const std::string& pattern);
  /// `steps_left`: what this match and others may still take together; it is counted down. A step
  /// is some 10 ns. nullptr: as many as the length of the text gives.
  Result<bool> search(std::string_view text, std::int64_t* steps_left = nullptr) const;

  /// Where a match, or a group of it, lies.
  struct Span {
    std::size_t begin = 0;
    std::size_t end = 0;
    bool is_set = false;  // a group that took no part is not
  };
  /// The first match at or after `from`: the whole, then the groups. Empty when there is none. An
  /// empty match counts. Requires: from <= text.size().
  Result<std::vector<Span>> find(std::string_view text, std::size_t from) const;

 private:
  struct Free {
    void operator()(pcre2_real_code_8* code) const noexcept;
  };
  struct FreeMatch {
    void operator()(pcre2_real_match_data_8* data) const noexcept;
  };
  using MatchData = std::unique_ptr<pcre2_real_match_data_8, FreeMatch>;
  /// Whether there is a match, which `data` then has.
  Result<bool> match(std::string_view text, std::size_t from, const MatchData& data,
                     std::int64_t* steps_left) const;
  explicit Regex(pcre2_real_code_8* code) : code_(code) {}
  std::unique_ptr<pcre2_real_code_8, Free> code_;
};

}  // namespace ponder::tools
