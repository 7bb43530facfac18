#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <filesystem>
#include <fstream>
#include <optional>
#include <string>
#include <thread>

#include "base/sqlite/connection.h"

namespace ponder::sqlite {
namespace {

using ::testing::HasSubstr;

/// A directory that goes with the test.
class SqliteFile : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string name = (std::filesystem::temp_directory_path() / "ponder-sqlite-XXXXXX").string();
    ASSERT_NE(mkdtemp(name.data()), nullptr);
    directory_ = name;
    path_ = (directory_ / "store.db").string();
  }
  void TearDown() override { std::filesystem::remove_all(directory_); }

  Connection open_with_table(const OpenOptions& options = {}) {
    auto db = Connection::open(path_, options);
    EXPECT_TRUE(db) << db.error().message;
    EXPECT_TRUE(db->exec("CREATE TABLE IF NOT EXISTS t(id INTEGER PRIMARY KEY, body TEXT) STRICT"));
    return std::move(*db);
  }

  std::filesystem::path directory_;
  std::string path_;
};

std::int64_t count(Connection& db, const std::string& table = "t") {
  auto statement = db.prepare("SELECT count(*) FROM " + table);
  EXPECT_TRUE(statement) << statement.error().message;
  auto rows = statement->query();
  EXPECT_TRUE(rows->next().value());
  return rows->int64(0);
}

std::string pragma(Connection& db, const std::string& name) {
  auto statement = db.prepare("PRAGMA " + name);
  auto rows = statement->query();
  EXPECT_TRUE(rows->next().value());
  return std::string(rows->text(0));
}

TEST(SqliteStatement, ValuesComeBackWithTheirTypes) {
  auto db = Connection::open_in_memory();
  ASSERT_TRUE(db) << db.error().message;
  auto statement = db->prepare("SELECT ?1, ?2, ?3, ?4, ?5");
  ASSERT_TRUE(statement) << statement.error().message;
  const std::string text("a\0b", 3);
  const std::array<std::byte, 2> bytes{std::byte{0}, std::byte{255}};
  auto rows = statement->query(std::int64_t{1} << 62, 0.5, text, Blob{bytes}, Null{});
  ASSERT_TRUE(rows) << rows.error().message;
  ASSERT_TRUE(rows->next().value());
  EXPECT_EQ(rows->num_columns(), 5);
  EXPECT_EQ(rows->type(0), ColumnType::integer);
  EXPECT_EQ(rows->int64(0), std::int64_t{1} << 62);
  EXPECT_EQ(rows->type(1), ColumnType::real);
  EXPECT_EQ(rows->real(1), 0.5);
  EXPECT_EQ(rows->text(2), text);
  EXPECT_EQ(rows->blob(3).size(), 2u);
  EXPECT_EQ(rows->blob(3)[1], std::byte{255});
  EXPECT_TRUE(rows->is_null(4));
  EXPECT_FALSE(rows->next().value());
}

TEST(SqliteStatement, AnEmptyStringIsTextAndNotNull) {
  auto db = Connection::open_in_memory();
  auto statement = db->prepare("SELECT ?1");
  auto rows = statement->query(std::string_view());
  ASSERT_TRUE(rows->next().value());
  EXPECT_EQ(rows->type(0), ColumnType::text);
}

TEST(SqliteStatement, IsFreeForTheNextRunOnceItsRowsAreGone) {
  auto db = Connection::open_in_memory();
  ASSERT_TRUE(db->exec("CREATE TABLE t(x)"));
  auto insert = db->prepare("INSERT INTO t VALUES(?)");
  for (int i = 0; i < 10; ++i) ASSERT_TRUE(insert->run(i));
  auto select = db->prepare("SELECT x FROM t WHERE x >= ? ORDER BY x");
  for (int from : {3, 7}) {
    auto rows = select->query(from);
    ASSERT_TRUE(rows->next().value());
    EXPECT_EQ(rows->int64(0), from);
  }
  // A read that were still open would refuse the change.
  EXPECT_TRUE(db->exec("DROP TABLE t"));
}

