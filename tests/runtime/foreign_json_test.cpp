#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <string>
#include <variant>

#include "base/clock.h"
#include "runtime/model/scripted_model.h"
#include "runtime/session/event_json.h"
#include "runtime/session/session_lines.h"
#include "runtime/store/sqlite_session_store.h"
#include "runtime/workflow/workflow.h"
#include "tests/runtime/support.h"

/// What people read when JSON of theirs, or of a store that somebody else wrote to, is wrong: which
/// field, what was expected, and where.
namespace ponder::runtime {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

std::string script_problem(const std::string& lines) {
  const auto steps = ScriptedModel::read_script(lines);
  return steps ? "none" : steps.error().message;
}

std::string line_problem(const std::string& line) {
  const auto session = read_lines(line + "\n");
  return session ? "none" : session.error().message;
}

std::string event_problem(const std::string& payload) {
  const Event event = read_event("turn_ended", 1, payload);
  const auto* unreadable = std::get_if<UnreadableEvent>(&event);
  return unreadable == nullptr ? "none" : unreadable->problem;
}

TEST(ForeignJson, AScriptNamesLineAndField) {
  EXPECT_EQ(script_problem("{\"content\": \"a\"}\n{\"content\": 5}\n"),
            "script line 2: field 'content': a string was expected, not a number");
  EXPECT_EQ(script_problem("{\"calls\": [{\"arguments\": {}}]}\n"),
            "script line 1: there is no field 'name'");
  EXPECT_EQ(script_problem("{\"content\": \"a\"\n"),
            "script line 1: the JSON ends at byte 16: expected '}'");
  EXPECT_EQ(script_problem("[]\n"), "script line 1: an object was expected, not a list");
}

TEST(ForeignJson, AnImportedLineNamesItsField) {
  EXPECT_EQ(line_problem(R"({"session":"s","seq":"1","type":"turn_ended"})"),
            "line 1: field 'seq': a number was expected, not a string");
  EXPECT_EQ(line_problem(R"({"seq":1})"), "line 1: there is no field 'session'");
  EXPECT_THAT(line_problem("not JSON"), HasSubstr("line 1: no JSON at byte 2"));
}

TEST(ForeignJson, AnEventThatCannotBeReadSaysWhy) {
  EXPECT_EQ(event_problem(R"({"reason": 5})"),
            "field 'reason': a string was expected, not a number");
  EXPECT_EQ(event_problem("{}"), "there is no field 'reason'");
  EXPECT_EQ(event_problem(R"({"reason": "ans)"), "no JSON at byte 16: a string has no end");
}

TEST(ForeignJson, ASessionsEnvironmentNamesItsField) {
  const test::TempDir dir;
  const auto store = SqliteSessionStore::open(dir.path() / "s.db", system_clock());
  ASSERT_TRUE(store);
  const auto problem = [&](const std::string& workflow, const std::string& environment) {
    SessionState state;
    state.start.emplace();
    state.start->workflow = workflow;
    state.start->environment = environment;
    const auto opened = Workflow::reopen(dir.path(), SessionId{"s"}, state, **store, {});
    return opened ? std::string("none") : opened.error().message;
  };
  EXPECT_THAT(problem("assistant", R"({"request": 5, "directory": ""})"),
              HasSubstr("the session's environment: field 'request': a string was expected, not a "
                        "number"));
  EXPECT_THAT(problem("assistant", "{}"), HasSubstr("there is no field 'request'"));
  EXPECT_THAT(problem("code", "{"), HasSubstr("an object was expected, not broken JSON"));
  for (const char* workflow : {"assistant", "code", "fix", "travel"}) {
    for (const char* environment : {"", "{", "[]", "{}", "null", R"({"folder": 1, "seed": {}})"}) {
      EXPECT_THAT(problem(workflow, environment), Not(HasSubstr("exception"))) << workflow;
    }
  }
}

}  // namespace
}  // namespace ponder::runtime
