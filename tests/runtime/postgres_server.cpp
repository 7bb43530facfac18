#include "tests/runtime/postgres_server.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <optional>
#include <sstream>
#include <vector>

#include "base/postgres/connection.h"

namespace ponder::runtime::test {
namespace {

namespace fs = std::filesystem;

constexpr uid_t kNobody = 65534;
constexpr int kTriesToConnect = 1500;  // 20 ms apart
constexpr const char* kUser = "ponder";
constexpr int kPortOfSocket = 5432;  // where there is no other: it is part of the socket's name

bool has_programs(const fs::path& folder) {
  return access((folder / "postgres").c_str(), X_OK) == 0 &&
         access((folder / "initdb").c_str(), X_OK) == 0;
}

/// The folder of the server's programs: in PATH, or the newest where Debian has them.
std::optional<fs::path> find_programs() {
  const char* path = std::getenv("PATH");
  std::istringstream folders(path == nullptr ? "" : path);
  for (std::string folder; std::getline(folders, folder, ':');) {
    if (has_programs(folder)) return fs::path(folder);
  }
  std::vector<std::pair<int, fs::path>> versions;
  std::error_code none;
  for (const auto& entry : fs::directory_iterator("/usr/lib/postgresql", none)) {
    const int version = std::atoi(entry.path().filename().c_str());
    if (has_programs(entry.path() / "bin")) versions.emplace_back(version, entry.path() / "bin");
  }
  if (versions.empty()) return std::nullopt;
  return std::max_element(versions.begin(), versions.end())->second;
}

/// A port that nobody has now.
int free_port() {
  const int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof address;
  PONDER_ASSERT(fd >= 0 && bind(fd, reinterpret_cast<const sockaddr*>(&address), size) == 0);
  PONDER_ASSERT(getsockname(fd, reinterpret_cast<sockaddr*>(&address), &size) == 0);
  close(fd);
  return ntohs(address.sin_port);
}

/// Starts a program that ends with this one, as nobody where this one is root's.
pid_t spawn(const fs::path& log, std::vector<std::string> words, pid_t space = 0) {
  std::vector<std::string> all;
  if (space != 0) all = {"/usr/bin/nsenter", fmt::format("--net=/proc/{}/ns/net", space)};
  // util-linux's setpriv, which every Debian has, changes the user and then asks for the signal.
  for (const char* word : {"/usr/bin/setpriv", "--pdeathsig", "QUIT"}) all.emplace_back(word);
  if (geteuid() == 0) {
    const std::string id = std::to_string(kNobody);
    for (const char* word : {"--reuid", id.c_str(), "--regid", id.c_str(), "--clear-groups"}) {
      all.emplace_back(word);
    }
  }
  all.insert(all.end(), words.begin(), words.end());
  std::vector<char*> argv;
  for (std::string& word : all) argv.push_back(word.data());
  argv.push_back(nullptr);
  const pid_t pid = fork();
  PONDER_ASSERT(pid >= 0);
  if (pid > 0) return pid;
  const int out = open(log.c_str(), O_WRONLY | O_CREAT | O_APPEND, 0644);
  dup2(out, STDOUT_FILENO);
  dup2(out, STDERR_FILENO);
  unsetenv("LD_PRELOAD");
  execv(argv[0], argv.data());
  _exit(127);
}

std::string quoted_space(const std::string& space) { return '"' + space + '"'; }

/// `host`: an address, or the folder of a socket.
std::string plain_address(const std::string& host, int port) {
  return fmt::format("postgresql://{}@/postgres?host={}&port={}", kUser, host, port);
}

std::string in_space(const std::string& address, const std::string& space) {
  return address + "&options=-csearch_path%3D%22" + space + "%22";
}

}  // namespace

PostgresServer::PostgresServer(fs::path programs, bool syncs, ServerNetwork network)
    : programs_(std::move(programs)), syncs_(syncs), network_(std::move(network)) {
  if (network_.port != 0) return;
  network_.port = network_.addresses.empty() ? kPortOfSocket : free_port();
}

PostgresServer::~PostgresServer() { crash(); }

Result<std::unique_ptr<PostgresServer>> PostgresServer::start(bool syncs, ServerNetwork network) {
  const auto programs = find_programs();
  if (!programs) {
    const bool may_skip = std::getenv("PONDER_REQUIRE_POSTGRES") == nullptr;
    return fail(may_skip ? Errc::not_found : Errc::internal,
                "no PostgreSQL server is installed (looked for postgres and initdb in PATH and "
                "/usr/lib/postgresql/*/bin); on Debian: apt-get install postgresql-15");
  }
  std::unique_ptr<PostgresServer> out(new PostgresServer(*programs, syncs, std::move(network)));
  PONDER_CHECK(out->initialise());
  PONDER_CHECK(out->let_in());
  PONDER_CHECK(out->go_on());
  return out;
}

Status PostgresServer::initialise() {
  if (geteuid() == 0) {
    PONDER_ASSERT(chown(dir_.path().c_str(), kNobody, kNobody) == 0);
  }
  const fs::path log = dir_.path() / "log";
  const pid_t pid =
      spawn(log, {(programs_ / "initdb").string(), "-D", (dir_.path() / "data").string(), "-U",
                  kUser, "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync"});
  int status = 0;
  PONDER_ASSERT(waitpid(pid, &status, 0) == pid);
  if (status == 0) return {};
  return fail(Errc::internal, fmt::format("initdb ended with {}: see {}", status, log.string()));
}

Status PostgresServer::let_in() {
  if (network_.addresses.empty()) return {};
  // What initdb leaves lets in who comes from this machine.
  std::ofstream(dir_.path() / "data" / "pg_hba.conf", std::ios::app)
      << "host all all samenet trust\n";
  if (network_.certificate_pem.empty()) return {};
  for (const auto& [name, text] : {std::pair("server.crt", &network_.certificate_pem),
                                   std::pair("server.key", &network_.key_pem)}) {
    const fs::path file = dir_.path() / "data" / name;
    std::ofstream(file) << *text;
    PONDER_ASSERT(chmod(file.c_str(), 0600) == 0);
    PONDER_ASSERT(geteuid() != 0 || chown(file.c_str(), kNobody, kNobody) == 0);
  }
  return {};
}

std::vector<std::string> PostgresServer::command() const {
  const std::string syncs = syncs_ ? "on" : "off";
  const std::string speaks_tls = network_.certificate_pem.empty() ? "off" : "on";
  std::vector<std::string> words = {(programs_ / "postgres").string(), "-D",
                                    (dir_.path() / "data").string(), "-k", dir_.path().string()};
  for (const std::string& setting :
       {"listen_addresses=" + network_.addresses, fmt::format("port={}", network_.port),
        "ssl=" + speaks_tls, "fsync=" + syncs, std::string("shared_buffers=16MB"),
        std::string("max_connections=60"), std::string("restart_after_crash=off"),
        // After a crash the whole folder is synced, which is slow file by file.
        std::string("recovery_init_sync_method=syncfs")}) {
    words.push_back("-c");
    words.push_back(setting);
  }
  return words;
}

Status PostgresServer::go_on() {
  PONDER_ASSERT(pid_ < 0);
  pid_ = spawn(dir_.path() / "log", command(), network_.space);
  for (int i = 0; i < kTriesToConnect; ++i) {
    if (postgres::Connection::open(address(""), {})) return {};
    int status = 0;
    if (waitpid(pid_, &status, WNOHANG) == pid_) {
      pid_ = -1;
      return fail(Errc::internal, fmt::format("the server ended with {}", status));
    }
    poll(nullptr, 0, 20);
  }
  return fail(Errc::internal, "the server lets nobody in");
}

void PostgresServer::crash() {
  if (pid_ < 0) return;
  kill(pid_, SIGQUIT);
  waitpid(pid_, nullptr, 0);
  pid_ = -1;
}

std::string PostgresServer::address(const std::string& space, const fs::path& folder) {
  const std::string host = folder.empty() ? dir_.path().string() : folder.string();
  if (space.empty()) return plain_address(host, network_.port);
  make_space(space);
  return in_space(plain_address(host, network_.port), space);
}

std::string PostgresServer::tcp_address(const std::string& space, const std::string& host) {
  make_space(space);
  return in_space(plain_address(host, network_.port), space);
}

void PostgresServer::make_space(const std::string& space) {
  auto db = postgres::Connection::open(address(""), {});
  PONDER_ASSERT(db.has_value());
  const Status made = db->exec("CREATE SCHEMA IF NOT EXISTS " + quoted_space(space));
  PONDER_ASSERT(made.has_value());
}

Status PostgresServer::cut_connections() {
  PONDER_TRY(auto db, postgres::Connection::open(address(""), {}));
  PONDER_CHECK(
      db.query("SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
               "WHERE pid <> pg_backend_pid() AND application_name LIKE 'ponder %'"));
  return {};
}

Status PostgresServer::tamper(const std::string& space, const std::string& sql) {
  PONDER_TRY(auto db, postgres::Connection::open(address(space), {}));
  return db.exec("SET session_replication_role = replica; " + sql);
}

std::string PostgresServer::value(const std::string& space, const std::string& expression) {
  auto db = postgres::Connection::open(address(space), {});
  PONDER_ASSERT(db.has_value());
  const auto type = db->query("SELECT pg_typeof(" + expression + ")::text");
  PONDER_ASSERT(type.has_value());
  // Bytes as they are, anything else as PostgreSQL writes it.
  const char* cast = type->text(0, 0) == "bytea" ? "" : "::text";
  const auto rows = db->query("SELECT (" + expression + ")" + cast);
  PONDER_ASSERT(rows.has_value() && rows->size() == 1);
  return std::string(rows->text(0, 0));
}

PostgresServer* shared_postgres() {
  static const Result<std::unique_ptr<PostgresServer>> server = PostgresServer::start(false);
  if (server) return server->get();
  const bool may_skip = server.error().code == Errc::not_found;
  fmt::print("{}: {}\n", may_skip ? "SKIPPED" : "FAILED", server.error().message);
  std::fflush(nullptr);
  // A server that is there and does not start is a failure, and no reason to skip.
  PONDER_ASSERT(may_skip);
  return nullptr;
}

}  // namespace ponder::runtime::test
