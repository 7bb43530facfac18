#include "tests/runtime/store_place.h"

#include <cstdio>
#include <cstdlib>

#include "base/sqlite/connection.h"
#include "runtime/store/postgres_session_store.h"
#include "runtime/store/sqlite_session_store.h"
#ifdef PONDER_HAVE_POSTGRES
#include "tests/runtime/postgres_server.h"
#endif

namespace ponder::runtime::test {

#ifdef PONDER_HAVE_POSTGRES
namespace {

bool is_on_postgres() {
  const char* wanted = std::getenv("PONDER_TEST_STORE");
  return wanted != nullptr && std::string_view(wanted) == "postgres";
}

PostgresServer& server() {
  PostgresServer* shared = shared_postgres();
  if (shared != nullptr) return *shared;
  std::fflush(nullptr);
  std::_Exit(StorePlace::kSkipped);
}

}  // namespace
#endif

std::string StorePlace::file(const std::string& name) const {
  return (dir_->path() / (name + ".db")).string();
}

std::string StorePlace::space(const std::string& name) const {
  return dir_->path().filename().string() + "-" + name;
}

std::string StorePlace::address(const std::string& name) const {
#ifdef PONDER_HAVE_POSTGRES
  if (is_on_postgres()) return server().address(space(name));
#endif
  return file(name);
}

std::unique_ptr<SessionStore> StorePlace::open(const std::string& name, RandomBits random) const {
  const std::string where = address(name);
  StoreOptions of_file;
  PostgresOptions of_server;
  of_file.random = of_server.random = std::move(random);
  auto store = is_postgres_address(where) ? open_postgres_store(where, *clock_, of_server)
                                          : SqliteSessionStore::open(where, *clock_, of_file);
  if (!store) std::puts(store.error().message.c_str());
  PONDER_ASSERT(store.has_value());
  return std::move(*store);
}

Status StorePlace::tamper(const std::string& sql, const std::string& name) const {
#ifdef PONDER_HAVE_POSTGRES
  if (is_on_postgres()) return server().tamper(space(name), sql);
#endif
  PONDER_TRY(auto db, sqlite::Connection::open(file(name)));
  return db.exec("PRAGMA foreign_keys=OFF; " + sql);
}

std::string StorePlace::value(const std::string& expression, const std::string& name) const {
#ifdef PONDER_HAVE_POSTGRES
  if (is_on_postgres()) return server().value(space(name), expression);
#endif
  auto db = sqlite::Connection::open_read_only(file(name));
  PONDER_ASSERT(db.has_value());
  auto query = db->prepare("SELECT " + expression);
  PONDER_ASSERT(query.has_value());
  auto rows = query->query();
  PONDER_ASSERT(rows.has_value() && rows->next().value_or(false));
  return std::string(rows->text(0));
}

}  // namespace ponder::runtime::test