TEST(SqliteStatement, PreparedAgainItHasForgottenItsValuesAndKnowsTheSchemaOfNow) {
  auto db = Connection::open_in_memory();
  ASSERT_TRUE(db->exec("CREATE TABLE t (a); INSERT INTO t VALUES (1)"));
  const std::string sql = "SELECT * FROM t WHERE a = ?";
  {
    auto first = db->prepare(sql);
    ASSERT_TRUE(first);
    auto second = db->prepare(sql);  // while the first is in use
    ASSERT_TRUE(second);
    auto rows = first->query(1);
    ASSERT_TRUE(rows && *rows->next());
    EXPECT_FALSE(*second->query(2)->next());
    EXPECT_EQ(rows->num_columns(), 1);
  }
  ASSERT_TRUE(db->exec("ALTER TABLE t ADD COLUMN b DEFAULT 7"));
  auto again = db->prepare(sql);
  ASSERT_TRUE(again);
  auto rows = again->query(1);
  ASSERT_TRUE(rows && *rows->next());
  EXPECT_EQ(rows->num_columns(), 2);
  EXPECT_EQ(rows->int64(1), 7);
}

TEST(SqliteStatement, MayOutliveItsConnection) {
  auto opened = Connection::open_in_memory();
  ASSERT_TRUE(opened) << opened.error().message;
  std::optional<Connection> db = std::move(*opened);
  auto statement = db->prepare("SELECT 1");
  ASSERT_TRUE(statement);
  db.reset();
  auto rows = statement->query();
  EXPECT_TRUE(rows && *rows->next());
}

TEST(SqliteStatement, AWrongNumberOfValuesIsNamed) {
  auto db = Connection::open_in_memory();
  auto statement = db->prepare("SELECT ?1 + ?2");
  const Status status = statement->run(1);
  ASSERT_FALSE(status);
  EXPECT_EQ(status.error().message, "statement takes 2 values, got 1");
}

TEST(SqliteConnection, RefusesBadSqlAndMoreThanOneStatement) {
  auto db = Connection::open_in_memory();
  for (const char* sql : {"SELEKT 1", "", " ; ", "SELECT 1; SELECT 2", "SELECT 1; -- one\n SELEKT",
                          "SELECT 1; /* two */ ; SELECT 2"}) {
    auto statement = db->prepare(sql);
    ASSERT_FALSE(statement) << sql;
    EXPECT_EQ(statement.error().code, Errc::invalid_argument) << sql;
  }
  for (const char* sql : {"SELECT 1 ; \n", "SELECT 1; -- note", "SELECT 1; /* a */ ; -- b\n ;"}) {
    EXPECT_TRUE(db->prepare(sql)) << sql;
  }
}

TEST(SqliteConnection, AQueryMayOnlyLook) {
  auto db = Connection::open_in_memory();
  ASSERT_TRUE(db->exec("CREATE TABLE t(x)"));
  for (const char* sql :
       {"INSERT INTO t VALUES(1)", "DELETE FROM t", "DROP TABLE t", "CREATE TABLE u(x)",
        "ATTACH '/tmp/other.db' AS o", "PRAGMA user_version=7", "PRAGMA table_info(t)", "BEGIN",
        "VACUUM INTO '/tmp/copy.db'"}) {
    auto statement = db->prepare_query(sql);
    ASSERT_FALSE(statement) << sql;
    EXPECT_EQ(statement.error().message, "only a query (SELECT) is allowed here") << sql;
  }
  EXPECT_TRUE(
      db->prepare_query("WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n LIMIT 5) "
                        "SELECT sum(i) FROM n"));
  EXPECT_TRUE(db->exec("INSERT INTO t VALUES(1)")) << "the owner may still write";
}

TEST(SqliteConnection, WhatAQueryMayNotDoItMayNotDoBecauseItWasDoneBefore) {
  auto db = Connection::open_in_memory();
  ASSERT_TRUE(db->exec("CREATE TABLE t (a)"));
  const char* const sql = "DELETE FROM t";
  ASSERT_TRUE(db->prepare(sql)->run());
  EXPECT_FALSE(db->prepare_query(sql));
  EXPECT_TRUE(db->prepare_query("SELECT a FROM t"));
  EXPECT_TRUE(db->prepare(sql));
}

TEST(SqliteConnection, AWatchEndsAStatementThatRunsTooLong) {
  auto db = Connection::open_in_memory();
  int asked = 0;
  db->watch(1000, [&asked] { return ++asked < 5; });
  const Status status = db->exec(
      "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n) SELECT sum(i) FROM n");
  ASSERT_FALSE(status);
  EXPECT_EQ(status.error().code, Errc::cancelled);
  EXPECT_EQ(asked, 5);
  db->watch(0, nullptr);
  EXPECT_TRUE(db->exec("SELECT 1"));
}

