#pragma once

#include <memory>
#include <string>

#include "base/clock.h"
#include "runtime/session/session_store.h"
#include "tests/runtime/support.h"

namespace ponder::runtime::test {

/// Where the sessions of a test lie: in an SQLite file, or in a PostgreSQL database where
/// PONDER_TEST_STORE=postgres. The tests are the same. Where no PostgreSQL is installed the program
/// says so and ends with kSkipped, which ctest shows as skipped.
class StorePlace {
 public:
  static constexpr int kSkipped = 77;

  /// `dir` and `clock` outlive the place.
  StorePlace(const TempDir& dir, const Clock& clock) : dir_(&dir), clock_(&clock) {}

  /// Opens or makes the store of that name; `random` is what its ids are made of.
  std::unique_ptr<SessionStore> open(const std::string& name = "sessions",
                                     RandomBits random = random_bits()) const;
  /// What PONDER_SESSIONS would say: a file, or postgresql://...
  std::string address(const std::string& name = "sessions") const;
  /// Runs SQL in it, foreign keys or not: somebody else's hand in the database.
  Status tamper(const std::string& sql, const std::string& name = "sessions") const;
  /// The value of an SQL expression, as text.
  std::string value(const std::string& expression, const std::string& name = "sessions") const;

 private:
  std::string file(const std::string& name) const;
  std::string space(const std::string& name) const;
  const TempDir* dir_;
  const Clock* clock_;
};

}  // namespace ponder::runtime::test
