#include "base/sqlite/connection.h"

#include <fmt/format.h>
#include <sqlite3.h>

#include <algorithm>
#include <array>
#include <optional>
#include <utility>

#include "base/assert.h"
#include "base/sqlite/error.h"
#include "base/sqlite/statement_cache.h"
#include "base/sqlite/write_lock.h"

namespace ponder::sqlite {
namespace {

struct CloseDb {
  void operator()(sqlite3* db) const noexcept { sqlite3_close_v2(db); }
};
using DbHandle = std::unique_ptr<sqlite3, CloseDb>;

Errc code_of(int sqlite_code) {
  switch (sqlite_code & 0xff) {
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
    case SQLITE_CANTOPEN:
    case SQLITE_IOERR:
    case SQLITE_PROTOCOL:
      return Errc::unavailable;
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
      return Errc::corrupt;
    case SQLITE_FULL:
    case SQLITE_NOMEM:
    case SQLITE_TOOBIG:
      return Errc::exhausted;
    case SQLITE_INTERRUPT:
      return Errc::cancelled;
    case SQLITE_ERROR:
    case SQLITE_CONSTRAINT:
    case SQLITE_MISMATCH:
    case SQLITE_RANGE:
    case SQLITE_AUTH:
    case SQLITE_PERM:
    case SQLITE_READONLY:
      return Errc::invalid_argument;
    default:
      return Errc::internal;
  }
}

/// What a query may do while it is compiled: read tables, call functions, nothing else.
int authorize_query(void*, int action, const char*, const char*, const char*, const char*) {
  switch (action) {
    case SQLITE_SELECT:
    case SQLITE_READ:
    case SQLITE_FUNCTION:
    case SQLITE_RECURSIVE:
      return SQLITE_OK;
    default:
      return SQLITE_DENY;
  }
}

/// What a statement may do that changes this database alone. VACUUM asks nothing: it fails inside a
/// transaction.
int authorize_change(void*, int action, const char*, const char*, const char*, const char*) {
  switch (action) {
    case SQLITE_ATTACH:
    case SQLITE_CREATE_TEMP_INDEX:  // another database, and one that no limit of pages covers
    case SQLITE_CREATE_TEMP_TABLE:
    case SQLITE_CREATE_TEMP_TRIGGER:
    case SQLITE_CREATE_TEMP_VIEW:
    case SQLITE_DETACH:
    case SQLITE_PRAGMA:
    case SQLITE_SAVEPOINT:
    case SQLITE_TRANSACTION:
      return SQLITE_DENY;
    default:
      return SQLITE_OK;
  }
}

bool is_denied(const Result<Statement>& statement) {
  return !statement && statement.error().message.ends_with("not authorized");
}

/// Whether nothing but blanks, semicolons and comments is left: what SQLite makes no statement of.
bool is_blank(sqlite3* db, const char* rest, const char* end) {
  while (rest < end) {
    sqlite3_stmt* more = nullptr;
    const int code = sqlite3_prepare_v2(db, rest, static_cast<int>(end - rest), &more, &rest);
    sqlite3_finalize(more);
    if (code != SQLITE_OK || more != nullptr) return false;
  }
  return true;
}

}  // namespace

tl::unexpected<Error> sqlite_error(sqlite3* db, int code, const std::string& where) {
  const char* text = db == nullptr ? sqlite3_errstr(code) : sqlite3_errmsg(db);
  return fail(code_of(code), fmt::format("{}: {}", where, text));
}

/// On the heap, so that the callbacks' pointers survive a move of the connection.
struct Connection::State {
  State() = default;
  State(const State&) = delete;
  State& operator=(const State&) = delete;
  ~State() {
    statements->close();
    if (!is_log_doubtful) return;
    // The last connection moves the log into the database as it closes, and must not where the log
    // could not stand in for pages that a power failure tears meanwhile.
    const bool is_held = lock && lock->acquire(std::chrono::milliseconds(0));
    if (is_held) (void)rewrite_log();
    if (is_held) lock->release();
    if (is_log_doubtful) sqlite3_db_config(db.get(), SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, nullptr);
  }

