#include "base/sqlite/statement.h"

#include <fmt/format.h>
#include <sqlite3.h>

#include <utility>

#include "base/assert.h"
#include "base/sqlite/error.h"
#include "base/sqlite/statement_cache.h"

namespace ponder::sqlite {
namespace {

tl::unexpected<Error> statement_error(sqlite3_stmt* statement, int code) {
  sqlite3* db = sqlite3_db_handle(statement);
  const char* file = sqlite3_db_filename(db, "main");
  const bool in_memory = file == nullptr || *file == '\0';
  return sqlite_error(db, code,
                      in_memory ? "database in memory" : fmt::format("database {}", file));
}

/// Binds one value; text and blobs are copied if `lifetime` says so.
struct Binder {
  sqlite3_stmt* statement;
  int index;
  sqlite3_destructor_type lifetime;

  int operator()(std::monostate) const { return sqlite3_bind_null(statement, index); }
  int operator()(std::int64_t value) const { return sqlite3_bind_int64(statement, index, value); }
  int operator()(double value) const { return sqlite3_bind_double(statement, index, value); }
  int operator()(std::string_view value) const {
    // A null pointer would bind NULL, and an empty view may hold one.
    const char* data = value.data() == nullptr ? "" : value.data();
    return sqlite3_bind_text64(statement, index, data, value.size(), lifetime, SQLITE_UTF8);
  }
  int operator()(Blob value) const {
    if (value.bytes.empty()) return sqlite3_bind_zeroblob(statement, index, 0);
    return sqlite3_bind_blob64(statement, index, value.bytes.data(), value.bytes.size(), lifetime);
  }
};

}  // namespace

Rows::Rows(Rows&& other) noexcept : statement_(std::exchange(other.statement_, nullptr)) {}

Rows::~Rows() {
  if (statement_ == nullptr) return;
  sqlite3_reset(statement_);
  sqlite3_clear_bindings(statement_);
}

Result<bool> Rows::next() {
  PONDER_ASSERT(statement_ != nullptr);
  const int code = sqlite3_step(statement_);
  if (code == SQLITE_ROW) return true;
  if (code == SQLITE_DONE) return false;
  return statement_error(statement_, code);
}

int Rows::num_columns() const { return sqlite3_column_count(statement_); }

std::string_view Rows::column_name(int column) const {
  const char* name = sqlite3_column_name(statement_, column);
  return name == nullptr ? std::string_view() : std::string_view(name);
}

ColumnType Rows::type(int column) const {
  switch (sqlite3_column_type(statement_, column)) {
    case SQLITE_INTEGER:
      return ColumnType::integer;
    case SQLITE_FLOAT:
      return ColumnType::real;
    case SQLITE_TEXT:
      return ColumnType::text;
    case SQLITE_BLOB:
      return ColumnType::blob;
    default:
      return ColumnType::null;
  }
}

std::int64_t Rows::int64(int column) const { return sqlite3_column_int64(statement_, column); }

double Rows::real(int column) const { return sqlite3_column_double(statement_, column); }

std::string_view Rows::text(int column) const {
  const unsigned char* data = sqlite3_column_text(statement_, column);
  if (data == nullptr) return {};
  const int size = sqlite3_column_bytes(statement_, column);
  return {reinterpret_cast<const char*>(data), static_cast<std::size_t>(size)};
}

std::span<const std::byte> Rows::blob(int column) const {
  const void* data = sqlite3_column_blob(statement_, column);
  if (data == nullptr) return {};
  const int size = sqlite3_column_bytes(statement_, column);
  return {static_cast<const std::byte*>(data), static_cast<std::size_t>(size)};
}

void Statement::End::operator()(sqlite3_stmt* statement) const noexcept {
  if (cache != nullptr) {
    cache->put(statement);
  } else {
    sqlite3_finalize(statement);
  }
}

int Statement::num_parameters() const { return sqlite3_bind_parameter_count(statement_.get()); }

Status Statement::bind(std::span<const Value> values, Texts texts) {
  const auto lifetime = texts == Texts::copied ? SQLITE_TRANSIENT : SQLITE_STATIC;
  sqlite3_stmt* statement = statement_.get();
  PONDER_ASSERT(sqlite3_stmt_busy(statement) == 0);
  if (values.size() != static_cast<std::size_t>(num_parameters())) {
    return fail(Errc::invalid_argument,
                fmt::format("statement takes {} values, got {}", num_parameters(), values.size()));
  }
  int index = 1;
  for (const Value& value : values) {
    const int code = std::visit(Binder{statement, index++, lifetime}, value.value_);
    if (code != SQLITE_OK) return statement_error(statement, code);
  }
  return {};
}

Result<Rows> Statement::query_values(std::span<const Value> values) {
  // The caller's may be gone at the first step.
  PONDER_CHECK(bind(values, Texts::copied));
  return Rows(statement_.get());
}

Status Statement::run_values(std::span<const Value> values) {
  PONDER_CHECK(bind(values, Texts::borrowed));
  Rows rows(statement_.get());  // forgets the values before this returns
  for (bool has_row = true; has_row;) {
    PONDER_TRY(has_row, rows.next());
  }
  return {};
}

}  // namespace ponder::sqlite
