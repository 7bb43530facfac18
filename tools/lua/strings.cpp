#include "tools/lua/strings.h"

#include <bit>
#include <cstring>
#include <string_view>
#include <type_traits>

#include "tools/lua/pattern.h"
#include "tools/lua/state.h"

// These functions raise Lua errors directly. That is sound because nothing in them has a
// destructor.
namespace ponder::tools::lua {
namespace {

static_assert(std::is_trivially_destructible_v<PatternMatcher>);

constexpr std::int64_t kPatternStepsMax = 5'000'000;  // some 20 ms
constexpr std::int64_t kStepsPerInstruction = 4;      // a step costs about a quarter
constexpr std::int64_t kBytesPerInstruction = 64;
constexpr lua_Integer kRepeatBytesMax = 16 << 20;
constexpr lua_Integer kMoveCountMax = 1 << 22;
constexpr std::int64_t kSortCostMax = 20'000'000;  // instructions; some tenth of a second

void charge_or_raise(lua_State* L, std::int64_t instructions) {
  State& state = State::of(L);
  if (!state.charge(instructions)) luaL_error(L, "%s", state.stop_message());
}

std::string_view check_text(lua_State* L, int index) {
  std::size_t size = 0;
  const char* data = luaL_checklstring(L, index, &size);
  return {data, size};
}

/// A Lua string position (from 1, negative from the end) as an index from 0; may be past the end.
std::size_t start_index(lua_Integer position, std::size_t size) {
  if (position > 0) return static_cast<std::size_t>(position) - 1;
  if (position == 0 || position < -static_cast<lua_Integer>(size)) return 0;
  return size - static_cast<std::size_t>(-position);
}

bool search_or_raise(lua_State* L, PatternMatcher& matcher, std::size_t from,
                     std::size_t skipped_end, bool is_anchored) {
  const bool found = matcher.search(from, skipped_end, is_anchored);
  charge_or_raise(L, matcher.steps() / kStepsPerInstruction);
  if (matcher.error() != nullptr) luaL_error(L, "%s", matcher.error());
  return found;
}

void push_capture(lua_State* L, std::string_view subject, PatternMatcher::Capture capture) {
  if (capture.length == PatternMatcher::kPosition) {
    lua_pushinteger(L, static_cast<lua_Integer>(capture.begin) + 1);
  } else {
    lua_pushlstring(L, subject.data() + capture.begin, static_cast<std::size_t>(capture.length));
  }
}

/// The captures, or the whole match where there are none and `whole_if_none`.
int push_captures(lua_State* L, std::string_view subject, const PatternMatcher& matcher,
                  bool whole_if_none) {
  if (matcher.num_captures() == 0 && whole_if_none) {
    lua_pushlstring(L, subject.data() + matcher.begin(), matcher.end() - matcher.begin());
    return 1;
  }
  luaL_checkstack(L, matcher.num_captures() + 4, "too many captures");
  for (int i = 0; i < matcher.num_captures(); ++i) push_capture(L, subject, matcher.capture(i));
  return matcher.num_captures();
}

int push_range(lua_State* L, std::size_t begin, std::size_t end) {
  lua_pushinteger(L, static_cast<lua_Integer>(begin) + 1);
  lua_pushinteger(L, static_cast<lua_Integer>(end));
  return 2;
}

int find_plain(lua_State* L, std::string_view subject, std::string_view text, std::size_t from) {
  charge_or_raise(L, static_cast<std::int64_t>(subject.size() - from) / kBytesPerInstruction);
  // memmem is linear; the search of std::string is not.
  const void* hit = memmem(subject.data() + from, subject.size() - from, text.data(), text.size());
  if (hit == nullptr) {
    lua_pushnil(L);
    return 1;
  }
  const auto begin = static_cast<std::size_t>(static_cast<const char*>(hit) - subject.data());
  return push_range(L, begin, begin + text.size());
}

int find_or_match(lua_State* L, bool is_find) {
  const std::string_view subject = check_text(L, 1);
  std::string_view pattern = check_text(L, 2);
  const std::size_t from = start_index(luaL_optinteger(L, 3, 1), subject.size());
  if (from > subject.size()) {
    lua_pushnil(L);
    return 1;
  }
  constexpr std::string_view kSpecials = "^$*+?.([%-";
  const bool is_plain = is_find && (lua_toboolean(L, 4) != 0 ||
                                    pattern.find_first_of(kSpecials) == std::string_view::npos);
  if (is_plain) return find_plain(L, subject, pattern, from);
  const bool is_anchored = pattern.starts_with('^');
  if (is_anchored) pattern.remove_prefix(1);
  PatternMatcher matcher(subject, pattern, kPatternStepsMax);
  if (!search_or_raise(L, matcher, from, PatternMatcher::npos, is_anchored)) {
    lua_pushnil(L);
    return 1;
  }
  if (!is_find) return push_captures(L, subject, matcher, true);
  push_range(L, matcher.begin(), matcher.end());
  return 2 + push_captures(L, subject, matcher, false);
}

int find(lua_State* L) { return find_or_match(L, true); }
int match(lua_State* L) { return find_or_match(L, false); }

/// search(s, p, from, skipped_end, is_anchored) -> first, last, captures...: one step of gmatch and
/// gsub, in Lua's positions. A '^' in `p` stands for itself. nil when there is no match.
int search(lua_State* L) {
  const std::string_view subject = check_text(L, 1);
  const std::string_view pattern = check_text(L, 2);
  const auto from = static_cast<std::size_t>(luaL_checkinteger(L, 3) - 1);
  const lua_Integer skipped = luaL_optinteger(L, 4, -1);
  const auto skipped_end = skipped < 0 ? PatternMatcher::npos : static_cast<std::size_t>(skipped);
  PatternMatcher matcher(subject, pattern, kPatternStepsMax);
  if (!search_or_raise(L, matcher, from, skipped_end, lua_toboolean(L, 5) != 0)) {
    lua_pushnil(L);
    return 1;
  }
  push_range(L, matcher.begin(), matcher.end());
  return 2 + push_captures(L, subject, matcher, true);
}

/// expand(template, whole, captures...) -> the template with %0 to %9 and %% filled in.
int expand(lua_State* L) {
  const std::string_view text = check_text(L, 1);
  const int num_captures = lua_gettop(L) - 2;
  luaL_Buffer out;
  luaL_buffinit(L, &out);
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '%') {
      luaL_addchar(&out, text[i]);
      continue;
    }
    const char what = ++i < text.size() ? text[i] : '\0';
    if (what == '%') {
      luaL_addchar(&out, '%');
    } else if (what == '0') {
      lua_pushvalue(L, 2);
      luaL_addvalue(&out);
    } else if (what < '1' || what > '9') {
      return luaL_error(L, "invalid use of '%%' in replacement string");
    } else if (what - '0' > num_captures) {
      return luaL_error(L, "invalid capture index %%%d in replacement string", what - '0');
    } else {
      lua_pushvalue(L, 2 + (what - '0'));
      luaL_addvalue(&out);
    }
  }
  luaL_pushresult(&out);
  return 1;
}

