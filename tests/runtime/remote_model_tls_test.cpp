#include <gmock/gmock.h>

#include <filesystem>
#include <fstream>

#include "tests/runtime/remote_model_fixture.h"

namespace ponder::runtime {
namespace {

using test::event_stream;
using test::Exchange;
using ::testing::HasSubstr;

class TlsTest : public RemoteModelTest {
 protected:
  void serve_tls(const std::string& certificate_host, std::size_t connections) {
    const test::Certificate certificate = test::make_certificate(certificate_host);
    server_ = std::make_unique<test::FakeServer>(
        std::vector<Exchange>(connections, Exchange{event_stream({kHello})}),
        certificate.certificate_pem, certificate.key_pem);
    options_.base_url = "https://localhost:" + std::to_string(server_->port()) + "/v1";
    options_.attempts_max = 1;
    ca_file_ = dir_.path() / "ca.pem";
    std::ofstream(ca_file_) << certificate.certificate_pem;
  }
  test::TempDir dir_;
  std::filesystem::path ca_file_;
};

TEST_F(TlsTest, ATrustedCertificateForTheHostIsAccepted) {
  serve_tls("localhost", 1);
  options_.ca_file = ca_file_;
  const auto answer = ask();
  ASSERT_TRUE(answer) << answer.error().message;
  EXPECT_EQ(answer->message.content, "hello");
}

TEST_F(TlsTest, ACertificateOfAnotherHostIsRefused) {
  serve_tls("elsewhere.example", 1);
  options_.ca_file = ca_file_;
  const auto answer = ask();
  ASSERT_FALSE(answer);
  EXPECT_EQ(answer.error().code, Errc::invalid_argument);
  EXPECT_THAT(answer.error().message, HasSubstr("localhost"));
}

TEST_F(TlsTest, ACertificateThatNobodyVouchesForIsRefused) {
  serve_tls("localhost", 1);
  const auto answer = ask();
  ASSERT_FALSE(answer);
  EXPECT_EQ(answer.error().code, Errc::invalid_argument);
}

}  // namespace
}  // namespace ponder::runtime
