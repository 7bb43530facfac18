#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "tests/runtime/fake_server.h"
#include "tests/tools/script/script_host.h"

namespace ponder::tools {
namespace {

using runtime::test::Exchange;
using runtime::test::FakeServer;
using runtime::test::whole_answer;
using ::testing::HasSubstr;
using ::testing::Not;

/// ctx.http against a real server on loopback.
class ScriptHttp : public tests::ScriptHost {
 protected:
  static std::string get(const std::string& url, const std::string& options = "nil") {
    return "local r, why = ctx.http.get('" + url + "', " + options +
           ")\nif not r then return nil, why end\nreturn r.status .. ' ' .. r.body";
  }
  static std::string url(const FakeServer& server) {
    return "http://127.0.0.1:" + std::to_string(server.port()) + "/path";
  }
};

TEST_F(ScriptHttp, AHostThatIsGrantedByNameIsReachedAlsoOnThisMachine) {
  FakeServer server(
      [](const std::string&) { return Exchange{whole_answer("200 OK", "", "hello")}; });
  options_.grants = {"http:127.0.0.1"};
  EXPECT_EQ(run(get(url(server)), "'http'"), "200 hello");
  EXPECT_EQ(run(get(url(server)), "'http:127.0.0.1'"), "200 hello");
}

TEST_F(ScriptHttp, APrivateAddressIsOutOfReachOfWhoMayReachEverything) {
  FakeServer server(
      [](const std::string&) { return Exchange{whole_answer("200 OK", "", "hello")}; });
  options_.grants = {"http"};
  for (const std::string capability : {"'http'", "'http:127.0.0.1'"}) {
    EXPECT_THAT(run(get(url(server)), capability), HasSubstr("error: "));
  }
  const std::string by_name = "http://localhost:" + std::to_string(server.port()) + "/";
  EXPECT_THAT(run(get(by_name), "'http'"), HasSubstr("error: "));
  EXPECT_TRUE(server.requests().empty());
}

TEST_F(ScriptHttp, OtherHostsThanThoseGrantedOrDeclaredAreRefused) {
  FakeServer server(
      [](const std::string&) { return Exchange{whole_answer("200 OK", "", "hello")}; });
  options_.grants = {"http:example.com", "http:127.0.0.1"};
  EXPECT_THAT(run(get(url(server)), "'http:example.com'"), HasSubstr("error: "));
  options_.grants = {"http:example.com"};
  EXPECT_THAT(run(get(url(server)), "'http'"), HasSubstr("error: "));
  EXPECT_TRUE(server.requests().empty());
}

TEST_F(ScriptHttp, AnErrorStatusIsAnAnswerAndJsonIsSent) {
  FakeServer server([](const std::string&) {
    return Exchange{whole_answer("503 Busy", "X-Why: tea\r\n", "later")};
  });
  options_.grants = {"http:127.0.0.1"};
  EXPECT_EQ(run("local r = ctx.http.request{url = '" + url(server) +
                    "', method = 'PUT', json = {a = 1}, headers = {['X-A'] = 'b'}}\n"
                    "return {r.status, r.body, r.headers['x-why']}",
                "'http'"),
            R"([503,"later","tea"])");
  ASSERT_EQ(server.requests().size(), 1U);
  EXPECT_THAT(server.requests()[0], HasSubstr("PUT /path HTTP/1.1\r\n"));
  EXPECT_THAT(server.requests()[0], HasSubstr("X-A: b\r\n"));
  EXPECT_THAT(server.requests()[0], HasSubstr("Content-Type: application/json\r\n"));
  EXPECT_THAT(server.requests()[0], HasSubstr("\r\n\r\n{\"a\":1}"));
}

TEST_F(ScriptHttp, ASecretIsSentAndComesBackRedacted) {
  FakeServer server([](const std::string& request) {
    return Exchange{whole_answer("200 OK", "", "you sent " + request)};
  });
  options_.grants = {"http:127.0.0.1", "secret:key"};
  const std::string said =
      run(get(url(server), "{headers = {Authorization = 'Bearer ' .. ctx.secret('key')}}"),
          "'http', 'secret:key'");
  EXPECT_THAT(said, HasSubstr("Authorization: Bearer [secret]"));
  EXPECT_THAT(said, Not(HasSubstr("hunter2")));
  ASSERT_EQ(server.requests().size(), 1U);
  EXPECT_THAT(server.requests()[0], HasSubstr("Authorization: Bearer hunter2hunter2\r\n"));
  for (const char* options : {"{body = ctx.secret('key')}", "{json = {a = ctx.secret('key')}}"}) {
    EXPECT_THAT(run(get(url(server), options), "'http', 'secret:key'"), HasSubstr("secret"));
  }
  EXPECT_EQ(server.requests().size(), 1U);
}

TEST_F(ScriptHttp, SilenceAndFloodsEndAtTheirLimits) {
  FakeServer server([](const std::string& request) {
    if (request.starts_with("GET /path")) return Exchange{{}, true};
    return Exchange{whole_answer("200 OK", "", std::string(100'000, 'x'))};
  });
  options_.grants = {"http:127.0.0.1"};
  EXPECT_EQ(run(get(url(server), "{seconds_max = 1}"), "'http'"), "error: no answer in time");
  const std::string flood = "http://127.0.0.1:" + std::to_string(server.port()) + "/flood";
  EXPECT_THAT(run(get(flood, "{bytes_max = 1000}"), "'http'"), HasSubstr("error: "));
}

}  // namespace
}  // namespace ponder::tools
