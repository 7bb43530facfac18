#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "base/result.h"
#include "base/sqlite/statement.h"

struct sqlite3;

/// SQLite as ponder uses it: handles that close themselves, errors as values, and the settings that
/// keep a database safe when several programs share it.
///
/// A database file is in WAL mode and has one writing connection per process. SQLite up to 3.51.2
/// can corrupt a file when two connections write or checkpoint at the same instant; therefore
/// automatic checkpoints are off, readers open the file read-only, and every Transaction and
/// checkpoint of a writer runs under an advisory lock on `<path>-lock`, which also orders writers
/// of other processes. Write only inside a Transaction.
///
/// After a sync that failed the system may take for clean what never reached the disk, and later
/// syncs pass it over: a hole in the log, behind which nothing survives a power failure, however
/// often it was synced. Therefore what is in the log is written anew, and synced, before a
/// connection's first transaction (nobody knows how the ones before it ended) and after each commit
/// and checkpoint that failed.
namespace ponder::sqlite {

class WriteLock;

enum class Durability {
  normal,  // a power failure may lose the last commits, never the file
  full,    // a commit that returned is on the disk
};

struct OpenOptions {
  Durability durability = Durability::full;
  /// How long a statement or transaction waits for another program before it is `unavailable`.
  std::chrono::milliseconds busy_timeout{5000};
  /// A commit that leaves the log longer than this moves its pages into the database; 0: none does,
  /// the caller sees to it (log_pages(), checkpoint()).
  int wal_pages_checkpoint = 1000;
  /// Memory for pages that have been read or written.
  int cache_kib_max = 2000;
};

/// One step of a schema: the SQL that leads from version `version - 1` to `version`.
struct Migration {
  int version;  // 1, 2, 3, ... without a gap
  const char* sql;
};

/// An open database.
///
/// Thread: one at a time; only interrupt() may come from another thread, while the connection
/// lives. Lifetime: statements and transactions end before their connection does.
class Connection {
 public:
  /// Opens or creates a file for writing. Fails with `unavailable` when the file cannot be opened
  /// or stays locked, `corrupt` when it is no database, `exhausted` when the disk is full.
  static Result<Connection> open(const std::string& path, const OpenOptions& options = {});
  /// Opens an existing file for reading beside a writer. `not_found` when there is no such file.
  static Result<Connection> open_read_only(const std::string& path,
                                           const OpenOptions& options = {});
  /// A database in memory, gone with the connection. No write lock, no log.
  static Result<Connection> open_in_memory();

  Connection(Connection&&) noexcept;
  Connection& operator=(Connection&&) noexcept;
  ~Connection();

  /// Runs statements without parameters or rows; several may stand in `sql`, separated by `;`.
  Status exec(const std::string& sql);
  /// Compiles one statement, or finds it among those that have ended: to prepare the same often is
  /// cheap. `invalid_argument` when the SQL is wrong, empty, or more than one.
  Result<Statement> prepare(std::string_view sql);
  /// Compiles one statement for somebody who may only look: SELECT and VALUES, no pragmas, no other
  /// databases, no transactions. Anything else is `invalid_argument`.
  Result<Statement> prepare_query(std::string_view sql);
  /// Compiles one statement for somebody who may also change this database and nothing else: no
  /// pragmas, no other databases, no transactions. Anything else is `invalid_argument`.
  Result<Statement> prepare_change(std::string_view sql);

  /// Brings the schema to the last of `migrations` by `PRAGMA user_version`, all in one
  /// transaction. A database newer than that is `unavailable` and left alone.
  Status migrate(std::span<const Migration> migrations);
  Result<int> user_version();

  /// From the next transaction on. Requires: none is open.
  Status set_durability(Durability durability);

  /// Moves the log into the database as far as readers allow.
  Status checkpoint();
  /// The length of the log after the last commit of this connection.
  int log_pages() const;
  /// `corrupt` with SQLite's first complaint when the file is damaged.
  Status integrity_check();

  bool in_transaction() const;
  std::int64_t last_insert_rowid() const;
  /// Rows that the last INSERT, UPDATE or DELETE touched.
  std::int64_t changes() const;
  const std::string& path() const;  // ":memory:" for one in memory

  /// Values and rows longer than this are refused with `exhausted`; also bounds what SQL functions
  /// make.
  void limit_value_bytes(int bytes_max);
  /// Calls `keep_going` about every `instructions` steps of a running statement; when it says false
  /// the statement ends with `cancelled`. An empty function removes it.
  void watch(int instructions, std::function<bool()> keep_going);
  /// Ends the running statement with `cancelled`. From any thread.
  void interrupt();

 private:
  friend class Transaction;
  struct State;
  explicit Connection(std::unique_ptr<State> state);
  Result<Statement> prepare_for(std::string_view sql,
                                int (*authorize)(void*, int, const char*, const char*, const char*,
                                                 const char*));
  static Result<Connection> open_handle(const std::string& path, int flags);
  Status configure_writer(const OpenOptions& options);
  Result<Statement> compile(std::string_view sql, std::shared_ptr<StatementCache> cache);
  Status run(std::string_view sql);
  Status checkpoint_locked();
  std::unique_ptr<State> state_;
};

/// Rolls back unless commit() ran. Stays on its connection's thread.
class Transaction {
 public:
  /// BEGIN IMMEDIATE under the write lock: a conflict with another writer shows here, not halfway.
  static Result<Transaction> begin(Connection& db);
  /// The same with another patience than the connection's busy_timeout: `unavailable` where another
  /// program writes for longer, at once for 0.
  static Result<Transaction> begin_within(Connection& db, std::chrono::milliseconds timeout);
  Transaction(Transaction&& other) noexcept;
  Transaction& operator=(Transaction&&) = delete;
  ~Transaction();
  /// On failure everything is rolled back.
  Status commit();

 private:
  explicit Transaction(Connection& db) : db_(&db) {}
  void end() noexcept;
  Connection* db_;  // nullptr once ended
};

}  // namespace ponder::sqlite
