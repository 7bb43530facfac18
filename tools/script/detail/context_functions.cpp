#include "tools/script/detail/context_functions.h"

#include <algorithm>
#include <array>
#include <cstring>

#include "tools/lua/json_convert.h"

namespace ponder::tools {
namespace {

constexpr ContextFunction kFunctions[] = {
    {"json", "encode", nullptr, json_encode, false},
    {"json", "decode", nullptr, json_decode, false},
    {"regex", "match", nullptr, regex_match, false},
    {"regex", "all", nullptr, regex_all, false},
    {"regex", "replace", nullptr, regex_replace, false},
    {"time", "now", nullptr, time_now, true},
    {"time", "format", nullptr, time_format, false},
    {"time", "parse", nullptr, time_parse, false},
    {nullptr, "log", nullptr, session_log, false},
    {nullptr, "progress", nullptr, session_progress, false},
    {nullptr, "sleep", nullptr, session_sleep, true},
    {"http", "get", "http", http_get, true},
    {"http", "post", "http", http_post, true},
    {"http", "request", "http", http_request, true},
    {"fs", "read", "fs-read", fs_read, true},
    {"fs", "list", "fs-read", fs_list, true},
    {"fs", "write", "fs", fs_write, true},
    {nullptr, "sql", "sql", sql_run, true},
    {nullptr, "exec", "exec", exec_run, true},
    {nullptr, "secret", "secret", reveal_secret, false},
    {"kv", "get", "kv", kv_get, true},
    {"kv", "set", "kv", kv_set, true},
    {nullptr, "ask", "ask", session_ask, true},
    {nullptr, "agent", "agent", session_agent, true},
};

enum Access : lua_Integer { kAllowed, kNotDeclared, kNotGranted };

bool is_declared(const ScriptResources& resources, std::string_view word) {
  const auto& declared = resources.capabilities;
  return std::any_of(declared.begin(), declared.end(), [word](std::string_view capability) {
    const std::string_view said = capability.substr(0, capability.find(':'));
    return said == word || (word == "fs-read" && said == "fs");
  });
}

bool is_granted(const LuaGrants& grants, std::string_view word) {
  if (word == "http") return grants.has_http();
  if (word == "exec") return grants.has_exec();
  if (word == "secret") return !grants.secrets.empty();
  return is_covered(grants, word);
}

Access access_to(const ScriptResources& resources, const ContextFunction& function) {
  if (function.capability == nullptr) return kAllowed;
  if (!is_declared(resources, function.capability)) return kNotDeclared;
  if (resources.answers || is_granted(resources.grants, function.capability)) return kAllowed;
  return kNotGranted;
}

// The functions that Lua calls raise; nothing in them has a destructor.

const ContextFunction& function_of(lua_State* L) {
  return kFunctions[lua_tointeger(L, lua_upvalueindex(1))];
}

int refuse(lua_State* L) {
  const ContextFunction& function = function_of(L);
  const char* area = function.area == nullptr ? "" : function.area;
  const char* dot = function.area == nullptr ? "" : ".";
  ScriptCall::of(L).note_misuse();
  if (lua_tointeger(L, lua_upvalueindex(2)) == kNotDeclared) {
    return luaL_error(L, "ctx.%s%s%s: the tool does not declare the capability \"%s\"", area, dot,
                      function.name, function.capability);
  }
  return luaL_error(L, "ctx.%s%s%s: the capability \"%s\" is declared but was not granted", area,
                    dot, function.name, function.capability);
}

int go_on(lua_State* L, int, lua_KContext) { return ScriptCall::of(L).push_answer(L); }

int enter_function(lua_State* L) {
  ScriptCall& call = ScriptCall::of(L);
  switch (call.enter(L, static_cast<std::size_t>(lua_tointeger(L, lua_upvalueindex(1))))) {
    case ScriptCall::Entered::raise:
      return luaL_error(L, "%s", call.message());
    case ScriptCall::Entered::answered:
      return call.push_answer(L);
    case ScriptCall::Entered::waits:
      return lua_yieldk(L, 0, 0, go_on);
  }
  return 0;
}

void push_function(lua_State* L, std::size_t index, Access access) {
  lua_pushinteger(L, static_cast<lua_Integer>(index));
  if (access == kAllowed) {
    lua_pushcclosure(L, enter_function, 1);
    return;
  }
  lua_pushinteger(L, access);
  lua_pushcclosure(L, refuse, 2);
}

}  // namespace

std::span<const ContextFunction> context_functions() { return kFunctions; }

std::string full_name(const ContextFunction& function) {
  if (function.area == nullptr) return function.name;
  return std::string(function.area) + "." + function.name;
}

void push_context_table(lua_State* L, const ScriptResources& resources) {
  lua_newtable(L);
  for (std::size_t i = 0; i < std::size(kFunctions); ++i) {
    const ContextFunction& function = kFunctions[i];
    const Access access = access_to(resources, function);
    if (function.area == nullptr) {
      push_function(L, i, access);
      lua_setfield(L, -2, function.name);
      continue;
    }
    if (lua_getfield(L, -1, function.area) == LUA_TNIL) {
      lua_pop(L, 1);
      lua_newtable(L);
      lua_pushvalue(L, -1);
      lua_setfield(L, -3, function.area);
    }
    push_function(L, i, access);
    lua_setfield(L, -2, function.name);
    lua_pop(L, 1);
  }
  lua_getfield(L, -1, "json");
  lua_pushlightuserdata(L, nullptr);
  lua_setfield(L, -2, "null");
  lua_pop(L, 1);
}

}  // namespace ponder::tools
