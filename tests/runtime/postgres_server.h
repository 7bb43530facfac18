#pragma once

#include <sys/types.h>

#include <filesystem>
#include <memory>
#include <string>

#include "base/result.h"
#include "tests/runtime/support.h"

namespace ponder::runtime::test {

/// A PostgreSQL server for tests: a database of its own in a folder of its own, reached through a
/// socket there and no port. It ends with the program, however that ends. As root it is run by the
/// user `nobody`, for it refuses to be run by root.
class PostgresServer {
 public:
  /// `not_found` where no PostgreSQL is installed (PATH, /usr/lib/postgresql), with what to do.
  /// Without `syncs` a crash of the machine may lose what was written; one of the server does not.
  static Result<std::unique_ptr<PostgresServer>> start(bool syncs);
  ~PostgresServer();
  PostgresServer(const PostgresServer&) = delete;
  PostgresServer& operator=(const PostgresServer&) = delete;

  /// The address of a space of its own within the database, made when it is first named. `folder`:
  /// of the socket, where it is another's that leads to the server.
  std::string address(const std::string& space, const std::filesystem::path& folder = {});
  std::filesystem::path socket() const { return dir_.path() / ".s.PGSQL.5432"; }
  /// Ends the server as a crash would: nothing is written that was not yet. It stays away until
  /// go_on().
  void crash();
  Status go_on();
  /// Ends the connections of all programs, as a network that breaks would.
  Status cut_connections();
  /// Runs SQL in a space, with foreign keys off: somebody else's hand in the database.
  Status tamper(const std::string& space, const std::string& sql);
  /// The value of an SQL expression, as text.
  std::string value(const std::string& space, const std::string& expression);

 private:
  PostgresServer(std::filesystem::path programs, bool syncs);
  Status initialise();

  std::filesystem::path programs_;
  bool syncs_;
  TempDir dir_;
  pid_t pid_ = -1;
};

/// The one server of a test program, without syncs. Null where none is installed.
PostgresServer* shared_postgres();

}  // namespace ponder::runtime::test
