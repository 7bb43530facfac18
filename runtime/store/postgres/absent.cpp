#include "runtime/store/postgres_session_store.h"
#include "runtime/store/store_rows.h"

/// In place of the store where ponder is built without libpq.
namespace ponder::runtime {

namespace {

tl::unexpected<Error> absent() {
  return fail(Errc::unavailable,
              "this ponder was built without PostgreSQL: install libpq-dev and build it again, or "
              "name a file with PONDER_SESSIONS");
}

}  // namespace

Result<std::unique_ptr<SessionStore>> open_postgres_store(const std::string&, const Clock&,
                                                          const PostgresOptions&) {
  return absent();
}

Result<std::unique_ptr<StoreRows>> open_postgres_rows(const std::string&) { return absent(); }

std::string shown_postgres_address(const std::string&) { return "postgresql"; }

std::string postgres_library() { return ""; }

}  // namespace ponder::runtime
