#pragma once

#include <lua.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "tools/detail/json.h"
#include "tools/environment.h"

namespace ponder::tools {

/// What an environment says about one of its tools.
struct LuaToolInfo {
  context::ToolSpec spec;
  Effect effect = Effect::irreversible;
  std::vector<std::string> capabilities;
  bool has_values = false;   // it has a function that says what its parameters can be
  bool has_sql = false;      // it reads the world
  bool has_changes = false;  // it may change the world
};

/// What an environment declares, as the host keeps it.
struct Declarations {
  EnvironmentCard card;
  std::vector<LuaToolInfo> tools;
};

/// Leaves on the stack what the environment in the registry declares, as a table, and keeps the
/// tools' functions in the registry: arrays under kRunsKey and kValuesKey. Runs inside lua_pcall
/// and raises.
int declare_environment(lua_State* L);

inline constexpr const char* kRunsKey = "ponder.runs";      // the tools' run functions
inline constexpr const char* kValuesKey = "ponder.values";  // their values functions, or false

/// Whether an artefact may have this name: one without a folder, and no hidden file. An environment
/// is code that people hand on; where its files go is the user's business.
bool is_artefact_name(std::string_view name);

/// Reads that table. `invalid_argument` names the tool or the field that is wrong.
Result<Declarations> declarations_of(const Json& declared);

}  // namespace ponder::tools