TEST(SqliteConnection, ALimitOnValuesStopsABomb) {
  auto db = Connection::open_in_memory();
  db->limit_value_bytes(100'000);
  const Status status = db->exec("SELECT zeroblob(1000000000)");
  ASSERT_FALSE(status);
  EXPECT_EQ(status.error().code, Errc::exhausted);
}

TEST_F(SqliteFile, AWriterKeepsALogChecksForeignKeysAndLeavesCheckpointsToUs) {
  Connection db = open_with_table();
  EXPECT_EQ(pragma(db, "journal_mode"), "wal");
  EXPECT_EQ(pragma(db, "synchronous"), "2");
  EXPECT_EQ(pragma(db, "foreign_keys"), "1");
  EXPECT_EQ(pragma(db, "wal_autocheckpoint"), "0");
  OpenOptions relaxed;
  relaxed.durability = Durability::normal;
  Connection other = open_with_table(relaxed);
  EXPECT_EQ(pragma(other, "synchronous"), "1");
}

TEST_F(SqliteFile, DurabilityCanChangeBetweenTransactions) {
  Connection db = open_with_table();
  ASSERT_TRUE(db.set_durability(Durability::normal));
  EXPECT_EQ(pragma(db, "synchronous"), "1");
  ASSERT_TRUE(db.set_durability(Durability::full));
  EXPECT_EQ(pragma(db, "synchronous"), "2");
}

TEST_F(SqliteFile, ATransactionThatIsDroppedLeavesNothing) {
  Connection db = open_with_table();
  {
    auto transaction = Transaction::begin(db);
    ASSERT_TRUE(transaction) << transaction.error().message;
    ASSERT_TRUE(db.exec("INSERT INTO t(body) VALUES('lost')"));
  }
  EXPECT_FALSE(db.in_transaction());
  EXPECT_EQ(count(db), 0);
}

TEST_F(SqliteFile, ATransactionThatCommitsIsSeenByAReader) {
  Connection db = open_with_table();
  auto reader = Connection::open_read_only(path_);
  ASSERT_TRUE(reader) << reader.error().message;
  auto transaction = Transaction::begin(db);
  ASSERT_TRUE(db.exec("INSERT INTO t(body) VALUES('kept')"));
  EXPECT_EQ(count(*reader), 0);
  ASSERT_TRUE(transaction->commit());
  EXPECT_EQ(count(*reader), 1);
  EXPECT_EQ(db.last_insert_rowid(), 1);
  EXPECT_FALSE(reader->exec("INSERT INTO t(body) VALUES('no')"));
}

TEST_F(SqliteFile, ASecondWriterWaitsAndThenIsToldWhoHolds) {
  OpenOptions impatient;
  impatient.busy_timeout = std::chrono::milliseconds(30);
  Connection first = open_with_table(impatient);
  Connection second = open_with_table(impatient);
  auto held = Transaction::begin(first);
  ASSERT_TRUE(held);
  auto refused = Transaction::begin(second);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, Errc::unavailable);
  EXPECT_THAT(refused.error().message, HasSubstr(path_ + "-lock"));
  ASSERT_TRUE(held->commit());
  EXPECT_TRUE(Transaction::begin(second));
}

TEST_F(SqliteFile, TwoProcessesWriteInTurnsAndLoseNothing) {
  constexpr int kRows = 100;
  open_with_table();
  const auto write_rows = [this] {
    OpenOptions options;
    options.wal_pages_checkpoint = 4;  // checkpoints often, as the corruption needed
    auto db = Connection::open(path_, options);
    if (!db) return false;
    for (int i = 0; i < kRows; ++i) {
      auto transaction = Transaction::begin(*db);
      if (!transaction || !db->exec("INSERT INTO t(body) VALUES('x')")) return false;
      if (!transaction->commit()) return false;
    }
    return true;
  };
  const pid_t child = fork();
  ASSERT_GE(child, 0);
  if (child == 0) _exit(write_rows() ? 0 : 1);
  EXPECT_TRUE(write_rows());
  int status = -1;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0);
  Connection db = open_with_table();
  EXPECT_EQ(count(db), 2 * kRows);
  EXPECT_TRUE(db.integrity_check());
}

TEST_F(SqliteFile, ALongLogIsMovedIntoTheDatabaseAtCommit) {
  OpenOptions options;
  options.wal_pages_checkpoint = 8;
  Connection db = open_with_table(options);
  for (int i = 0; i < 50; ++i) {
    auto transaction = Transaction::begin(db);
    ASSERT_TRUE(db.exec("INSERT INTO t(body) VALUES(hex(randomblob(3000)))"));
    ASSERT_TRUE(transaction->commit());
  }
  // 50 rows of 6 KB are some 100 pages; a log that was never moved would hold them all.
  EXPECT_LT(std::filesystem::file_size(path_ + "-wal"), 100u * 1024);
  EXPECT_GT(std::filesystem::file_size(path_), 200u * 1024);
}

