#include "tools/lua/database.h"

#include <fmt/format.h>

#include <iterator>
#include <optional>
#include <string>
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

/// The column as an item of a list, where nil would be a hole.
bool push_cell(lua_State* L, RowsJob& job, int column) {
  if (job.rows->type(column) != sqlite::ColumnType::null) return push_column(L, job, column);
  lua_pushlightuserdata(L, nullptr);
  return true;
}

void push_columns(lua_State* L, const RowsJob& job) {
  const int num_columns = job.rows->num_columns();
  lua_createtable(L, num_columns, 0);
  for (int i = 0; i < num_columns; ++i) {
    const std::string_view name = job.rows->column_name(i);
    lua_pushlstring(L, name.data(), name.size());
    lua_rawseti(L, -2, i + 1);
  }
}

/// Gives {columns, rows} with lists for rows. Runs under lua_pcall; nothing in it has a destructor.
int push_grid(lua_State* L) {
  auto& job = *static_cast<RowsJob*>(lua_touserdata(L, 1));
  const int num_columns = job.rows->num_columns();
  lua_createtable(L, 0, 2);
  push_columns(L, job);
  lua_setfield(L, -2, "columns");
  lua_newtable(L);
  for (lua_Integer row = 1; job.step(); ++row) {
    lua_createtable(L, num_columns, 0);
    for (int i = 0; i < num_columns; ++i) {
      const bool fits = push_cell(L, job, i);
      lua_rawseti(L, -2, i + 1);
      if (!fits) return 1;
    }
    lua_rawseti(L, -2, row);
  }
  lua_setfield(L, -2, "rows");
  return 1;
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
  // Pages of 4 KiB: 128 MiB. What sorting needs stays in memory too.
  PONDER_CHECK(db.exec("PRAGMA max_page_count=32768; PRAGMA temp_store=MEMORY; BEGIN"));
  return Database(std::move(db));
}

Status Database::seal() {
  may_change_ = false;
  changes_.clear();
  return db_.exec("COMMIT; BEGIN");
}

Status Database::restore() {
  kept_.clear();
  pending_.clear();
  kept_bytes_ = pending_bytes_ = 0;
  return db_.exec("ROLLBACK; BEGIN");
}

Status Database::mark() {
  pending_.clear();
  pending_bytes_ = 0;
  is_marked_ = true;
  return db_.exec("SAVEPOINT call");
}

Status Database::undo() {
  pending_.clear();
  pending_bytes_ = 0;
  is_marked_ = false;
  if (db_.in_transaction()) return db_.exec("ROLLBACK TO call; RELEASE call");
  PONDER_CHECK(db_.exec("BEGIN"));
  for (const Change& change : kept_) repeat(change);
  return {};
}

Status Database::keep() {
  if (!db_.in_transaction()) {
    PONDER_CHECK(undo());
    return fail(Errc::exhausted, "the world is full: what the call changed is undone");
  }
  kept_.insert(kept_.end(), std::make_move_iterator(pending_.begin()),
               std::make_move_iterator(pending_.end()));
  pending_.clear();
  kept_bytes_ += std::exchange(pending_bytes_, 0);
  is_marked_ = false;
  return db_.exec("RELEASE call");
}

void Database::repeat(const Change& change) {
  std::vector<sqlite::Value> values;
  values.reserve(change.values.size());
  for (const OwnedValue& value : change.values) {
    values.push_back(std::visit([](const auto& held) { return sqlite::Value(held); }, value));
  }
  const auto statement = prepared(change.sql, Kind::change);
  if (!statement) return;  // it failed the first time as well
  const Status ignored = (*statement)->run_values(values);
  (void)ignored;
}

Database::OwnedValue Database::owned_value(lua_State* L, int index) {
  if (lua_type(L, index) == LUA_TSTRING) {
    std::size_t size = 0;
    const char* data = lua_tolstring(L, index, &size);
    return std::string(data, size);
  }
  if (lua_type(L, index) == LUA_TBOOLEAN) return std::int64_t{lua_toboolean(L, index)};
  if (lua_isinteger(L, index) != 0) return std::int64_t{lua_tointeger(L, index)};
  if (lua_type(L, index) == LUA_TNUMBER) return static_cast<double>(lua_tonumber(L, index));
  return sqlite::Null{};
}

Database::Change Database::change_of(lua_State* L) {
  Change change;
  if (lua_type(L, 1) == LUA_TSTRING) change.sql = std::get<std::string>(owned_value(L, 1));
  for (int i = 2; i <= lua_gettop(L); ++i) change.values.push_back(owned_value(L, i));
  return change;
}

Status Database::remember(Change change) {
  constexpr std::size_t kValueBytes = 40;  // of one that is no text
  std::size_t bytes = change.sql.size() + kValueBytes * (1 + change.values.size());
  for (const OwnedValue& value : change.values) {
    if (const auto* text = std::get_if<std::string>(&value)) bytes += text->size();
  }
  if (bytes > kChangesBytesMax - kept_bytes_ - pending_bytes_) {
    return fail(Errc::exhausted, fmt::format("sql: the changes of this world are over {} MiB",
                                             kChangesBytesMax >> 20));
  }
  pending_bytes_ += bytes;
  pending_.push_back(std::move(change));
  return {};
}

