#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <boost/asio/io_context.hpp>
#include <fstream>
#include <memory>

#include "base/http/http_client.h"
#include "tests/base/http/compress.h"
#include "tests/runtime/fake_server.h"
#include "tests/runtime/support.h"

namespace ponder::http {
namespace {

using runtime::test::Exchange;
using runtime::test::FakeServer;
using runtime::test::whole_answer;
using ::testing::HasSubstr;
using ::testing::Not;

/// Asks servers on real sockets of this machine.
class HttpClientTest : public ::testing::Test {
 protected:
  std::string serve(std::vector<Exchange> exchanges) {
    servers_.push_back(std::make_unique<FakeServer>(std::move(exchanges)));
    return "http://127.0.0.1:" + std::to_string(servers_.back()->port());
  }
  Result<Response> get(const std::string& address) {
    auto url = parse_url(address);
    PONDER_ASSERT(url.has_value());
    Request request("GET", *url);
    return send(std::move(request));
  }
  Result<Response> send(Request request) {
    auto client = Client::create(options_);
    PONDER_ASSERT(client.has_value());
    body_.clear();
    BodySink sink = [this](const Response&, std::string_view piece) -> Status {
      body_ += piece;
      return {};
    };
    return runtime::test::run(context_, (*client)->send(std::move(request), sink));
  }
  Request request_for(const std::string& address) { return Request("GET", *parse_url(address)); }

  boost::asio::io_context context_;
  ClientOptions options_;
  std::vector<std::unique_ptr<FakeServer>> servers_;
  std::string body_;
};

Exchange redirect_to(const std::string& place, const std::string& status = "302 Found") {
  return {whole_answer(status, "Location: " + place + "\r\n", "moved")};
}

TEST_F(HttpClientTest, PrivateAddressesAreRefusedUnlessExempt) {
  const std::string address = serve({{whole_answer("200 OK", "", "secret")}});
  options_.addresses.is_public_only = true;
  const auto refused = get(address);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, Errc::invalid_argument);
  EXPECT_THAT(refused.error().message, HasSubstr("no public address"));
  EXPECT_TRUE(servers_[0]->requests().empty());

  options_.addresses.exempt = {"127.0.0.1"};
  const auto answer = get(address);
  ASSERT_TRUE(answer) << answer.error().message;
  EXPECT_EQ(body_, "secret");
}

TEST_F(HttpClientTest, TheAddressThatANameResolvesToIsWhatCounts) {
  serve({{whole_answer("200 OK", "", "secret")}});
  const std::string port = std::to_string(servers_[0]->port());
  options_.addresses.is_public_only = true;
  options_.addresses.exempt = {"127.0.0.1"};
  for (const char* name : {"localhost", "0x7f000001", "2130706433", "127.1", "[::ffff:127.0.0.1]",
                           "0.0.0.0", "[::]"}) {
    const auto refused = get("http://" + std::string(name) + ":" + port + "/");
    ASSERT_FALSE(refused) << name;
    EXPECT_THAT(refused.error().code, ::testing::AnyOf(Errc::invalid_argument, Errc::unavailable))
        << name;
  }
  EXPECT_TRUE(servers_[0]->requests().empty());
}

TEST_F(HttpClientTest, ARedirectIsCheckedLikeTheFirstAddress) {
  const std::string inside = serve({{whole_answer("200 OK", "", "secret")}});
  const std::string outside = serve({redirect_to(inside + "/admin")});
  options_.addresses.is_public_only = true;
  options_.addresses.exempt = {outside.substr(7)};
  Request request = request_for(outside);
  request.redirects_max = 5;
  const auto refused = send(std::move(request));
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, Errc::invalid_argument);
  EXPECT_EQ(servers_[1]->requests().size(), 1U);
  EXPECT_TRUE(servers_[0]->requests().empty());
}

TEST_F(HttpClientTest, AHostThatIsNotOnTheAllowListIsNotEvenLookedUp) {
  options_.addresses.allowed = {"api.example.org"};
  const auto refused = get("http://no-such-host.invalid/");
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, Errc::invalid_argument);
  EXPECT_THAT(refused.error().message, HasSubstr("not among the hosts"));
}

