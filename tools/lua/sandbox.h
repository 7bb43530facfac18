#pragma once

#include <filesystem>
#include <string>

#include "base/result.h"
#include "tools/lua/state.h"

namespace ponder::tools::lua {

/// What scripts of an environment can reach: the harmless part of Lua's libraries, and `require`
/// for modules of one folder.
///
/// Absent: os, io, package, debug, load and all its kin, collectgarbage, print, string.dump and
/// math.random (every run must be repeatable). Replaced: the pattern functions and string.rep,
/// which are bounded here; setmetatable, which refuses __gc, because no limit reaches a finalizer;
/// the table functions, which refuse tables with __len. The metatable of strings is out of reach. A
/// module cannot assign globals.
///
/// Loads `name` from `library` and leaves what it returned in the registry under kEnvironmentKey.
/// Once for a state. Modules are text; "travel.rules" is library/travel/rules.lua, and nothing
/// outside is found but what the program brings (builtin_modules.h).
Status load_environment(State& state, const std::filesystem::path& library, const std::string& name,
                        const Budget& budget);

/// The same for a script that stands alone: runs `text` without `require`, and leaves what it
/// returned, whatever that is, in the registry under kEnvironmentKey. `file_name` is how errors
/// call it.
Status load_script(State& state, const std::string& text, const std::string& file_name,
                   const Budget& budget);

inline constexpr const char* kEnvironmentKey = "ponder.environment";

}  // namespace ponder::tools::lua
