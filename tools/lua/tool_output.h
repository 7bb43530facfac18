#pragma once

#include <lua.hpp>

#include "tools/tool.h"

namespace ponder::tools::lua {

/// What a tool's `run` returned, as the model reads it: a value, or nil (or false) and why there is
/// none. `index` is the first of the two on the stack. Text goes to the model as it is, but for
/// bytes that are no UTF-8; everything else as JSON. Never raises.
ToolOutput tool_output(lua_State* L, int index);

/// `text` with U+FFFD for every byte that is no UTF-8, and a note that says so.
std::string with_clean_utf8(const std::string& text);

}  // namespace ponder::tools::lua
