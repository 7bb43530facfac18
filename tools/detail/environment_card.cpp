#include "tools/detail/environment_card.h"

#include <fmt/format.h>

#include <utility>

#include "base/json_problem.h"
#include "tools/json_schema.h"
#include "tools/lua/sandbox.h"

namespace ponder::tools {
namespace {

constexpr const char* kSqlCapability = "sql";
constexpr const char* kChangeCapability = "sql_write";

// The functions from here to declare_environment() run inside lua_pcall and raise; nothing in them
// has a destructor.

void copy_field(lua_State* L, int from, int to, const char* name) {
  lua_getfield(L, from, name);
  lua_setfield(L, to, name);
}

/// Notes under `name` whether the environment at index 1 has a function of that name.
void note_function(lua_State* L, int to, const char* name) {
  const bool is_there = lua_getfield(L, 1, name) == LUA_TFUNCTION;
  lua_pop(L, 1);
  lua_pushboolean(L, is_there ? 1 : 0);
  lua_setfield(L, to, name);
}

/// Notes under `name` whether the environment at index 1 says so.
void note_flag(lua_State* L, int to, const char* name) {
  lua_getfield(L, 1, name);
  lua_pushboolean(L, lua_toboolean(L, -1));
  lua_setfield(L, to, name);
  lua_pop(L, 1);
}

/// Adds the tool on the top of the stack, the i-th, to the declarations (4), the run functions (5)
/// and the values functions (6).
void declare_tool(lua_State* L, lua_Integer i) {
  lua_newtable(L);
  for (const char* name : {"name", "description", "parameters", "effect", "capabilities"}) {
    copy_field(L, 7, 8, name);
  }
  const int values = lua_getfield(L, 7, "values");
  if (values != LUA_TFUNCTION && values != LUA_TNIL) {
    luaL_error(L, "tool %d: values is no function", static_cast<int>(i));
  }
  lua_pushboolean(L, values == LUA_TFUNCTION ? 1 : 0);
  lua_setfield(L, 8, "has_values");
  if (values == LUA_TNIL) lua_pushboolean(L, 0);
  lua_rawseti(L, 6, i);
  lua_pushvalue(L, 8);
  lua_rawseti(L, 4, i);
  if (lua_getfield(L, 7, "run") != LUA_TFUNCTION) {
    luaL_error(L, "tool %d has no function run", static_cast<int>(i));
  }
  lua_rawseti(L, 5, i);
  lua_settop(L, 6);
}

Result<LuaToolInfo> tool_of(const Json& declared) {
  LuaToolInfo info;
  info.spec.name = declared.at("name").get<std::string>();
  info.spec.description = declared.value("description", "");
  info.spec.parameters = declared.at("parameters").get<std::string>();
  if (declared.contains("capabilities")) {
    for (const Json& name : declared["capabilities"]) info.capabilities.push_back(name);
  }
  if (declared.contains("effect")) {
    PONDER_TRY(info.effect, effect_named(declared["effect"].get<std::string>()));
  }
  info.has_values = declared.value("has_values", false);
  for (const std::string& capability : info.capabilities) {
    if (capability == kSqlCapability) {
      info.has_sql = true;
    } else if (capability == kChangeCapability) {
      info.has_sql = true;
      info.has_changes = true;
    } else {
      return fail(Errc::invalid_argument,
                  fmt::format("tool '{}' asks for '{}', which no environment can have",
                              info.spec.name, capability));
    }
  }
  if (info.has_changes && info.effect == Effect::pure) {
    return fail(Errc::invalid_argument, fmt::format("tool '{}' asks for '{}' and calls itself pure",
                                                    info.spec.name, kChangeCapability));
  }
  return info;
}

Status read_answer(const Json& answer, EnvironmentCard& card) {
  card.answer_noun = answer.value("noun", card.answer_noun);
  card.answer_file = answer.value("file", card.answer_file);
  card.answer_schema = answer.value("schema", "");
  if (!is_artefact_name(card.answer_file)) {
    return fail(Errc::invalid_argument,
                "answer.file is a name without a folder that does not begin with a dot");
  }
  if (card.answer_schema.empty()) return {};
  const auto schema = JsonSchema::compile(card.answer_schema);
  if (!schema) return fail_in("answer.schema", schema.error());
  return {};
}

Result<EnvironmentCard> card_of(const Json& declared) {
  EnvironmentCard card;
  card.description = declared.value("description", "");
  card.instructions = declared.value("instructions", "");
  card.mutants_rejected_min = declared.value("mutants_rejected_min", card.mutants_rejected_min);
  if (declared.contains("kinds")) {
    for (const Json& kind : declared["kinds"]) card.kinds.push_back(kind);
  }
  if (declared.contains("answer")) {
    PONDER_CHECK(read_answer(declared["answer"], card));
  }
  card.asks = declared.value("asks", false);
  card.is_project = declared.value("project", false);
  card.has_requests = declared.value("parse_request", false);
  card.has_solver = declared.value("solve", false);
  card.has_oracle = declared.value("oracle", false);
  card.has_artefacts = declared.value("artefacts", false);
  return card;
}

/// What tasks that are projects need, and cannot have.
Status check_project(const Json& declared) {
  if (!declared.value("project", false)) return {};
  if (!declared.value("task", false)) {
    return fail(Errc::invalid_argument, "the environment has no function 'task'");
  }
  const bool has_own = declared.value("verify", false) || declared.value("solve", false) ||
                       !declared.at("tools").empty();
  if (!has_own) return {};
  return fail(Errc::invalid_argument,
              "where tasks are projects, tools and verifier are those for files and tests: "
              "tools, verify and solve cannot be given");
}

}  // namespace

int declare_environment(lua_State* L) {
  lua_settop(L, 0);
  if (lua_getfield(L, LUA_REGISTRYINDEX, lua::kEnvironmentKey) != LUA_TTABLE) {
    return luaL_error(L, "the environment is no table");
  }
  lua_newtable(L);  // 2: what is returned
  for (const char* name :
       {"description", "instructions", "answer", "kinds", "mutants_rejected_min"}) {
    copy_field(L, 1, 2, name);
  }
  for (const char* name :
       {"build", "task", "prepare", "verify", "parse_request", "solve", "oracle", "artefacts"}) {
    note_function(L, 2, name);
  }
  note_flag(L, 2, "asks");
  note_flag(L, 2, "project");
  if (lua_getfield(L, 1, "tools") != LUA_TTABLE) {
    lua_getfield(L, 1, "project");
    if (lua_toboolean(L, -1) == 0) return luaL_error(L, "the environment has no tools");
    lua_pop(L, 2);
    lua_newtable(L);
  }
  lua_newtable(L);  // 4: the declarations
  lua_newtable(L);  // 5: the run functions
  lua_newtable(L);  // 6: the values functions
  for (lua_Integer i = 1; lua_rawgeti(L, 3, i) == LUA_TTABLE; ++i) declare_tool(L, i);
  lua_settop(L, 6);
  lua_setfield(L, LUA_REGISTRYINDEX, kValuesKey);
  lua_setfield(L, LUA_REGISTRYINDEX, kRunsKey);
  lua_setfield(L, 2, "tools");
  lua_settop(L, 2);
  return 1;
}

bool is_artefact_name(std::string_view name) {
  return !name.empty() && name.front() != '.' && name.find('/') == std::string_view::npos &&
         name.find('\0') == std::string_view::npos;
}

Result<Declarations> declarations_of(const Json& declared) {
  Declarations out;
  PONDER_CHECK(check_project(declared));
  try {
    PONDER_TRY(out.card, card_of(declared));
  } catch (const Json::exception& e) {
    return fail(Errc::invalid_argument, json_problem(e));
  }
  for (const Json& tool : declared.at("tools")) {
    try {
      PONDER_TRY(LuaToolInfo info, tool_of(tool));
      out.card.is_changeable = out.card.is_changeable || info.has_changes;
      out.tools.push_back(std::move(info));
    } catch (const Json::exception& e) {
      return fail(Errc::invalid_argument,
                  fmt::format("tool {}: {}", out.tools.size() + 1, json_problem(e)));
    }
  }
  if (!out.card.is_project && !declared.value("build", false)) {
    return fail(Errc::invalid_argument, "the environment has no function 'build'");
  }
  return out;
}

}  // namespace ponder::tools
