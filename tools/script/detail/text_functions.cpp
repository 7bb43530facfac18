#include <fmt/format.h>

#include <algorithm>
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
// An answer lies outside of the memory that Lua counts until the script has it.
constexpr std::size_t kAnswerBytesMax = 32 << 20;
constexpr std::size_t kMatchBytes = 512;                   // of the table of a match, and
constexpr std::size_t kGroupBytes = 64;                    // of a group in it, beside their texts
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

/// The tables of matches. Their texts are copies, and groups may overlap, so that a short text and
/// a short pattern give a long answer: all tables of a call are bounded together.
class MatchTables {
 public:
  MatchTables(lua_State* L, const std::string& text) : lua_(L), text_(&text) {}

  /// {text, first, last, groups}: positions as Lua counts them; a group that took no part is null.
  Result<Json> describe(const std::vector<Regex::Span>& match) {
    PONDER_CHECK(take(match));
    Json groups = Json::array();
    for (std::size_t i = 1; i < match.size(); ++i) {
      groups.push_back(match[i].is_set ? Json(part(*text_, match[i])) : Json(nullptr));
    }
    return Json{{"text", part(*text_, match[0])},
                {"first", match[0].begin + 1},
                {"last", match[0].end},
                {"groups", std::move(groups)}};
  }

 private:
  Status take(const std::vector<Regex::Span>& match) {
    std::size_t bytes = kMatchBytes + match.size() * kGroupBytes;
    for (const Regex::Span& span : match) bytes += span.end - span.begin;
    if (bytes > bytes_left_) {
      return fail(Errc::exhausted, fmt::format("the matches and their groups are over the limit of "
                                               "{} MiB together",
                                               kAnswerBytesMax >> 20));
    }
    bytes_left_ -= bytes;
    return charge_bytes(lua_, bytes);
  }

  lua_State* lua_;
  const std::string* text_;
  std::size_t bytes_left_ = kAnswerBytesMax;
};

/// A text in which matches are replaced: bounded at each step, for a replacement of many groups is
/// far longer than all that went in.
class ReplacedText {
 public:
  ReplacedText(lua_State* L, const std::string& text) : lua_(L), text_(&text) {}

  /// Copies what lies before the match, then puts `replacement` in its place: "$1" to "$9", "$0"
  /// for the whole match, "$$" for a dollar.
  Status replace(const std::vector<Regex::Span>& match, std::string_view replacement) {
    const std::size_t bytes_before = out_.size();
    PONDER_CHECK(add(std::string_view(*text_).substr(copied_, match[0].begin - copied_)));
    copied_ = match[0].end;
    std::int64_t num_dollars = 0;
    while (!replacement.empty()) {
      const std::size_t dollar = std::min(replacement.find('$'), replacement.size());
      PONDER_CHECK(add(replacement.substr(0, dollar)));
      replacement.remove_prefix(dollar);
      if (replacement.empty()) break;
      ++num_dollars;
      PONDER_TRY(const std::size_t used, add_dollar(match, replacement));
      replacement.remove_prefix(used);
    }
    PONDER_CHECK(charge(lua_, num_dollars));
    return charge_bytes(lua_, out_.size() - bytes_before);
  }

  Result<std::string> finish() {
    PONDER_CHECK(add(std::string_view(*text_).substr(copied_)));
    return std::move(out_);
  }

 private:
  /// What stands for the dollar at the beginning of `rest`; gives how much of `rest` that was.
  Result<std::size_t> add_dollar(const std::vector<Regex::Span>& match, std::string_view rest) {
    const char next = rest.size() > 1 ? rest[1] : '\0';
    const bool is_group = next >= '0' && next <= '9';
    if (!is_group) {
      PONDER_CHECK(add("$"));
      return next == '$' ? 2 : 1;
    }
    const auto group = static_cast<std::size_t>(next - '0');
    if (group < match.size() && match[group].is_set) {
      PONDER_CHECK(add(part(*text_, match[group])));
    }
    return 2;
  }

  Status add(std::string_view text) {
    if (text.size() > kSubjectBytesMax - out_.size()) {
      return fail(Errc::exhausted, fmt::format("the text with its replacements is over the limit "
                                               "of {} KiB",
                                               kSubjectBytesMax >> 10));
    }
    out_ += text;
    return {};
  }

  lua_State* lua_;
  const std::string* text_;
  std::string out_;
  std::size_t copied_ = 0;  // bytes of the text that are in out_ or were replaced
};

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
  PONDER_TRY(Json table, MatchTables(L, search.text()).describe(match));
  return Reply(std::move(table));
}

Result<Reply> regex_all(lua_State* L, ScriptCall& call) {
  PONDER_TRY(Search search, Search::read(L, *call.context().clock));
  MatchTables tables(L, search.text());
  Json all = Json::array();
  for (;;) {
    PONDER_TRY(const auto match, search.next());
    if (match.empty()) return Reply(std::move(all));
    PONDER_TRY(Json table, tables.describe(match));
    all.push_back(std::move(table));
  }
}

Result<Reply> regex_replace(lua_State* L, ScriptCall& call) {
  PONDER_TRY(Search search, Search::read(L, *call.context().clock));
  PONDER_TRY(const std::string replacement, Arguments(L).text(3));
  ReplacedText replaced(L, search.text());
  for (;;) {
    PONDER_TRY(const auto match, search.next());
    if (match.empty()) break;
    PONDER_CHECK(replaced.replace(match, replacement));
  }
  PONDER_TRY(std::string out, replaced.finish());
  return Reply(Json(std::move(out)));
}

}  // namespace ponder::tools
