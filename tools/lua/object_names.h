#pragma once

#include <lua.hpp>

namespace ponder::tools::lua {

/// Adds `tostring` and `format` to the table on top of the stack. They replace Lua's own, which
/// show tables, functions and the like by their address: that differs from run to run, and tells
/// where the host's memory lies. Here they are numbered as they are first asked for. May raise.
void add_object_names(lua_State* L);

}  // namespace ponder::tools::lua
