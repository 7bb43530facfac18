#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <regex>

#include "tests/e2e/endpoint.h"
#include "tests/e2e/process.h"
#include "tests/e2e/pseudo_terminal.h"
#include "tools/process/sandbox_support.h"

/// Calls with lasting effects, and calls that take too long, before a person at a terminal.
namespace ponder::e2e {
namespace {

using runtime::test::FakeServer;
using ::testing::HasSubstr;
using ::testing::Not;

class DeskOnATerminal : public ::testing::Test {
 protected:
  DeskOnATerminal() {
    write_file(scratch_ / "desk.lua", kDesk);
    setenv("PONDER_LIBRARY", scratch_.path().c_str(), 1);
  }
  ~DeskOnATerminal() override { unsetenv("PONDER_LIBRARY"); }

  static std::vector<std::string> chat_with(const FakeServer& server) {
    std::vector<std::string> out = model_at(server);
    out.insert(out.begin(), {"chat", "--workflow", "desk"});
    return out;
  }

  /// The code of the latest question on the screen.
  static std::string code_on(const PseudoTerminal& terminal) {
    const std::regex command("/allow ([0-9a-f]+)");
    const std::string& screen = terminal.screen();
    std::string code;
    for (std::sregex_iterator it(screen.begin(), screen.end(), command), end; it != end; ++it) {
      code = (*it)[1];
    }
    return code;
  }

  static std::size_t times_asked(const PseudoTerminal& terminal) {
    std::size_t times = 0;
    std::size_t at = 0;
    while ((at = terminal.screen().find("may pays run?", at)) != std::string::npos) {
      ++times;
      ++at;
    }
    return times;
  }

