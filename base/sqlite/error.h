#pragma once

#include <string>

#include "base/result.h"

struct sqlite3;

namespace ponder::sqlite {

/// What SQLite's last failure on `db` means to a caller. `db` may be null (out of memory).
tl::unexpected<Error> sqlite_error(sqlite3* db, int code, const std::string& where);

}  // namespace ponder::sqlite
