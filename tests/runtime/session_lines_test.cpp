#include "runtime/session/session_lines.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "base/digest.h"
#include "runtime/session/log_diff.h"
#include "runtime/session/trajectory.h"
#include "tests/runtime/agent_fixture.h"

namespace ponder::runtime {
namespace {

using nlohmann::json;
using test::says;
using ::testing::HasSubstr;
using tools::Effect;

class SessionLinesTest : public test::AgentFixture {
 protected:
  SessionLinesTest() { add_tool("reads", Effect::pure, test::echo); }

  SessionId session() {
    start(
        {ScriptedStep(says("let me see", {{"reads", R"({"a":1})"}})), ScriptedStep(says("done"))});
    turn("go ``` on");
    return agent_->id();
  }
  Status import(SessionStore& store, const SessionCopy& copy) {
    return test::run(context_, store.import(copy));
  }
  std::unique_ptr<SessionStore> other_store() { return place_.open("other"); }
  /// Exported, imported into another store, and exported there.
  std::string round_trip(const std::string& lines) {
    const auto copy = read_lines(lines);
    EXPECT_TRUE(copy) << copy.error().message;
    auto other = other_store();
    const Status imported = import(*other, *copy);
    EXPECT_TRUE(imported) << imported.error().message;
    return write_lines(*other->copy(copy->id));
  }
};

TEST_F(SessionLinesTest, WhatIsImportedExportsAsTheSameBytes) {
  const std::string lines = write_lines(*store_->copy(session()));
  EXPECT_EQ(round_trip(lines), lines);
}

TEST_F(SessionLinesTest, AForkIsExportedWholeAndImportedAsASessionOfItsOwn) {
  const SessionId parent = session();
  const auto fork = test::run(context_, store_->fork(parent, 5));
  const std::string lines = write_lines(*store_->copy(*fork));
  EXPECT_EQ(round_trip(lines), lines);
  const auto list = other_store()->list(10);
  ASSERT_EQ(list->size(), 1U);
  EXPECT_EQ(list->front().parent, "");
  EXPECT_EQ(list->front().events, 6);
}

TEST_F(SessionLinesTest, UnreadableEventsGapsAndTextsThatLeftTheContextTravelToo) {
  const std::string text = "what was moved out";
  ContextReduced cut;
  cut.blobs = {{sha256_hex(text), text.size(), "result"}};
  const SessionId id = store_->new_id();
  std::vector<Event> events = {SessionStarted{}, UserMessage{"a"},
                               UnreadableEvent{"weather_changed", "{no json", "", 7}, cut};
  std::vector<Blob> blobs = {{sha256_hex(text), text}};
  ASSERT_TRUE(test::run(context_, store_->append(id, 0, events, blobs)));
  const std::string lines = write_lines(*store_->copy(id));
  EXPECT_THAT(lines, HasSubstr(R"("version":7,"unreadable":true)"));
  EXPECT_THAT(lines, HasSubstr(R"("type":"blob")"));
  // A reduction that says nothing of what it removed cannot be applied, but the log is the log.
  EXPECT_EQ(round_trip(lines), lines);

  std::string with_gap;
  for (std::size_t begin = 0, number = 1; begin < lines.size(); ++number) {
    const std::size_t end = lines.find('\n', begin) + 1;
    if (number != 2) with_gap += lines.substr(begin, end - begin);
    begin = end;
  }
  auto copy = *read_lines(with_gap);
  copy.id = store_->new_id();
  ASSERT_TRUE(import(*store_, copy));
  const auto records = store_->load(copy.id);
  EXPECT_EQ(std::get<UnreadableEvent>((*records)[1].event).problem, "event 2 is missing");
  EXPECT_EQ((*records)[2].seq, 3);
}

TEST_F(SessionLinesTest, ASessionThatIsThereIsNotOverwritten) {
  const SessionId id = session();
  const Status refused = import(*store_, *store_->copy(id));
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, Errc::invalid_argument);
}

TEST_F(SessionLinesTest, AnImportedSessionGoesOn) {
  auto copy = *store_->copy(session());
  copy.id = store_->new_id();
  ASSERT_TRUE(import(*store_, copy));
  reopen(copy.id, {ScriptedStep(says("fine"))});
  EXPECT_EQ(turn("more").reason, TurnEnd::answered);
}

TEST_F(SessionLinesTest, LinesThatAreNoSessionAreRefusedWithTheirNumber) {
  const std::string good =
      R"({"session":"s","seq":1,"time_ms":5,"type":"user_message","version":1,"data":{}})";
  const std::vector<std::pair<std::string, std::string>> cases = {
      {"", "no events"},
      {"{", "line 1"},
      {"[]", "line 1"},
      {good + "\n" + good, "line 2: its place"},
      {good + "\n" + R"({"session":"t","seq":2,"time_ms":5,"type":"x","version":1,"data":{}})",
       "line 2: it is of session \"t\""},
      {good + "\n" + R"({"session":"s","type":"blob","hash":"00","text":"x"})",
       "line 2: the text is not"},
      {std::string(100'000, '['), "line 1: it nests too deep"},
      {R"({"session":"s","seq":9223372036854775807,"time_ms":5,"type":"x","version":1,"data":{}})",
       "line 1: nothing could follow"},
  };
  for (const auto& [lines, problem] : cases) {
    const auto copy = read_lines(lines);
    ASSERT_FALSE(copy) << lines.substr(0, 100);
    EXPECT_EQ(copy.error().code, Errc::invalid_argument);
    EXPECT_THAT(copy.error().message, HasSubstr(problem));
  }
}

TEST_F(SessionLinesTest, AnAtifTrajectoryHasTheTurnsCallsAndResults) {
  const json atif = json::parse(to_atif(*store_->copy(session()), "1.2.3"));
  EXPECT_EQ(atif.at("schema_version"), "ATIF-v1.4");
  EXPECT_EQ(atif.at("session_id"), agent_->id().value);
  EXPECT_EQ(atif.at("agent").at("version"), "1.2.3");
  const json& steps = atif.at("steps");
  std::vector<std::string> sources;
  for (std::size_t i = 0; i < steps.size(); ++i) {
    EXPECT_EQ(steps[i].at("step_id"), i + 1);
    sources.push_back(steps[i].at("source"));
  }
  ASSERT_GE(sources.size(), 3U);
  const json& first = steps[sources.size() - 2];
  EXPECT_EQ(first.at("source"), "agent");
  EXPECT_EQ(first.at("message"), "let me see");
  EXPECT_EQ(first.at("reasoning_content"), "hm");
  EXPECT_EQ(first.at("tool_calls")[0].at("function_name"), "reads");
  EXPECT_EQ(first.at("tool_calls")[0].at("arguments"), json::parse(R"({"a":1})"));
  EXPECT_EQ(first.at("observation").at("results")[0].at("source_call_id"),
            first.at("tool_calls")[0].at("tool_call_id"));
  EXPECT_EQ(steps.back().at("message"), "done");
  EXPECT_EQ(atif.at("final_metrics").at("total_completion_tokens"), 20);
  EXPECT_EQ(first.at("timestamp"), "2025-10-09T08:53:20.000Z");
}

TEST_F(SessionLinesTest, MarkdownFencesWhatHoldsFences) {
  SessionCopy copy = *store_->copy(session());
  copy.records.push_back({99, 0, ToolFinished{1, 0, Outcome::success, "a ``` b", 1}});
  const std::string page = to_markdown(copy);
  EXPECT_THAT(page, HasSubstr("## Turn 1\n\n> go ``` on\n"));
  EXPECT_THAT(page, HasSubstr("Call of `reads`:\n\n```\n{\"a\":1}\n```"));
  EXPECT_THAT(page, HasSubstr("````\na ``` b\n````"));
}

TEST_F(SessionLinesTest, ADiffNamesTheFirstEventThatDiffersAndNotTimes) {
  const SessionId parent = session();
  const auto fork = test::run(context_, store_->fork(parent, 4));
  reopen(*fork,
         {ScriptedStep(says("let me see", {{"reads", R"({"a":2})"}})), ScriptedStep(says("done"))});
  clock_.advance(std::chrono::milliseconds(500));
  ASSERT_TRUE(test::run(context_, agent_->resume()));
  const auto a = *store_->load(parent);
  const auto b = *store_->load(*fork);
  EXPECT_TRUE(diff_logs(a, a).is_equal);
  const auto found = diff_logs(a, b);
  EXPECT_FALSE(found.is_equal);
  // The fork was made inside the first step, so it goes on with the same call.
  ASSERT_TRUE(found.left && found.right);
  EXPECT_EQ(found.left->seq + 1, found.right->seq);

  auto changed = a;
  changed[4].unix_ms += 1000;
  EXPECT_TRUE(diff_logs(a, changed).is_equal);
  changed.resize(6);
  const auto shorter = diff_logs(a, changed);
  EXPECT_EQ(shorter.events_equal, 6U);
  EXPECT_FALSE(shorter.right);
  EXPECT_EQ(shorter.left->seq, 7);
  EXPECT_EQ(shorter.left_more, a.size() - 6);

  auto broken_off = a;
  TurnEnded end;
  end.usage_void.tokens_generated = 7;
  end.usage_void.decode_ms = 12;
  broken_off.back().event = end;
  auto slower = broken_off;
  std::get<TurnEnded>(slower.back().event).usage_void.decode_ms = 30;
  EXPECT_TRUE(diff_logs(broken_off, slower).is_equal);
  std::get<TurnEnded>(slower.back().event).usage_void.tokens_generated = 8;
  EXPECT_FALSE(diff_logs(broken_off, slower).is_equal);

  SessionCopy brought = *store_->copy(parent);
  mark_as_imported(brought, 5);
  EXPECT_TRUE(diff_logs(a, brought.records).is_equal);
}

}  // namespace
}  // namespace ponder::runtime
