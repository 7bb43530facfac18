#include "tools/detail/environment_host.h"

#include <fmt/format.h>

#include <chrono>
#include <utility>

#include "tools/lua/json_convert.h"
#include "tools/lua/sandbox.h"
#include "tools/lua/tool_output.h"

namespace ponder::tools {
namespace {

constexpr std::int64_t kWorldInstructions = 2'000'000'000;  // to build, draw a task, solve
constexpr std::chrono::seconds kWorldTime{60};
constexpr std::int64_t kToolInstructions = 50'000'000;
constexpr std::int64_t kValuesInstructions = 5'000'000;

constexpr const char* kRunsKey = "ponder.runs";    // array of the tools' run functions
constexpr const char* kValuesKey = "ponder.values";  // the same of their values functions, or false
constexpr const char* kTaskKey = "ponder.task";    // what ctx.task is
constexpr const char* kStateKey = "ponder.state";  // what ctx.state is
constexpr const char* kSqlCapability = "sql";

// The functions from here to the next class run inside lua_pcall and raise; nothing in them has a
// destructor.

void copy_field(lua_State* L, int from, int to, const char* name) {
  lua_getfield(L, from, name);
  lua_setfield(L, to, name);
}

/// Gives {name, instructions, tools = {{name, description, parameters, effect, capabilities}...}}
/// and keeps the functions run and values in the registry.
int declare(lua_State* L) {
  lua_settop(L, 0);
  if (lua_getfield(L, LUA_REGISTRYINDEX, lua::kEnvironmentKey) != LUA_TTABLE) {
    return luaL_error(L, "the environment is no table");
  }
  lua_newtable(L);  // 2: what is returned
  copy_field(L, 1, 2, "instructions");
  if (lua_getfield(L, 1, "tools") != LUA_TTABLE) {
    return luaL_error(L, "the environment has no tools");
  }
  lua_newtable(L);  // 4: the declarations
  lua_newtable(L);  // 5: the run functions
  lua_newtable(L);  // 6: the values functions
  for (lua_Integer i = 1; lua_rawgeti(L, 3, i) == LUA_TTABLE; ++i) {
    lua_newtable(L);
    for (const char* name : {"name", "description", "parameters", "effect", "capabilities"}) {
      copy_field(L, 7, 8, name);
    }
    const int values = lua_getfield(L, 7, "values");
    if (values != LUA_TFUNCTION && values != LUA_TNIL) {
      return luaL_error(L, "tool %d: values is no function", static_cast<int>(i));
    }
    lua_pushboolean(L, values == LUA_TFUNCTION ? 1 : 0);
    lua_setfield(L, 8, "has_values");
    if (values == LUA_TNIL) lua_pushboolean(L, 0);
    lua_rawseti(L, 6, i);
    lua_pushvalue(L, 8);
    lua_rawseti(L, 4, i);
    if (lua_getfield(L, 7, "run") != LUA_TFUNCTION) {
      return luaL_error(L, "tool %d has no function run", static_cast<int>(i));
    }
    lua_rawseti(L, 5, i);
    lua_settop(L, 6);
  }
  lua_settop(L, 6);
  lua_setfield(L, LUA_REGISTRYINDEX, kValuesKey);
  lua_setfield(L, LUA_REGISTRYINDEX, kRunsKey);
  lua_setfield(L, 2, "tools");
  lua_settop(L, 2);
  return 1;
}

struct CallJob {
  const char* function;
  std::span<const Environment::Host::Argument> arguments;
  lua::Database* database;
};

int call_function(lua_State* L) {
  const auto& job = *static_cast<const CallJob*>(lua_touserdata(L, 1));
  lua_settop(L, 0);
  lua_getfield(L, LUA_REGISTRYINDEX, lua::kEnvironmentKey);
  if (lua_getfield(L, 1, job.function) != LUA_TFUNCTION) {
    return luaL_error(L, "the environment has no function '%s'", job.function);
  }
  for (const Environment::Host::Argument argument : job.arguments) {
    if (argument == nullptr) {
      job.database->push_table(L);
    } else {
      lua::push_json(L, *argument);
    }
  }
  lua_call(L, static_cast<int>(job.arguments.size()), 2);
  return 2;
}

struct ToolJob {
  lua_Integer index;
  const Json* arguments;
  lua::Database* database;
  const std::string* idempotency_key;
  bool has_sql;
};

/// ctx: only what was declared and granted is in it.
void push_context(lua_State* L, const ToolJob& job) {
  lua_createtable(L, 0, 4);
  lua_getfield(L, LUA_REGISTRYINDEX, kTaskKey);
  lua_setfield(L, -2, "task");
  lua_getfield(L, LUA_REGISTRYINDEX, kStateKey);
  lua_setfield(L, -2, "state");
  lua_pushlstring(L, job.idempotency_key->data(), job.idempotency_key->size());
  lua_setfield(L, -2, "idempotency_key");
  if (job.has_sql) {
    job.database->push_sql(L);
    lua_setfield(L, -2, kSqlCapability);
  }
}

int call_tool(lua_State* L) {
  const auto& job = *static_cast<const ToolJob*>(lua_touserdata(L, 1));
  lua_settop(L, 0);
  lua_getfield(L, LUA_REGISTRYINDEX, kRunsKey);
  lua_rawgeti(L, 1, job.index);
  lua::push_json(L, *job.arguments);
  push_context(L, job);
  lua_call(L, 2, 2);
  return 2;
}

int call_values(lua_State* L) {
  const auto& job = *static_cast<const ToolJob*>(lua_touserdata(L, 1));
  lua_settop(L, 0);
  lua_getfield(L, LUA_REGISTRYINDEX, kValuesKey);
  lua_rawgeti(L, 1, job.index);
  push_context(L, job);
  lua_call(L, 1, 1);
  return 1;
}

int begin_task(lua_State* L) {
  const auto* task = static_cast<const Json*>(lua_touserdata(L, 1));
  lua::push_json(L, *task);
  lua_setfield(L, LUA_REGISTRYINDEX, kTaskKey);
  lua_newtable(L);
  lua_setfield(L, LUA_REGISTRYINDEX, kStateKey);
  return 0;
}

int get_submitted(lua_State* L) {
  lua_settop(L, 0);
  const bool has_plan = lua_getfield(L, LUA_REGISTRYINDEX, kStateKey) == LUA_TTABLE &&
                        lua_getfield(L, -1, "submitted") == LUA_TTABLE;
  if (has_plan) {
    lua_getfield(L, -1, "days");
  } else {
    lua_pushnil(L);
  }
  return 1;
}

Result<std::vector<ParameterValues>> values_of(const Json& said) {
  const auto garbage = [] {
    return fail(Errc::internal, "values: a table of lists of strings was expected");
  };
  if (!said.is_object()) return garbage();
  std::vector<ParameterValues> out;
  for (const auto& [parameter, list] : said.items()) {
    ParameterValues& one = out.emplace_back();
    one.parameter = parameter;
    if (list.is_object() && list.empty()) continue;  // an empty table is both
    if (!list.is_array()) return garbage();
    for (const Json& value : list) {
      if (!value.is_string()) return garbage();
      one.values.push_back(value.get<std::string>());
    }
  }
  return out;
}

}  // namespace

Environment::Host::Host(WorldOptions world, boost::asio::any_io_executor strand, const Clock& clock,
                        std::unique_ptr<lua::State> state, lua::Database database)
    : world_(std::move(world)),
      strand_(std::move(strand)),
      clock_(clock),
      database_(std::move(database)),
      state_(std::move(state)) {}

lua::Budget Environment::Host::own_budget() const {
  return lua::Budget(kWorldInstructions, Deadline::after(clock_, kWorldTime), nullptr);
}

Status Environment::Host::start() {
  PONDER_CHECK(lua::load_environment(*state_, world_.library, world_.name, own_budget()));
  PONDER_CHECK(read_declarations());
  const Json seed = world_.seed;
  const Json size = world_.size;
  const Argument arguments[] = {nullptr, &seed, &size};
  PONDER_CHECK(call("build", arguments));
  return database_.seal();
}

Status Environment::Host::read_declarations() {
  const std::lock_guard lock(mutex_);
  PONDER_CHECK(state_->call(declare, nullptr, 1, own_budget()));
  auto declared = lua::to_json(state_->raw(), -1);
  state_->reset_stack();
  if (!declared) return fail_in("tools", declared.error());
  instructions_ = declared->value("instructions", "");
  for (const Json& tool : (*declared)["tools"]) {
    PONDER_CHECK(add_tool(tool));
  }
  return {};
}

Status Environment::Host::add_tool(const Json& declared) {
  LuaToolInfo info;
  try {
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
  } catch (const Json::exception& e) {
    return fail(Errc::invalid_argument, fmt::format("tool {}: {}", tools_.size() + 1, e.what()));
  }
  for (const std::string& capability : info.capabilities) {
    if (capability == kSqlCapability) continue;
    return fail(Errc::invalid_argument,
                fmt::format("tool '{}' asks for '{}', which no environment can have",
                            info.spec.name, capability));
  }
  tools_.push_back(std::move(info));
  return {};
}

Result<std::vector<Json>> Environment::Host::call(const char* function,
                                                  std::span<const Argument> arguments) {
  const std::lock_guard lock(mutex_);
  CallJob job{function, arguments, &database_};
  const Status status = state_->call(call_function, &job, 2, own_budget());
  if (!status) return fail_in(function, status.error());
  std::vector<Json> results;
  for (const int index : {-2, -1}) {
    auto value = lua::to_json(state_->raw(), index);
    if (!value) {
      state_->reset_stack();
      return fail_in(function, value.error());
    }
    results.push_back(std::move(*value));
  }
  state_->reset_stack();
  return results;
}

Result<ToolOutput> Environment::Host::run_tool(std::size_t index, const std::string& arguments,
                                               const ToolContext& context,
                                               const std::atomic<bool>* stop) {
  auto parsed = parse_json(arguments);
  if (!parsed) return error_output(parsed.error().message);
  const std::lock_guard lock(mutex_);
  const auto& capabilities = tools_[index].capabilities;
  ToolJob job{static_cast<lua_Integer>(index) + 1, &*parsed, &database_, &context.idempotency_key,
              !capabilities.empty()};
  const lua::Budget budget(kToolInstructions, context.deadline, stop);
  const Status status = state_->call(call_tool, &job, 2, budget);
  if (!status) {
    const Error& error = status.error();
    if (error.code == Errc::cancelled || error.code == Errc::deadline) return tl::unexpected(error);
    return error_output(error.message);
  }
  ToolOutput output = lua::tool_output(state_->raw(), -2);
  state_->reset_stack();
  output.content = cap_output(std::move(output.content), context.output_bytes_max);
  return output;
}

Result<std::vector<ParameterValues>> Environment::Host::tool_values(
    std::size_t index, const ToolContext& context, const std::atomic<bool>* stop) {
  const std::lock_guard lock(mutex_);
  ToolJob job{static_cast<lua_Integer>(index) + 1, nullptr, &database_, &context.idempotency_key,
              !tools_[index].capabilities.empty()};
  const lua::Budget budget(kValuesInstructions, context.deadline, stop);
  const Status status = state_->call(call_values, &job, 1, budget);
  if (!status) return tl::unexpected(status.error());
  auto said = lua::to_json(state_->raw(), -1);
  state_->reset_stack();
  if (!said) return tl::unexpected(said.error());
  return values_of(*said);
}

Status Environment::Host::begin(const Json& task) {
  const std::lock_guard lock(mutex_);
  PONDER_CHECK(state_->call(begin_task, const_cast<Json*>(&task), 0, own_budget()));
  task_ = task;
  return {};
}

Result<Json> Environment::Host::submitted() {
  const std::lock_guard lock(mutex_);
  PONDER_CHECK(state_->call(get_submitted, nullptr, 1, own_budget()));
  auto plan = lua::to_json(state_->raw(), -1);
  state_->reset_stack();
  return plan;
}

}  // namespace ponder::tools
