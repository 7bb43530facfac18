#pragma once

#include <string_view>
#include <vector>

struct sqlite3_stmt;

namespace ponder::sqlite {

/// Compiled statements that nobody uses now: to compile one takes longer than to run most of them.
///
/// Thread: the connection's. Lifetime: shared by the connection and its statements, either of which
/// may go first.
class StatementCache {
 public:
  StatementCache() = default;
  ~StatementCache();
  StatementCache(const StatementCache&) = delete;
  StatementCache& operator=(const StatementCache&) = delete;

  /// One that was compiled from this text, which is the caller's from now on; nullptr for none.
  sqlite3_stmt* take(std::string_view sql);
  /// Takes a statement back that is not running.
  void put(sqlite3_stmt* statement) noexcept;
  /// The connection is about to end. What is put back later ends at once.
  void close() noexcept;

 private:
  std::vector<sqlite3_stmt*> idle_;  // the one put back last comes last
  bool is_closed_ = false;
};

}  // namespace ponder::sqlite
