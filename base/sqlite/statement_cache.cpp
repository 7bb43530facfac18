#include "base/sqlite/statement_cache.h"

#include <sqlite3.h>

#include <algorithm>

namespace ponder::sqlite {
namespace {

constexpr std::size_t kIdleMax = 32;

}  // namespace

StatementCache::~StatementCache() { close(); }

sqlite3_stmt* StatementCache::take(std::string_view sql) {
  const auto found = std::find_if(idle_.rbegin(), idle_.rend(),
                                  [&](sqlite3_stmt* one) { return sqlite3_sql(one) == sql; });
  if (found == idle_.rend()) return nullptr;
  sqlite3_stmt* const statement = *found;
  idle_.erase(std::next(found).base());
  return statement;
}

void StatementCache::put(sqlite3_stmt* statement) noexcept {
  if (is_closed_) {
    sqlite3_finalize(statement);
    return;
  }
  idle_.reserve(kIdleMax + 1);
  idle_.push_back(statement);
  if (idle_.size() <= kIdleMax) return;
  sqlite3_finalize(idle_.front());
  idle_.erase(idle_.begin());
}

void StatementCache::close() noexcept {
  is_closed_ = true;
  for (sqlite3_stmt* one : idle_) sqlite3_finalize(one);
  idle_.clear();
}

}  // namespace ponder::sqlite
