#include <signal.h>

#include <algorithm>
#include <filesystem>
#include <fstream>

#include "tests/tools/mcp/mcp_fixture.h"
#include "tests/tools/temporary_folder.h"
#include "tools/process/sandbox_support.h"

namespace ponder::mcp::test {
namespace {

using tools::Effect;

/// What holds in both eras of the protocol.
class McpStdio : public McpTest, public testing::WithParamInterface<std::string> {};

INSTANTIATE_TEST_SUITE_P(EachEra, McpStdio, testing::Values("modern", "legacy", "dual"),
                         [](const auto& info) { return info.param; });

TEST_P(McpStdio, FindsOutWhichEraTheServerLivesIn) {
  const Report report = connect(stdio_server({GetParam()}));
  ASSERT_TRUE(report[0].is_connected) << report[0].summary;
  const std::string version = GetParam() == "legacy" ? "2025-11-25" : "2026-07-28";
  EXPECT_EQ(report[0].summary, "fake 7, MCP " + version + ": 35 tools");
}

TEST_P(McpStdio, CallsATool) {
  connect(stdio_server({GetParam()}));
  EXPECT_EQ(call("fake_echo", R"({"text":"h\u00e9llo"})"), "héllo");
  EXPECT_EQ(call("fake_add", R"({"a":1,"b":2.5})"), R"({"sum": 3.5})");
  EXPECT_EQ(call("fake_add", R"({"a":"one","b":2})"),
            R"(error: parameter 'a': expected a number, got "one")");
  EXPECT_EQ(call("fake_fail"), "error: the disk is full");
  EXPECT_EQ(call("fake_protocol_error"),
            "error: server 'fake': failed: 'no such row' (code -32603)");
}

TEST_P(McpStdio, RendersEachKindOfContent) {
  connect(stdio_server({GetParam()}));
  EXPECT_EQ(call("fake_mixed"),
            "a text\n[image: image/png, about 3 bytes, not shown]\n[resource file:///a]\ninside\n"
            "[link to resource file:///b, b]\n[new: unknown type, about 0 bytes, not shown]\n"
            "[1,2]");
}

TEST_P(McpStdio, AResultThatBreaksItsOwnSchemaIsAnError) {
  connect(stdio_server({GetParam()}));
  EXPECT_EQ(call("fake_lie"),
            "error: the server's result does not fit its own schema: parameter 'sum': is missing\n"
            "here it is\n{\"total\":1}");
}

TEST_P(McpStdio, ProgressAndLogReachTheSession) {
  connect(stdio_server({GetParam()}));
  EXPECT_EQ(call("fake_progress"), "done");
  ASSERT_FALSE(services_.progress_texts.empty());
  EXPECT_EQ(services_.progress_texts.back(), "step 3");
  EXPECT_EQ(services_.shares.back(), 1.0);
  EXPECT_EQ(services_.notes,
            (std::vector<std::string>{R"(log: fake: warning: {"disk":"nearly full"})"}));
}

TEST_P(McpStdio, ACancelledCallEndsAtOnceAndTheServerIsTold) {
  connect(stdio_server({GetParam()}));
  EXPECT_EQ(cancel_under_way("fake_never"), Errc::cancelled);
  EXPECT_NE(what_was_cancelled(), "[]");
  EXPECT_EQ(call("fake_echo", R"({"text":"on"})"), "on");
}

TEST_P(McpStdio, ACallThatTakesTooLongIsAnErrorAndIsCancelled) {
  ServerOptions server = stdio_server({GetParam()});
  server.call_ms_max = std::chrono::milliseconds(300);
  connect(server);
  EXPECT_EQ(call("fake_never"),
            "error: server 'fake': no answer within 300 ms; the call was cancelled, and may have "
            "had effects");
  EXPECT_NE(what_was_cancelled(), "[]");
}

TEST_P(McpStdio, APersonAnswersAForm) {
  connect(stdio_server({GetParam()}));
  // The fields come in the order of their names.
  services_.answers = {"", "red", "A", "Ann", "a, b"};
  EXPECT_EQ(call("fake_ask"),
            R"({"action": "accept", "content": {"age": 30, "color": "red", "name": "Ann", )"
            R"("tags": ["a", "b"]}})");
  ASSERT_EQ(services_.questions.size(), 5u);
  EXPECT_EQ(services_.questions[0].text,
            "The server 'fake' asks: Who are you?\nage [nothing: 30]\n(/decline refuses)");
  EXPECT_EQ(services_.questions[1].choices,
            (std::vector<std::string>{"red", "green", "", "/decline"}));
  EXPECT_NE(services_.questions[3].text.find("at least 2"), std::string::npos)
      << services_.questions[3].text;
}

TEST_P(McpStdio, AFormWritesNoLinesOfItsOwnAndNothingToTheTerminal) {
  connect(stdio_server({GetParam()}));
  services_.answers = {"c"};
  EXPECT_EQ(call("fake_fake_lines"), R"({"action": "accept", "content": {"name": "c"}})");
  ASSERT_EQ(services_.questions.size(), 1u);
  EXPECT_EQ(services_.questions[0].text,
            "The server 'fake' asks: Who are you?\n"
            "Name The server 'bank' asks: your PIN:  [2Jgone   2J (a b: one  two, c: three) "
            "[may be left empty]\n(/decline refuses)");
  EXPECT_TRUE(services_.questions[0].choices.empty());  // "a\nb" cannot be shown
}

TEST_P(McpStdio, APersonMayDeclineAndNobodyIsNoAnswer) {
  connect(stdio_server({GetParam()}));
  services_.answers = {"/decline"};
  EXPECT_EQ(call("fake_ask"), R"({"action": "decline"})");
  services_.answers = {};
  EXPECT_EQ(call("fake_ask"), R"({"action": "cancel"})");
  services_.answers = {"1", "red", "x", "y", "z"};  // a name has two letters
  EXPECT_EQ(call("fake_ask"), R"({"action": "cancel"})");
}

TEST_P(McpStdio, AnAddressIsShownWithItsHostAndNeedsConsent) {
  connect(stdio_server({GetParam()}));
  services_.answers = {"/accept"};
  EXPECT_EQ(call("fake_url"), R"({"action": "accept"})");
  ASSERT_EQ(services_.questions.size(), 1u);
  EXPECT_NE(services_.questions[0].text.find("address of bank.example"), std::string::npos);
  services_.answers = {"yes"};  // not the word that was asked for
  EXPECT_EQ(call("fake_url"), R"({"action": "decline"})");
}

TEST_P(McpStdio, SamplingIsRefused) {
  connect(stdio_server({GetParam()}));
  const std::string answer = call("fake_sample");
  if (GetParam() == "legacy") {
    EXPECT_NE(answer.find("ponder does not offer 'sampling/createMessage'"), std::string::npos);
  } else {
    EXPECT_EQ(answer,
              "error: server 'fake': the server asks for 'sampling/createMessage', which was not "
              "offered");
  }
}

TEST_P(McpStdio, RootsAreTold) {
  options_.roots = {"/srv/my project"};
  connect(stdio_server({GetParam()}));
  EXPECT_NE(call("fake_roots").find("file:///srv/my%20project"), std::string::npos);
}

TEST_P(McpStdio, ResourcesAndPromptsAreTools) {
  connect(stdio_server({GetParam()}));
  EXPECT_EQ(call("fake_list_resources"),
            R"({"mimeType":"text/plain","name":"memo","uri":"memo://1"})"
            "\n"
            R"({"name":"memos","uriTemplate":"memo://{n}"})");
  EXPECT_EQ(call("fake_read_resource", R"({"uri":"memo://1"})"),
            "[resource memo://1]\nbuy milk\n[resource memo://2: audio/wav, about 6 bytes, not "
            "shown]");
  EXPECT_EQ(call("fake_read_resource", R"({"uri":"memo://9"})"),
            "error: server 'fake': Resource not found (code -32602)");
  EXPECT_NE(call("fake_list_prompts").find(R"("name":"greet")"), std::string::npos);
  EXPECT_EQ(call("fake_get_prompt", R"({"name":"greet","arguments":{"who":"Bo"}})"), "user: Hi Bo");
  EXPECT_EQ(registry_.find("fake_read_resource")->effect(), Effect::pure);
}

TEST_P(McpStdio, AServerThatDiesIsAnErrorOfTheCallAndIsStartedAgain) {
  connect(stdio_server({GetParam()}));
  const std::string first = call("fake_pid");
  EXPECT_EQ(call("fake_die"),
            "error: server 'fake': it ended with exit code 3; it wrote: the roof fell in");
  const std::string second = call("fake_pid");
  EXPECT_FALSE(second.starts_with("error"));
  EXPECT_EQ(call("fake_echo", R"({"text":"back"})"), "back");
}

TEST_P(McpStdio, AServerThatReadsNoMoreIsEndedAndItsCallsWithIt) {
  ServerOptions server = stdio_server({GetParam()});
  server.call_ms_max = std::chrono::seconds(20);
  connect(server);
  EXPECT_EQ(call("fake_close_input"), "you called close_input");
  const std::string said = call("fake_echo", R"({"text":"x"})");
  EXPECT_NE(said.find("it was ended by signal"), std::string::npos) << said;
}

TEST_P(McpStdio, AServerThatKeepsDyingIsLeftAlone) {
  connect(stdio_server({GetParam()}));
  for (int i = 0; i < 5; ++i) call("fake_die");
  EXPECT_EQ(call("fake_echo", R"({"text":"x"})"),
            "error: server 'fake': it failed 5 times in a row and is left alone");
}

TEST_P(McpStdio, GarbageBetweenMessagesIsPassedOver) {
  connect(stdio_server({GetParam(), "prints"}));
  EXPECT_EQ(call("fake_garbage"), "still here");
  EXPECT_FALSE(services_.notes.empty());  // a person can find out
}

TEST_P(McpStdio, AServerThatSpeaksOnlyGarbageIsEnded) {
  connect(stdio_server({GetParam()}));
  const std::string answer = call("fake_stray");
  EXPECT_NE(answer.find("it was ended: 101 of its lines were no messages"), std::string::npos)
      << answer;
}

TEST_P(McpStdio, AServerThatBeginsWithGarbageIsEndedAtOnce) {
  const Report report = connect(stdio_server({GetParam(), "babbles"}));
  EXPECT_FALSE(report[0].is_connected);
  EXPECT_NE(report[0].summary.find("it was ended: 21 of its lines were no messages, the last: "
                                   "'warming up, part 20'"),
            std::string::npos)
      << report[0].summary;
}

/// The server waits until the person has been told that it is waited for.
TEST_P(McpStdio, AServerThatTakesItsTimeIsNamedToThePerson) {
  tests::TemporaryFolder folder;
  ServerOptions server = stdio_server({GetParam()});
  server.command.insert(server.command.begin(),
                        {"/bin/sh", "-c", "until test -e \"$0\"; do sleep 0.05; done; exec \"$@\"",
                         (folder.path() / "told").string()});
  std::vector<std::string> told;
  waiting_.told_after = std::chrono::milliseconds(1);
  waiting_.tell = [&](const std::string& name) {
    told.push_back(name);
    folder.write("told", "");
  };
  const Report report = connect(server);
  EXPECT_TRUE(report[0].is_connected) << report[0].summary;
  EXPECT_EQ(told, std::vector<std::string>{"fake"});
}

TEST_P(McpStdio, AServerThatBeginsInTimeIsNotNamed) {
  waiting_.told_after = std::chrono::minutes(10);
  waiting_.tell = [](const std::string& name) { ADD_FAILURE() << name; };
  EXPECT_TRUE(connect(stdio_server({GetParam()}))[0].is_connected);
}

TEST_P(McpStdio, AFloodTakesNoRoom) {
  connect(stdio_server({GetParam()}));
  EXPECT_EQ(call("fake_flood"), "dry again");
  EXPECT_LE(services_.notes.size(), 50u);
}

TEST_P(McpStdio, ALineThatIsTooLongIsAnError) {
  options_.message_bytes_max = 1 << 20;
  connect(stdio_server({GetParam()}));
  EXPECT_EQ(call("fake_huge"), "error: server 'fake': a line is longer than 1048576 bytes");
  EXPECT_EQ(call("fake_echo", R"({"text":"on"})"), "on");
}

TEST_P(McpStdio, AnswersToOthersRequestsAreNotTaken) {
  connect(stdio_server({GetParam()}));
  EXPECT_EQ(call("fake_wrong_id"), "yours");
  EXPECT_EQ(call("fake_echo", R"({"text":"mine"})"), "mine");
}

TEST_P(McpStdio, BytesThatAreNoUtf8AreReplaced) {
  connect(stdio_server({GetParam()}));
  EXPECT_EQ(call("fake_latin"), "caf\xEF\xBF\xBD");
}

TEST_P(McpStdio, AnswersMayComeInAnyOrder) {
  connect(stdio_server({GetParam()}));
  boost::asio::io_context io;
  std::vector<std::optional<Result<tools::ToolOutput>>> results(2);
  for (auto& result : results) {
    context::ToolCall call;
    call.name = "fake_second_first";
    call.arguments = "{}";
    auto work = tests::call_tool(registry_, call, {kCapability}, context(nullptr));
    boost::asio::co_spawn(io, tests::store_result<tools::ToolOutput>(std::move(work), &result),
                          [](const std::exception_ptr&) {});
  }
  io.run();
  ASSERT_TRUE(results[0] && *results[0] && results[1] && *results[1]);
  EXPECT_EQ((*results[0])->content, "first");
  EXPECT_EQ((*results[1])->content, "second");
}

TEST_P(McpStdio, AToolThatChangesUnderWayIsRefusedAndThePersonHears) {
  connect(stdio_server({GetParam()}));
  EXPECT_EQ(call("fake_change"), "changed");
  std::string answer;
  for (int i = 0; i < 2000 && !answer.starts_with("error"); ++i) {
    answer = call("fake_echo", R"({"text":"x"})");  // the notice comes when it comes
  }
  EXPECT_EQ(answer,
            "error: server 'fake': it has changed the tool 'echo' since that was approved: it is "
            "refused until a person approves it and a new session begins");
  EXPECT_EQ(registry_.find("fake_echo")->spec().description, "The tool echo.");
  ASSERT_FALSE(services_.notes.empty());
  EXPECT_EQ(services_.notes[0],
            "log: fake: the server's tools have changed: echo is another; the model's list stays "
            "as it was");
  EXPECT_EQ(call("fake_add", R"({"a":1,"b":1})"), R"({"sum": 2})");
}

TEST_P(McpStdio, NamesAreThoseThatChatFormatsTake) {
  connect(stdio_server({GetParam()}));
  EXPECT_EQ(call("fake_with_dots_and_spaces"), "you called with.dots and spaces");
  const std::string long_name = "fake_" + std::string(50, 'n') + "_" + "a4acfb4a";
  std::vector<std::string> names;
  for (const context::ToolSpec& spec : registry_.specs()) names.push_back(spec.name);
  const auto is_long = [](const std::string& name) { return name.size() == 64; };
  const auto found = std::find_if(names.begin(), names.end(), is_long);
  ASSERT_NE(found, names.end());
  EXPECT_EQ(call(*found), "you called " + std::string(100, 'n'));
}

TEST_F(McpTest, AToolThatCannotBeUsedIsALineAndStopsNoOther) {
  const Report report = connect(stdio_server({"modern", "bad_schema"}));
  ASSERT_TRUE(report[0].is_connected);
  ASSERT_EQ(report[0].remarks.size(), 3u);
  EXPECT_EQ(report[0].remarks[0], "tool 'shapeless' has no inputSchema");
  EXPECT_NE(report[0].remarks[1].find("'fake_strict'"), std::string::npos) << report[0].remarks[1];
  EXPECT_NE(report[0].remarks[2].find("two tools 'fake_echo'"), std::string::npos);
  EXPECT_EQ(call("fake_echo", R"({"text":"x"})"), "x");
}

TEST_F(McpTest, UndeclaredEffectsAreIrreversibleWhateverTheServerSays) {
  ServerOptions server = stdio_server({"modern"});
  connect(server);
  EXPECT_EQ(registry_.find("fake_echo")->effect(), Effect::irreversible);
  registry_ = tools::Registry();
  server.trusts_hints = true;
  server.effects = {{"fail", Effect::compensable}};
  connect(server);
  EXPECT_EQ(registry_.find("fake_echo")->effect(), Effect::pure);
  EXPECT_EQ(registry_.find("fake_add")->effect(), Effect::idempotent);
  EXPECT_EQ(registry_.find("fake_fail")->effect(), Effect::compensable);
  EXPECT_EQ(registry_.find("fake_pid")->effect(), Effect::irreversible);
}

TEST_F(McpTest, OnlyTheToolsThatAreWantedAreOffered) {
  ServerOptions server = stdio_server({"modern"});
  server.tools = {"echo", "no_such"};
  const Report report = connect(server);
  EXPECT_EQ(registry_.specs().size(), 5u);  // and the four of resources and prompts
  EXPECT_EQ(report[0].remarks, (std::vector<std::string>{"there is no tool 'no_such'"}));
}

TEST_F(McpTest, ACallNeedsTheCapability) {
  connect(stdio_server({"modern"}));
  context::ToolCall call;
  call.name = "fake_echo";
  call.arguments = R"({"text":"x"})";
  const auto output =
      tests::run_sync(tests::call_tool(registry_, call, {"other"}, context(nullptr)));
  ASSERT_TRUE(output.has_value());
  EXPECT_NE(output->content.find("needs the capability 'mcp'"), std::string::npos);
}

TEST_F(McpTest, ServersThatCannotBeUsedSayWhy) {
  ServerOptions ends = stdio_server({"ends_at_once"});
  ends.name = "ends";
  ServerOptions future = stdio_server({"future"});
  future.name = "future";
  ServerOptions odd = stdio_server({"legacy", "answers=1999-01-01"});
  odd.name = "odd";
  ServerOptions dies = stdio_server({"modern", "dies_at_list"});
  dies.name = "dies";
  ServerOptions missing = stdio_server({});
  missing.name = "missing";
  missing.command = {"no-such-program"};
  ServerOptions mute = stdio_server({"mute"});
  mute.name = "mute";
  mute.connect_ms_max = std::chrono::milliseconds(500);
  ServerOptions babbles = mute;
  babbles.name = "babbles";
  babbles.command = {"/bin/sh", "-c", "while read -r line; do echo 'HELLO?'; done"};
  ServerOptions endless = stdio_server({"modern", "endless"});
  endless.name = "endless";
  ServerOptions fat = stdio_server({"modern", "fat"});
  fat.name = "fat";
  ServerOptions good = stdio_server({"modern"});
  const Report report =
      connect({ends, future, odd, dies, missing, mute, endless, fat, good, babbles});
  EXPECT_EQ(report[0].summary, "it ended with exit code 4; it wrote: no configuration");
  EXPECT_EQ(report[1].summary,
            "the server speaks MCP 2031-01-01; ponder speaks 2026-07-28, 2025-11-25, 2025-06-18, "
            "2025-03-26, 2024-11-05");
  EXPECT_NE(report[2].summary.find("the server speaks MCP '1999-01-01'"), std::string::npos);
  EXPECT_EQ(report[3].summary, "it ended with exit code 5");
  EXPECT_NE(report[4].summary.find("there is no program 'no-such-program'"), std::string::npos);
  EXPECT_EQ(report[5].summary, "it did not answer within 500 ms");
  EXPECT_EQ(report[6].summary, "tools/list has no end");
  EXPECT_EQ(report[7].summary, "tools/list is over 16 MiB long");
  EXPECT_TRUE(report[8].is_connected) << report[8].summary;
  EXPECT_NE(report[9].summary.find("within 500 ms; it sent "), std::string::npos)
      << report[9].summary;
  EXPECT_NE(report[9].summary.find("HELLO?"), std::string::npos) << report[9].summary;
  EXPECT_EQ(call("fake_echo", R"({"text":"x"})"), "x");
}

TEST_F(McpTest, AServerThatDiesOfTheModernQuestionIsAskedInTheOldWay) {
  const Report report = connect(stdio_server({"legacy", "dies_of_discover"}));
  EXPECT_TRUE(report[0].is_connected) << report[0].summary;
  EXPECT_EQ(call("fake_echo", R"({"text":"x"})"), "x");
}

TEST_F(McpTest, AServerWithOlderVersionsIsSpokenToInThem) {
  const Report report = connect(stdio_server({"legacy", "answers=2025-06-18"}));
  EXPECT_NE(report[0].summary.find("MCP 2025-06-18"), std::string::npos) << report[0].summary;
  EXPECT_EQ(call("fake_echo", R"({"text":"x"})"), "x");
}

TEST_F(McpTest, AnEraThatIsConfiguredIsNotAskedFor) {
  ServerOptions server = stdio_server({"legacy", "mute_at_discover"});
  server.era = "legacy";
  EXPECT_TRUE(connect(server)[0].is_connected);
  registry_ = tools::Registry();
  server.era = "auto";
  server.probe_ms_max = std::chrono::milliseconds(100);
  EXPECT_TRUE(connect(server)[0].is_connected);
  registry_ = tools::Registry();
  ServerOptions modern = stdio_server({"legacy"});
  modern.era = "modern";
  EXPECT_EQ(connect(modern)[0].summary, "the server does not speak 2026-07-28");
}

TEST_F(McpTest, OptionsThatContradictThemselvesAreRefused) {
  const auto fault = [this](const ServerOptions& server) {
    options_.servers = {server};
    const auto report = add_mcp_tools(registry_, options_);
    return report ? std::string() : report.error().message;
  };
  ServerOptions server;
  server.name = "a b";
  EXPECT_NE(fault(server).find("the name"), std::string::npos);
  server.name = "a";
  EXPECT_NE(fault(server).find("it needs a command or a url"), std::string::npos);
  server.url = "http://example.com/mcp";
  server.bearer_token = "secret";
  EXPECT_NE(fault(server).find("without TLS"), std::string::npos);
  EXPECT_EQ(fault(server).find("secret"), std::string::npos);
  server.url = "https://example.com/mcp";
  server.bearer_token = "a\r\nHost: b";
  EXPECT_NE(fault(server).find("no token has"), std::string::npos);
  server.bearer_token = "";
  server.era = "stone";
  EXPECT_NE(fault(server).find("'stone'"), std::string::npos);
  options_.servers = {stdio_server({}), stdio_server({})};
  const auto twice = add_mcp_tools(registry_, options_);
  ASSERT_FALSE(twice.has_value());
  EXPECT_NE(twice.error().message.find("two MCP servers"), std::string::npos);
}

/// Whether a process runs, seen from here.
bool is_alive(const std::string& command_line_part) {
  for (const auto& entry : std::filesystem::directory_iterator("/proc")) {
    std::ifstream in(entry.path() / "cmdline");
    const std::string line(std::istreambuf_iterator<char>(in), {});
    if (line.find(command_line_part) != std::string::npos) return true;
  }
  return false;
}

TEST_F(McpTest, AServerEndsWithTheLastOfItsTools) {
  const std::string mark = "mark-" + std::to_string(::getpid());
  connect(stdio_server({"modern", mark}));
  EXPECT_TRUE(is_alive(mark));
  registry_ = tools::Registry();
  EXPECT_FALSE(is_alive(mark));
}

TEST_F(McpTest, AServerThatDoesNotWantToEndIsEnded) {
  const std::string mark = "mark-" + std::to_string(::getpid());
  connect(stdio_server({"modern", "deaf", mark}));
  registry_ = tools::Registry();
  EXPECT_FALSE(is_alive(mark));
}

TEST_F(McpTest, WhatAServerStartedDiesWithItAlsoInASessionOfItsOwn) {
  const tools::SandboxSupport& support = tools::sandbox_support();
  if (support.bubblewrap.empty() || !support.namespace_error.empty()) {
    GTEST_SKIP() << "no process namespaces here: " << support.namespace_error;
  }
  const std::string mark = "mark-" + std::to_string(::getpid());
  connect(stdio_server({"modern", mark}));
  EXPECT_FALSE(call("fake_leave_child").starts_with("error"));
  registry_ = tools::Registry();
  EXPECT_FALSE(is_alive(mark));
}

TEST_F(McpTest, OnlyWhatIsConfiguredOfOurEnvironmentIsHandedOn) {
  ::setenv("PONDER_TEST_SECRET", "s3cret", 1);
  ServerOptions server;
  server.name = "fake";
  server.command = {"/bin/sh", "-c", "env | sort | tr '\\n' ' ' >&2"};
  server.environment = {{"GIVEN", "1"}};
  options_.environment = {{"HOME", "/nowhere"}, {"GIVEN", "0"}};
  const Report report = connect(server);
  EXPECT_EQ(report[0].summary,
            "it ended with exit code 0; it wrote: GIVEN=1 HOME=/nowhere LANG=C.UTF-8 "
            "PATH=/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin PWD=/");
}

}  // namespace
}  // namespace ponder::mcp::test
