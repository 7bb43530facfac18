#include "tools/detail/regex.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <fmt/format.h>
#include <pcre2.h>

#include <algorithm>
#include <array>

#include "base/text.h"

namespace ponder::tools {
namespace {

constexpr std::uint32_t kMatchLimit = 1'000'000;  // backtracking points for one place to begin
constexpr std::uint32_t kDepthLimit = 10'000;     // nested backtracking points
constexpr std::size_t kShownBytesMax = 200;
constexpr std::uint32_t kHeapKibMax = 4096;
constexpr std::int64_t kStepsMin = 5'000'000;  // of a match in a short text
constexpr std::int64_t kStepsPerByte = 4;
constexpr std::int64_t kBytesPerStep = 64;  // that a repeated character runs over

struct FreeContext {
  void operator()(pcre2_match_context_8* c) const noexcept { pcre2_match_context_free_8(c); }
};

std::string message_of(int code) {
  std::array<PCRE2_UCHAR8, 200> text{};
  pcre2_get_error_message_8(code, text.data(), text.size());
  return reinterpret_cast<const char*>(text.data());
}

/// PCRE2's own limits hold for each place where a match could begin, and a text has many. So every
/// item of a pattern is counted as it is tried, and the bytes that the one before ran over.
struct Count {
  std::int64_t steps_left = 0;
  std::size_t at = 0;
};

int count_step(pcre2_callout_block_8* block, void* opaque) {
  Count& count = *static_cast<Count*>(opaque);
  const std::size_t moved = block->current_position - std::min(count.at, block->current_position);
  count.at = block->current_position;
  count.steps_left -= 1 + static_cast<std::int64_t>(moved) / kBytesPerStep;
  return count.steps_left >= 0 ? 0 : PCRE2_ERROR_CALLOUT;
}

}  // namespace

void Regex::Free::operator()(pcre2_real_code_8* code) const noexcept { pcre2_code_free_8(code); }

Result<Regex> Regex::compile(const std::string& pattern) {
  int error = 0;
  PCRE2_SIZE offset = 0;
  // ALT_BSUX and DOLLAR_ENDONLY: \uXXXX and $ as in ECMAScript, which JSON Schema names. Bytes
  // that are no UTF-8 match nothing.
  constexpr std::uint32_t kOptions = PCRE2_UTF | PCRE2_MATCH_INVALID_UTF | PCRE2_ALT_BSUX |
                                     PCRE2_DOLLAR_ENDONLY | PCRE2_NEVER_BACKSLASH_C |
                                     PCRE2_AUTO_CALLOUT;
  auto* code = pcre2_compile_8(reinterpret_cast<PCRE2_SPTR8>(pattern.data()), pattern.size(),
                               kOptions, &error, &offset, nullptr);
  if (code == nullptr) {
    return fail(Errc::invalid_argument,
                fmt::format("pattern '{}': {} at {}", cut_utf8(pattern, kShownBytesMax),
                            message_of(error), offset));
  }
  return Regex(code);
}

void Regex::FreeMatch::operator()(pcre2_real_match_data_8* data) const noexcept {
  pcre2_match_data_free_8(data);
}

Result<bool> Regex::match(std::string_view text, std::size_t from, const MatchData& data,
                          std::int64_t* steps_left) const {
  const std::unique_ptr<pcre2_match_context_8, FreeContext> context(
      pcre2_match_context_create_8(nullptr));
  if (!data || !context) return fail(Errc::exhausted, "no memory for a pattern match");
  pcre2_set_match_limit_8(context.get(), kMatchLimit);
  pcre2_set_depth_limit_8(context.get(), kDepthLimit);
  pcre2_set_heap_limit_8(context.get(), kHeapKibMax);
  const auto bytes = static_cast<std::int64_t>(text.size() - from);
  Count count{steps_left != nullptr ? *steps_left : kStepsMin + kStepsPerByte * bytes, from};
  pcre2_set_callout_8(context.get(), count_step, &count);
  const int code = pcre2_match_8(code_.get(), reinterpret_cast<PCRE2_SPTR8>(text.data()),
                                 text.size(), from, 0, data.get(), context.get());
  if (steps_left != nullptr) *steps_left = count.steps_left;
  if (code >= 0) return true;
  if (code == PCRE2_ERROR_NOMATCH) return false;
  const bool is_limit = code == PCRE2_ERROR_MATCHLIMIT || code == PCRE2_ERROR_DEPTHLIMIT ||
                        code == PCRE2_ERROR_HEAPLIMIT || code == PCRE2_ERROR_CALLOUT;
  if (is_limit) return fail(Errc::exhausted, "the pattern takes too many steps on this text");
  return fail(Errc::invalid_argument, message_of(code));
}

Result<bool> Regex::search(std::string_view text, std::int64_t* steps_left) const {
  return match(text, 0, MatchData(pcre2_match_data_create_8(1, nullptr)), steps_left);
}

Result<std::vector<Regex::Span>> Regex::find(std::string_view text, std::size_t from) const {
  const MatchData data(pcre2_match_data_create_from_pattern_8(code_.get(), nullptr));
  PONDER_TRY(const bool is_found, match(text, from, data, nullptr));
  std::vector<Span> spans;
  if (!is_found) return spans;
  const PCRE2_SIZE* ends = pcre2_get_ovector_pointer_8(data.get());
  const std::size_t count = pcre2_get_ovector_count_8(data.get());
  for (std::size_t i = 0; i < count; ++i) {
    const bool is_set = ends[2 * i] != PCRE2_UNSET;
    spans.push_back(is_set ? Span{ends[2 * i], ends[2 * i + 1], true} : Span{});
  }
  // \K in a lookahead can put the beginning behind the end.
  if (spans[0].begin > spans[0].end) spans[0].end = spans[0].begin;
  return spans;
}

}  // namespace ponder::tools
