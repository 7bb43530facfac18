#pragma once

#include <lua.hpp>

namespace ponder::tools::lua {

/// Pushes a table with the functions that replace Lua's own where those can run without a bound:
/// find, match, search and expand (from which the prelude makes gmatch and gsub), rep; and
/// guards that wrap functions of the table library. May raise.
void push_string_functions(lua_State* L);

}  // namespace ponder::tools::lua
