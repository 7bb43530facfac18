#include "tools/lua/sandbox.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <fstream>
#include <iterator>

#include "tools/lua/builtin_modules.h"
#include "tools/lua/object_names.h"
#include "tools/lua/prelude.h"
#include "tools/lua/strings.h"

namespace ponder::tools::lua {
namespace {

constexpr std::size_t kModuleBytesMax = 1 << 20;

/// "travel.rules": words of letters, digits and _, joined by single dots. No path can hide in it.
bool is_module_name(std::string_view name) {
  constexpr std::string_view kAllowed =
      "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.";
  return !name.empty() && name.front() != '.' && name.back() != '.' &&
         name.find("..") == std::string_view::npos &&
         name.find_first_not_of(kAllowed) == std::string_view::npos;
}

Result<std::string> read_module(const std::filesystem::path& library, std::string_view name) {
  if (!is_module_name(name)) {
    return fail(Errc::invalid_argument, fmt::format("'{}' is no name of a module", name));
  }
  if (const auto builtin = builtin_module(name)) return std::string(*builtin);
  std::string relative(name);
  std::replace(relative.begin(), relative.end(), '.', '/');
  std::error_code error;
  const auto root = std::filesystem::canonical(library, error);
  if (error)
    return fail(Errc::not_found, fmt::format("library {}: {}", library.string(), error.message()));
  const auto file = std::filesystem::canonical(root / (relative + ".lua"), error);
  if (error) {
    return fail(Errc::not_found, fmt::format("there is no module '{}' in {}", name, root.string()));
  }
  // A symbolic link may lead out of the library.
  const auto inside = std::mismatch(root.begin(), root.end(), file.begin(), file.end());
  if (inside.first != root.end()) {
    return fail(Errc::invalid_argument, fmt::format("module '{}' lies outside the library", name));
  }
  std::ifstream in(file, std::ios::binary);
  std::string text{std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>()};
  if (!in) return fail(Errc::unavailable, fmt::format("{}: cannot be read", file.string()));
  if (text.size() > kModuleBytesMax) {
    return fail(Errc::exhausted,
                fmt::format("module '{}' is over {} KiB", name, kModuleBytesMax >> 10));
  }
  return text;
}

/// load(name, env) -> the module's chunk, with `env` for its globals. The upvalue is the library.
Result<int> load_module(lua_State* L) {
  const auto* library =
      static_cast<const std::filesystem::path*>(lua_touserdata(L, lua_upvalueindex(1)));
  if (lua_type(L, 1) != LUA_TSTRING) return fail(Errc::invalid_argument, "require takes a name");
  std::size_t size = 0;
  const char* data = lua_tolstring(L, 1, &size);
  const std::string name(data, size);
  PONDER_TRY(const std::string text, read_module(*library, name));
  std::string file = name;
  std::replace(file.begin(), file.end(), '.', '/');
  const std::string chunk_name = "@" + file + ".lua";
  if (luaL_loadbufferx(L, text.data(), text.size(), chunk_name.c_str(), "t") != LUA_OK) {
    return fail(Errc::invalid_argument, lua_tostring(L, -1));
  }
  lua_pushvalue(L, 2);
  lua_setupvalue(L, -2, 1);
  return 1;
}

/// each_word(text): an iterator over words, for the prelude, which has no patterns yet. The words
/// are the upvalue; nothing here has a destructor.
int next_word(lua_State* L) {
  std::size_t size = 0;
  const char* text = lua_tolstring(L, lua_upvalueindex(1), &size);
  std::size_t begin = static_cast<std::size_t>(lua_tointeger(L, lua_upvalueindex(2)));
  begin += std::strspn(text + begin, " \n");
  const std::size_t length = std::strcspn(text + begin, " \n");
  const std::size_t end = begin + length;
  lua_pushinteger(L, static_cast<lua_Integer>(end));
  lua_replace(L, lua_upvalueindex(2));
  if (length == 0) return 0;
  lua_pushlstring(L, text + begin, length);
  return 1;
}

int each_word(lua_State* L) {
  luaL_checkstring(L, 1);
  lua_settop(L, 1);
  lua_pushinteger(L, 0);
  lua_pushcclosure(L, next_word, 2);
  return 1;
}

int is_suspended(lua_State* L) {
  lua_pushboolean(L, State::of(L).is_suspended() ? 1 : 0);
  return 1;
}

int pin(lua_State* L) {
  State::of(L).pin(static_cast<int>(luaL_checkinteger(L, 1)));
  return 0;
}

/// coroutine.close (the upvalue), but not once the call must end: what a coroutine that died in the
/// hook has to close would run there without hooks.
int close_coroutine(lua_State* L) {
  State& state = State::of(L);
  if (!state.keep_going()) return luaL_error(L, "%s", state.stop_message());
  lua_pushvalue(L, lua_upvalueindex(1));
  lua_insert(L, 1);
  lua_call(L, lua_gettop(L) - 1, LUA_MULTRET);
  return lua_gettop(L);
}

/// Runs the prelude, and pushes what it returns: `require` and the maker of globals. `library` may
/// be nullptr: no modules. May raise; nothing here has a destructor.
void push_prelude(lua_State* L, const std::filesystem::path* library) {
  if (luaL_loadbufferx(L, kPrelude, std::strlen(kPrelude), "=prelude", "t") != LUA_OK) {
    lua_error(L);
  }
  push_string_functions(L);
  add_object_names(L);
  if (library != nullptr) {
    lua_pushlightuserdata(L, const_cast<std::filesystem::path*>(library));
    lua_pushcclosure(L, lua_entry<load_module>, 1);
    lua_setfield(L, -2, "load");
  }
  const luaL_Reg functions[] = {
      {"each_word", each_word}, {"is_suspended", is_suspended}, {"pin", pin}, {nullptr, nullptr}};
  luaL_setfuncs(L, functions, 0);
  lua_getglobal(L, LUA_COLIBNAME);
  lua_getfield(L, -1, "close");
  lua_pushcclosure(L, close_coroutine, 1);
  lua_setfield(L, -3, "close");
  lua_pop(L, 1);
  lua_pushglobaltable(L);
  lua_call(L, 2, 2);
}

struct LoadJob {
  const std::filesystem::path* library;
  const char* name;
};

/// Builds the sandbox and requires the environment in it. Nothing here has a destructor.
int load_in_sandbox(lua_State* L) {
  const auto* job = static_cast<const LoadJob*>(lua_touserdata(L, 1));
  lua_settop(L, 0);
  push_prelude(L, job->library);
  lua_settop(L, 1);
  lua_pushstring(L, job->name);
  lua_call(L, 1, 1);
  lua_setfield(L, LUA_REGISTRYINDEX, kEnvironmentKey);
  return 0;
}

struct ScriptJob {
  const std::string* text;
  const char* chunk_name;
};

/// Builds the sandbox and runs the script in it. Nothing here has a destructor.
int run_in_sandbox(lua_State* L) {
  const auto* job = static_cast<const ScriptJob*>(lua_touserdata(L, 1));
  lua_settop(L, 0);
  push_prelude(L, nullptr);
  if (luaL_loadbufferx(L, job->text->data(), job->text->size(), job->chunk_name, "t") != LUA_OK) {
    return lua_error(L);
  }
  lua_pushvalue(L, 2);
  lua_pushstring(L, job->chunk_name + 1);
  lua_call(L, 1, 1);
  lua_setupvalue(L, 3, 1);
  lua_call(L, 0, 1);
  lua_setfield(L, LUA_REGISTRYINDEX, kEnvironmentKey);
  // What is not reachable from the script is not needed any more.
  lua_pushnil(L);
  lua_setfield(L, LUA_REGISTRYINDEX, LUA_LOADED_TABLE);
  lua_pushglobaltable(L);
  for (lua_pushnil(L); lua_next(L, -2) != 0; lua_pushnil(L)) {
    lua_pop(L, 1);
    lua_pushnil(L);
    lua_rawset(L, -3);
  }
  lua_settop(L, 0);
  lua_gc(L, LUA_GCCOLLECT);
  return 0;
}

}  // namespace

Status load_environment(State& state, const std::filesystem::path& library, const std::string& name,
                        const Budget& budget) {
  LoadJob job{&library, name.c_str()};
  return state.call(load_in_sandbox, &job, 0, budget);
}

Status load_script(State& state, const std::string& text, const std::string& file_name,
                   const Budget& budget) {
  const std::string chunk_name = "@" + file_name;
  ScriptJob job{&text, chunk_name.c_str()};
  return state.call(run_in_sandbox, &job, 0, budget);
}

}  // namespace ponder::tools::lua
