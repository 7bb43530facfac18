#pragma once

#include <array>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <variant>

#include "base/result.h"

struct sqlite3_stmt;

namespace ponder::sqlite {

class StatementCache;

struct Null {};

/// Bytes that are no text. Refers to memory that lives until the statement has run.
struct Blob {
  std::span<const std::byte> bytes;
};

/// A value for a parameter. Text and blobs are copied by a query, which goes on after the call.
class Value {
 public:
  Value(Null) {}  // NOLINT
  template <std::integral T>
  Value(T value) : value_(static_cast<std::int64_t>(value)) {}          // NOLINT
  Value(double value) : value_(value) {}                                // NOLINT
  Value(std::string_view value) : value_(value) {}                      // NOLINT
  Value(const std::string& value) : value_(std::string_view(value)) {}  // NOLINT
  Value(const char* value) : value_(std::string_view(value)) {}         // NOLINT
  Value(Blob value) : value_(value) {}                                  // NOLINT

 private:
  friend class Statement;
  std::variant<std::monostate, std::int64_t, double, std::string_view, Blob> value_;
};

enum class ColumnType { null, integer, real, text, blob };

/// The rows of one execution. Resets its statement when it goes, so that no read transaction is
/// left open. Columns count from 0; text and blobs are valid until the next call of next().
class Rows {
 public:
  Rows(Rows&& other) noexcept;
  Rows& operator=(Rows&&) = delete;
  ~Rows();

  /// Moves to the next row; false after the last.
  Result<bool> next();

  int num_columns() const;
  std::string_view column_name(int column) const;
  ColumnType type(int column) const;
  bool is_null(int column) const { return type(column) == ColumnType::null; }
  std::int64_t int64(int column) const;  // SQLite's conversion where the type differs
  double real(int column) const;
  std::string_view text(int column) const;
  std::span<const std::byte> blob(int column) const;

 private:
  friend class Statement;
  explicit Rows(sqlite3_stmt* statement) : statement_(statement) {}
  sqlite3_stmt* statement_;  // nullptr once moved from
};

/// A compiled statement. One execution at a time.
class Statement {
 public:
  Statement(Statement&&) noexcept = default;
  Statement& operator=(Statement&&) noexcept = default;

  /// Runs with `args` for the parameters, in order, and expects no rows (any that come are
  /// skipped).
  template <class... Args>
  Status run(const Args&... args) {
    const std::array<Value, sizeof...(Args)> values{Value(args)...};
    return run_values(values);
  }
  /// Starts with `args`; rows come from the result, which must end before the next execution.
  template <class... Args>
  Result<Rows> query(const Args&... args) {
    const std::array<Value, sizeof...(Args)> values{Value(args)...};
    return query_values(values);
  }
  /// The same with a number of values known only at run time; `invalid_argument` when it is wrong.
  Status run_values(std::span<const Value> values);
  Result<Rows> query_values(std::span<const Value> values);

  int num_parameters() const;

 private:
  friend class Connection;
  struct End {
    void operator()(sqlite3_stmt* statement) const noexcept;
    std::shared_ptr<StatementCache> cache;  // that it goes back to; null: none
  };
  explicit Statement(sqlite3_stmt* statement, std::shared_ptr<StatementCache> cache = nullptr)
      : statement_(statement, End{std::move(cache)}) {}
  enum class Texts { copied, borrowed };
  Status bind(std::span<const Value> values, Texts texts);
  std::unique_ptr<sqlite3_stmt, End> statement_;
};

}  // namespace ponder::sqlite
