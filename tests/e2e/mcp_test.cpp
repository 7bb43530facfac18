#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <nlohmann/json.hpp>

#include "tests/e2e/process.h"

/// `ponder mcp ...` with a server that is a program of the test.
namespace ponder::e2e {
namespace {

using nlohmann::json;
using ::testing::HasSubstr;

std::vector<std::string> try_server(std::vector<std::string> options) {
  std::vector<std::string> words = {"mcp", "try", "--seconds", "120"};
  words.insert(words.end(), options.begin(), options.end());
  for (const char* word :
       {"--", "/usr/bin/python3", "tests/tools/mcp/fake_server.py", "stdio", "modern"}) {
    words.emplace_back(word);
  }
  return words;
}

TEST(McpTry, ShowsWhatAServerOffers) {
  const Scratch scratch;
  const auto done = ponder(scratch.path(), try_server({}));
  EXPECT_EQ(done.status, 0) << done.err;
  EXPECT_THAT(done.out, HasSubstr("fake 7, MCP 2026-07-28: 35 tools\n"));
  EXPECT_THAT(done.out, HasSubstr("server_echo (irreversible): The tool echo.\n"));
}

TEST(McpTry, CallsAToolAndAsksOnTheTerminal) {
  const Scratch scratch;
  const auto done =
      ponder(scratch.path(), try_server({"--call", "server_ask"}), "44\ngreen\nAda\n\n");
  EXPECT_EQ(done.status, 0) << done.err;
  EXPECT_EQ(done.out,
            "{\"action\": \"accept\", \"content\": {\"age\": 44, \"color\": \"green\", \"name\": "
            "\"Ada\"}}\n");
  EXPECT_THAT(done.err, HasSubstr("The server 'server' asks: Who are you?\nYour name"));
}

TEST(McpTry, AToolThatFailsIsAFailure) {
  const Scratch scratch;
  const auto done = ponder(scratch.path(), try_server({"--call", "server_fail"}));
  EXPECT_EQ(done.status, 1);
  EXPECT_EQ(done.out, "error: the disk is full\n");
  EXPECT_EQ(ponder(scratch.path(), try_server({"--call", "server_nothing"})).status, 1);
}

TEST(McpApprove, TakesWhatWaitsAndShowsItBefore) {
  const Scratch scratch;
  std::filesystem::create_directories(scratch / "state/ponder");
  write_file(scratch / "state/ponder/mcp_tools.json",
             R"({"servers":{"home":{
                  "echo":{"approved":{"name":"echo","description":"Says it again."},
                          "waiting":{"name":"echo","description":"Says it to everybody."}},
                  "new":{"waiting":{"name":"new"}}}}})");
  const auto listed = ponder(scratch.path(), {"mcp", "list"});
  EXPECT_EQ(listed.status, 0) << listed.err;
  EXPECT_THAT(listed.out, HasSubstr("home echo: changed, waits\n"
                                    "    - description: \"Says it again.\"\n"
                                    "    + description: \"Says it to everybody.\"\n"
                                    "home new: new, waits\n"));
  const auto approved = ponder(scratch.path(), {"mcp", "approve", "home", "echo"});
  EXPECT_EQ(approved.out, "1 approved\n") << approved.err;
  const auto after = ponder(scratch.path(), {"mcp", "list", "--json"});
  EXPECT_EQ(json::parse(after.out)[0]["approved"]["description"], "Says it to everybody.");
  EXPECT_EQ(ponder(scratch.path(), {"mcp", "approve", "home", "echo"}).status, 1);
}

}  // namespace
}  // namespace ponder::e2e
