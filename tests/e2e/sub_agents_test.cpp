#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>

#include "tests/e2e/endpoint.h"
#include "tests/e2e/process.h"

/// Sub-agents and what a session costs, as the program's user sees them.
namespace ponder::e2e {
namespace {

using runtime::test::FakeServer;
using ::testing::HasSubstr;
using ::testing::Not;

constexpr const char* kPrices = R"({"currency": "USD", "models": {
  "slow": {"prompt": "1", "cached": "0.1", "completion": "2"}}})";

class SubAgentsByProgram : public ::testing::Test {
 protected:
  SubAgentsByProgram() {
    write_file(scratch_ / "desk.lua", kDesk);
    write_file(scratch_ / "prices.json", kPrices);
    setenv("PONDER_LIBRARY", scratch_.path().c_str(), 1);
  }
  ~SubAgentsByProgram() override { unsetenv("PONDER_LIBRARY"); }

  Finished chat(const FakeServer& server, std::vector<std::string> more,
                const std::string& input) const {
    std::vector<std::string> words = {"chat", "--workflow", "desk", "--prices",
                                      (scratch_ / "prices.json").string()};
    for (const std::string& word : model_at(server)) words.push_back(word);
    words.insert(words.end(), more.begin(), more.end());
    return ponder(scratch_.path(), words, input);
  }

  Scratch scratch_;
};

TEST_F(SubAgentsByProgram, ATaskIsHandedOnAndEveryViewShowsWhose) {
  FakeServer server(
      {calls("agent", R"({"task": "count the apples"})", stream_end("tool_calls", 1000, 0, 100)),
       answers("seven apples", stream_end("stop", 500, 100, 50)),
       answers("it is seven", stream_end("stop", 1200, 1000, 10))});
  const auto done = chat(server, {"--agents"}, "how many?\n");
  ASSERT_EQ(done.status, 0) << done.err;
  EXPECT_THAT(done.out, HasSubstr("] > count the apples"));
  EXPECT_THAT(done.out, HasSubstr("] seven apples"));
  EXPECT_THAT(done.out, HasSubstr("<- agent: seven apples"));
  ASSERT_EQ(server.requests().size(), 3U);
  EXPECT_THAT(server.requests()[1], Not(HasSubstr("how many?")));
  EXPECT_THAT(server.requests()[2], HasSubstr("seven apples"));

  const auto list = ponder(scratch_.path(), {"sessions", "list"});
  EXPECT_THAT(list.out, HasSubstr("\n  2"));  // one session stands below the other
  const auto shown = ponder(scratch_.path(), {"sessions", "show", "last"});
  EXPECT_THAT(shown.out, HasSubstr("sub-agent 2"));
  // (1000 + 2 * 100) + (400 + 10 + 2 * 50) + (200 + 100 + 2 * 10) millionths
  EXPECT_THAT(shown.out, HasSubstr("cost: 0.00203 USD, 0.00051 of it by sub-agents"));
  const auto lines = ponder(scratch_.path(), {"sessions", "list", "--json"});
  EXPECT_THAT(lines.out, HasSubstr(R"("sub_agent_of":"2)"));
  const auto atif = ponder(scratch_.path(), {"sessions", "export", "last", "--format", "atif"});
  EXPECT_THAT(atif.out, HasSubstr("subagent_trajectory_ref"));

  const auto copied = ponder(scratch_.path(), {"sessions", "export", "last"});
  EXPECT_EQ(copied.status, 0);
  const std::string note = "note: not in it are the sessions of its sub-agents; export each: ";
  ASSERT_THAT(copied.err, HasSubstr(note));
  std::string child = copied.err.substr(copied.err.find(note) + note.size());
  child.erase(child.find('\n'));
  EXPECT_THAT(ponder(scratch_.path(), {"sessions", "export", child}).out, HasSubstr("seven"));
}

TEST_F(SubAgentsByProgram, ASubAgentsSessionIsNotResumedByItself) {
  FakeServer server({calls("agent", R"({"task": "count"})"), answers("seven"), answers("done")});
  ASSERT_EQ(chat(server, {"--agents"}, "how many?\n").status, 0);
  const auto lines = ponder(scratch_.path(), {"sessions", "list", "--json"});
  const std::string key = R"("id":")";
  std::size_t begin = lines.out.find(key);
  std::string child;
  while (begin != std::string::npos) {
    begin += key.size();
    const std::string id = lines.out.substr(begin, lines.out.find('"', begin) - begin);
    if (id.find('.') != std::string::npos) child = id;
    begin = lines.out.find(key, begin);
  }
  ASSERT_FALSE(child.empty());
  for (const std::vector<std::string>& command :
       {std::vector<std::string>{"sessions", "resume", child},
        std::vector<std::string>{"chat", "--session", child}}) {
    const auto refused = ponder(scratch_.path(), command);
    EXPECT_EQ(refused.status, 1);
    EXPECT_THAT(refused.err, HasSubstr("works for a call of session"));
  }
}

TEST_F(SubAgentsByProgram, ABudgetOfMoneyEndsTheTurnAndASessionGoesOnWithALargerOne) {
  FakeServer server({calls("nothing", "{}", stream_end("tool_calls", 1'000'000, 0, 0)),
                     answers("rich again", stream_end("stop", 100, 0, 10))});
  const auto poor = chat(server, {"--budget-money", "0.50"}, "spend\n");
  EXPECT_THAT(poor.out, HasSubstr("money_limit: the session has cost 1.00 USD of 0.50"));
  const auto rich = chat(server, {"--session", "last", "--budget-money", "2"}, "go on\n");
  EXPECT_THAT(rich.out, HasSubstr("rich again")) << rich.err;
}

TEST_F(SubAgentsByProgram, ABudgetForAModelWithoutAPriceIsRefused) {
  FakeServer server(std::vector<runtime::test::Exchange>{});
  write_file(scratch_ / "prices.json", R"({"models": {}})");
  const auto done = chat(server, {"--budget-money", "1"}, "hello\n");
  EXPECT_EQ(done.status, 1);
  EXPECT_THAT(done.err, HasSubstr("needs the price of"));
}

TEST_F(SubAgentsByProgram, ABudgetOfNothingIsRefused) {
  FakeServer server(std::vector<runtime::test::Exchange>{});
  const auto done = chat(server, {"--budget-money", "0"}, "hello\n");
  EXPECT_EQ(done.status, 1);
  EXPECT_THAT(done.err, HasSubstr("nothing can be done"));
}

TEST(SubAgentsExample, TheOneOfTheDocumentRunsWithoutAModel) {
  const Scratch scratch;
  const std::string example = "chat --agents --model script:docs/examples/sub-agents.jsonl";
  EXPECT_THAT(read_file("docs/sub-agents.md"), HasSubstr("ponder " + example));
  const auto done = ponder(scratch.path(),
                           {"chat", "--agents", "--model", "script:docs/examples/sub-agents.jsonl"},
                           "Where to stay on a weekend in Suzhou, and what to see?\n");
  EXPECT_EQ(done.status, 0) << done.err;
  EXPECT_THAT(done.out, HasSubstr("<- agent: The first of the list is the cheapest."));
  EXPECT_THAT(done.out, HasSubstr("<- agent: The first three of the list."));
  EXPECT_THAT(done.out, HasSubstr("Stay at the cheapest hotel"));
}

}  // namespace
}  // namespace ponder::e2e
