#include "tools/lua/object_names.h"

#include <string_view>

// These functions raise Lua errors directly. That is sound because nothing in them has a
// destructor.
namespace ponder::tools::lua {
namespace {

/// The upvalues of both functions.
constexpr int kNumbers = 1;             // number by object, which it does not keep alive
constexpr int kFormatOf = 2;            // Lua's own string.format
constexpr lua_Integer kLastNumber = 0;  // the key of the last number that was given

bool has_address(lua_State* L, int index) {
  switch (lua_type(L, index)) {
    case LUA_TTABLE:
    case LUA_TFUNCTION:
    case LUA_TTHREAD:
    case LUA_TUSERDATA:
    case LUA_TLIGHTUSERDATA:
      return true;
    default:
      return false;
  }
}

lua_Integer number_of(lua_State* L, int index) {
  const int numbers = lua_upvalueindex(kNumbers);
  lua_pushvalue(L, index);
  if (lua_rawget(L, numbers) == LUA_TNIL) {
    lua_rawgeti(L, numbers, kLastNumber);
    const lua_Integer next = lua_tointeger(L, -1) + 1;
    lua_pushinteger(L, next);
    lua_rawseti(L, numbers, kLastNumber);
    lua_pushvalue(L, index);
    lua_pushinteger(L, next);
    lua_rawset(L, numbers);
    lua_pop(L, 2);
    return next;
  }
  const lua_Integer number = lua_tointeger(L, -1);
  lua_pop(L, 1);
  return number;
}

/// Pushes what tostring gives.
void push_text(lua_State* L, int index) {
  index = lua_absindex(L, index);
  const bool says_it_itself = luaL_getmetafield(L, index, "__tostring") != LUA_TNIL;
  if (says_it_itself) lua_pop(L, 1);
  if (says_it_itself || !has_address(L, index)) {
    luaL_tolstring(L, index, nullptr);
    return;
  }
  const int kind = luaL_getmetafield(L, index, "__name");
  const char* name = kind == LUA_TSTRING ? lua_tostring(L, -1) : luaL_typename(L, index);
  lua_pushfstring(L, "%s: %I", name, static_cast<LUAI_UACINT>(number_of(L, index)));
  if (kind != LUA_TNIL) lua_remove(L, -2);
}

int to_string(lua_State* L) {
  luaL_checkany(L, 1);
  push_text(L, 1);
  return 1;
}

/// Lua's own, with names in place of what '%s' would show by its address; '%p' shows nothing else.
int format(lua_State* L) {
  std::size_t size = 0;
  const char* data = luaL_checklstring(L, 1, &size);
  const std::string_view text(data, size);
  constexpr std::string_view kFlags = "-+ #0123456789.";
  int argument = 1;
  for (std::size_t at = text.find('%'); at != std::string_view::npos; at = text.find('%', at + 1)) {
    at = text.find_first_not_of(kFlags, at + 1);
    if (at == std::string_view::npos) break;
    if (text[at] == '%') continue;
    ++argument;
    if (text[at] == 'p') return luaL_error(L, "invalid conversion '%%p' to 'format'");
    if (text[at] != 's' || argument > lua_gettop(L) || !has_address(L, argument)) continue;
    push_text(L, argument);
    lua_replace(L, argument);
  }
  lua_pushvalue(L, lua_upvalueindex(kFormatOf));
  lua_insert(L, 1);
  lua_call(L, lua_gettop(L) - 1, 1);
  return 1;
}

}  // namespace

void add_object_names(lua_State* L) {
  lua_newtable(L);
  lua_createtable(L, 0, 1);
  lua_pushliteral(L, "k");
  lua_setfield(L, -2, "__mode");
  lua_setmetatable(L, -2);
  lua_getglobal(L, LUA_STRLIBNAME);
  lua_getfield(L, -1, "format");
  lua_remove(L, -2);
  const luaL_Reg functions[] = {{"tostring", to_string}, {"format", format}, {nullptr, nullptr}};
  luaL_setfuncs(L, functions, 2);
}

}  // namespace ponder::tools::lua