/// rep(s, n, sep) with a bound on what comes out.
int repeat(lua_State* L) {
  const std::string_view text = check_text(L, 1);
  const lua_Integer count = luaL_checkinteger(L, 2);
  std::size_t separator_size = 0;
  const char* separator = luaL_optlstring(L, 3, "", &separator_size);
  if (count <= 0) {
    lua_pushliteral(L, "");
    return 1;
  }
  const std::size_t unit_bytes = text.size() + separator_size;
  const auto unit = static_cast<lua_Integer>(unit_bytes);
  if (unit > 0 && count > kRepeatBytesMax / unit) {
    return luaL_error(L, "string.rep: the result is over the limit of %d MiB",
                      static_cast<int>(kRepeatBytesMax >> 20));
  }
  charge_or_raise(L, unit * count / kBytesPerInstruction);
  luaL_Buffer out;
  luaL_buffinit(L, &out);
  for (lua_Integer i = 0; unit > 0 && i < count; ++i) {
    luaL_addlstring(&out, text.data(), text.size());
    if (i + 1 < count) luaL_addlstring(&out, separator, separator_size);
  }
  luaL_pushresult(&out);
  return 1;
}

/// Calls a function of the table library (the upvalue) where its loop is bounded by what the table
/// really holds: a __len that lies would keep it busy for ever.
int call_guarded(lua_State* L) {
  if (luaL_getmetafield(L, 1, "__len") != LUA_TNIL) {
    return luaL_error(L, "the table library does not take tables with __len");
  }
  lua_pushvalue(L, lua_upvalueindex(1));
  lua_insert(L, 1);
  lua_call(L, lua_gettop(L) - 1, LUA_MULTRET);
  return lua_gettop(L);
}

int call_move_guarded(lua_State* L) {
  const lua_Integer first = luaL_checkinteger(L, 2);
  const lua_Integer last = luaL_checkinteger(L, 3);
  if (last >= first && (first < 0 ? last > kMoveCountMax + first : last - first > kMoveCountMax)) {
    return luaL_error(L, "table.move: the range is over the limit of %d places",
                      static_cast<int>(kMoveCountMax));
  }
  if (last > first) charge_or_raise(L, last - first);
  return call_guarded(L);
}

/// What table.sort(list) without a comparison of the script's takes: each value is compared in
/// about log n rounds, a text at most to its end.
std::int64_t cost_of_sort(lua_State* L) {
  const auto size = static_cast<lua_Integer>(lua_rawlen(L, 1));
  std::int64_t bytes = 0;
  for (lua_Integer i = 1; i <= size; ++i) {
    if (lua_rawgeti(L, 1, i) == LUA_TSTRING) bytes += static_cast<std::int64_t>(lua_rawlen(L, -1));
    lua_pop(L, 1);
  }
  return (size + bytes / kBytesPerInstruction) * std::bit_width(static_cast<std::uint64_t>(size));
}

/// Nothing sees how long texts are compared inside table.sort, nor can pause it.
int call_sort_guarded(lua_State* L) {
  if (lua_istable(L, 1) && lua_isnoneornil(L, 2)) {
    const std::int64_t cost = cost_of_sort(L);
    if (cost > kSortCostMax) return luaL_error(L, "table.sort: the texts are too long together");
    charge_or_raise(L, cost);
  }
  return call_guarded(L);
}

int push_guarded(lua_State* L, lua_CFunction guard) {
  luaL_checktype(L, 1, LUA_TFUNCTION);
  lua_settop(L, 1);
  lua_pushcclosure(L, guard, 1);
  return 1;
}

int guard(lua_State* L) { return push_guarded(L, call_guarded); }
int guard_move(lua_State* L) { return push_guarded(L, call_move_guarded); }
int guard_sort(lua_State* L) { return push_guarded(L, call_sort_guarded); }

}  // namespace

void push_string_functions(lua_State* L) {
  const luaL_Reg functions[] = {{"find", find},
                                {"match", match},
                                {"search", search},
                                {"expand", expand},
                                {"rep", repeat},
                                {"guard", guard},
                                {"guard_move", guard_move},
                                {"guard_sort", guard_sort},
                                {nullptr, nullptr}};
  luaL_newlib(L, functions);
}

}  // namespace ponder::tools::lua
