#include "tools/script/detail/tool_database.h"

#include <fmt/format.h>

#include <boost/asio/strand.hpp>
#include <boost/asio/this_coro.hpp>
#include <system_error>
#include <utility>

#include "tools/detail/stoppable.h"

namespace ponder::tools {
namespace {

constexpr int kWatchInterval = 1000;  // steps of SQLite's machine between two looks at the clock
constexpr std::size_t kRowsMax = 10'000;
constexpr std::size_t kBytesMax = 4 << 20;
constexpr std::int64_t kPagesMax = 65'536;  // of 4 KiB: 256 MiB on the disk

/// Values refer to `values`.
std::vector<sqlite::Value> bindings(const Json& values) {
  std::vector<sqlite::Value> out;
  for (const Json& value : values) {
    if (value.is_boolean()) {
      out.emplace_back(value.get<bool>() ? 1 : 0);
    } else if (value.is_number_integer()) {
      out.emplace_back(value.get<std::int64_t>());
    } else if (value.is_number()) {
      out.emplace_back(value.get<double>());
    } else if (value.is_string()) {
      out.emplace_back(std::string_view(value.get_ref<const std::string&>()));
    } else {
      out.emplace_back(sqlite::Null{});
    }
  }
  return out;
}

Json column(const sqlite::Rows& rows, int i) {
  switch (rows.type(i)) {
    case sqlite::ColumnType::null:
      return nullptr;
    case sqlite::ColumnType::integer:
      return rows.int64(i);
    case sqlite::ColumnType::real:
      return rows.real(i);
    case sqlite::ColumnType::text:
    case sqlite::ColumnType::blob:
      return std::string(rows.text(i));
  }
  return nullptr;
}

}  // namespace

ToolDatabase::ToolDatabase(std::filesystem::path file, const Clock& clock,
                           boost::asio::any_io_executor pool)
    : file_(std::move(file)), clock_(clock), strand_(boost::asio::make_strand(std::move(pool))) {}

Status ToolDatabase::open() {
  std::error_code error;
  std::filesystem::create_directories(file_.parent_path(), error);
  if (error) {
    return fail(Errc::unavailable,
                fmt::format("{}: {}", file_.parent_path().string(), error.message()));
  }
  sqlite::OpenOptions options;
  options.durability = sqlite::Durability::normal;
  PONDER_TRY(sqlite::Connection db, sqlite::Connection::open(file_.string(), options));
  PONDER_CHECK(db.exec(fmt::format("PRAGMA max_page_count={}", kPagesMax)));
  db.limit_value_bytes(static_cast<int>(kBytesMax));
  db_.emplace(std::move(db));
  return {};
}

Result<Json> ToolDatabase::read(sqlite::Statement& statement, const Json& values) {
  const auto bound = bindings(values);
  PONDER_TRY(sqlite::Rows rows, statement.query_values(bound));
  Json out = Json::array();
  std::size_t bytes = 0;
  for (;;) {
    PONDER_TRY(const bool has_row, rows.next());
    if (!has_row) return out;
    if (out.size() == kRowsMax) {
      return fail(Errc::exhausted, fmt::format("more than {} rows", kRowsMax));
    }
    Json row = Json::object();
    for (int i = 0; i < rows.num_columns(); ++i) {
      if (rows.is_null(i)) continue;
      bytes += rows.column_name(i).size() + rows.text(i).size();
      row[std::string(rows.column_name(i))] = column(rows, i);
    }
    if (bytes > kBytesMax) {
      return fail(Errc::exhausted, fmt::format("rows of more than {} MiB", kBytesMax >> 20));
    }
    out.push_back(std::move(row));
  }
}

Result<Json> ToolDatabase::run_now(const std::string& sql, const Json& values, Deadline deadline,
                                   const std::atomic<bool>& stop) {
  if (stop) return fail(Errc::cancelled, "cancelled");
  if (!db_) {
    PONDER_CHECK(open());
  }
  auto query = db_->prepare_query(sql);
  db_->watch(kWatchInterval, [this, deadline, &stop] { return !stop && !deadline.passed(clock_); });
  const auto run = [&]() -> Result<Json> {
    if (query) return read(*query, values);
    PONDER_TRY(sqlite::Transaction transaction, sqlite::Transaction::begin(*db_));
    PONDER_TRY(sqlite::Statement change, db_->prepare_change(sql));
    PONDER_TRY(Json rows, read(change, values));
    PONDER_CHECK(transaction.commit());
    return rows;
  };
  auto rows = run();
  db_->watch(0, nullptr);
  if (!rows && rows.error().code == Errc::cancelled && !stop) {
    return fail(Errc::deadline, "the deadline passed");
  }
  return rows;
}

boost::asio::awaitable<Result<Json>> ToolDatabase::run(std::string sql, Json values,
                                                       Deadline deadline) {
  auto work = [this, sql = std::move(sql), values = std::move(values), deadline](
                  const std::atomic<bool>& stop) { return run_now(sql, values, deadline, stop); };
  auto rows = co_await offload_stoppable(strand_, std::move(work));
  co_return rows;
}

}  // namespace ponder::tools
