#include <fmt/format.h>

#include <cmath>
#include <string>
#include <utility>
#include <vector>

#include "tools/detail/regex.h"
#include "tools/script/detail/arguments.h"
#include "tools/script/detail/context_functions.h"

/// ctx.json and ctx.regex: work on text, done at once, bounded in size and charged to the call.
namespace ponder::tools {
namespace {

constexpr std::size_t kJsonBytesMax = 4 << 20;
constexpr std::size_t kPatternBytesMax = 16 << 10;
constexpr std::size_t kSubjectBytesMax = 16 << 20;
constexpr std::size_t kMatchesMax = 10'000;
constexpr std::int64_t kInstructionsPerMicrosecond = 100;  // what Lua does meanwhile
constexpr std::int64_t kBytesPerInstruction = 16;

Status charge(lua_State* L, std::int64_t instructions) {
  lua::State& state = lua::State::of(L);
  if (state.charge(instructions)) return {};
  return fail(Errc::exhausted, state.stop_message());
}

Status charge_bytes(lua_State* L, std::size_t bytes) {
  return charge(L, static_cast<std::int64_t>(bytes) / kBytesPerInstruction);
}

Status expect_size(std::string_view text, std::size_t bytes_max) {
  if (text.size() <= bytes_max) return {};
  return fail(Errc::exhausted, fmt::format("a text of {} bytes is over the limit of {} KiB",
                                           text.size(), bytes_max >> 10));
}

/// A pattern and the text it is searched in, with the time of every match charged to the call.
class Search {
 public:
  /// The arguments (text, pattern).
  static Result<Search> read(lua_State* L, const Clock& clock) {
    const Arguments arguments(L);
    PONDER_TRY(std::string text, arguments.text(1));
    PONDER_TRY(const std::string pattern, arguments.text(2));
    PONDER_CHECK(expect_size(text, kSubjectBytesMax));
    PONDER_CHECK(expect_size(pattern, kPatternBytesMax));
    PONDER_TRY(Regex regex, Regex::compile(pattern));
    return Search(L, clock, std::move(text), std::move(regex));
  }
  const std::string& text() const { return text_; }

  /// The next match; empty after the last. An empty match moves on by a character.
  Result<std::vector<Regex::Span>> next() {
    if (from_ > text_.size()) return std::vector<Regex::Span>();
    const auto start = clock_->now();
    auto match = regex_.find(text_, from_);
    const auto took = std::chrono::duration_cast<std::chrono::microseconds>(clock_->now() - start);
    PONDER_CHECK(charge(lua_, took.count() * kInstructionsPerMicrosecond));
    PONDER_CHECK(charge_bytes(lua_, text_.size() - from_));
    if (!match || match->empty()) return match;
    if (++count_ > kMatchesMax) {
      return fail(Errc::exhausted, fmt::format("more than {} matches", kMatchesMax));
    }
    from_ = (*match)[0].end;
    if ((*match)[0].begin == (*match)[0].end) from_ = after_character(from_);
    return match;
  }

 private:
  Search(lua_State* L, const Clock& clock, std::string text, Regex regex)
      : lua_(L), clock_(&clock), text_(std::move(text)), regex_(std::move(regex)) {}
  std::size_t after_character(std::size_t at) const {
    ++at;
    while (at < text_.size() && (static_cast<unsigned char>(text_[at]) & 0xC0) == 0x80) ++at;
    return at;
  }

  lua_State* lua_;
  const Clock* clock_;
  std::string text_;
  Regex regex_;
  std::size_t from_ = 0;
  std::size_t count_ = 0;
};

std::string_view part(const std::string& text, const Regex::Span& span) {
  return std::string_view(text).substr(span.begin, span.end - span.begin);
}

/// {text, first, last, groups}: positions as Lua counts them; a group that took no part is null.
Json describe(const std::string& text, const std::vector<Regex::Span>& match) {
  Json groups = Json::array();
  for (std::size_t i = 1; i < match.size(); ++i) {
    groups.push_back(match[i].is_set ? Json(part(text, match[i])) : Json(nullptr));
  }
  return Json{{"text", part(text, match[0])},
              {"first", match[0].begin + 1},
              {"last", match[0].end},
              {"groups", std::move(groups)}};
}

/// "$1" to "$9", "$0" for the whole match, "$$" for a dollar.
void append_replacement(std::string& out, const std::string& replacement, const std::string& text,
                        const std::vector<Regex::Span>& match) {
  for (std::size_t i = 0; i < replacement.size(); ++i) {
    const char next = i + 1 < replacement.size() ? replacement[i + 1] : '\0';
    const auto group = static_cast<std::size_t>(next - '0');
    if (replacement[i] == '$' && next == '$') {
      out += '$';
      ++i;
    } else if (replacement[i] == '$' && next >= '0' && next <= '9') {
      if (group < match.size() && match[group].is_set) out += part(text, match[group]);
      ++i;
    } else {
      out += replacement[i];
    }
  }
}

}  // namespace

Result<Reply> json_encode(lua_State* L, ScriptCall&) {
  PONDER_TRY(const Json value, Arguments(L).value(1));
  std::string text = dump_json(value);
  PONDER_CHECK(charge_bytes(L, text.size()));
  PONDER_CHECK(expect_size(text, kJsonBytesMax));
  return Reply(Json(std::move(text)));
}

Result<Reply> json_decode(lua_State* L, ScriptCall&) {
  PONDER_TRY(const std::string text, Arguments(L).text(1));
  PONDER_CHECK(charge_bytes(L, text.size()));
  auto fits = expect_size(text, kJsonBytesMax);
  if (!fits) return Reply(Answer(tl::unexpected(fits.error())));
  return Reply(parse_json(text));
}

Result<Reply> regex_match(lua_State* L, ScriptCall& call) {
  PONDER_TRY(Search search, Search::read(L, *call.context().clock));
  PONDER_TRY(const auto match, search.next());
  if (match.empty()) return Reply(Json(nullptr));
  return Reply(describe(search.text(), match));
}

Result<Reply> regex_all(lua_State* L, ScriptCall& call) {
  PONDER_TRY(Search search, Search::read(L, *call.context().clock));
  Json all = Json::array();
  for (;;) {
    PONDER_TRY(const auto match, search.next());
    if (match.empty()) return Reply(std::move(all));
    all.push_back(describe(search.text(), match));
  }
}

Result<Reply> regex_replace(lua_State* L, ScriptCall& call) {
  PONDER_TRY(Search search, Search::read(L, *call.context().clock));
  PONDER_TRY(const std::string replacement, Arguments(L).text(3));
  std::string out;
  std::size_t copied = 0;
  for (;;) {
    PONDER_TRY(const auto match, search.next());
    if (match.empty()) break;
    out.append(search.text(), copied, match[0].begin - copied);
    append_replacement(out, replacement, search.text(), match);
    copied = match[0].end;
    PONDER_CHECK(expect_size(out, kSubjectBytesMax));
  }
  out.append(search.text(), copied);
  PONDER_CHECK(expect_size(out, kSubjectBytesMax));
  return Reply(Json(std::move(out)));
}

}  // namespace ponder::tools