  /// Requires: the write lock is held. Those who read meanwhile find the same bytes.
  Status rewrite_log() {
    sqlite3_file* log = nullptr;
    sqlite3_file_control(db.get(), "main", SQLITE_FCNTL_JOURNAL_POINTER, static_cast<void*>(&log));
    if (log == nullptr || log->pMethods == nullptr) return {};  // nobody has looked at it yet
    sqlite3_int64 size = 0;
    int code = log->pMethods->xFileSize(log, &size);
    std::array<char, 1 << 16> bytes;
    for (sqlite3_int64 at = 0; code == SQLITE_OK && at < size;) {
      const auto part = static_cast<int>(std::min<sqlite3_int64>(size - at, bytes.size()));
      code = log->pMethods->xRead(log, bytes.data(), part, at);
      if (code == SQLITE_OK) code = log->pMethods->xWrite(log, bytes.data(), part, at);
      at += part;
    }
    if (code == SQLITE_OK && size > 0) code = log->pMethods->xSync(log, SQLITE_SYNC_NORMAL);
    if (code != SQLITE_OK) return sqlite_error(nullptr, code, where + "-wal");
    is_log_doubtful = false;
    return {};
  }

  DbHandle db;
  std::string path;
  std::string where;  // how errors name it
  std::optional<WriteLock> lock;
  std::chrono::milliseconds busy_timeout{0};
  std::optional<Durability> durability;  // none: not set yet
  int wal_pages_checkpoint = 0;
  int wal_pages = 0;             // length of the log after the last commit
  bool is_log_doubtful = false;  // it may have holes on the disk
  std::function<bool()> keep_going;
  std::shared_ptr<StatementCache> statements = std::make_shared<StatementCache>();
};

Connection::Connection(std::unique_ptr<State> state) : state_(std::move(state)) {}
Connection::Connection(Connection&&) noexcept = default;
Connection& Connection::operator=(Connection&&) noexcept = default;
Connection::~Connection() = default;

Result<Connection> Connection::open_handle(const std::string& path, int flags) {
  auto state = std::make_unique<State>();
  state->path = path;
  state->where = path == ":memory:" ? "database in memory" : fmt::format("database {}", path);
  sqlite3* db = nullptr;
  const int code = sqlite3_open_v2(path.c_str(), &db, flags | SQLITE_OPEN_EXRESCODE, nullptr);
  state->db.reset(db);  // SQLite hands out a handle even when it fails
  if (code != SQLITE_OK) return sqlite_error(db, code, state->where);
  sqlite3_db_config(db, SQLITE_DBCONFIG_DEFENSIVE, 1, nullptr);
  sqlite3_db_config(db, SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0, nullptr);
  Connection connection(std::move(state));
  PONDER_CHECK(connection.exec("PRAGMA foreign_keys=ON"));
  return connection;
}

Status Connection::configure_writer(const OpenOptions& options) {
  PONDER_TRY(WriteLock opened, WriteLock::open(state_->path + "-lock"));
  WriteLock& lock = state_->lock.emplace(std::move(opened));
  // Turning the log on writes to the file, so it happens under the lock as well.
  PONDER_CHECK(lock.acquire(options.busy_timeout));
  const Status status = exec(
      "PRAGMA journal_mode=WAL; PRAGMA wal_autocheckpoint=0; SELECT count(*) FROM sqlite_schema;");
  lock.release();
  PONDER_CHECK(status);
  PONDER_CHECK(set_durability(options.durability));
  PONDER_CHECK(exec(fmt::format("PRAGMA cache_size=-{}", options.cache_kib_max)));
  const auto remember_pages = [](void* pages, sqlite3*, const char*, int num_pages) {
    *static_cast<int*>(pages) = num_pages;
    return SQLITE_OK;
  };
  sqlite3_wal_hook(state_->db.get(), remember_pages, &state_->wal_pages);
  state_->is_log_doubtful = true;
  return {};
}

Result<Connection> Connection::open(const std::string& path, const OpenOptions& options) {
  constexpr int kFlags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX;
  PONDER_TRY(Connection connection, open_handle(path, kFlags));
  connection.state_->busy_timeout = options.busy_timeout;
  connection.state_->wal_pages_checkpoint = options.wal_pages_checkpoint;
  sqlite3_busy_timeout(connection.state_->db.get(), static_cast<int>(options.busy_timeout.count()));
  PONDER_CHECK(connection.configure_writer(options));
  return connection;
}

Result<Connection> Connection::open_read_only(const std::string& path, const OpenOptions& options) {
  auto opened = open_handle(path, SQLITE_OPEN_READONLY | SQLITE_OPEN_NOMUTEX);
  if (!opened) {
    if (opened.error().code != Errc::unavailable) return opened;
    return fail(Errc::not_found, opened.error().message);
  }
  sqlite3* db = opened->state_->db.get();
  sqlite3_busy_timeout(db, static_cast<int>(options.busy_timeout.count()));
  // Opening is lazy: reading the schema shows a damaged file now.
  PONDER_CHECK(opened->exec("PRAGMA wal_autocheckpoint=0; SELECT count(*) FROM sqlite_schema;"));
  return opened;
}

Result<Connection> Connection::open_in_memory() {
  return open_handle(":memory:", SQLITE_OPEN_READWRITE | SQLITE_OPEN_MEMORY | SQLITE_OPEN_NOMUTEX);
}

Status Connection::exec(const std::string& sql) {
  const int code = sqlite3_exec(state_->db.get(), sql.c_str(), nullptr, nullptr, nullptr);
  if (code != SQLITE_OK) return sqlite_error(state_->db.get(), code, state_->where);
  return {};
}

Result<Statement> Connection::prepare(std::string_view sql) {
  if (sqlite3_stmt* known = state_->statements->take(sql); known != nullptr) {
    return Statement(known, state_->statements);
  }
  return compile(sql, state_->statements);
}

Result<Statement> Connection::compile(std::string_view sql, std::shared_ptr<StatementCache> cache) {
  sqlite3_stmt* raw = nullptr;
  const char* rest = nullptr;
  const int code =
      sqlite3_prepare_v2(state_->db.get(), sql.data(), static_cast<int>(sql.size()), &raw, &rest);
  Statement statement(raw, std::move(cache));
  if (code != SQLITE_OK) return sqlite_error(state_->db.get(), code, state_->where);
  if (raw == nullptr) return fail(Errc::invalid_argument, "the SQL holds no statement");
  if (!is_blank(state_->db.get(), rest, sql.data() + sql.size())) {
    return fail(Errc::invalid_argument, "the SQL holds more than one statement");
  }
  return statement;
}

Result<Statement> Connection::prepare_for(std::string_view sql,
                                          int (*authorize)(void*, int, const char*, const char*,
                                                           const char*, const char*)) {
  sqlite3_set_authorizer(state_->db.get(), authorize, nullptr);
  auto statement = compile(sql, nullptr);
  sqlite3_set_authorizer(state_->db.get(), nullptr, nullptr);
  return statement;
}

Result<Statement> Connection::prepare_query(std::string_view sql) {
  auto statement = prepare_for(sql, authorize_query);
  // VACUUM INTO asks the authorizer nothing, so both checks are needed.
  if (is_denied(statement) ||
      (statement && sqlite3_stmt_readonly(statement->statement_.get()) == 0)) {
    return fail(Errc::invalid_argument, "only a query (SELECT) is allowed here");
  }
  return statement;
}

Result<Statement> Connection::prepare_change(std::string_view sql) {
  auto statement = prepare_for(sql, authorize_change);
  if (is_denied(statement)) {
    return fail(Errc::invalid_argument,
                "other databases, pragmas and transactions are not allowed here");
  }
  return statement;
}

Status Connection::run(std::string_view sql) {
  PONDER_TRY(Statement statement, prepare(sql));
  return statement.run();
}

Result<int> Connection::user_version() {
  PONDER_TRY(Statement statement, prepare("PRAGMA user_version"));
  PONDER_TRY(Rows rows, statement.query());
  PONDER_TRY(const bool has_row, rows.next());
  PONDER_ASSERT(has_row);
  return static_cast<int>(rows.int64(0));
}

Status Connection::migrate(std::span<const Migration> migrations) {
  const int version_known = static_cast<int>(migrations.size());
  PONDER_TRY(int version, user_version());
  if (version == version_known) return {};
  PONDER_TRY(Transaction transaction, Transaction::begin(*this));
  PONDER_TRY(version, user_version());  // somebody may have been faster
  if (version > version_known) {
    return fail(
        Errc::unavailable,
        fmt::format("{} has schema version {}, this program knows up to {}: use a newer ponder",
                    state_->where, version, version_known));
  }
  for (const Migration& migration : migrations.subspan(static_cast<std::size_t>(version))) {
    PONDER_ASSERT(migration.version == version + 1);
    PONDER_CHECK(exec(migration.sql));
    version = migration.version;
    PONDER_CHECK(exec(fmt::format("PRAGMA user_version={}", version)));
  }
  return transaction.commit();
}

Status Connection::set_durability(Durability durability) {
  PONDER_ASSERT(!in_transaction());
  if (state_->durability == durability) return {};
  const bool is_full = durability == Durability::full;
  PONDER_CHECK(exec(is_full ? "PRAGMA synchronous=FULL" : "PRAGMA synchronous=NORMAL"));
  state_->durability = durability;
  return {};
}

Status Connection::checkpoint_locked() {
  if (state_->is_log_doubtful) {
    PONDER_CHECK(state_->rewrite_log());
  }
  sqlite3* db = state_->db.get();
  const int code =
      sqlite3_wal_checkpoint_v2(db, nullptr, SQLITE_CHECKPOINT_PASSIVE, nullptr, nullptr);
  if (code == SQLITE_OK) return {};
  state_->is_log_doubtful = true;
  return sqlite_error(db, code, state_->where);
}

Status Connection::checkpoint() {
  std::optional<WriteLock>& lock = state_->lock;
  if (!lock) return checkpoint_locked();
  PONDER_CHECK(lock->acquire(state_->busy_timeout));
  const Status status = checkpoint_locked();
  lock->release();
  return status;
}

int Connection::log_pages() const { return state_->wal_pages; }

Status Connection::integrity_check() {
  PONDER_TRY(Statement statement, prepare("PRAGMA integrity_check(1)"));
  PONDER_TRY(Rows rows, statement.query());
  PONDER_TRY(const bool has_row, rows.next());
  PONDER_ASSERT(has_row);
  if (rows.text(0) == "ok") return {};
  return fail(Errc::corrupt, fmt::format("{}: {}", state_->where, rows.text(0)));
}

bool Connection::in_transaction() const { return sqlite3_get_autocommit(state_->db.get()) == 0; }

std::int64_t Connection::last_insert_rowid() const {
  return sqlite3_last_insert_rowid(state_->db.get());
}

std::int64_t Connection::changes() const { return sqlite3_changes64(state_->db.get()); }

const std::string& Connection::path() const { return state_->path; }

void Connection::limit_value_bytes(int bytes_max) {
  sqlite3_limit(state_->db.get(), SQLITE_LIMIT_LENGTH, bytes_max);
}

void Connection::watch(int instructions, std::function<bool()> keep_going) {
  state_->keep_going = std::move(keep_going);
  if (!state_->keep_going) {
    sqlite3_progress_handler(state_->db.get(), 0, nullptr, nullptr);
    return;
  }
  const auto ask = [](void* state) { return static_cast<State*>(state)->keep_going() ? 0 : 1; };
  sqlite3_progress_handler(state_->db.get(), instructions, ask, state_.get());
}

void Connection::interrupt() { sqlite3_interrupt(state_->db.get()); }

Result<Transaction> Transaction::begin(Connection& db) {
  return begin_within(db, db.state_->busy_timeout);
}

Result<Transaction> Transaction::begin_within(Connection& db, std::chrono::milliseconds timeout) {
  PONDER_ASSERT(!db.in_transaction());
  auto& lock = db.state_->lock;
  if (lock) {
    PONDER_CHECK(lock->acquire(timeout));
  }
  if (db.state_->is_log_doubtful) {
    const Status rewritten = db.state_->rewrite_log();
    if (!rewritten) {
      if (lock) lock->release();
      return tl::unexpected(rewritten.error());
    }
  }
  sqlite3* handle = db.state_->db.get();
  const bool is_usual = timeout == db.state_->busy_timeout;
  if (!is_usual) sqlite3_busy_timeout(handle, static_cast<int>(timeout.count()));
  const Status status = db.run("BEGIN IMMEDIATE");
  if (!is_usual) sqlite3_busy_timeout(handle, static_cast<int>(db.state_->busy_timeout.count()));
  if (!status) {
    if (lock) lock->release();
    return tl::unexpected(status.error());
  }
  return Transaction(db);
}

Transaction::Transaction(Transaction&& other) noexcept : db_(std::exchange(other.db_, nullptr)) {}

Transaction::~Transaction() { end(); }

void Transaction::end() noexcept {
  if (db_ == nullptr) return;
  if (db_->in_transaction())
    sqlite3_exec(db_->state_->db.get(), "ROLLBACK", nullptr, nullptr, nullptr);
  if (std::optional<WriteLock>& lock = db_->state_->lock) lock->release();
  db_ = nullptr;
}

Status Transaction::commit() {
  PONDER_ASSERT(db_ != nullptr);
  Status status = db_->run("COMMIT");
  auto& state = *db_->state_;
  const bool is_log_long =
      state.wal_pages_checkpoint > 0 && state.wal_pages >= state.wal_pages_checkpoint;
  if (!status && state.lock) state.is_log_doubtful = true;
  if (status && state.lock && is_log_long) {
    // The data is committed; a checkpoint that fails now is tried again at the next commit.
    (void)db_->checkpoint_locked();
  }
  end();
  return status;
}

}  // namespace ponder::sqlite
