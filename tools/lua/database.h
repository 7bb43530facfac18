#pragma once

#include <cstddef>
#include <cstdint>
#include <lua.hpp>
#include <map>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "base/result.h"
#include "base/sqlite/connection.h"

namespace ponder::tools::lua {

/// The database of one environment, as its scripts see it: `sql(query, ...)` gives an array of row
/// tables, `sql_grid(query, ...)` {columns, rows} with lists for rows, in the order of the query;
/// `exec(statement, ...)` changes it where that is allowed.
///
/// One transaction is open at any time, so that a world can go back to how it was built, and a call
/// to how it began; statements of scripts reach no other database and no transaction. The whole is
/// bounded in pages.
///
/// Values: nil, booleans (as 0 and 1), integers, floats and strings. Rows come back with integers
/// and floats as SQLite has them; a NULL is an absent field. Queries are bounded in rows, bytes and
/// by the budget of the call they belong to. Thread: that of its Lua state.
class Database {
 public:
  /// Changeable until seal().
  static Result<Database> create();

  /// What it holds now is what restore() goes back to; exec() is refused from here on, but between
  /// allow_changes(true) and allow_changes(false).
  Status seal();
  void allow_changes(bool is_allowed) { may_change_ = is_allowed; }
  /// Undoes all changes since seal().
  Status restore();
  /// Marks a place; undo() undoes the changes since then, keep() keeps them. One mark at a time.
  Status mark();
  Status undo();
  Status keep();

  /// Everything it holds, as text: equal for equal tables and rows. `exhausted` when too long.
  Result<std::string> dump();

  /// Pushes {sql, sql_grid, exec}, without exec while changes are not allowed. May raise. The
  /// database must live, at this address, as long as the state.
  void push_table(lua_State* L);
  /// Pushes one of the functions alone. May raise.
  void push_sql(lua_State* L);
  void push_grid_sql(lua_State* L);
  void push_exec(lua_State* L);

 private:
  static constexpr int kRowsMax = 100'000;
  static constexpr std::size_t kBytesMax = 8 << 20;
  static constexpr std::size_t kStatementsMax = 128;  // kept compiled, of each kind
  static constexpr std::size_t kStatementBytesMax = 16 << 10;  // of one among 128 others
  static constexpr std::size_t kChangesBytesMax = 64 << 20;    // since seal()
  static constexpr std::size_t kDumpBytesMax = 256 << 20;
  using Statements = std::map<std::string, sqlite::Statement, std::less<>>;

  explicit Database(sqlite::Connection db) : db_(std::move(db)) {}
  static Result<int> run_sql(lua_State* L);
  static Result<int> run_exec(lua_State* L);
  static Result<int> run_grid(lua_State* L);
  enum class Kind { rows, grid, change };
  Result<int> run(lua_State* L, Kind kind);
  Result<sqlite::Statement*> prepared(std::string_view sql, Kind kind);

  using OwnedValue = std::variant<sqlite::Null, std::int64_t, double, std::string>;
  struct Change {
    std::string sql;
    std::vector<OwnedValue> values;
  };
  static OwnedValue owned_value(lua_State* L, int index);
  Status dump_table(const std::string& name, std::string& text);
  static Change change_of(lua_State* L);
  /// Notes what run_exec() is about to do; `exhausted` when there is too much of it to remember.
  Status remember(Change change);
  void repeat(const Change& change);

  sqlite::Connection db_;
  // SQLite gives up a whole transaction when it is stopped in the middle of a change; then these
  // are made again.
  std::vector<Change> kept_;     // since seal()
  std::vector<Change> pending_;  // since mark()
  std::size_t kept_bytes_ = 0;   // of their texts
  std::size_t pending_bytes_ = 0;
  bool is_marked_ = false;
  bool may_change_ = true;
  Statements queries_;  // before db_ goes, they go
  Statements changes_;
};

}  // namespace ponder::tools::lua