TEST_F(HttpClientTest, RedirectsAreFollowedAsFarAsAllowed) {
  const std::string last = serve({{whole_answer("200 OK", "", "there")}});
  const std::string first =
      serve({redirect_to("/second"), redirect_to(last + "/third?x=1", "308 Permanent Redirect")});
  Request request = request_for(first + "/first");
  request.redirects_max = 2;
  const auto answer = send(std::move(request));
  ASSERT_TRUE(answer) << answer.error().message;
  EXPECT_EQ(answer->status, 200);
  EXPECT_EQ(answer->url.text(), last + "/third?x=1");
  EXPECT_EQ(body_, "there");
}

TEST_F(HttpClientTest, ALoopOfRedirectsEnds) {
  const std::string address = serve({redirect_to("/"), redirect_to("/"), redirect_to("/")});
  Request request = request_for(address);
  request.redirects_max = 2;
  const auto answer = send(std::move(request));
  ASSERT_FALSE(answer);
  EXPECT_EQ(answer.error().code, Errc::exhausted);
  EXPECT_EQ(servers_[0]->requests().size(), 3U);
}

TEST_F(HttpClientTest, WithoutRedirectsTheAnswerIsTheRedirect) {
  const auto answer = get(serve({redirect_to("/elsewhere")}));
  ASSERT_TRUE(answer) << answer.error().message;
  EXPECT_EQ(answer->status, 302);
  EXPECT_EQ(answer->headers.at("location"), "/elsewhere");
}

TEST_F(HttpClientTest, KeysDoNotFollowARedirectToAnotherHost) {
  const std::string last = serve({{whole_answer("200 OK", "", "")}});
  Request request = request_for(serve({redirect_to("/same"), redirect_to(last)}));
  request.headers = {{"Authorization", "Bearer secret"}, {"Accept", "text/html"}};
  request.redirects_max = 2;
  ASSERT_TRUE(send(std::move(request)));
  EXPECT_THAT(servers_[1]->requests()[1], HasSubstr("Bearer secret"));
  EXPECT_THAT(servers_[0]->requests()[0], Not(HasSubstr("secret")));
  EXPECT_THAT(servers_[0]->requests()[0], HasSubstr("text/html"));
}

TEST_F(HttpClientTest, ABodyLongerThanItMayBeIsRefusedBeforeAndWhileItComes) {
  const Exchange declared{whole_answer("200 OK", "", std::string(5000, 'x'))};
  const Exchange endless{{"HTTP/1.1 200 OK\r\n\r\n", std::string(5000, 'x')}, true};
  for (const Exchange& exchange : {declared, endless}) {
    Request request = request_for(serve({exchange}));
    request.body_bytes_max = 1000;
    const auto answer = send(std::move(request));
    ASSERT_FALSE(answer);
    EXPECT_EQ(answer.error().code, Errc::exhausted);
    EXPECT_LE(body_.size(), 1000U);
  }
}

