#include "runtime/session/session_state.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "runtime/model/model_client.h"
#include "runtime/session/event_json.h"
#include "runtime/text.h"

namespace ponder::runtime {
namespace {

/// A log under construction.
class Log {
 public:
  Log& add(Event event) {
    records_.push_back({static_cast<std::int64_t>(records_.size()) + 1, 0, std::move(event)});
    return *this;
  }
  SessionState state() const { return fold(records_); }

 private:
  std::vector<Record> records_;
};

SessionStarted travel_start() {
  SessionStarted start;
  start.instructions = "be brief";
  start.family = "dsv32";
  start.tools = {{"a", "first", R"({"type":"object"})"}, {"b", "second", R"({"type":"object"})"}};
  return start;
}

ModelCompleted completed(std::uint32_t step, std::string content,
                         std::vector<std::string> call_names = {}) {
  ModelCompleted e;
  e.step = step;
  e.message.role = context::Role::assistant;
  e.message.reasoning = "because";
  e.message.content = std::move(content);
  e.message.sampled = {5, 6, 7};
  for (auto& name : call_names) {
    e.message.tool_calls.push_back({"id_" + name, name, "{}"});
  }
  e.call_faults.resize(e.message.tool_calls.size());
  e.usage.tokens_generated = 10;
  return e;
}

ToolFinished finished(std::uint32_t call_index, std::string content) {
  ToolFinished e;
  e.call_index = call_index;
  e.outcome = Outcome::success;
  e.content = std::move(content);
  return e;
}

TEST(SessionState, ResultsEnterTheConversationInCallOrderOnceAllAreThere) {
  Log log;
  log.add(travel_start()).add(UserMessage{"go"}).add(completed(0, "", {"a", "b"}));
  log.add(finished(1, "second"));
  EXPECT_EQ(log.state().conversation.size(), 3U);  // system, user, assistant
  EXPECT_TRUE(log.state().has_open_calls());
  const SessionState state = log.add(finished(0, "first")).state();
  EXPECT_FALSE(state.has_open_calls());
  ASSERT_EQ(state.conversation.size(), 5U);
  EXPECT_EQ(state.conversation[3].content, "first");
  EXPECT_EQ(state.conversation[3].tool_call_id, "id_a");
  EXPECT_EQ(state.conversation[4].content, "second");
}

TEST(SessionState, TheFirstOutcomeOfACallCountsAndALaterOneIsIgnored) {
  Log log;
  log.add(travel_start()).add(UserMessage{"go"}).add(completed(0, "", {"a", "b"}));
  log.add(finished(0, "one")).add(finished(0, "two")).add(finished(1, "x"));
  EXPECT_EQ(log.state().conversation[3].content, "one");
}

TEST(SessionState, ACompletionThatOnlyReasonsStaysOutOfThePromptAndIsAskedWarmer) {
  Log log;
  SessionStarted start = travel_start();
  start.sampling.temperature = 0;
  log.add(start).add(UserMessage{"go"}).add(completed(0, "")).add(ModelRetried{0, "why"});
  const SessionState state = log.state();
  EXPECT_EQ(state.conversation.size(), 2U);
  EXPECT_EQ(state.step, 0U);
  const ModelRequest request = next_request(state);
  EXPECT_GT(request.sampling.temperature, 0);
  EXPECT_NE(request.sampling.seed, start.sampling.seed);
  const ModelRequest later =
      next_request(log.add(completed(0, "", {"a"})).add(finished(0, "r")).state());
  EXPECT_EQ(later.sampling.temperature, 0);
}

TEST(SessionState, ACutOffCompletionLeavesItsTextButNeitherCallsNorTokens) {
  Log log;
  ModelCompleted cut = completed(0, "half an ans", {"a"});
  cut.finish = Finish::length;
  const SessionState state = log.add(travel_start()).add(UserMessage{"go"}).add(cut).state();
  EXPECT_FALSE(state.has_open_calls());
  EXPECT_EQ(state.conversation.back().content, "half an ans");
  EXPECT_TRUE(state.conversation.back().tool_calls.empty());
  EXPECT_TRUE(state.conversation.back().sampled.empty());
}

TEST(SessionState, BlanksThatEarlierVersionsTookForAnAnswerStandInTheirPrompts) {
  Log log;
  log.add(travel_start()).add(UserMessage{"go"}).add(completed(0, "\n\n"));
  EXPECT_TRUE(log.state().completion->says_nothing);
  EXPECT_EQ(log.state().conversation.size(), 2U);
  const SessionState state = log.add(TurnEnded{}).add(UserMessage{"more"}).state();
  ASSERT_EQ(state.conversation.size(), 4U);
  EXPECT_EQ(state.conversation[2].content, "\n\n");
  EXPECT_EQ(state.origins[2], 3);
}

TEST(SessionState, BlanksThatWereAskedForAgainStayOut) {
  Log log;
  log.add(travel_start()).add(UserMessage{"go"}).add(completed(0, "\n\n"));
  log.add(ModelRetried{0, "nothing but reasoning"}).add(completed(0, "done")).add(TurnEnded{});
  ASSERT_EQ(log.state().conversation.size(), 3U);
  EXPECT_EQ(log.state().last_answer(), "done");
}

TEST(SessionState, ANewTurnForgetsStepsTokensAndRepeatsButNotTotals) {
  Log log;
  log.add(travel_start()).add(UserMessage{"go"}).add(completed(0, "", {"a"}));
  log.add(finished(0, "r")).add(completed(1, "done")).add(TurnEnded{}).add(UserMessage{"more"});
  const SessionState state = log.state();
  EXPECT_TRUE(state.is_turn_open);
  EXPECT_EQ(state.step, 0U);
  EXPECT_EQ(state.tokens_generated_turn, 0U);
  EXPECT_TRUE(state.call_counts.empty());
  EXPECT_EQ(state.usage_total.tokens_generated, 20U);
  EXPECT_EQ(state.completions, 2U);
  EXPECT_EQ(state.last_answer(), "done");
}

/// Two calls and their results, and a cut that replaces the first pair by a summary and moves the
/// text of the second result away.
Log cut_log() {
  Log log;
  log.add(travel_start()).add(UserMessage{"go"}).add(completed(0, "", {"a"}));
  log.add(finished(0, "first")).add(completed(1, "", {"b"})).add(finished(0, "second"));
  ContextReduced cut;
  cut.reduction = {context::Strategy::summary, {2, 3}, {{5, "abc", 6, "[moved]"}}, "so far"};
  cut.blobs = {{"abc", 6, "result of b"}};
  cut.reader = context::ToolSpec{"read_blob", "", "{}"};
  cut.summary_usage.tokens_generated = 7;
  log.add(cut);
  return log;
}

TEST(SessionState, ACutChangesTheConversationAndNothingElse) {
  const SessionState state = cut_log().state();
  ASSERT_EQ(state.conversation.size(), 6U);
  EXPECT_EQ(state.conversation[2].tool_calls[0].name, context::kSummaryCall);
  EXPECT_TRUE(state.conversation[3].content.ends_with("so far"));
  EXPECT_EQ(state.conversation[5].content, "[moved]");
  EXPECT_EQ(state.conversation[0].tools.back().name, "read_blob");
  EXPECT_EQ(state.origins, (std::vector<std::int64_t>{1, 2, 7, 7, 5, 6}));
  EXPECT_EQ(state.reductions_in_row, 1U);
  EXPECT_EQ(state.tokens_generated_turn, 27U);
  EXPECT_EQ(state.completions, 2U);
  EXPECT_EQ(state.step, 2U);
}

TEST(SessionState, WhatWasCutIsStillInTheHistory) {
  const auto history = cut_log().state().history();
  ASSERT_EQ(history.size(), 8U);
  EXPECT_EQ(history[2].tool_calls.at(0).name, "a");
  EXPECT_EQ(history[3].content, "first");
  EXPECT_EQ(history[4].tool_calls.at(0).name, "b");
}

TEST(SessionState, ACompletionEndsTheRowOfCuts) {
  Log log = cut_log();
  EXPECT_EQ(log.add(completed(2, "done")).state().reductions_in_row, 0U);
}

TEST(SessionState, ACutThatDoesNotFitTheConversationChangesNothingAndIsCounted) {
  Log log;
  log.add(travel_start()).add(UserMessage{"go"}).add(completed(0, "", {"a"}));
  ContextReduced cut;
  cut.reduction.removed = {2};
  const SessionState state = log.add(finished(0, "first")).add(cut).state();
  EXPECT_EQ(state.conversation.size(), 4U);
  EXPECT_EQ(state.unreadable, 1U);
}

TEST(SessionState, AnotherModelGetsTheTextOfWhatWasSampledAndItsOwnPolicy) {
  Log log;
  log.add(travel_start()).add(UserMessage{"go"}).add(completed(0, "", {"a"}));
  EXPECT_FALSE(log.add(finished(0, "first")).state().conversation[2].sampled.empty());
  log.add(ModelChanged{"http://host/v1", "openai", "endpoint", "other"});
  const SessionState state = log.state();
  EXPECT_TRUE(state.conversation[2].sampled.empty());
  EXPECT_EQ(state.conversation[2].reasoning, "because");
  EXPECT_EQ(next_request(state).family, "openai");
  EXPECT_EQ(state.start->policy, "endpoint");
}

TEST(SessionState, OnlyPureCallsLeaveNoSideEffects) {
  Log log;
  log.add(travel_start()).add(UserMessage{"go"}).add(completed(0, "", {"a", "b"}));
  EXPECT_FALSE(log.add(ToolIntended{0, 0, tools::Effect::pure}).state().has_side_effects);
  EXPECT_TRUE(log.add(ToolIntended{0, 1, tools::Effect::idempotent}).state().has_side_effects);
}

TEST(SessionState, TheTokenBudgetOfACompletionShrinksWithTheTurn) {
  Log log;
  SessionStarted start = travel_start();
  start.limits.tokens_turn_max = 15;
  log.add(start).add(UserMessage{"go"}).add(completed(0, "", {"a"})).add(finished(0, "r"));
  EXPECT_EQ(next_request(log.state()).tokens_generated_max, 5U);
}

/// A log with an open call of `a`, which asked two questions of which one was answered.
Log asking_log() {
  Log log;
  log.add(travel_start()).add(UserMessage{"go"}).add(completed(0, "", {"a"}));
  log.add(ToolIntended{0, 0, tools::Effect::pure}).add(ToolStarted{0, 0});
  log.add(QuestionAsked{0, 0, 0, "who?", {}});
  log.add(QuestionAnswered{0, 0, 0, QuestionEnd::answered, "me"});
  log.add(QuestionAsked{0, 0, 1, "when?", {"now", "later"}});
  return log;
}

TEST(SessionState, AnOpenCallHasItsQuestionsAndAForkNone) {
  Log log = asking_log();
  const SessionState state = log.state();
  ASSERT_EQ(state.calls[0].questions.size(), 2U);
  EXPECT_EQ(state.calls[0].questions[0].answered->answer, "me");
  EXPECT_FALSE(state.calls[0].questions[1].answered);
  // Neither of another step nor beyond what was asked.
  log.add(QuestionAnswered{1, 0, 1, QuestionEnd::answered, "now"});
  log.add(QuestionAnswered{0, 0, 7, QuestionEnd::answered, "now"});
  log.add(QuestionAsked{0, 0, 9, "why?", {}});
  EXPECT_EQ(log.state().calls[0].questions.size(), 2U);
  EXPECT_FALSE(log.state().calls[0].questions[1].answered);
  log.add(QuestionAsked{0, 0, 0, "who else?", {}});  // the call was made again and asked otherwise
  EXPECT_FALSE(log.state().calls[0].questions[0].answered);
  log.add(SessionForked{"parent", 8});
  EXPECT_TRUE(log.state().calls[0].questions.empty());
}

TEST(SessionState, AnAnswerThatBrokeOffCountsInTheTurnAndInTheTotals) {
  Log log = asking_log();
  log.add(finished(0, "r"));
  const SessionState before = log.state();
  ModelCompleted again = completed(1, "done");
  again.usage = {100, 50, 10, 0, 0, 5};
  again.usage_void = {100, 0, 7, 0, 0, 3};
  log.add(again);
  EXPECT_EQ(log.state().tokens_generated_turn, before.tokens_generated_turn + 17);
  EXPECT_EQ(log.state().usage_total.tokens_prompt, before.usage_total.tokens_prompt + 200);
  EXPECT_EQ(log.state().cost_pico(), before.cost_pico() + 8);
  EXPECT_EQ(log.state().usage_last.tokens_prompt, 100U);
}

TEST(SessionState, TotalsOfTokensGrowBeyondThirtyTwoBits) {
  Usage total;
  Usage one;
  one.tokens_prompt = one.tokens_cached = one.tokens_generated = 4'000'000'000;
  for (int i = 0; i < 3; ++i) add_usage(total, one);
  EXPECT_EQ(total.tokens_prompt, 12'000'000'000U);
  EXPECT_EQ(total.tokens_cached, 12'000'000'000U);
  EXPECT_EQ(total.tokens_generated, 12'000'000'000U);
}

TEST(SessionState, ValuesBelongToAToolOutliveTheCallAndAreInheritedByAFork) {
  Log log = asking_log();
  log.add(ToolValueSet{0, 0, "a", "k", "1"}).add(ToolValueSet{0, 0, "a", "gone", "2"});
  log.add(ToolValueSet{0, 0, "b", "k", "3"}).add(ToolValueSet{0, 0, "a", "gone", std::nullopt});
  log.add(finished(0, "r")).add(SessionForked{"parent", 12}).add(completed(1, "done"));
  using Kept = decltype(SessionState::kept_values);
  EXPECT_EQ(log.state().kept_values, (Kept{{{"a", "k"}, "1"}, {{"b", "k"}, "3"}}));
}

ContextReduced reduced() {
  ContextReduced e;
  e.reduction = {context::Strategy::summary, {2, 3}, {{5, "abc", 600, "[a line]"}}, "so far"};
  e.removed_seqs = {3, 6};
  e.blobs = {{"abc", 600, "result of a"}, {"def", 20, "2 removed messages"}};
  e.reader = context::ToolSpec{"read_blob", "reads", R"({"type":"object"})"};
  e.tokens_before = 900;
  e.tokens_after = 300;
  e.tokens_prompt_max = 700;
  e.note = "note";
  e.summary_usage = {1, 2, 3, 4.5, 5.5};
  e.summary_prompt_hash = "123";
  return e;
}

std::vector<Event> one_of_each() {
  ModelCompleted model = completed(3, "text", {"a"});
  model.verdict = Verdict::repaired;
  model.notes = {"note"};
  model.call_faults = {"fault"};
  model.prompt_hash = "abc";
  model.usage = {1, 2, 3, 4.5, 5.5};
  model.usage_void = {std::uint64_t{1} << 40, 0, 7};
  SessionStarted start = travel_start();
  start.sampling.seed = 18'446'744'073'709'551'615U;
  start.environment = R"({"x":1})";
  return {start,
          ModelChanged{"model", "openai", "endpoint", "abc"},
          UserMessage{"héllo \"\n\x01"},
          UserInterjected{"words", true},
          ModeChanged{false, "chat/1", "why"},
          MessagePinned{7, false},
          ModelStarted{1, 1},
          ModelStarted{1, 0, ToolValues{{{"open", "door", {"red", "bl\"ue"}}}, {"open: asleep"}}},
          model,
          ModelRetried{1, "again"},
          ApprovalAsked{1, 2, "digest"},
          ApprovalAnswered{1, 2, "digest", ApprovalDecision::deny, "why", {}},
          ApprovalAnswered{
              1, 2, "digest", ApprovalDecision::allow_session, "", {"pays", {{"to", "\"bob\""}}}},
          ToolIntended{1, 2, tools::Effect::idempotent},
          ToolStarted{1, 2},
          QuestionAsked{1, 2, 3, "which?", {"one", "two"}},
          QuestionAnswered{1, 2, 3, QuestionEnd::expired, "too late"},
          ToolNoted{1, 2, "log", "a line"},
          ToolValueSet{1, 2, "a", "key", "value"},
          ToolValueSet{1, 2, "a", "key", std::nullopt},
          ToolFinished{1, 2, Outcome::interrupted, "content", 12},
          ToolFinished{1, 2, Outcome::success, "the beginning", 12, BlobRef{"abc", 600, "result"},
                       context::ToolSpec{"read_blob", "reads", R"({"type":"object"})"}},
          reduced(),
          TurnEnded{TurnEnd::repeated_call, "detail"},
          TurnEnded{TurnEnd::cancelled, "", {100, 0, 7, 0, 0, 3}},
          WorkflowFinished{true, "ok", "dir", {"a", "b"}},
          SessionForked{"parent", 3},
          SessionImported{},
          SessionImported{"20260101-000000-aaaaaa"},
          TaskAssigned{"parent", 3, 1, 2, {"a", "b"}, Limits()},
          BudgetChanged{5},
          BudgetChanged{5, 6, 7, 8},
          SubAgentStarted{1, 2, "child", true, {3, 4, 5, 6}},
          SubAgentFinished{1, 2, "child", TurnEnd::answered, 3, {1, 2, 3, 0.25, 1e30, -4}}};
}

TEST(EventJson, EveryEventSurvivesTheRoundTrip) {
  for (const Event& event : one_of_each()) {
    const std::string payload = event_payload(event);
    const Event again = read_event(event_type(event), kEventVersion, payload);
    EXPECT_EQ(again.index(), event.index()) << payload;
    EXPECT_EQ(event_payload(again), payload);
  }
}

TEST(EventJson, PayloadsAreWhatATreeOfValuesWouldBeWrittenAs) {
  for (const Event& event : one_of_each()) {
    const std::string payload = event_payload(event);
    EXPECT_EQ(nlohmann::json::parse(payload).dump(), payload);
  }
}

TEST(EventJson, EveryByteIsWrittenAsATreeOfValuesWouldWriteIt) {
  for (int byte = 0; byte < 256; ++byte) {
    const std::string text = fmt::format("is {} é", static_cast<char>(byte));
    const nlohmann::json tree = {{"content", text}};
    const auto replace = nlohmann::json::error_handler_t::replace;
    EXPECT_EQ(event_payload(UserMessage{text}), tree.dump(-1, ' ', false, replace)) << byte;
  }
}

TEST(EventJson, WhatCannotBeReadIsKeptWhole) {
  for (const auto& [type, version, payload] :
       {std::tuple("from_the_future", 1, "{}"), std::tuple("user_message", 99, "{}"),
        std::tuple("user_message", 1, "{\"content\":"), std::tuple("user_message", 1, "[]"),
        std::tuple("tool_finished", 1, R"({"step":0,"call":0,"outcome":"exploded"})"),
        std::tuple("context_reduced", 1, R"({"strategy":"forget","removed":[]})"),
        std::tuple("approval_answered", 1,
                   R"({"step":0,"call":0,"digest":"d","decision":"allowed"})"),
        std::tuple("approval_answered", 1,
                   R"({"step":0,"call":0,"digest":"d","decision":"allow_session"})"),
        std::tuple("question_answered", 1,
                   R"({"step":0,"call":0,"n":0,"end":"guessed","answer":"yes"})"),
        std::tuple("tool_started", 1, R"({"step":"zero","call":0})")}) {
    const Event event = read_event(type, version, payload);
    const auto* unreadable = std::get_if<UnreadableEvent>(&event);
    ASSERT_NE(unreadable, nullptr) << type << " " << payload;
    EXPECT_EQ(unreadable->payload, payload);
    EXPECT_FALSE(unreadable->problem.empty());
    EXPECT_EQ(event_type(event), type);
  }
}

TEST(EventJson, AnUnreadableEventDoesNotDisturbTheFold) {
  Log log;
  log.add(travel_start()).add(UserMessage{"go"});
  log.add(read_event("from_the_future", 1, "{}"));
  const SessionState state = log.add(completed(0, "done")).state();
  EXPECT_EQ(state.unreadable, 1U);
  EXPECT_EQ(state.last_answer(), "done");
}

TEST(EventJson, UnknownFieldsAreIgnoredAndMissingOnesHaveDefaults) {
  const Event event = read_event("session_started", 1, R"({"model":"m","colour":"blue"})");
  ASSERT_TRUE(std::holds_alternative<SessionStarted>(event));
  EXPECT_EQ(std::get<SessionStarted>(event).model, "m");
  EXPECT_EQ(std::get<SessionStarted>(event).limits.steps_max, Limits().steps_max);
}

TEST(Text, InvalidUtf8BecomesReplacementCharactersAndValidTextStays) {
  EXPECT_EQ(clean_utf8("plain ｜ é 😀"), "plain ｜ é 😀");
  EXPECT_EQ(clean_utf8("a\xFF"
                       "b"),
            "a\xEF\xBF\xBD"
            "b");
  EXPECT_EQ(clean_utf8("\xC0\x80"), "\xEF\xBF\xBD\xEF\xBF\xBD");  // overlong
  EXPECT_EQ(clean_utf8("\xED\xA0\x80").size(), 9U);               // a surrogate
  EXPECT_EQ(clean_utf8("\xF4\x90\x80\x80").size(), 12U);          // past U+10FFFF
  EXPECT_EQ(clean_utf8("\xE2\x82"), "\xEF\xBF\xBD\xEF\xBF\xBD");  // cut off
  EXPECT_EQ(clean_utf8("sixteen bytes is two words\xFF"), "sixteen bytes is two words\xEF\xBF\xBD");
  for (std::size_t place = 0; place < 20; ++place) {
    std::string text(20, 'a');
    text[place] = '\xFF';
    EXPECT_FALSE(is_utf8(text)) << place;
    EXPECT_EQ(clean_utf8(text).size(), 22U) << place;
  }
}

TEST(Text, CuttingNeverSplitsACharacter) {
  EXPECT_EQ(cut_utf8("aé", 2), "a");
  EXPECT_EQ(cut_utf8("aé", 3), "aé");
  EXPECT_EQ(first_line("one\ntwo", 80), "one");
}

}  // namespace
}  // namespace ponder::runtime