  Scratch scratch_;
};

TEST_F(DeskOnATerminal, ACallWaitsForItsCodeAndThenRunsOnce) {
  FakeServer server({calls("pays", R"({"to": "bob", "sum": 3})"), answers("all paid")});
  PseudoTerminal terminal(scratch_.path(), chat_with(server));
  ASSERT_TRUE(terminal.shows("you> ")) << terminal.screen();
  terminal.type("pay bob\r");
  ASSERT_TRUE(terminal.shows("/deny")) << terminal.screen();
  EXPECT_THAT(terminal.screen(), HasSubstr(R"({"sum": 3, "to": "bob"})"));
  const std::string code = code_on(terminal);
  terminal.type("/allow 0000-9\r");
  ASSERT_TRUE(terminal.shows("no question has the code '0000-9'")) << terminal.screen();
  terminal.type("/allow " + code + "\r");
  ASSERT_TRUE(terminal.shows("approval of pays: allow_once")) << terminal.screen();
  ASSERT_TRUE(terminal.shows("all paid")) << terminal.screen();
  ASSERT_TRUE(terminal.shows("you> ")) << terminal.screen();
  terminal.type("\x04");
  EXPECT_EQ(terminal.wait(), 0) << terminal.screen();
  ASSERT_EQ(server.requests().size(), 2U);
  EXPECT_THAT(server.requests()[1], HasSubstr("paid bob"));
}

TEST_F(DeskOnATerminal, ADeniedCallIsAResultWithThePersonsReason) {
  FakeServer server({calls("pays", R"({"to": "bob", "sum": 1000})"), answers("as you wish")});
  PseudoTerminal terminal(scratch_.path(), chat_with(server));
  ASSERT_TRUE(terminal.shows("you> ")) << terminal.screen();
  terminal.type("pay bob\r");
  ASSERT_TRUE(terminal.shows("/deny")) << terminal.screen();
  ASSERT_TRUE(terminal.shows("[REASON]")) << terminal.screen();
  terminal.type("/deny " + code_on(terminal) + " that is too much\r");
  ASSERT_TRUE(terminal.shows("as you wish")) << terminal.screen();
  ASSERT_TRUE(terminal.shows("you> ")) << terminal.screen();
  terminal.type("\x04");
  EXPECT_EQ(terminal.wait(), 0) << terminal.screen();
  ASSERT_EQ(server.requests().size(), 2U);
  EXPECT_THAT(server.requests()[1], HasSubstr("the user did not approve it: that is too much"));
  EXPECT_THAT(server.requests()[1], Not(HasSubstr("paid bob")));
}

TEST_F(DeskOnATerminal, AllowAlwaysHoldsForTheSessionWhileTheNamedArgumentStays) {
  FakeServer server({calls("pays", R"({"to": "bob", "sum": 3})"), answers("first done"),
                     calls("pays", R"({"to": "bob", "sum": 4})"), answers("second done"),
                     calls("pays", R"({"to": "eve", "sum": 3})"), answers("third done")});
  PseudoTerminal terminal(scratch_.path(), chat_with(server));
  ASSERT_TRUE(terminal.shows("you> ")) << terminal.screen();
  terminal.type("pay bob\r");
  ASSERT_TRUE(terminal.shows("[REASON]")) << terminal.screen();
  terminal.type("/allow " + code_on(terminal) + " always to\r");
  ASSERT_TRUE(terminal.shows("first done")) << terminal.screen();
  ASSERT_TRUE(terminal.shows("you> ")) << terminal.screen();
  terminal.type("again\r");
  ASSERT_TRUE(terminal.shows("second done")) << terminal.screen();
  EXPECT_EQ(times_asked(terminal), 1U);
  ASSERT_TRUE(terminal.shows("you> ")) << terminal.screen();
  terminal.type("and eve\r");
  ASSERT_TRUE(terminal.shows("[REASON]")) << terminal.screen();
  EXPECT_EQ(times_asked(terminal), 2U);
  terminal.type("/deny " + code_on(terminal) + "\r");
  ASSERT_TRUE(terminal.shows("third done")) << terminal.screen();
  ASSERT_TRUE(terminal.shows("you> ")) << terminal.screen();
  terminal.type("\x04");
  EXPECT_EQ(terminal.wait(), 0) << terminal.screen();
}

TEST_F(DeskOnATerminal, OneCallIsCancelledByNameAndTheTurnGoesOn) {
  FakeServer server({calls("spins", "{}"), answers("never mind")});
  PseudoTerminal terminal(scratch_.path(), chat_with(server));
  ASSERT_TRUE(terminal.shows("you> ")) << terminal.screen();
  terminal.type("spin\r");
  ASSERT_TRUE(terminal.shows("-> spins")) << terminal.screen();
  terminal.type("/cancel spins\r");
  ASSERT_TRUE(terminal.shows("<- spins: ")) << terminal.screen();
  ASSERT_TRUE(terminal.shows("never mind")) << terminal.screen();
  ASSERT_TRUE(terminal.shows("you> ")) << terminal.screen();
  terminal.type("\x04");
  EXPECT_EQ(terminal.wait(), 0) << terminal.screen();
  ASSERT_EQ(server.requests().size(), 2U);
  EXPECT_THAT(server.requests()[1], HasSubstr("the call was cancelled"));
}

/// The workflow whose model may ask, on a terminal.
class QuestionOnATerminal : public DeskOnATerminal {
 protected:
  void SetUp() override {
    const Status status =
        tools::check_support(tools::sandbox_support(), tools::Isolation::isolated);
    if (!status) GTEST_SKIP() << status.error().message;
  }
  std::vector<std::string> work_with(std::vector<std::string> command, const FakeServer& server) {
    const std::vector<std::string> model = model_at(server);
    command.insert(command.end(), model.begin(), model.end());
    return command;
  }
  static std::string answer_code_on(const PseudoTerminal& terminal) {
    std::smatch found;
    const std::regex command("/answer ([0-9a-f]+)");
    return std::regex_search(terminal.screen(), found, command) ? found[1] : std::string();
  }
};

constexpr const char* kWhich = R"({"question": "which?", "choices": ["red", "green"]})";

TEST_F(QuestionOnATerminal, AQuestionIsAnsweredWithItsCodeAndThePlanIsSeen) {
  const char* const plan = R"({"items": [{"text": "paint it", "status": "in_progress"}]})";
  FakeServer server({calls("todo", plan), calls("ask_user", kWhich), answers("green it is")});
  PseudoTerminal terminal(
      scratch_.path(),
      work_with({"run", "code", "paint", "--folder", scratch_.path().string()}, server));
  ASSERT_TRUE(terminal.shows("[>] paint it")) << terminal.screen();
  ASSERT_TRUE(terminal.shows("ask_user asks: which?")) << terminal.screen();
  ASSERT_TRUE(terminal.shows("NUMBER")) << terminal.screen();
  const std::string code = answer_code_on(terminal);
  terminal.type("/answer 0000-9 2\r");
  ASSERT_TRUE(terminal.shows("no question has the code")) << terminal.screen();
  terminal.type("/answer " + code + " blue\r");
  ASSERT_TRUE(terminal.shows("none of: red, green")) << terminal.screen();
  terminal.type("/answer " + code + " 2\r");
  ASSERT_TRUE(terminal.shows("answer: green")) << terminal.screen();
  ASSERT_TRUE(terminal.shows("green it is")) << terminal.screen();
  EXPECT_EQ(terminal.wait(), 0) << terminal.screen();
  ASSERT_EQ(server.requests().size(), 3U);
  EXPECT_THAT(server.requests()[2], HasSubstr("green"));
}

TEST_F(QuestionOnATerminal, AQuestionThatAKillLeftOpenIsAskedAgain) {
  FakeServer server({calls("ask_user", kWhich), answers("red it is")});
  std::string code;
  {
    PseudoTerminal terminal(
        scratch_.path(),
        work_with({"run", "code", "paint", "--folder", scratch_.path().string()}, server));
    ASSERT_TRUE(terminal.shows("NUMBER")) << terminal.screen();
    code = answer_code_on(terminal);
  }
  const std::string list = ponder(scratch_.path(), {"sessions", "list", "--json"}).out;
  std::smatch id;
  const std::regex pattern("\"id\": ?\"([^\"]+)\"");
  ASSERT_TRUE(std::regex_search(list, id, pattern)) << list;
  PseudoTerminal terminal(scratch_.path(), work_with({"sessions", "resume", id[1]}, server));
  ASSERT_TRUE(terminal.shows("/answer " + code + " NUMBER")) << terminal.screen();
  terminal.type("/answer " + code + " red\r");
  ASSERT_TRUE(terminal.shows("red it is")) << terminal.screen();
  EXPECT_EQ(terminal.wait(), 0) << terminal.screen();
}

TEST_F(QuestionOnATerminal, FromAPipeTheModelIsNotOfferedTheQuestion) {
  FakeServer server({answers("done")});
  const auto finished = ponder(
      scratch_.path(),
      work_with({"run", "code", "paint", "--folder", scratch_.path().string()}, server));
  EXPECT_EQ(finished.status, 0) << finished.err;
  ASSERT_EQ(server.requests().size(), 1U);
  EXPECT_THAT(server.requests()[0], HasSubstr("\"todo\""));
  EXPECT_THAT(server.requests()[0], Not(HasSubstr("ask_user")));
}

}  // namespace
}  // namespace ponder::e2e
