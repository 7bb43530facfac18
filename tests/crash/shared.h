#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "tests/crash/matrix.h"

namespace ponder::runtime::test {
class PostgresServer;
}

namespace ponder::crash {

/// Crashes of programs that share the sessions of one PostgreSQL store: what one leaves, the others
/// take when its lease has run out. The audit is that of WorkerMatrix.
class SharedMatrix {
 public:
  SharedMatrix(const Programs& programs, std::filesystem::path root, std::uint64_t seed);
  ~SharedMatrix();

  /// Starts a server that syncs. `not_found` where none is installed, with what to do.
  Status start_server();
  /// The address of an empty store on that server.
  std::string make_store();
  /// Brings one session to its end undisturbed; everything is compared with it.
  Status make_twin();

  /// Of two or three workers all but one are killed, at instants drawn from the seed.
  Row kills(std::uint64_t count);
  /// They are stopped, and go on when others have long taken their sessions over.
  Row stalls(std::uint64_t count);
  /// The server crashes under their hands, and comes back.
  Row server_crashes(std::uint64_t count);
  /// All of these at once.
  Row everything(std::uint64_t count);

 private:
  struct Plan {
    bool kills = false;
    bool stalls = false;
    bool crashes = false;
  };
  Row rounds(const std::string& name, const Plan& plan, std::uint64_t count);
  void round(Row& row, const Plan& plan);
  /// Sessions that wait in the queue; the store's address.
  Result<std::string> make_sessions(std::size_t count);
  Command worker(const std::string& store, const std::filesystem::path& folder) const;
  void attack(Command& command, const Plan& plan, std::vector<std::string>& words);
  std::chrono::microseconds some_time(std::chrono::microseconds longest);

  Programs programs_;
  RoundFolders folders_;
  std::mt19937_64 random_;
  std::unique_ptr<runtime::test::PostgresServer> server_;
  std::uint64_t spaces_ = 0;
  Twin twin_;
  std::chrono::microseconds took_{0};
};

}  // namespace ponder::crash
