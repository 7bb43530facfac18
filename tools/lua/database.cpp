#include "tools/lua/database.h"

#include <fmt/format.h>

#include <optional>
#include <utility>
#include <vector>

#include "tools/lua/state.h"

namespace ponder::tools::lua {
namespace {

constexpr int kWatchInterval = 1000;  // steps of SQLite's machine between two looks at the budget
constexpr int kInstructionsPerStep = 4;

Result<sqlite::Value> value_at(lua_State* L, int index) {
  switch (lua_type(L, index)) {
    case LUA_TNIL:
      return sqlite::Value(sqlite::Null{});
    case LUA_TBOOLEAN:
      return sqlite::Value(lua_toboolean(L, index));
    case LUA_TNUMBER:
      if (lua_isinteger(L, index) != 0) return sqlite::Value(lua_tointeger(L, index));
      return sqlite::Value(static_cast<double>(lua_tonumber(L, index)));
    case LUA_TSTRING: {
      std::size_t size = 0;
      const char* data = lua_tolstring(L, index, &size);
      return sqlite::Value(std::string_view(data, size));
    }
    default:
      return fail(Errc::invalid_argument,
                  fmt::format("sql: value {} is a {}", index - 1, luaL_typename(L, index)));
  }
}

/// What push_rows() works on. It lives outside the protected call, so that its destructor runs.
struct RowsJob {
  sqlite::Rows* rows;
  int rows_left;
  std::size_t bytes_left;
  std::optional<Error> error;

  /// Whether there is a row to push. Objects with destructors stay inside.
  bool step() noexcept {
    auto has_row = rows->next();
    if (!has_row) {
      error = has_row.error();
      return false;
    }
    if (!*has_row) return false;
    if (--rows_left < 0) error.emplace(Errc::exhausted, "sql: the query gives too many rows");
    return !error;
  }
  bool take_bytes(std::size_t bytes) noexcept {
    if (bytes > bytes_left) {
      error.emplace(Errc::exhausted, "sql: the query gives too many bytes");
      return false;
    }
    bytes_left -= bytes;
    return true;
  }
};

/// Pushes one column; false when the limit on bytes is reached.
bool push_column(lua_State* L, RowsJob& job, int column) {
  switch (job.rows->type(column)) {
    case sqlite::ColumnType::null:
      lua_pushnil(L);
      return true;
    case sqlite::ColumnType::integer:
      lua_pushinteger(L, job.rows->int64(column));
      return true;
    case sqlite::ColumnType::real:
      lua_pushnumber(L, job.rows->real(column));
      return true;
    case sqlite::ColumnType::text:
    case sqlite::ColumnType::blob:
      break;
  }
  const std::string_view text = job.rows->text(column);
  if (!job.take_bytes(text.size())) {
    lua_pushnil(L);
    return false;
  }
  lua_pushlstring(L, text.data(), text.size());
  return true;
}

/// Turns rows into an array of tables. Runs under lua_pcall; nothing in it has a destructor.
int push_rows(lua_State* L) {
  auto& job = *static_cast<RowsJob*>(lua_touserdata(L, 1));
  const int num_columns = job.rows->num_columns();
  luaL_checkstack(L, num_columns + 4, "sql: too many columns");
  const int first_name = lua_gettop(L) + 1;
  for (int i = 0; i < num_columns; ++i) {
    const std::string_view name = job.rows->column_name(i);
    lua_pushlstring(L, name.data(), name.size());
  }
  lua_newtable(L);
  for (lua_Integer row = 1; job.step(); ++row) {
    lua_createtable(L, 0, num_columns);
    for (int i = 0; i < num_columns; ++i) {
      lua_pushvalue(L, first_name + i);
      const bool fits = push_column(L, job, i);
      lua_rawset(L, -3);
      if (!fits) return 1;
    }
    lua_rawseti(L, -2, row);
  }
  return 1;
}

}  // namespace

Result<Database> Database::create() {
  PONDER_TRY(sqlite::Connection db, sqlite::Connection::open_in_memory());
  db.limit_value_bytes(static_cast<int>(kBytesMax));
  return Database(std::move(db));
}

Status Database::seal() {
  is_sealed_ = true;
  statements_.clear();
  return db_.exec("PRAGMA query_only=ON");
}

Result<sqlite::Statement*> Database::prepared(std::string_view sql, bool is_query) {
  const auto found = statements_.find(sql);
  if (found != statements_.end()) return &found->second;
  if (statements_.size() >= kStatementsMax) statements_.clear();
  auto statement = is_query ? db_.prepare_query(sql) : db_.prepare(sql);
  if (!statement) return fail_in("sql", statement.error());
  return &statements_.emplace(std::string(sql), std::move(*statement)).first->second;
}

Result<int> Database::run(lua_State* L, bool is_query) {
  if (lua_type(L, 1) != LUA_TSTRING) {
    return fail(Errc::invalid_argument, "sql: the first argument is the text of a statement");
  }
  std::size_t size = 0;
  const char* text = lua_tolstring(L, 1, &size);
  PONDER_TRY(sqlite::Statement * statement, prepared(std::string_view(text, size), is_query));
  std::vector<sqlite::Value> values;
  for (int i = 2; i <= lua_gettop(L); ++i) {
    PONDER_TRY(sqlite::Value value, value_at(L, i));
    values.push_back(value);
  }
  auto rows = statement->query_values(values);
  if (!rows) return fail_in("sql", rows.error());
  RowsJob job{&*rows, kRowsMax, kBytesMax, std::nullopt};
  lua_pushcfunction(L, push_rows);
  lua_pushlightuserdata(L, &job);
  State& state = State::of(L);
  db_.watch(kWatchInterval,
            [&state] { return state.charge(kWatchInterval * kInstructionsPerStep); });
  const int code = lua_pcall(L, 1, 1, 0);
  db_.watch(0, nullptr);
  if (code != LUA_OK) return fail(Errc::exhausted, "sql: no memory for the rows");
  if (const char* stop = state.stop_message()) return fail(Errc::cancelled, stop);
  if (job.error) return fail_in("sql", *job.error);
  return 1;
}

Result<int> Database::run_sql(lua_State* L) {
  return static_cast<Database*>(lua_touserdata(L, lua_upvalueindex(1)))->run(L, true);
}

Result<int> Database::run_exec(lua_State* L) {
  auto* self = static_cast<Database*>(lua_touserdata(L, lua_upvalueindex(1)));
  if (self->is_sealed_) return fail(Errc::invalid_argument, "exec: the world does not change now");
  return self->run(L, false);
}

void Database::push_sql(lua_State* L) {
  lua_pushlightuserdata(L, this);
  lua_pushcclosure(L, lua_entry<run_sql>, 1);
}

void Database::push_table(lua_State* L) {
  lua_createtable(L, 0, 2);
  push_sql(L);
  lua_setfield(L, -2, "sql");
  if (is_sealed_) return;
  lua_pushlightuserdata(L, this);
  lua_pushcclosure(L, lua_entry<run_exec>, 1);
  lua_setfield(L, -2, "exec");
}

}  // namespace ponder::tools::lua
