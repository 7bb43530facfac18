#pragma once

#include <cstddef>
#include <lua.hpp>
#include <map>
#include <string>
#include <string_view>

#include "base/result.h"
#include "base/sqlite/connection.h"

namespace ponder::tools::lua {

/// The database of one environment, as its scripts see it: `sql(query, ...)` gives an array of row
/// tables, `exec(statement, ...)` changes it while the world is being built.
///
/// Values: nil, booleans (as 0 and 1), integers, floats and strings. Rows come back with integers
/// and floats as SQLite has them; a NULL is an absent field. Queries are bounded in rows, bytes and
/// by the budget of the call they belong to. Thread: that of its Lua state.
class Database {
 public:
  static Result<Database> create();

  /// Makes the world read-only: exec() is refused from here on.
  Status seal();

  /// Pushes {sql = ..., exec = ...}, or only {sql = ...} once sealed. May raise. The database must
  /// live, at this address, as long as the state.
  void push_table(lua_State* L);
  /// Pushes the function `sql` alone. May raise.
  void push_sql(lua_State* L);

 private:
  static constexpr int kRowsMax = 100'000;
  static constexpr std::size_t kBytesMax = 8 << 20;
  static constexpr std::size_t kStatementsMax = 128;  // kept compiled

  explicit Database(sqlite::Connection db) : db_(std::move(db)) {}
  static Result<int> run_sql(lua_State* L);
  static Result<int> run_exec(lua_State* L);
  Result<int> run(lua_State* L, bool is_query);
  Result<sqlite::Statement*> prepared(std::string_view sql, bool is_query);

  sqlite::Connection db_;
  bool is_sealed_ = false;
  std::map<std::string, sqlite::Statement, std::less<>> statements_;  // before db_ goes, they go
};

}  // namespace ponder::tools::lua