Result<std::string> Database::dump() {
  std::vector<std::string> names;
  std::string text;
  {
    PONDER_TRY(auto statement, db_.prepare("SELECT name, sql FROM sqlite_schema ORDER BY name"));
    PONDER_TRY(sqlite::Rows rows, statement.query());
    while (true) {
      PONDER_TRY(const bool has_row, rows.next());
      if (!has_row) break;
      text += fmt::format("{}\n", rows.text(1));
      names.emplace_back(rows.text(0));
    }
  }
  for (const std::string& name : names) {
    PONDER_CHECK(dump_table(name, text));
  }
  return text;
}

Status Database::dump_table(const std::string& name, std::string& text) {
  std::string quoted;
  for (const char c : name) quoted += c == '"' ? "\"\"" : std::string(1, c);
  auto statement = db_.prepare(fmt::format("SELECT * FROM \"{}\"", quoted));
  if (!statement) return {};  // an index
  PONDER_TRY(sqlite::Rows rows, statement->query());
  while (true) {
    PONDER_TRY(const bool has_row, rows.next());
    if (!has_row) return {};
    text += name;
    for (int i = 0; i < rows.num_columns(); ++i) {
      text += fmt::format("|{}:{}", static_cast<int>(rows.type(i)), rows.text(i));
    }
    text += '\n';
    if (text.size() > kDumpBytesMax) return fail(Errc::exhausted, "the world is too large");
  }
}

Result<sqlite::Statement*> Database::prepared(std::string_view sql, Kind kind) {
  const bool is_query = kind != Kind::change;
  Statements& kept = is_query ? queries_ : changes_;
  const auto found = kept.find(sql);
  if (found != kept.end()) return &found->second;
  if (kept.size() >= kStatementsMax || sql.size() > kStatementBytesMax) kept.clear();
  auto statement = is_query ? db_.prepare_query(sql) : db_.prepare_change(sql);
  if (!statement) return fail_in("sql", statement.error());
  return &kept.emplace(std::string(sql), std::move(*statement)).first->second;
}

Result<int> Database::run(lua_State* L, Kind kind) {
  if (lua_type(L, 1) != LUA_TSTRING) {
    return fail(Errc::invalid_argument, "sql: the first argument is the text of a statement");
  }
  if (is_marked_ && !db_.in_transaction()) {
    return fail(Errc::exhausted, "sql: what this call changed before is lost");
  }
  std::size_t size = 0;
  const char* text = lua_tolstring(L, 1, &size);
  PONDER_TRY(sqlite::Statement * statement, prepared(std::string_view(text, size), kind));
  std::vector<sqlite::Value> values;
  for (int i = 2; i <= lua_gettop(L); ++i) {
    PONDER_TRY(sqlite::Value value, value_at(L, i));
    values.push_back(value);
  }
  auto rows = statement->query_values(values);
  if (!rows) return fail_in("sql", rows.error());
  const bool as_grid = kind == Kind::grid;
  RowsJob job{&*rows, kRowsMax, kBytesMax, std::nullopt};
  lua_pushcfunction(L, as_grid ? push_grid : push_rows);
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
  return static_cast<Database*>(lua_touserdata(L, lua_upvalueindex(1)))->run(L, Kind::rows);
}

Result<int> Database::run_grid(lua_State* L) {
  return static_cast<Database*>(lua_touserdata(L, lua_upvalueindex(1)))->run(L, Kind::grid);
}

Result<int> Database::run_exec(lua_State* L) {
  auto* self = static_cast<Database*>(lua_touserdata(L, lua_upvalueindex(1)));
  if (!self->may_change_) {
    return fail(Errc::invalid_argument, "exec: the world does not change now");
  }
  if (self->is_marked_) {
    PONDER_CHECK(self->remember(change_of(L)));
  }
  return self->run(L, Kind::change);
}

void Database::push_sql(lua_State* L) {
  lua_pushlightuserdata(L, this);
  lua_pushcclosure(L, lua_entry<run_sql>, 1);
}

void Database::push_grid_sql(lua_State* L) {
  lua_pushlightuserdata(L, this);
  lua_pushcclosure(L, lua_entry<run_grid>, 1);
}

void Database::push_exec(lua_State* L) {
  lua_pushlightuserdata(L, this);
  lua_pushcclosure(L, lua_entry<run_exec>, 1);
}

void Database::push_table(lua_State* L) {
  lua_createtable(L, 0, 3);
  push_sql(L);
  lua_setfield(L, -2, "sql");
  push_grid_sql(L);
  lua_setfield(L, -2, "sql_grid");
  if (!may_change_) return;
  push_exec(L);
  lua_setfield(L, -2, "exec");
}

}  // namespace ponder::tools::lua
