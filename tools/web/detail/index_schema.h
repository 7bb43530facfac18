#pragma once

#include <array>

#include "base/sqlite/connection.h"

namespace ponder::tools {

/// The words refer to the documents' rows instead of holding the texts once more; whoever changes a
/// row changes the words with it (triggers may not: our connections do not trust a file's schema).
inline constexpr std::array<sqlite::Migration, 1> kIndexSchema = {{{1, R"sql(
CREATE TABLE documents (
  id INTEGER PRIMARY KEY,
  path TEXT NOT NULL UNIQUE,
  modified_ns INTEGER NOT NULL,
  bytes INTEGER NOT NULL,
  sha256 TEXT NOT NULL,
  title TEXT NOT NULL,
  body TEXT NOT NULL
) STRICT;
CREATE VIRTUAL TABLE words USING fts5(
  title, body, content = 'documents', content_rowid = 'id',
  tokenize = 'unicode61 remove_diacritics 2'
);
)sql"}}};

}  // namespace ponder::tools
