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

constexpr const char* kTaskKey = "ponder.task";    // what ctx.task is
constexpr const char* kStateKey = "ponder.state";  // what ctx.state is

// The functions from here to the next class run inside lua_pcall and raise; nothing in them has a
// destructor.

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
  bool has_changes;
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
    lua_setfield(L, -2, "sql");
    job.database->push_grid_sql(L);
    lua_setfield(L, -2, "sql_grid");
  }
  if (job.has_changes) {
    job.database->push_exec(L);
    lua_setfield(L, -2, "sql_write");
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
  lua_getfield(L, LUA_REGISTRYINDEX, kStateKey);
  lua_getfield(L, -1, "submitted");
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

Status Environment::Host::start(const std::filesystem::path& folder, const std::string& module) {
  folder_ = folder;
  PONDER_CHECK(lua::load_environment(*state_, folder_, module, own_budget()));
  PONDER_CHECK(read_declarations());
  PONDER_CHECK(reset_state(nullptr));
  const Json seed = world_.seed;
  const Json size = world_.size;
  const Argument arguments[] = {nullptr, &seed, &size};
  const std::lock_guard lock(mutex_);
  if (has_build_) {
    PONDER_CHECK(call_locked("build", arguments, Access::change));
  }
  return database_.seal();
}

Status Environment::Host::read_declarations() {
  const std::lock_guard lock(mutex_);
  PONDER_CHECK(state_->call(declare_environment, nullptr, 1, own_budget()));
  auto declared = lua::to_json(state_->raw(), -1);
  state_->reset_stack();
  if (!declared) return fail_in("its declarations", declared.error());
  has_build_ = declared->value("build", false);
  has_prepare_ = declared->value("prepare", false);
  PONDER_TRY(declared_, declarations_of(*declared));
  return {};
}

Result<std::vector<Json>> Environment::Host::call(const char* function,
                                                  std::span<const Argument> arguments) {
  const std::lock_guard lock(mutex_);
  return call_locked(function, arguments, Access::look);
}

Result<std::vector<Json>> Environment::Host::call_locked(const char* function,
                                                         std::span<const Argument> arguments,
                                                         Access access) {
  CallJob job{function, arguments, &database_};
  database_.allow_changes(access == Access::change);
  const Status status = state_->call(call_function, &job, 2, own_budget());
  database_.allow_changes(false);
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
  if (!tools()[index].has_changes) return run_tool_locked(index, *parsed, context, stop);
  PONDER_CHECK(database_.mark());
  database_.allow_changes(true);
  auto output = run_tool_locked(index, *parsed, context, stop);
  database_.allow_changes(false);
  if (!output || output->is_error) {
    PONDER_CHECK(database_.undo());
    return output;
  }
  const Status kept = database_.keep();
  if (!kept) return error_output(kept.error().message);
  changes_.push_back(WorldChange{tools()[index].spec.name, arguments, context.idempotency_key});
  return output;
}

Result<ToolOutput> Environment::Host::run_tool_locked(std::size_t index, const Json& arguments,
                                                      const ToolContext& context,
                                                      const std::atomic<bool>* stop) {
  const LuaToolInfo& tool = tools()[index];
  ToolJob job{static_cast<lua_Integer>(index) + 1,
              &arguments,
              &database_,
              &context.idempotency_key,
              tool.has_sql,
              tool.has_changes};
  const lua::Budget budget(kToolInstructions, context.deadline, stop);
  const Status status = state_->call(call_tool, &job, 2, budget);
  if (!status) {
    const Error& error = status.error();
    if (error.code == Errc::cancelled || error.code == Errc::deadline) return tl::unexpected(error);
    return error_output(error.message);
  }
  ToolOutput output = lua::tool_output(state_->raw(), -2);
  state_->reset_stack();
  return cap_output(std::move(output), context.output_kept_max);
}

Result<std::vector<ParameterValues>> Environment::Host::tool_values(std::size_t index,
                                                                    const ToolContext& context,
                                                                    const std::atomic<bool>* stop) {
  const std::lock_guard lock(mutex_);
  ToolJob job{static_cast<lua_Integer>(index) + 1,
              nullptr,
              &database_,
              &context.idempotency_key,
              tools()[index].has_sql,
              /*has_changes=*/false};
  const lua::Budget budget(kValuesInstructions, context.deadline, stop);
  const Status status = state_->call(call_values, &job, 1, budget);
  if (!status) return tl::unexpected(status.error());
  auto said = lua::to_json(state_->raw(), -1);
  state_->reset_stack();
  if (!said) return tl::unexpected(said.error());
  return values_of(*said);
}

Status Environment::Host::reset_state(const Json& task) {
  return state_->call(begin_task, const_cast<Json*>(&task), 0, own_budget());
}

Status Environment::Host::prepare(const Json& task) {
  const Argument arguments[] = {&task, nullptr};
  PONDER_CHECK(database_.mark());
  const auto prepared = call_locked("prepare", arguments, Access::change);
  if (prepared) return database_.keep();
  PONDER_CHECK(database_.undo());
  return tl::unexpected<Error>(prepared.error());
}

Status Environment::Host::reset(const Json& task) {
  task_.reset();
  changes_.clear();
  PONDER_CHECK(reset_state(task));
  return database_.restore();
}

Status Environment::Host::end() {
  const std::lock_guard lock(mutex_);
  return reset(nullptr);
}

Status Environment::Host::begin(const Json& task) {
  const std::lock_guard lock(mutex_);
  PONDER_CHECK(reset(task));
  if (has_prepare_) {
    PONDER_CHECK(prepare(task));
  }
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

std::vector<WorldChange> Environment::Host::changes() {
  const std::lock_guard lock(mutex_);
  return changes_;
}

Result<std::string> Environment::Host::dump() {
  PONDER_TRY(const Json answer, submitted());
  const std::lock_guard lock(mutex_);
  PONDER_TRY(std::string text, database_.dump());
  return text + dump_json(answer);
}

}  // namespace ponder::tools