TEST_F(SqliteFile, MigrationsRunOnceInOrder) {
  constexpr std::array<Migration, 2> kMigrations{{
      {1, "CREATE TABLE a(x)"},
      {2, "CREATE TABLE b(x); INSERT INTO b VALUES(1)"},
  }};
  Connection db = open_with_table();
  ASSERT_TRUE(db.migrate(std::span(kMigrations).first(1)));
  EXPECT_EQ(db.user_version().value(), 1);
  ASSERT_TRUE(db.migrate(kMigrations));
  ASSERT_TRUE(db.migrate(kMigrations));
  EXPECT_EQ(db.user_version().value(), 2);
  EXPECT_EQ(count(db, "b"), 1);
}

TEST_F(SqliteFile, AMigrationThatFailsLeavesTheOldSchema) {
  constexpr std::array<Migration, 2> kMigrations{{{1, "CREATE TABLE a(x)"}, {2, "NONSENSE"}}};
  Connection db = open_with_table();
  EXPECT_FALSE(db.migrate(kMigrations));
  EXPECT_EQ(db.user_version().value(), 0);
  EXPECT_FALSE(db.prepare("SELECT * FROM a"));
}

TEST_F(SqliteFile, ASchemaFromTheFutureIsLeftAlone) {
  Connection db = open_with_table();
  ASSERT_TRUE(db.exec("PRAGMA user_version=9"));
  constexpr std::array<Migration, 1> kMigrations{{{1, "CREATE TABLE a(x)"}}};
  const Status status = db.migrate(kMigrations);
  ASSERT_FALSE(status);
  EXPECT_THAT(status.error().message, HasSubstr("schema version 9, this program knows up to 1"));
  EXPECT_EQ(db.user_version().value(), 9);
}

TEST_F(SqliteFile, AFileThatIsNoDatabaseIsCorrupt) {
  std::ofstream(path_) << std::string(8192, 'x');
  auto writer = Connection::open(path_);
  ASSERT_FALSE(writer);
  EXPECT_EQ(writer.error().code, Errc::corrupt);
  EXPECT_THAT(writer.error().message, HasSubstr(path_));
  auto reader = Connection::open_read_only(path_);
  ASSERT_FALSE(reader);
  EXPECT_EQ(reader.error().code, Errc::corrupt);
}

TEST_F(SqliteFile, DamageInsideTheFileIsFound) {
  {
    Connection db = open_with_table();
    ASSERT_TRUE(
        db.exec("INSERT INTO t(body) SELECT hex(randomblob(500)) FROM "
                "(WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n LIMIT 99) "
                "SELECT i FROM n)"));
    EXPECT_TRUE(db.integrity_check());
  }
  std::fstream file(path_, std::ios::in | std::ios::out | std::ios::binary);
  file.seekp(4096);
  file << std::string(4096, '\xff');
  file.close();
  auto db = Connection::open(path_);
  ASSERT_TRUE(db) << db.error().message;
  const Status status = db->integrity_check();
  ASSERT_FALSE(status);
  EXPECT_EQ(status.error().code, Errc::corrupt);
}

TEST_F(SqliteFile, MissingFilesAndFoldersAreNamed) {
  auto reader = Connection::open_read_only(path_);
  ASSERT_FALSE(reader);
  EXPECT_EQ(reader.error().code, Errc::not_found);
  EXPECT_THAT(reader.error().message, HasSubstr(path_));
  auto writer = Connection::open((directory_ / "no" / "store.db").string());
  ASSERT_FALSE(writer);
  EXPECT_EQ(writer.error().code, Errc::unavailable);
}

TEST_F(SqliteFile, AnInterruptFromAnotherThreadEndsAStatement) {
  Connection db = open_with_table();
  // The interrupter repeats itself, for an interrupt before the statement started has no effect.
  std::jthread interrupter([&db](const std::stop_token& stop) {
    while (!stop.stop_requested()) db.interrupt();
  });
  const Status status =
      db.exec("WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n) SELECT sum(i) FROM n");
  ASSERT_FALSE(status);
  EXPECT_EQ(status.error().code, Errc::cancelled);
}

}  // namespace
}  // namespace ponder::sqlite
