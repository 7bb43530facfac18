#pragma once

#include <atomic>
#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/awaitable.hpp>
#include <filesystem>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/sqlite/connection.h"
#include "tools/detail/json.h"

namespace ponder::tools {

/// The SQLite database of one tool, for all its calls and for later programs: what ctx.sql runs on.
///
/// A statement reads or changes tables of this database; it opens no other, and there are no
/// transactions across statements. Bounded in rows, bytes, size on the disk, and by a deadline; a
/// call that is cancelled ends its statement. Thread: any; statements run one after the other, on
/// the pool.
class ToolDatabase {
 public:
  /// The file is made by the first statement.
  ToolDatabase(std::filesystem::path file, const Clock& clock, boost::asio::any_io_executor pool);

  /// The rows as a list of objects; one that gives none is an empty list. Values are what JSON has
  /// of them, and text; NULL is left out.
  /// Lifetime: this object outlives the work, also that of a coroutine that was cancelled.
  boost::asio::awaitable<Result<Json>> run(std::string sql, Json values, Deadline deadline);

 private:
  Result<Json> run_now(const std::string& sql, const Json& values, Deadline deadline,
                       const std::atomic<bool>& stop);
  Status open();
  Result<Json> read(sqlite::Statement& statement, const Json& values);

  std::filesystem::path file_;
  const Clock& clock_;
  boost::asio::any_io_executor strand_;
  std::optional<sqlite::Connection> db_;  // of the strand
};

}  // namespace ponder::tools
