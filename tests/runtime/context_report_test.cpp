#include "runtime/agent/context_report.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "runtime/session/session_state.h"
#include "tests/context/byte_tokenizer.h"

namespace ponder::runtime {
namespace {

using context::testing::byte_tokens;
using ::testing::HasSubstr;
using ::testing::StartsWith;

const std::string kCallRest =
    "</think>\n\n<｜DSML｜function_calls>\n<｜DSML｜invoke "
    "name=\"a\">\n\n</｜DSML｜invoke>\n"
    "</｜DSML｜function_calls><｜end▁of▁sentence｜>";

/// A session under construction.
class Log {
 public:
  Log() {
    SessionStarted start;
    start.instructions = "be brief";
    start.family = "dsv32";
    start.tools = {{"a", "first", R"({"type":"object"})"}};
    add(start);
    add(UserMessage{"go"});
  }
  Log& add(Event event) {
    records_.push_back({static_cast<std::int64_t>(records_.size()) + 1, 0, std::move(event)});
    return *this;
  }
  /// A step that calls the tool and gets `result`.
  Log& step(const std::string& result, const std::string& reasoning = "because") {
    ModelCompleted e = answer_event("", reasoning + kCallRest);
    e.message.reasoning = reasoning;
    e.message.tool_calls.push_back({"id", "a", "{}"});
    e.call_faults.resize(1);
    add(ModelStarted{}).add(e);
    ToolFinished finished;
    finished.outcome = Outcome::success;
    finished.content = result;
    return add(finished);
  }
  Log& answer(const std::string& content) {
    add(ModelStarted{});
    add(answer_event(content, "because</think>" + content + "<｜end▁of▁sentence｜>"));
    return add(TurnEnded{});
  }
  Log& ask(const std::string& words) { return add(UserMessage{words}); }

  ContextReport report() const {
    const auto made = report_context(records_, byte_tokens);
    EXPECT_TRUE(made) << made.error().message;
    return made ? *made : ContextReport();
  }
  const std::vector<Record>& records() const { return records_; }

