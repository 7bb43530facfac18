#include "base/postgres/connection.h"

#include <fmt/format.h>
#include <libpq-fe.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <optional>
#include <utility>

namespace ponder::postgres {
namespace {

constexpr int kBinary = 1;
constexpr const char* kBegin = "begin";  // prepared on every connection
constexpr const char* kCommit = "commit";
constexpr const char* kProbes = "7";  // signs of life asked for, where the kernel has no time limit

struct FreeOptions {
  void operator()(PQconninfoOption* options) const noexcept { PQconninfoFree(options); }
};

/// The first line, without the severity and the blanks at its end.
std::string one_line(std::string_view message) {
  for (const std::string_view severity : {"ERROR:", "FATAL:", "PANIC:"}) {
    if (message.starts_with(severity)) message.remove_prefix(severity.size());
  }
  while (!message.empty() && message.front() == ' ') message.remove_prefix(1);
  message = message.substr(0, message.find('\n'));
  return std::string(message);
}

Failure failure_of(std::string_view sqlstate) {
  if (sqlstate == "40001" || sqlstate == "40P01") return Failure::conflict;
  if (sqlstate == "55P03") return Failure::locked;
  return Failure::statement;
}

/// By the classes of SQLSTATE (PostgreSQL's documentation, appendix A).
Errc code_of(std::string_view sqlstate) {
  if (sqlstate == "53300") return Errc::unavailable;  // too many connections
  const std::string_view group = sqlstate.substr(0, 2);
  if (group == "53" || group == "54") return Errc::exhausted;
  if (group == "XX" && sqlstate != "XX000") return Errc::corrupt;
  if (group == "22" || group == "23") return Errc::invalid_argument;
  // Connections, authorisation, transactions in each other's way, an operator's doing.
  for (const char* away : {"08", "28", "3D", "40", "42", "55", "57"}) {
    if (group == away) return Errc::unavailable;
  }
  return Errc::internal;
}

void ignore_notice(void*, const char*) {}

}  // namespace

void Rows::Clear::operator()(pg_result* result) const noexcept { PQclear(result); }
void Connection::Finish::operator()(pg_conn* connection) const noexcept { PQfinish(connection); }

std::size_t Rows::size() const { return static_cast<std::size_t>(PQntuples(result_.get())); }

bool Rows::is_null(std::size_t row, std::size_t column) const {
  return PQgetisnull(result_.get(), static_cast<int>(row), static_cast<int>(column)) != 0;
}

std::string_view Rows::text(std::size_t row, std::size_t column) const {
  const int r = static_cast<int>(row);
  const int c = static_cast<int>(column);
  return {PQgetvalue(result_.get(), r, c),
          static_cast<std::size_t>(PQgetlength(result_.get(), r, c))};
}

std::int64_t Rows::number(std::size_t row, std::size_t column) const {
  return is_null(row, column) ? 0 : read_number(text(row, column));
}

std::int64_t Rows::affected() const { return std::atoll(PQcmdTuples(result_.get())); }

Result<Connection> Connection::open(const std::string& address, const ConnectOptions& options) {
  const std::int64_t unanswered_ms = options.unanswered_ms_max.count();
  const std::string connect = std::to_string(options.connect_s_max.count());
  const std::string unanswered = std::to_string(unanswered_ms);
  // A connection on which nothing is under way is asked for a sign of life after a third of that
  // time, and from then on often enough for the rest of it. The kernel counts whole seconds.
  const std::string idle = std::to_string(std::max<std::int64_t>(1, unanswered_ms / 3000));
  const std::string interval = std::to_string(std::max<std::int64_t>(1, unanswered_ms / 10'000));
  // Of two settings the later counts: before dbname stands what the address may overrule.
  const std::array<const char*, 9> names = {
      "connect_timeout",     "tcp_user_timeout", "keepalives_idle",
      "keepalives_interval", "keepalives_count", "dbname",
      "application_name",    "client_encoding",  nullptr};
  const std::array<const char*, 9> values = {
      connect.c_str(), unanswered.c_str(),   idle.c_str(), interval.c_str(), kProbes,
      address.c_str(), options.name.c_str(), "UTF8",       nullptr};
  Connection out(PQconnectdbParams(names.data(), values.data(), /*expand_dbname=*/1));
  if (out.connection_ == nullptr) return fail(Errc::exhausted, "no memory for a connection");
  if (PQstatus(out.connection_.get()) != CONNECTION_OK) {
    return fail(Errc::unavailable, one_line(PQerrorMessage(out.connection_.get())));
  }
  PQsetNoticeProcessor(out.connection_.get(), ignore_notice, nullptr);
  // The server, too, must notice that a program's machine is gone: it would keep the connection for
  // hours. On a socket of its own machine it takes these for nothing.
  PONDER_CHECK(
      out.exec(fmt::format("SET lock_timeout = {}; SET tcp_user_timeout = {}; "
                           "SET tcp_keepalives_idle = {}; SET tcp_keepalives_interval = {}; "
                           "SET tcp_keepalives_count = {}",
                           options.lock_ms_max.count(), unanswered, idle, interval, kProbes)));
  PONDER_CHECK(out.prepare(kBegin, "BEGIN"));
  PONDER_CHECK(out.prepare(kCommit, "COMMIT"));
  return out;
}

tl::unexpected<Error> Connection::failed(const pg_result* result) {
  const char* state = PQresultErrorField(result, PG_DIAG_SQLSTATE);
  const std::string_view sqlstate = state == nullptr ? "" : state;
  const std::string_view group = sqlstate.substr(0, 2);
  // 57P01 to 57P03: the server is ending this connection, or all of them.
  const bool is_lost = PQstatus(connection_.get()) != CONNECTION_OK || sqlstate.empty() ||
                       group == "08" || sqlstate.starts_with("57P0");
  last_failure_ = is_lost ? Failure::lost : failure_of(sqlstate);
  const char* primary = PQresultErrorField(result, PG_DIAG_MESSAGE_PRIMARY);
  std::string message = one_line(primary != nullptr ? primary : PQerrorMessage(connection_.get()));
  if (message.empty()) message = "the connection is gone";
  return fail(is_lost ? Errc::unavailable : code_of(sqlstate), std::move(message));
}

Result<Rows> Connection::checked(pg_result* result) {
  Rows rows(result);
  const ExecStatusType status = PQresultStatus(result);
  if (status == PGRES_TUPLES_OK || status == PGRES_COMMAND_OK) {
    last_failure_ = Failure::none;
    return rows;
  }
  return failed(result);
}

Status Connection::exec(const std::string& sql) {
  PONDER_CHECK(checked(PQexec(connection_.get(), sql.c_str())));
  return {};
}

namespace {

/// Values as libpq takes them.
struct Arguments {
  explicit Arguments(const std::vector<Value>& from) : formats(from.size(), kBinary) {
    for (const Value& value : from) {
      types.push_back(value.type());
      values.push_back(value.data().data());
      lengths.push_back(static_cast<int>(value.data().size()));
    }
  }
  int count() const { return static_cast<int>(values.size()); }
  std::vector<::Oid> types;
  std::vector<const char*> values;
  std::vector<int> lengths;
  std::vector<int> formats;
};

}  // namespace

Result<Rows> Connection::query(const std::string& sql, const std::vector<Value>& values) {
  const Arguments to(values);
  return checked(PQexecParams(connection_.get(), sql.c_str(), to.count(), to.types.data(),
                              to.values.data(), to.lengths.data(), to.formats.data(), kBinary));
}

Status Connection::prepare(const std::string& name, const std::string& sql) {
  PONDER_CHECK(checked(PQprepare(connection_.get(), name.c_str(), sql.c_str(), 0, nullptr)));
  return {};
}

bool Connection::send(const Call& call) {
  const Arguments to(call.values);
  return PQsendQueryPrepared(connection_.get(), call.statement.c_str(), to.count(),
                             to.values.data(), to.lengths.data(), to.formats.data(), kBinary) == 1;
}

/// The next result of a pipeline; a statement's results end with a null.
Result<Rows> Connection::receive() {
  auto rows = checked(PQgetResult(connection_.get()));
  PQclear(PQgetResult(connection_.get()));
  return rows;
}

Result<std::vector<Rows>> Connection::transact(std::span<const Call> calls) {
  pg_conn* db = connection_.get();
  const Call begin{kBegin, {}};
  const Call commit{kCommit, {}};
  bool is_sent = PQenterPipelineMode(db) == 1 && send(begin);
  for (std::size_t i = 0; is_sent && i < calls.size(); ++i) is_sent = send(calls[i]);
  is_sent = is_sent && send(commit) && PQpipelineSync(db) == 1;
  if (!is_sent) return failed(nullptr);
  std::vector<Rows> out;
  std::optional<tl::unexpected<Error>> error;
  Failure first = Failure::none;
  for (std::size_t i = 0; i < calls.size() + 2; ++i) {
    auto rows = receive();
    if (!rows && !error) {
      error = tl::unexpected<Error>(rows.error());
      first = last_failure_;
    }
    const bool is_of_call = i > 0 && i <= calls.size();
    if (rows && is_of_call) out.push_back(std::move(*rows));
    if (error && first == Failure::lost) return *error;
  }
  PQclear(PQgetResult(db));  // the sync
  if (PQexitPipelineMode(db) != 1) return failed(nullptr);
  if (!error) return out;
  // What followed the failed statement was skipped, the commit too.
  const Status undone = exec("ROLLBACK");
  last_failure_ = undone ? first : Failure::lost;
  return *error;
}

std::string shown_address(const std::string& address) {
  const std::unique_ptr<PQconninfoOption, FreeOptions> options(
      PQconninfoParse(address.c_str(), nullptr));
  if (options == nullptr) return "postgresql";
  std::string user, host, port, database;
  for (const PQconninfoOption* option = options.get(); option->keyword != nullptr; ++option) {
    const std::string_view keyword = option->keyword;
    const std::string value = option->val == nullptr ? "" : option->val;
    if (keyword == "user" && !value.empty()) user = value + "@";
    if (keyword == "host") host = value;
    if (keyword == "port" && !value.empty()) port = ":" + value;
    if (keyword == "dbname") database = value;
  }
  return fmt::format("postgresql://{}{}{}/{}", user, host, port, database);
}

std::string library_version() {
  const int version = PQlibVersion();
  return fmt::format("{}.{}", version / 10000, version % 10000);
}

}  // namespace ponder::postgres
