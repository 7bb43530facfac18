#pragma once

#include <fmt/format.h>
#include <sys/types.h>

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "base/result.h"
#include "tests/runtime/support.h"

namespace ponder::runtime::test {

/// Where a server is reached besides its socket. Whoever comes there is let in.
struct ServerNetwork {
  std::string addresses = {};  // as of listen_addresses; empty: no port
  int port = 0;                // 0: one that is free on 127.0.0.1
  pid_t space = 0;  // it runs in the network namespace of this process; 0: in this program's
  std::string certificate_pem = {};  // it speaks TLS with these; empty: it does not
  std::string key_pem = {};
};

/// A PostgreSQL server for tests: a database of its own in a folder of its own, reached through a
/// socket there and, where that is asked for, a port. It ends with the program, however that ends.
/// As root it is run by the user `nobody`, for it refuses to be run by root.
class PostgresServer {
 public:
  /// `not_found` where no PostgreSQL is installed (PATH, /usr/lib/postgresql), with what to do;
  /// with PONDER_REQUIRE_POSTGRES in the environment that is no reason to skip a test, and
  /// `internal`. Without `syncs` a crash of the machine may lose what was written; one of the
  /// server does not.
  static Result<std::unique_ptr<PostgresServer>> start(bool syncs, ServerNetwork network = {});
  ~PostgresServer();
  PostgresServer(const PostgresServer&) = delete;
  PostgresServer& operator=(const PostgresServer&) = delete;

  /// The address of a space of its own within the database, made when it is first named. `folder`:
  /// of the socket, where it is another's that leads to the server.
  std::string address(const std::string& space, const std::filesystem::path& folder = {});
  /// The same over TCP. Requires: it listens at `host`, or at an address that it stands for.
  std::string tcp_address(const std::string& space, const std::string& host);
  std::filesystem::path socket() const {
    return dir_.path() / fmt::format(".s.PGSQL.{}", network_.port);
  }
  int port() const { return network_.port; }
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
  PostgresServer(std::filesystem::path programs, bool syncs, ServerNetwork network);
  Status initialise();
  Status let_in();
  void make_space(const std::string& space);
  std::vector<std::string> command() const;

  std::filesystem::path programs_;
  bool syncs_;
  ServerNetwork network_;
  TempDir dir_;
  pid_t pid_ = -1;
};

/// The one server of a test program, without syncs. Null where none is installed.
PostgresServer* shared_postgres();

}  // namespace ponder::runtime::test
