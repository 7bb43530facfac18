#pragma once

#include <lua.hpp>

#include "base/result.h"
#include "tools/detail/json.h"

namespace ponder::tools::lua {

/// Pushes `value` as Lua sees it. Objects and arrays become tables; integers stay integers; null is
/// nil as a member and the null light userdata in an array, where nil would be a hole. May raise
/// (out of memory), and holds nothing with a destructor.
void push_json(lua_State* L, const Json& value);

/// Reads a value that has no JSON form; never raises.
using OpaqueReader = Result<Json> (*)(lua_State* L, int index);

/// The value at `index` as JSON; never raises. A table with keys 1..n is an array, an empty one an
/// object. `invalid_argument` for functions, mixed keys and other things that JSON has not, and for
/// tables that are too deep (cycles); `exhausted` for those that are too large, a string counting
/// wherever it stands. Userdata are left to `opaque`, if there is one.
Result<Json> to_json(lua_State* L, int index, OpaqueReader opaque = nullptr);

}  // namespace ponder::tools::lua
