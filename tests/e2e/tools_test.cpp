#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <sstream>

#include "tests/e2e/process.h"

/// What people and models read when something is wrong with a tool or with a call.
namespace ponder::e2e {
namespace {

using nlohmann::json;
using ::testing::ContainsRegex;
using ::testing::HasSubstr;
using ::testing::Not;

class BadInput : public ::testing::Test {
 protected:
  /// A tool of this name whose `run` has this body.
  void tool(const std::string& name, const std::string& body) const {
    std::filesystem::create_directories(scratch_ / "tools");
    write_file(scratch_ / "tools" / (name + ".lua"),
               "return { name = '" + name +
                   "', description = 'd', effect = 'pure',\n"
                   "  parameters = { type = 'object',\n"
                   "    properties = { n = { type = 'integer', maximum = 9 } } },\n"
                   "  run = function(args, ctx) " +
                   body + " end }\n");
  }

  /// A session in which the model makes one call and answers.
  Finished run(const std::string& name, const json& arguments,
               std::vector<std::string> options = {}) const {
    const json call = {{"calls", {{{"name", name}, {"arguments", arguments}}}}};
    write_file(scratch_ / "script.jsonl", call.dump() + "\n{\"content\": \"Done.\"}\n");
    std::vector<std::string> words = {"run", "assistant", "Try it.", "--model",
                                      "script:" + (scratch_ / "script.jsonl").string()};
    words.insert(words.end(), options.begin(), options.end());
    return ponder(scratch_.path(), words);
  }

  /// That a call's result is `what` for the model and a line with `line` for the person, and that
  /// the session goes on.
  void expect(const std::string& name, const json& arguments, const std::string& what,
              const std::string& line) const {
    SCOPED_TRACE(name);
    const std::vector<std::string> tools = {"--tools", (scratch_ / "tools").string()};
    const Finished seen = run(name, arguments, tools);
    EXPECT_EQ(seen.status, 0) << seen.err;
    EXPECT_THAT(seen.out, HasSubstr("<- " + name + ": " + line));
    EXPECT_THAT(seen.out, HasSubstr("Done."));
    std::vector<std::string> as_json = tools;
    as_json.emplace_back("--json");
    EXPECT_THAT(result_in(run(name, arguments, as_json).out), HasSubstr(what));
  }

  /// What the model read, of a stream of events.
  static std::string result_in(const std::string& events) {
    std::istringstream lines(events);
    for (std::string line; std::getline(lines, line);) {
      const json event = json::parse(line, nullptr, false);
      if (event.value("type", "") == "tool_finished") return event.dump();
    }
    return "no result";
  }

  const Scratch scratch_;
};

TEST_F(BadInput, ArgumentsThatDoNotFitNeverReachTheTool) {
  tool("probe", "error('the schema keeps this away')");
  expect("probe", {{"n", 10}, {"m", 1}}, "parameter 'n': must be at most 9, got 10",
         "error: parameter 'n': must be at most 9, got 10");
}

TEST_F(BadInput, AnUnknownToolIsAnsweredWithThoseThereAre) {
  tool("probe", "return 'x'");
  expect("prob", json::object(), "there is no tool 'prob'", "error: ");
}

TEST_F(BadInput, AToolThatNeverReturnsIsEnded) {
  tool("probe", "while true do end");
  expect("probe", json::object(), "instruction limit reached", "error: ");
}

TEST_F(BadInput, AFloodIsCutWithANote) {
  tool("probe", "return ('x'):rep(9000000)");
  expect("probe", json::object(), " of 9000000 bytes, of which ", "xxx");
  const Finished seen = run("probe", json::object(), {"--tools", (scratch_ / "tools").string()});
  EXPECT_THAT(seen.out,
              ContainsRegex("<- probe: x+\\.\\.\\. \\[the first [0-9]+ of 9000000 bytes\\]"))
      << "the person reads it too";
}

TEST_F(BadInput, InvalidUtf8IsReplaced) {
  tool("probe", "return 'a\\xff\\xfeb'");
  expect("probe", json::object(), "a\uFFFD", "a\uFFFD");
}

TEST_F(BadInput, ACyclicTableIsAnError) {
  tool("probe", "local t = {} t.t = t return t");
  expect("probe", json::object(), "error: ", "error: ");
}

TEST_F(BadInput, ACorruptFileStopsTheRunWithItsLine) {
  std::filesystem::create_directories(scratch_ / "tools");
  write_file(scratch_ / "tools/bad.lua", "return {\n  name = = 1\n}\n");
  const Finished done = run("bad", json::object(), {"--tools", (scratch_ / "tools").string()});
  EXPECT_EQ(done.status, 1);
  EXPECT_THAT(done.err, HasSubstr("bad.lua:2: unexpected symbol near '='"));
}

TEST_F(BadInput, TwoToolsOfOneNameStopTheRun) {
  tool("probe", "return 'x'");
  write_file(scratch_ / "tools/other.lua", read_file(scratch_ / "tools/probe.lua"));
  const Finished done = run("probe", json::object(), {"--tools", (scratch_ / "tools").string()});
  EXPECT_EQ(done.status, 1);
  EXPECT_THAT(done.err, HasSubstr("probe"));
}

TEST_F(BadInput, AServerThatSpeaksGarbageIsNamedAndTheSessionGoesOn) {
  write_file(scratch_ / "server.sh", "while read line; do echo 'HELLO?'; done\n");
  const Finished done =
      run("bad_echo", json::object(), {"--mcp", "bad=sh " + (scratch_ / "server.sh").string()});
  EXPECT_EQ(done.status, 0);
  EXPECT_THAT(done.err, HasSubstr("ponder: waiting for mcp bad\n"));
  EXPECT_THAT(done.err, HasSubstr("mcp bad: it did not answer within 30000 ms; it sent "));
  EXPECT_THAT(done.err, HasSubstr("HELLO?"));
  EXPECT_THAT(done.out, HasSubstr("<- bad_echo: error: there is no tool 'bad_echo'"));
  EXPECT_THAT(done.out, HasSubstr("Done."));
}

/// Hides the sandbox's program from ponder, as on a machine that lacks it.
TEST_F(BadInput, WithoutASandboxAProgramIsNotRunAndThePersonIsTold) {
  std::filesystem::create_directories(scratch_ / "tools");
  write_file(scratch_ / "tools/probe.lua",
             "return { name = 'probe', description = 'd', effect = 'pure', "
             "capabilities = { 'exec' },\n"
             "  run = function(args, ctx)\n"
             "    local done, why = ctx.exec({'touch', '/var/tmp/x'})\n"
             "    return done and 'ran' or 'refused: ' .. why end }\n");
  const std::string command =
      "bwrap --dev-bind / / --ro-bind /dev/null \"$(command -v bwrap)\" "
      "true 2>/dev/null";
  if (std::system(command.c_str()) != 0) GTEST_SKIP() << "bubblewrap does not work here";
  const std::string out = (scratch_ / "out").string();
  const std::string hidden =
      "bwrap --dev-bind / / --ro-bind /dev/null \"$(command -v bwrap)\" " PONDER_BINARY
      " tool run " +
      (scratch_ / "tools/probe.lua").string() + " --grant exec > " + out + " 2>&1";
  EXPECT_EQ(std::system(hidden.c_str()), 0);
  EXPECT_THAT(read_file(out), HasSubstr("refused: "));
  EXPECT_THAT(read_file(out), HasSubstr("bubblewrap"));
}

}  // namespace
}  // namespace ponder::e2e
