#include <filesystem>

#include "tests/tools/mcp/mcp_fixture.h"

namespace ponder::mcp::test {
namespace {

class McpHttp : public McpTest, public testing::WithParamInterface<std::string> {};

INSTANTIATE_TEST_SUITE_P(EachEra, McpHttp, testing::Values("modern", "legacy"),
                         [](const auto& info) { return info.param; });

TEST_P(McpHttp, FindsOutWhichEraTheServerLivesIn) {
  HttpServer server({GetParam()});
  const Report report = connect(server.options());
  ASSERT_TRUE(report[0].is_connected) << report[0].summary;
  const std::string version = GetParam() == "legacy" ? "2025-11-25" : "2026-07-28";
  EXPECT_EQ(report[0].summary, "fake 7, MCP " + version + ": 35 tools");
}

TEST_P(McpHttp, CallsAToolWithJsonAndWithStreams) {
  for (const char* answers : {"json", "sse"}) {
    HttpServer server({GetParam(), answers});
    connect(server.options());
    EXPECT_EQ(call("fake_echo", R"({"text":"h\u00e9llo"})"), "héllo") << answers;
    EXPECT_EQ(call("fake_fail"), "error: the disk is full");
    EXPECT_EQ(call("fake_read_resource", R"({"uri":"memo://9"})"),
              "error: server 'fake': Resource not found (code -32602)");
    registry_ = tools::Registry();
  }
}

TEST_P(McpHttp, ParametersAreRepeatedInHeadersAsTheServerWants) {
  HttpServer server({GetParam()});
  connect(server.options());
  EXPECT_EQ(call("fake_region", R"({"region":"us-west1","deep":{"count":-7}})"),
            R"({"deep": {"count": -7}, "region": "us-west1"})");
  EXPECT_EQ(call("fake_region", "{}"), "{}");
  EXPECT_EQ(call("fake_with_dots_and_spaces"), "you called with.dots and spaces");
}

TEST_P(McpHttp, ProgressAndLogReachTheSession) {
  HttpServer server({GetParam()});
  connect(server.options());
  EXPECT_EQ(call("fake_progress"), "done");
  ASSERT_FALSE(services_.progress_texts.empty());
  EXPECT_EQ(services_.progress_texts.back(), "step 3");
  EXPECT_EQ(services_.notes,
            (std::vector<std::string>{R"(log: fake: warning: {"disk":"nearly full"})"}));
}

TEST_P(McpHttp, ACancelledCallEndsAtOnceAndTheServerLearnsOfIt) {
  HttpServer server({GetParam()});
  connect(server.options());
  EXPECT_EQ(cancel_under_way("fake_never"), Errc::cancelled);
  EXPECT_NE(what_was_cancelled(), "[]");
}

TEST_P(McpHttp, APersonAnswersAForm) {
  HttpServer server({GetParam()});
  connect(server.options());
  services_.answers = {"41", "", "Ann", ""};
  EXPECT_EQ(call("fake_ask"), R"({"action": "accept", "content": {"age": 41, "name": "Ann"}})");
}

TEST_P(McpHttp, QuestionsOfParallelCallsReachTheRightOnes) {
  HttpServer server({GetParam()});
  connect(server.options());
  boost::asio::io_context io;
  std::vector<FakeServices> services(3);
  std::vector<std::optional<Result<tools::ToolOutput>>> results(services.size());
  for (std::size_t i = 0; i < services.size(); ++i) {
    services[i].answers = {"", "", "Ann " + std::to_string(i), ""};
    context::ToolCall call;
    call.name = "fake_ask";
    call.arguments = "{}";
    auto work = tests::call_tool(registry_, call, {kCapability}, context(&services[i]));
    boost::asio::co_spawn(io, tests::store_result<tools::ToolOutput>(std::move(work), &results[i]),
                          [](const std::exception_ptr&) {});
  }
  io.run();
  for (std::size_t i = 0; i < services.size(); ++i) {
    ASSERT_TRUE(results[i] && *results[i]);
    EXPECT_NE((*results[i])->content.find("Ann " + std::to_string(i)), std::string::npos)
        << (*results[i])->content;
  }
}

TEST_P(McpHttp, ATokenIsSentAndItsLackIsSaid) {
  HttpServer server({GetParam(), "token=s3cret"});
  ServerOptions options = server.options();
  EXPECT_EQ(connect(options)[0].summary,
            "the server does not let us in (HTTP 401): it may want a bearer token");
  options.bearer_token = "wrong";
  EXPECT_EQ(connect(options)[0].summary,
            "the server does not let us in (HTTP 401): the bearer token is not accepted");
  options.bearer_token = "s3cret";
  EXPECT_TRUE(connect(options)[0].is_connected);
  EXPECT_EQ(call("fake_echo", R"({"text":"in"})"), "in");
}

TEST_P(McpHttp, AServerThatIsDownIsAnErrorOfTheCall) {
  HttpServer server({GetParam(), "broken"});
  connect(server.options());
  EXPECT_EQ(call("fake_echo", R"({"text":"x"})"),
            "error: server 'fake': HTTP 503: <html>down for <b>maintenance</b></html>");
}

TEST_P(McpHttp, GarbageInAStreamIsPassedOver) {
  HttpServer server({GetParam()});
  connect(server.options());
  EXPECT_EQ(call("fake_garbage"), "still here");
}

TEST_F(McpTest, ASessionThatTheServerForgotIsBegunAgain) {
  HttpServer server({"legacy"});
  connect(server.options());
  EXPECT_EQ(call("fake_forget"), "forgotten");
  EXPECT_EQ(call("fake_echo", R"({"text":"again"})"), "again");
}

TEST_F(McpTest, AStreamThatBreaksOffIsTakenUpWhereItEnded) {
  HttpServer server({"legacy"});
  connect(server.options());
  EXPECT_EQ(call("fake_drop"), "taken up at 3");
}

TEST_F(McpTest, AStreamThatCannotBeTakenUpIsAnError) {
  HttpServer server({"legacy", "forgetful"});
  connect(server.options());
  EXPECT_EQ(call("fake_drop"),
            "error: server 'fake': the stream broke off, and taking it up again gave HTTP 400");
}

TEST_F(McpTest, AModernStreamThatBreaksOffIsAnErrorAndNotRepeated) {
  HttpServer server({"modern"});
  connect(server.options());
  EXPECT_EQ(call("fake_drop"), "error: server 'fake': the server's answer ended before the result");
}

TEST_F(McpTest, ALegacySessionIsEndedWithItsTools) {
  const std::string farewell = testing::TempDir() + "farewell-" + std::to_string(::getpid());
  HttpServer server({"legacy", "farewell=" + farewell});
  connect(server.options());
  registry_ = tools::Registry();
  EXPECT_TRUE(std::filesystem::remove(farewell));
}

TEST_F(McpTest, AModernServerTellsOfChangesOnAStreamOfTheirOwn) {
  HttpServer server({"modern"});
  connect(server.options());
  std::string answer;
  for (int i = 0; i < 2000 && !answer.starts_with("error"); ++i) {
    call("fake_change");  // until the subscription is there, and the notice has come
    answer = call("fake_echo", R"({"text":"x"})");
  }
  EXPECT_NE(answer.find("it has changed the tool 'echo'"), std::string::npos) << answer;
}

TEST_F(McpTest, AHeaderThatCannotBeMadeRefusesTheTool) {
  HttpServer server({"modern", "bad_schema"});
  const Report report = connect(server.options());
  ASSERT_TRUE(report[0].is_connected);
  EXPECT_EQ(report[0].remarks[1],
            "tool 'bad_header': x-mcp-header 'X' is on a parameter of type 'number'");
}

TEST_F(McpTest, NobodyAtTheAddressIsSaid) {
  ServerOptions server;
  server.name = "fake";
  server.url = "http://127.0.0.1:1/mcp";
  const Report report = connect(server);
  EXPECT_FALSE(report[0].is_connected);
  EXPECT_NE(report[0].summary.find("127.0.0.1:1"), std::string::npos) << report[0].summary;
}

}  // namespace
}  // namespace ponder::mcp::test
