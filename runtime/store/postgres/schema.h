#pragma once

#include "base/postgres/connection.h"
#include "base/result.h"

namespace ponder::runtime::pg {

/// Makes the tables or brings them up to date; programs that start together take turns.
/// `unavailable` when a newer ponder made them.
Status migrate(postgres::Connection& db);

}  // namespace ponder::runtime::pg
