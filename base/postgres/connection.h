#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/postgres/value.h"
#include "base/result.h"

struct pg_conn;
struct pg_result;

/// PostgreSQL as ponder uses it, over libpq: handles that close themselves, errors as values,
/// parameters always bound.
namespace ponder::postgres {

/// What a statement gave: all of its rows. Columns and rows count from 0.
class Rows {
 public:
  std::size_t size() const;
  bool is_null(std::size_t row, std::size_t column) const;
  std::string_view text(std::size_t row, std::size_t column) const;  // or bytes; "" for null
  std::int64_t number(std::size_t row, std::size_t column) const;    // 0 for null; true is 1
  /// Rows that INSERT, UPDATE or DELETE touched.
  std::int64_t affected() const;

 private:
  friend class Connection;
  struct Clear {
    void operator()(pg_result* result) const noexcept;
  };
  explicit Rows(pg_result* result) : result_(result) {}
  std::unique_ptr<pg_result, Clear> result_;
};

/// Why the last statement failed, where callers differ in what they do about it.
enum class Failure {
  none,
  lost,       // the connection is gone; whether a commit under way happened is not known
  conflict,   // of two transactions this one was undone: the same again may work
  locked,     // somebody held a row for longer than lock_timeout
  statement,  // anything else; the message says it
};

struct ConnectOptions {
  std::string name;                        // shown in pg_stat_activity; at most 63 bytes
  std::chrono::seconds connect_s_max{10};  // of each address that the host name has
  /// Then a silent network counts as lost, here and at the server. The kernel asks for signs of
  /// life by whole seconds: where nothing was sent, it takes two at least.
  std::chrono::milliseconds unanswered_ms_max{15'000};
  std::chrono::milliseconds lock_ms_max{2'000};  // a row that another transaction holds
};

/// A prepared statement with its values.
struct Call {
  std::string statement;
  std::vector<Value> values;
};

/// An open connection. What the address leaves open comes from libpq's environment variables.
///
/// Thread: one at a time.
/// Errors: `unavailable` (no server, connection lost, not allowed, out of connections),
/// `exhausted` (the server's disk or memory is full), `corrupt` (its files are), else
/// `invalid_argument` or `internal`; the message is the server's, in one line.
class Connection {
 public:
  /// `address`: postgresql://user@host:port/database?options, or libpq's key=value form.
  static Result<Connection> open(const std::string& address, const ConnectOptions& options);
  Connection(Connection&&) noexcept = default;
  Connection& operator=(Connection&&) noexcept = default;

  /// Statements without parameters or rows, separated by `;`: one transaction unless they say so.
  Status exec(const std::string& sql);
  /// One statement.
  Result<Rows> query(const std::string& sql, const std::vector<Value>& values = {});
  Status prepare(const std::string& name, const std::string& sql);
  /// Runs prepared statements one after the other in one transaction, sent together so that they
  /// cost one round trip. Gives what each gave; on failure all is undone.
  Result<std::vector<Rows>> transact(std::span<const Call> calls);

  Failure last_failure() const { return last_failure_; }

 private:
  struct Finish {
    void operator()(pg_conn* connection) const noexcept;
  };
  explicit Connection(pg_conn* connection) : connection_(connection) {}
  tl::unexpected<Error> failed(const pg_result* result);
  Result<Rows> checked(pg_result* result);
  bool send(const Call& call);
  Result<Rows> receive();
  std::unique_ptr<pg_conn, Finish> connection_;
  Failure last_failure_ = Failure::none;
};

/// The address without what is secret, for messages: postgresql://user@host:port/database.
std::string shown_address(const std::string& address);

/// libpq's version, such as "15.18".
std::string library_version();

}  // namespace ponder::postgres