 private:
  static ModelCompleted answer_event(const std::string& content, const std::string& sampled) {
    ModelCompleted e;
    e.message.role = context::Role::assistant;
    e.message.reasoning = "because";
    e.message.content = content;
    e.message.sampled = byte_tokens(sampled, true);
    return e;
  }
  std::vector<Record> records_;
};

TEST(ContextReport, SegmentsAddUpToTheLatestPrompt) {
  const ContextReport report = Log().step("found").add(ModelStarted{}).report();
  EXPECT_EQ(report.policy, "dsv32/1");
  EXPECT_EQ(report.prompts, 2U);
  std::uint64_t sum = 0;
  std::vector<std::string> roles;
  for (const ContextSegment& segment : report.segments) {
    sum += segment.tokens;
    roles.push_back(segment.role);
  }
  EXPECT_EQ(sum, report.tokens);
  EXPECT_EQ(roles, (std::vector<std::string>{"system", "user", "assistant", "tool"}));
  EXPECT_EQ(report.segments[3].event, "tool_finished");
  EXPECT_EQ(report.segments[3].seq, 5);
}

TEST(ContextReport, WhileATurnRunsThePromptOnlyGrows) {
  const ContextReport report = Log().step("found").add(ModelStarted{}).report();
  ASSERT_TRUE(report.divergence);
  EXPECT_EQ(report.divergence->tokens_common, report.divergence->tokens_before);
  EXPECT_EQ(report.divergence->tokens_again, 0U);
  EXPECT_EQ(report.divergence->rule, "none: the prompt only grew");
  EXPECT_EQ(report.segments[2].rule, "kept: the running turn");
}

TEST(ContextReport, ANewTurnDropsReasoningAndComputesTheTurnBeforeOnceMore) {
  Log log;
  const std::size_t growing = log.step("found").answer("done").report().tokens;
  const ContextReport report = log.ask("more").add(ModelStarted{}).report();
  const ContextSegment& called = report.segments[2];
  EXPECT_EQ(called.tokens_dropped, std::string("because").size() + 1);  // and the closing token
  EXPECT_THAT(called.rule, StartsWith("reasoning dropped"));
  ASSERT_TRUE(report.divergence);
  EXPECT_THAT(report.divergence->rule, StartsWith("a new user turn"));
  EXPECT_EQ(report.divergence->seq, 2);  // the first message behind which <think> stood
  EXPECT_LT(report.divergence->tokens_common, growing);
  EXPECT_GT(report.divergence->tokens_again, 0U);
  EXPECT_EQ(report.divergence->tokens_common + report.divergence->tokens_again +
                report.divergence->tokens_new,
            report.tokens);
}

TEST(ContextReport, ShowsWhatACutTookAndWhereThePromptPartsThen) {
  Log log;
  log.step("found").step("found more", "now I know");
  ContextReduced cut;
  cut.reduction.removed = {2, 3};
  const ContextReport report = log.add(cut).add(ModelStarted{}).report();
  ASSERT_EQ(report.segments.size(), 6U);
  const ContextSegment& gone = report.segments[2];
  EXPECT_FALSE(gone.is_kept);
  EXPECT_EQ(gone.tokens, 0U);
  EXPECT_EQ(gone.tokens_dropped, byte_tokens("because" + kCallRest, true).size());
  EXPECT_EQ(gone.rule, "removed by discard-all at event 9");
  ASSERT_TRUE(report.divergence);
  EXPECT_EQ(report.divergence->rule, "cut by discard-all at event 9");
  EXPECT_GT(report.divergence->tokens_again, 0U);
}

TEST(ContextReport, ShowsWhatWasPagedOut) {
  Log log;
  log.step(std::string(600, 'x')).step("found more");
  ContextReduced cut;
  cut.reduction = {context::Strategy::page_out, {}, {{3, "0123456789abcdef01", 600, "[line]"}}, ""};
  const ContextReport report = log.add(cut).add(ModelStarted{}).report();
  EXPECT_EQ(report.segments[3].rule, "moved to blob 0123456789abcdef by page-out at event 9");
  EXPECT_EQ(report.segments[3].tokens_dropped, 594U);
}

TEST(ContextReport, AfterASwitchToChatThePromptIsThatOfTheChatMode) {
  Log log;
  log.step("found").answer("done").ask("more").add(ModelStarted{});
  const ContextReport before = log.report();
  log.add(ModeChanged{false, "chat/1", "why"}).add(ModelStarted{});
  const ContextReport report = log.report();
  EXPECT_EQ(report.policy, "chat/1");
  EXPECT_EQ(report.tokens, before.tokens);  // one think token stands where the other did
  ASSERT_TRUE(report.divergence);
  EXPECT_EQ(report.divergence->tokens_common, report.tokens - 1);
}

TEST(ContextReport, ASwitchToChatThatNoPromptFollowedLeavesTheLatestAsItWas) {
  Log log;
  const ContextReport before = log.step("found").add(ModelStarted{}).report();
  const ContextReport report = log.add(ModeChanged{false, "chat/1", "why"}).report();
  EXPECT_EQ(report.policy, before.policy);
  EXPECT_EQ(report.tokens, before.tokens);
  ASSERT_EQ(report.segments.size(), before.segments.size());
  EXPECT_EQ(report.segments[2].rule, before.segments[2].rule);
}

TEST(ContextReport, NamesWhatIsPinnedAndShowsWhatASteeredResultTook) {
  Log log;
  log.step("found").add(UserInterjected{"only cheap ones", false}).add(MessagePinned{5, true});
  const ContextReport report = log.add(ModelStarted{}).report();
  EXPECT_EQ(report.segments[3].rule, "kept: pinned");
  EXPECT_EQ(report.segments[3].text, "found");
  ASSERT_TRUE(report.divergence);
  EXPECT_EQ(report.divergence->rule, "none: the prompt only grew");
  EXPECT_GT(report.divergence->tokens_new, std::string("[The user adds: only cheap ones]").size());
}

TEST(ContextReport, ACompletionThatOnlyReasonedNeverEntered) {
  Log log;
  log.add(ModelStarted{});
  ModelCompleted nothing;
  nothing.message.role = context::Role::assistant;
  nothing.message.reasoning = "hm";
  nothing.message.sampled = {'h', 'm'};
  log.add(nothing).add(ModelRetried{}).add(ModelStarted{});
  const ContextReport report = log.report();
  ASSERT_EQ(report.segments.size(), 3U);
  EXPECT_EQ(report.segments[2].rule, "never entered: nothing but reasoning");
  EXPECT_EQ(report.segments[2].tokens_dropped, 2U);
}

TEST(ContextReport, ASessionWithoutAPromptOrOfAnEndpointIsRefused) {
  EXPECT_FALSE(report_context(Log().records(), byte_tokens));
  SessionStarted start;
  start.family = "openai";
  const std::vector<Record> remote = {
      {1, 0, start}, {2, 0, UserMessage{"go"}}, {3, 0, ModelStarted{}}};
  const auto refused = report_context(remote, byte_tokens);
  ASSERT_FALSE(refused);
  EXPECT_THAT(refused.error().message, HasSubstr("endpoint"));
}

}  // namespace
}  // namespace ponder::runtime
