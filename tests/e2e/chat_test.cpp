#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/e2e/endpoint.h"
#include "tests/e2e/process.h"
#include "tests/e2e/pseudo_terminal.h"

/// `ponder chat` while its model, an endpoint of the test, takes its time.
namespace ponder::e2e {
namespace {

using runtime::test::FakeServer;
using ::testing::HasSubstr;
using ::testing::Not;

std::vector<std::string> chat_with(const FakeServer& server) {
  std::vector<std::string> out = model_at(server);
  out.insert(out.begin(), "chat");
  return out;
}

TEST(ChatOnATerminal, ALineTypedWhileTheAgentWorksSteersItAndSendBeginsANewTurn) {
  const Scratch scratch;
  FakeServer server({thinks_for_ever(), answers("fresh start")});
  PseudoTerminal terminal(scratch.path(), chat_with(server));
  ASSERT_TRUE(terminal.shows("you> ")) << terminal.screen();
  terminal.type("first question\r");
  ASSERT_TRUE(terminal.shows("thinking hard")) << terminal.screen();
  EXPECT_THAT(terminal.screen(), Not(HasSubstr("steer> ")));  // until a key is pressed
  terminal.type("o");
  ASSERT_TRUE(terminal.shows("steer> ")) << terminal.screen();
  terminal.type("nly cheap, für mich\r");
  ASSERT_TRUE(terminal.shows("+> only cheap, für mich")) << terminal.screen();
  terminal.type("/send start over\r");
  ASSERT_TRUE(terminal.shows("the user began a new turn")) << terminal.screen();
  ASSERT_TRUE(terminal.shows("fresh start")) << terminal.screen();
  ASSERT_TRUE(terminal.shows("you> ")) << terminal.screen();
  terminal.type("\x04");
  EXPECT_EQ(terminal.wait(), 0) << terminal.screen();
  EXPECT_TRUE(terminal.is_as_before());
  ASSERT_EQ(server.requests().size(), 2U);
  EXPECT_THAT(server.requests()[1], HasSubstr("only cheap, für mich\\n\\nstart over"));
}

TEST(ChatOnATerminal, ControlCEndsTheTurnAndThenTheChat) {
  const Scratch scratch;
  FakeServer server({thinks_for_ever()});
  PseudoTerminal terminal(scratch.path(), chat_with(server));
  ASSERT_TRUE(terminal.shows("you> "));
  terminal.type("first question\r");
  ASSERT_TRUE(terminal.shows("thinking hard")) << terminal.screen();
  terminal.type("half a l");
  ASSERT_TRUE(terminal.shows("steer> half a l")) << terminal.screen();
  terminal.type("\x03");
  ASSERT_TRUE(terminal.shows("turn ended: cancelled")) << terminal.screen();
  ASSERT_TRUE(terminal.shows("you> ")) << terminal.screen();
  terminal.type("\x03");
  EXPECT_EQ(terminal.wait(), 130) << terminal.screen();
  EXPECT_TRUE(terminal.is_as_before());
  EXPECT_THAT(terminal.screen(), HasSubstr("ponder chat --session"));
}

TEST(ChatFromAPipe, PlainLinesAreTurnsAndCommandsActOnTheTurnThatRuns) {
  const Scratch scratch;
  FakeServer server({thinks_for_ever(), answers("second"), answers("third")});
  const std::vector<Cue> cues = {
      {"", "first question\n"},
      {"thinking hard", "/steer only cheap\n/send start over\n/pin\nthird question\n/nonsense\n"},
      {"third", "/unpin\n"}};
  const auto done = ponder(scratch.path(), chat_with(server), cues);
  EXPECT_EQ(done.status, 0) << done.err;
  EXPECT_THAT(done.out, HasSubstr("+> only cheap"));
  EXPECT_THAT(done.out, HasSubstr("pinned the message of event"));
  EXPECT_THAT(done.out, HasSubstr("third"));
  EXPECT_THAT(done.err, HasSubstr("/nonsense"));
  ASSERT_EQ(server.requests().size(), 3U);
  EXPECT_THAT(server.requests()[1], HasSubstr("only cheap\\n\\nstart over"));
  EXPECT_THAT(server.requests()[2], HasSubstr("third question"));
  const auto log = ponder(scratch.path(), {"sessions", "export", "last"});
  EXPECT_THAT(log.out, HasSubstr(R"("type":"user_interjected")"));
  EXPECT_THAT(log.out, HasSubstr(R"("pinned":false)"));
}

TEST(ChatFromAPipe, CancelEndsTheTurnAndTheWordsThatWaitGoWithTheNextLine) {
  const Scratch scratch;
  FakeServer server({thinks_for_ever(), answers("second")});
  const std::vector<Cue> cues = {{"", "first question\n"},
                                 {"thinking hard", "/steer only cheap\n/cancel\ngo on\n"}};
  const auto done = ponder(scratch.path(), chat_with(server), cues);
  EXPECT_EQ(done.status, 0) << done.err;
  EXPECT_THAT(done.out, HasSubstr("your words wait"));
  ASSERT_EQ(server.requests().size(), 2U);
  EXPECT_THAT(server.requests()[1], HasSubstr("only cheap\\n\\ngo on"));
}

TEST(ChatFromAPipe, WordsThatComeWhileATurnEndsAreATurnOfTheirOwn) {
  const Scratch scratch;
  FakeServer server({answers("first"), answers("second")});
  const auto done = ponder(scratch.path(), chat_with(server), "question\n/steer only cheap");
  EXPECT_EQ(done.status, 0) << done.err;
  ASSERT_EQ(server.requests().size(), 2U);
  EXPECT_THAT(server.requests()[1], HasSubstr("only cheap"));
}

TEST(ChatFromAPipe, TheKeyDoesNotGoToAnAddressThatOnlyTheLogNames) {
  const Scratch scratch;
  FakeServer server({answers("first")});
  std::vector<std::string> words = {"chat"};
  for (const std::string& word : model_at(server)) words.push_back(word);
  ASSERT_EQ(ponder(scratch.path(), words, "hello\n").status, 0);
  setenv("PONDER_API_KEY", "secret", 1);
  const auto replayed = ponder(scratch.path(), {"sessions", "replay", "last"});
  unsetenv("PONDER_API_KEY");
  EXPECT_EQ(replayed.status, 1);
  EXPECT_THAT(replayed.err, HasSubstr("--model"));
  EXPECT_EQ(server.requests().size(), 1U);
}

TEST(ChatFromAPipe, JsonIsNothingButEvents) {
  const Scratch scratch;
  FakeServer server({answers("first")});
  auto arguments = chat_with(server);
  arguments.push_back("--json");
  const auto done = ponder(scratch.path(), arguments, "question\n/pin\n/help\n");
  EXPECT_EQ(done.status, 0) << done.err;
  EXPECT_THAT(done.out, HasSubstr(R"("type":"message_pinned")"));
  for (std::size_t begin = 0; begin < done.out.size();) {
    EXPECT_EQ(done.out[begin], '{');
    begin = done.out.find('\n', begin) + 1;
  }
}

}  // namespace
}  // namespace ponder::e2e
