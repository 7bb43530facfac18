#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "base/result.h"

struct pcre2_real_code_8;

namespace ponder::tools {

/// A regular expression as JSON Schema uses it: searched anywhere in a text.
///
/// Thread: any number of readers. Matching is bounded: a pattern that explodes ends in `exhausted`.
class Regex {
 public:
  static Result<Regex> compile(const std::string& pattern);
  Result<bool> search(std::string_view text) const;

 private:
  struct Free {
    void operator()(pcre2_real_code_8* code) const noexcept;
  };
  explicit Regex(pcre2_real_code_8* code) : code_(code) {}
  std::unique_ptr<pcre2_real_code_8, Free> code_;
};

}  // namespace ponder::tools