TEST_F(HttpClientTest, CompressedBodiesAreDecodedAndBombsStopAtTheLimit) {
  const std::string small = test::compressed("hello", test::kGzip);
  const std::string bomb = test::compressed(std::string(8 << 20, 'x'), test::kGzip);
  const std::string address = serve({{whole_answer("200 OK", "Content-Encoding: gzip\r\n", small)},
                                     {whole_answer("200 OK", "Content-Encoding: gzip\r\n", bomb)}});
  Request request = request_for(address);
  request.takes_compressed = true;
  const auto answer = send(request);
  ASSERT_TRUE(answer) << answer.error().message;
  EXPECT_EQ(body_, "hello");
  EXPECT_THAT(servers_[0]->requests()[0], HasSubstr("Accept-Encoding: gzip, deflate"));

  request.body_bytes_max = 100'000;
  const auto stopped = send(request);
  ASSERT_FALSE(stopped);
  EXPECT_EQ(stopped.error().code, Errc::exhausted);
  EXPECT_LE(body_.size(), 100'000U);
}

TEST_F(HttpClientTest, BodiesOfErrorsAreKeptShortOrHandedOnWhereWanted) {
  options_.error_body_bytes_max = 10;
  const std::string text(5000, 'e');
  const std::string address =
      serve({{whole_answer("404 Not Found", "", text)}, {whole_answer("404 Not Found", "", text)}});
  const auto kept = get(address);
  ASSERT_TRUE(kept) << kept.error().message;
  EXPECT_EQ(kept->body, std::string(10, 'e'));
  EXPECT_EQ(body_, "");
  Request request = request_for(address);
  request.sinks_any_status = true;
  const auto handed_on = send(std::move(request));
  ASSERT_TRUE(handed_on) << handed_on.error().message;
  EXPECT_EQ(handed_on->status, 404);
  EXPECT_EQ(body_, text);
}

TEST_F(HttpClientTest, TheDeadlineEndsAServerThatDripsOrStaysSilent) {
  const std::string half = "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nx";
  for (const Exchange& exchange : {Exchange{{}, /*stays_open=*/true}, Exchange{{half}, true}}) {
    Request request = request_for(serve({exchange}));
    request.deadline = Deadline::after(system_clock(), std::chrono::milliseconds(50));
    const auto answer = send(std::move(request));
    ASSERT_FALSE(answer);
    EXPECT_EQ(answer.error().code, Errc::deadline);
  }
}

TEST_F(HttpClientTest, TheDeadlineCoversRedirectsTogether) {
  const std::string silent = serve({{{}, /*stays_open=*/true}});
  Request request = request_for(serve({redirect_to(silent)}));
  request.redirects_max = 3;
  request.deadline = Deadline::after(system_clock(), std::chrono::milliseconds(50));
  const auto answer = send(std::move(request));
  ASSERT_FALSE(answer);
  EXPECT_EQ(answer.error().code, Errc::deadline);
}

TEST_F(HttpClientTest, AnEndlessHeadIsRefused) {
  std::vector<std::string> head = {"HTTP/1.1 200 OK\r\n"};
  for (int i = 0; i < 100; ++i) head.push_back("X-A: " + std::string(1000, 'x') + "\r\n");
  const auto answer = get(serve({{head, true}}));
  ASSERT_FALSE(answer);
  EXPECT_EQ(answer.error().code, Errc::exhausted);
}

TEST_F(HttpClientTest, AMalformedRequestReachesNobody) {
  Request request = request_for(serve({{whole_answer("200 OK", "", "")}}));
  request.headers = {{"X-A", "b\r\nX-Evil: 1"}};
  ASSERT_FALSE(send(std::move(request)));
  EXPECT_TRUE(servers_[0]->requests().empty());
}

TEST_F(HttpClientTest, RepeatedHeadersAreJoined) {
  const auto answer = get(serve({{whole_answer("200 OK", "Link: <a>\r\nlink: <b>\r\n", "")}}));
  ASSERT_TRUE(answer) << answer.error().message;
  EXPECT_EQ(answer->headers.at("link"), "<a>, <b>");
}

TEST_F(HttpClientTest, ARedirectFromHttpsToHttpIsRefused) {
  const runtime::test::TempDir folder;
  const auto certificate = runtime::test::make_certificate("localhost");
  options_.ca_file = folder.path() / "ca.pem";
  std::ofstream(options_.ca_file) << certificate.certificate_pem;
  const std::string plain = serve({{whole_answer("200 OK", "", "")}});
  servers_.push_back(std::make_unique<FakeServer>(
      std::vector<Exchange>{redirect_to(plain)}, certificate.certificate_pem, certificate.key_pem));
  Request request = request_for("https://localhost:" + std::to_string(servers_[1]->port()));
  request.redirects_max = 3;
  const auto answer = send(std::move(request));
  ASSERT_FALSE(answer);
  EXPECT_THAT(answer.error().message, HasSubstr("from https to http"));
  EXPECT_TRUE(servers_[0]->requests().empty());
}

}  // namespace
}  // namespace ponder::http
