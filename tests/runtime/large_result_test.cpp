#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "base/digest.h"
#include "context/budget.h"
#include "runtime/agent/turn_rules.h"
#include "runtime/session/session_lines.h"
#include "tests/runtime/agent_fixture.h"

/// Results that are too long for the conversation: their beginning is in the event, the whole is a
/// text that can be read back.
namespace ponder::runtime {
namespace {

using test::says;
using ::testing::EndsWith;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;
using tools::Effect;

/// Text of which every place looks different.
std::string numbers(std::size_t bytes) {
  std::string out;
  for (int i = 0; out.size() < bytes; ++i) out += std::to_string(i) + " ";
  out.resize(bytes);
  return out;
}

/// What a tool answers that keeps to its context's bound.
boost::asio::awaitable<Result<tools::ToolOutput>> cut_by_itself(std::string text) {
  tools::ToolOutput output(std::move(text), false);
  co_return tools::cap_output(std::move(output), kResultKeptMax);
}

class LargeResultTest : public test::AgentFixture {
 protected:
  LargeResultTest() { limits_.output_bytes_max = 1000; }

  void add_big(const std::string& name, std::string text) {
    add_tool(name, Effect::pure, [text = std::move(text)](std::string) {
      return test::answer_after(std::chrono::milliseconds(0), text, false);
    });
  }
  static ScriptedStep calls(std::vector<std::pair<std::string, std::string>> calls) {
    return ScriptedStep(says("", std::move(calls)));
  }
  static std::string short_hash(const std::string& text) {
    return sha256_hex(text).substr(0, context::kHashShown);
  }
  static ScriptedStep reads(const std::string& text, std::size_t offset) {
    return calls({{"read_blob", R"({"hash":")" + short_hash(text) + R"(","offset":)" +
                                    std::to_string(offset) + "}"}});
  }
  /// How often a request offers `read_blob`.
  static std::ptrdiff_t offers(const ModelRequest& request) {
    const auto& tools = request.conversation.front().tools;
    return std::count_if(tools.begin(), tools.end(),
                         [](const auto& tool) { return tool.name == context::kReadBlobTool; });
  }
  std::unique_ptr<SessionStore> elsewhere_;
  SessionState stored() { return fold(store_->load(agent_->id()).value()); }
};

TEST_F(LargeResultTest, TheModelReadsTheBeginningAndTheRestByItsHandle) {
  const std::string text = numbers(100'004);
  add_big("big", text);
  start({calls({{"big", "{}"}}), reads(text, 1000), ScriptedStep(says("done"))});
  EXPECT_EQ(turn().reason, TurnEnd::answered);
  const auto all = outcomes();
  ASSERT_EQ(all.size(), 2U);
  EXPECT_EQ(all[0].content,
            text.substr(0, 1000) +
                "\n[the first 1000 of 100004 bytes; read on with read_blob {\"hash\": \"" +
                short_hash(text) + "\", \"offset\": 1000}]");
  ASSERT_TRUE(all[0].whole);
  EXPECT_EQ(all[0].whole->hash, sha256_hex(text));
  EXPECT_EQ(all[0].whole->bytes, 100'004U);
  EXPECT_EQ(all[0].whole->title, "result of big");
  EXPECT_EQ(store_->load_blob(sha256_hex(text)).value(), text);
  EXPECT_EQ(all[1].outcome, Outcome::success);
  EXPECT_THAT(all[1].content, StartsWith("bytes 1000 to 1900 of 100004; the next offset is 1900"));
  EXPECT_THAT(all[1].content, EndsWith(text.substr(1000, 900)));
  EXPECT_EQ(offers(model_->requests()[0]), 0);
  EXPECT_EQ(offers(model_->requests()[1]), 1);
  EXPECT_EQ(offers(model_->requests()[2]), 1);
}

TEST_F(LargeResultTest, WhatFitsStaysAsItIs) {
  add_big("fits", numbers(1000));
  add_big("longer", numbers(1001));
  start({calls({{"fits", "{}"}}), calls({{"longer", "{}"}}), ScriptedStep(says("done"))});
  turn();
  EXPECT_EQ(outcomes()[0].content, numbers(1000));
  EXPECT_FALSE(outcomes()[0].whole);
  EXPECT_THAT(outcomes()[1].content, HasSubstr("the first 1000 of 1001 bytes"));
}

TEST_F(LargeResultTest, WhatReadBlobAnswersIsNotKeptASecondTimeAndLeavesNoGaps) {
  limits_.output_bytes_max = 300;
  const std::string text = numbers(700);
  add_big("big", text);
  start({calls({{"big", "{}"}}), reads(text, 300), reads(text, 500), ScriptedStep(says("done"))});
  turn();
  EXPECT_THAT(outcomes()[1].content, EndsWith(text.substr(300, 200)));
  EXPECT_THAT(outcomes()[2].content, EndsWith(text.substr(500, 200)));
  for (int i = 1; i <= 2; ++i) EXPECT_LE(outcomes()[i].content.size(), 300U);
  EXPECT_EQ(agent_->state().blobs.size(), 1U);
}

TEST_F(LargeResultTest, BeyondItsBoundATextIsCutAndTheTrueSizeIsTold) {
  const std::size_t bytes = kResultKeptMax + 1'000'000;
  add_big("huge", std::string(bytes, 'x'));
  add_tool("cuts", Effect::pure,
           [](std::string) { return cut_by_itself(std::string(kResultKeptMax + 7, 'y')); });
  start({calls({{"huge", "{}"}, {"cuts", "{}"}}), ScriptedStep(says("done"))});
  turn();
  const std::string kept = "bytes, of which " + std::to_string(kResultKeptMax) + " are kept";
  const std::vector<std::size_t> sizes = {bytes, kResultKeptMax + 7};
  for (std::size_t i = 0; i < 2; ++i) {
    const ToolFinished outcome = outcomes()[i];
    EXPECT_THAT(outcome.content, HasSubstr("the first 1000 of " +
                                           std::to_string(sizes[outcome.call_index]) + " " + kept));
    EXPECT_THAT(outcome.content, Not(HasSubstr("[cut")));
    ASSERT_TRUE(outcome.whole);
    EXPECT_EQ(outcome.whole->bytes, kResultKeptMax);
    EXPECT_EQ(store_->load_blob(outcome.whole->hash)->size(), kResultKeptMax);
  }
}

TEST_F(LargeResultTest, TwoSideBySideOfferTheReaderOnce) {
  add_big("one", numbers(2000));
  add_big("other", "x" + numbers(2000));
  start({calls({{"one", "{}"}, {"other", "{}"}}), ScriptedStep(says("done"))});
  turn();
  EXPECT_EQ(offers(model_->requests()[1]), 1);
  EXPECT_EQ(agent_->state().blobs.size(), 2U);
  EXPECT_EQ(stored().blobs.size(), 2U);
}

TEST_F(LargeResultTest, TheSameTextTwiceIsOneText) {
  add_big("big", numbers(2000));
  start({calls({{"big", "{}"}}), calls({{"big", R"({"x":1})"}}), ScriptedStep(says("done"))});
  turn();
  EXPECT_EQ(outcomes()[0].whole->hash, outcomes()[1].whole->hash);
  EXPECT_EQ(agent_->state().blobs.size(), 1U);
}

TEST_F(LargeResultTest, AnExportAndAForkHaveTheWholeTextAlsoInsideAStep) {
  const std::string text = numbers(2000);
  add_big("big", text);
  add_tool("hang", Effect::pure, test::hang);
  start({calls({{"big", "{}"}, {"hang", "{}"}})});
  std::string lines;
  recorder_.trigger = "tool_finished";
  recorder_.action = [&] {
    recorder_.action = nullptr;
    lines = write_lines(store_->copy(agent_->id()).value());
    agent_->cancel();
  };
  turn();
  auto copy = read_lines(lines);
  ASSERT_TRUE(copy) << copy.error().message;
  ASSERT_EQ(copy->blobs.size(), 1U);
  const auto forked = test::run(context_, store_->fork(agent_->id()));
  ASSERT_TRUE(forked);

  // Elsewhere it is read back from what the lines brought.
  test::TempDir dir;
  store_.swap(elsewhere_);
  store_ = test::StorePlace(dir, clock_).open();
  ASSERT_TRUE(test::run(context_, store_->import(*copy)));
  reopen(copy->id, {reads(text, 1500), ScriptedStep(says("done"))});
  EXPECT_EQ(turn("go on").reason, TurnEnd::answered);
  EXPECT_THAT(outcomes().back().content, EndsWith(text.substr(1500)));
  agent_.reset();
  store_.swap(elsewhere_);
  reopen(*forked, {reads(text, 1500), ScriptedStep(says("done"))});
  EXPECT_EQ(turn("go on").reason, TurnEnd::answered);
  EXPECT_THAT(outcomes().back().content, EndsWith(text.substr(1500)));
}

TEST_F(LargeResultTest, WhoOpensTheSessionAgainAsksAsTheAgentDid) {
  add_big("big", numbers(2000));
  start({calls({{"big", "{}"}}), ScriptedStep(Error(Errc::unavailable, "down"))});
  turn();
  const context::Conversation live = agent_->state().conversation;
  const context::Conversation again = stored().conversation;
  ASSERT_EQ(again.size(), live.size());
  for (std::size_t i = 0; i < live.size(); ++i) {
    EXPECT_EQ(again[i].content, live[i].content);
    EXPECT_EQ(again[i].tools.size(), live[i].tools.size());
  }
}

}  // namespace
}  // namespace ponder::runtime
