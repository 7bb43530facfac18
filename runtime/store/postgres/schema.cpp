#include "runtime/store/postgres/schema.h"

#include <fmt/format.h>

#include <array>

namespace ponder::runtime::pg {
namespace {

/// Steps of the schema: the n-th leads to version n + 1. Payloads and texts are bytes, so that what
/// is damaged can be kept as it is. Ids are compared byte by byte, as SQLite does.
constexpr std::array<const char*, 2> kSteps = {R"sql(
  CREATE TABLE sessions (
    id text COLLATE "C" PRIMARY KEY,
    created_ms bigint NOT NULL,
    updated_ms bigint NOT NULL,
    workflow text NOT NULL,
    model text NOT NULL,
    title text NOT NULL DEFAULT '',
    parent text COLLATE "C" REFERENCES sessions (id),
    parent_seq bigint NOT NULL DEFAULT 0,
    last_seq bigint NOT NULL,
    fence bigint NOT NULL DEFAULT 1,
    lease_owner text,
    lease_until timestamptz
  );
  CREATE INDEX sessions_by_update ON sessions (updated_ms DESC, id DESC);
  CREATE INDEX sessions_by_owner ON sessions (lease_owner) WHERE lease_owner IS NOT NULL;
  CREATE TABLE events (
    session text COLLATE "C" NOT NULL REFERENCES sessions (id),
    seq bigint NOT NULL,
    unix_ms bigint NOT NULL,
    type text NOT NULL,
    version integer NOT NULL,
    payload bytea NOT NULL,
    fence bigint NOT NULL DEFAULT 0,
    PRIMARY KEY (session, seq)
  );
  CREATE TABLE blobs (
    hash text COLLATE "C" PRIMARY KEY,
    text bytea NOT NULL
  );
  CREATE TABLE quarantine (
    session text COLLATE "C" NOT NULL,
    seq bigint NOT NULL,
    kind text NOT NULL,
    found_ms bigint NOT NULL,
    problem text NOT NULL,
    unix_ms bigint NOT NULL DEFAULT 0,
    type text NOT NULL DEFAULT '',
    version integer NOT NULL DEFAULT 0,
    payload bytea NOT NULL DEFAULT '',
    PRIMARY KEY (session, seq, kind)
  );
  CREATE TABLE queue (
    session text COLLATE "C" PRIMARY KEY REFERENCES sessions (id),
    place bigint GENERATED ALWAYS AS IDENTITY,
    takes integer NOT NULL DEFAULT 0
  );
  CREATE INDEX queue_by_place ON queue (place);
)sql",
                                               R"sql(
  ALTER TABLE queue ADD COLUMN problem text NOT NULL DEFAULT '';
  ALTER TABLE queue ADD COLUMN problem_takes integer NOT NULL DEFAULT 0;
)sql"};

constexpr std::int64_t kVersion = kSteps.size();
constexpr std::int64_t kMigrationLock = 0x706f6e646572;  // "ponder"

/// 0 where there are no tables of ours.
Result<std::int64_t> stored_version(postgres::Connection& db) {
  PONDER_TRY(const auto table, db.query("SELECT to_regclass('ponder_schema') IS NOT NULL"));
  if (table.number(0, 0) == 0) return 0;
  PONDER_TRY(const auto rows, db.query("SELECT version FROM ponder_schema"));
  return rows.size() == 0 ? 0 : rows.number(0, 0);
}

Status check_not_newer(std::int64_t version) {
  if (version <= kVersion) return {};
  return fail(Errc::unavailable,
              fmt::format("its tables are of version {}, made by a newer ponder; this one knows {}",
                          version, kVersion));
}

Status take_steps(postgres::Connection& db) {
  // Until the end of the transaction.
  PONDER_CHECK(db.query("SELECT pg_advisory_xact_lock($1::bigint)", {kMigrationLock}));
  PONDER_TRY(const std::int64_t version, stored_version(db));
  PONDER_CHECK(check_not_newer(version));
  if (version == 0) {
    PONDER_CHECK(
        db.exec("CREATE TABLE ponder_schema (version bigint NOT NULL);"
                "INSERT INTO ponder_schema VALUES (0)"));
  }
  for (auto step = static_cast<std::size_t>(version); step < kSteps.size(); ++step) {
    PONDER_CHECK(db.exec(kSteps[step]));
  }
  PONDER_CHECK(db.query("UPDATE ponder_schema SET version = $1::bigint", {kVersion}));
  return {};
}

}  // namespace

Status migrate(postgres::Connection& db) {
  PONDER_TRY(const std::int64_t version, stored_version(db));
  PONDER_CHECK(check_not_newer(version));
  if (version == kVersion) return {};
  // The wait for another program's migration is not a stalled transaction's.
  PONDER_CHECK(db.exec("BEGIN; SET LOCAL lock_timeout = 0"));
  Status taken = take_steps(db);
  if (!taken) {
    const Status undone = db.exec("ROLLBACK");
    (void)undone;  // the first error says more
    return taken;
  }
  return db.exec("COMMIT");
}

}  // namespace ponder::runtime::pg
