#include <arpa/inet.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include <boost/asio/io_context.hpp>
#include <filesystem>
#include <fstream>
#include <memory>
#include <string>
#include <vector>

#include "base/postgres/connection.h"
#include "runtime/store/postgres_session_store.h"
#include "tests/runtime/fake_server.h"
#include "tests/runtime/postgres_server.h"
#include "tests/runtime/support.h"

/// A store that is reached over TCP: when a silent network is noticed, and who listens in.
namespace ponder::runtime {
namespace {

using std::chrono::milliseconds;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;

constexpr const char* kHost = "db.example.org";
constexpr const char* kAddress = "127.0.0.1";

class PostgresOverTcp : public ::testing::Test {
 protected:
  /// False where no PostgreSQL is installed.
  bool start(const test::Certificate& certificate = {}) {
    test::ServerNetwork network;
    network.addresses = kAddress;
    network.certificate_pem = certificate.certificate_pem;
    network.key_pem = certificate.key_pem;
    auto started = test::PostgresServer::start(/*syncs=*/false, std::move(network));
    if (!started) {
      EXPECT_EQ(started.error().code, Errc::not_found) << started.error().message;
      why_not_ = started.error().message;
      return false;
    }
    server_ = std::move(*started);
    return true;
  }
  /// Whatever name the server goes by, it is on this machine. `more`: libpq's words.
  std::string address(const std::string& host, const std::string& more) const {
    return server_->tcp_address("sessions", host) + "&hostaddr=" + kAddress + "&" + more;
  }
  std::string file(const std::string& name, const std::string& text) const {
    const auto path = dir_.path() / name;
    std::ofstream(path) << text;
    return path.string();
  }
  std::string refusal(const std::string& where) const {
    const auto store = open_postgres_store(where, system_clock());
    EXPECT_FALSE(store);
    if (store) return "";
    EXPECT_EQ(store.error().code, Errc::unavailable);
    EXPECT_EQ(store.error().message.find('\n'), std::string::npos);
    return store.error().message;
  }
  Status begin(SessionStore& store) {
    boost::asio::io_context context;
    std::vector<Event> events = {SessionStarted{}};
    PONDER_CHECK(test::run(context, store.append(store.new_id(), 0, std::move(events))));
    return {};
  }

  test::TempDir dir_;
  std::unique_ptr<test::PostgresServer> server_;
  std::string why_not_;
};

/// This program's connections to a port.
std::vector<int> connections_to(int port) {
  std::vector<int> out;
  for (const auto& entry : std::filesystem::directory_iterator("/proc/self/fd")) {
    const int fd = std::stoi(entry.path().filename());
    sockaddr_in peer{};
    socklen_t size = sizeof peer;
    if (getpeername(fd, reinterpret_cast<sockaddr*>(&peer), &size) != 0) continue;
    if (peer.sin_family == AF_INET && ntohs(peer.sin_port) == port) out.push_back(fd);
  }
  return out;
}

int option_of(int fd, int option) {
  int value = -1;
  socklen_t size = sizeof value;
  EXPECT_EQ(getsockopt(fd, IPPROTO_TCP, option, &value, &size), 0);
  return value;
}

TEST_F(PostgresOverTcp, ANetworkThatIsSilentIsNoticedWithinTheLease) {
  if (!start()) GTEST_SKIP() << why_not_;
  PostgresOptions options;
  options.lease_ms = milliseconds(6000);
  auto store = open_postgres_store(address(kAddress, "sslmode=disable"), system_clock(), options);
  ASSERT_TRUE(store) << store.error().message;
  ASSERT_TRUE(begin(**store));
  const std::vector<int> sockets = connections_to(server_->port());
  ASSERT_THAT(sockets, Not(IsEmpty()));
  for (const int socket : sockets) {
    // What is sent and not acknowledged; and a connection on which nothing is under way.
    EXPECT_EQ(option_of(socket, TCP_USER_TIMEOUT), 4000);
    EXPECT_LE(option_of(socket, TCP_KEEPIDLE) + option_of(socket, TCP_KEEPINTVL), 6);
  }
}

TEST_F(PostgresOverTcp, TheServerNoticesItAsSoon) {
  if (!start()) GTEST_SKIP() << why_not_;
  postgres::ConnectOptions options;
  options.unanswered_ms_max = milliseconds(30'000);
  auto db = postgres::Connection::open(address(kAddress, "sslmode=disable"), options);
  ASSERT_TRUE(db) << db.error().message;
  const auto setting = [&](const std::string& name) {
    const auto rows = db->query("SELECT current_setting('" + name + "')");
    return rows ? std::string(rows->text(0, 0)) : rows.error().message;
  };
  EXPECT_EQ(setting("tcp_user_timeout"), "30000");
  EXPECT_EQ(setting("tcp_keepalives_idle"), "10");
  EXPECT_EQ(setting("tcp_keepalives_interval"), "3");
}

TEST_F(PostgresOverTcp, WithAVerifiedCertificateEveryConnectionIsEncrypted) {
  const test::Certificate certificate = test::make_certificate(kHost);
  if (!start(certificate)) GTEST_SKIP() << why_not_;
  const std::string verified =
      "sslmode=verify-full&sslrootcert=" + file("authority.pem", certificate.certificate_pem);
  auto store = open_postgres_store(address(kHost, verified), system_clock());
  ASSERT_TRUE(store) << store.error().message;
  ASSERT_TRUE(begin(**store));
  ASSERT_TRUE((*store)->list(10));
  EXPECT_EQ(server_->value("sessions",
                           "(SELECT bool_and(ssl) FROM pg_stat_ssl JOIN pg_stat_activity "
                           "USING (pid) WHERE application_name LIKE 'ponder %')"),
            "true");
}

TEST_F(PostgresOverTcp, AServerOfAnotherNameOrAuthorityIsNotTalkedTo) {
  const test::Certificate certificate = test::make_certificate(kHost);
  if (!start(certificate)) GTEST_SKIP() << why_not_;
  const std::string verified =
      "sslmode=verify-full&sslrootcert=" + file("authority.pem", certificate.certificate_pem);
  EXPECT_THAT(refusal(address("other.example.org", verified)), HasSubstr("does not match"));
  const std::string strange = "sslmode=verify-full&sslrootcert=" +
                              file("other.pem", test::make_certificate(kHost).certificate_pem);
  EXPECT_THAT(refusal(address(kHost, strange)), HasSubstr("certificate verify failed"));
}

TEST_F(PostgresOverTcp, AServerWithoutEncryptionIsRefusedWhereItIsAskedFor) {
  if (!start()) GTEST_SKIP() << why_not_;
  EXPECT_THAT(refusal(address(kHost, "sslmode=require")), HasSubstr("does not support SSL"));
}

TEST_F(PostgresOverTcp, OfSeveralServersTheOneThatAnswersIsTaken) {
  if (!start()) GTEST_SKIP() << why_not_;
  // At port 1 nobody listens.
  const std::string both =
      "postgresql://ponder@127.0.0.1:1,127.0.0.1:" + std::to_string(server_->port()) +
      "/postgres?target_session_attrs=any";
  const auto store = open_postgres_store(both, system_clock());
  EXPECT_TRUE(store) << store.error().message;
}

}  // namespace
}  // namespace ponder::runtime
