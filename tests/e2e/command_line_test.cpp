#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/wait.h>

#include <cstdlib>
#include <sstream>
#include <string>
#include <vector>

#include "tests/e2e/process.h"

/// What the program says to a command line: its help, and what is wrong.
namespace ponder::e2e {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;

std::vector<std::string> lines_of(const std::string& text) {
  std::vector<std::string> lines;
  std::istringstream in(text);
  for (std::string line; std::getline(in, line);) lines.push_back(line);
  return lines;
}

/// The commands that a help lists.
std::vector<std::string> commands_in(const std::string& help) {
  std::vector<std::string> names;
  bool is_list = false;
  for (const std::string& line : lines_of(help)) {
    if (line.empty()) is_list = false;
    const bool is_name = is_list && line.size() > 2 && line[2] != ' ';
    if (is_name) names.push_back(line.substr(2, line.find(' ', 2) - 2));
    if (line == "Commands:") is_list = true;
  }
  return names;
}

/// Looks at the help of a command and of those below it; gives their number.
std::size_t check_help(const Scratch& scratch, const std::vector<std::string>& command) {
  std::string name = "ponder";
  for (const std::string& word : command) name += " " + word;
  SCOPED_TRACE(name);
  std::vector<std::string> words = command;
  words.emplace_back("--help");
  const auto done = ponder(scratch.path(), words);
  EXPECT_EQ(done.status, 0);
  EXPECT_THAT(done.out, StartsWith(name + ": "));
  EXPECT_THAT(done.out, HasSubstr("\nusage: " + name));
  for (const std::string& line : lines_of(done.out)) EXPECT_LE(line.size(), 100U) << line;
  // What is said of the program is said once.
  if (!command.empty()) {
    EXPECT_THAT(done.out, Not(HasSubstr("PONDER_SYNCHRONOUS")));
  }
  std::size_t count = 1;
  for (const std::string& below : commands_in(done.out)) {
    words = command;
    words.push_back(below);
    count += check_help(scratch, words);
  }
  return count;
}

/// The status of a line of the shell, with `$ponder` for the program.
int shell(const Scratch& scratch, const std::string& line) {
  setenv("ponder", PONDER_BINARY, 1);
  setenv("PONDER_SESSIONS", (scratch / "sessions.db").c_str(), 1);
  const int status = std::system(("bash -c '" + line + "' 2>/dev/null").c_str());
  return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

TEST(Help, OfEachCommandFitsAHundredColumns) {
  const Scratch scratch;
  EXPECT_GT(check_help(scratch, {}), 40U);
}

TEST(Help, GathersOptionsUnderHeadings) {
  const Scratch scratch;
  const std::string help = ponder(scratch.path(), {"run", "--help"}).out;
  for (const char* heading : {"\nBudgets:\n", "\nThe model:\n", "\nSampling:\n",
                              "\nThe embedded engine:\n", "\nexamples:\n"}) {
    EXPECT_THAT(help, HasSubstr(heading));
  }
  EXPECT_THAT(help, HasSubstr("--approve ask|never|always"));
  EXPECT_THAT(help, HasSubstr("--web [TEXT] "));
  EXPECT_THAT(help, HasSubstr("--agents[=N] "));
}

TEST(Help, IsWhatHelpSays) {
  const Scratch scratch;
  const auto asked = ponder(scratch.path(), {"help", "sessions", "fork"});
  EXPECT_EQ(asked.status, 0);
  EXPECT_EQ(asked.out, ponder(scratch.path(), {"sessions", "fork", "--help"}).out);
}

/// A wrong command line, and what is said of it.
struct Wrong {
  std::vector<std::string> words;
  std::string said;
};

TEST(CommandLine, SaysWhatIsWrongAndWhatWasMeant) {
  const Scratch scratch;
  const std::vector<Wrong> all = {
      {{"rn"}, "ponder has no command 'rn'; did you mean run?"},
      {{"sessions", "lst"}, "ponder sessions has no command 'lst'; did you mean list?"},
      {{"run", "travel", "x", "--modle", "y"}, "has no option --modle; did you mean --model?"},
      {{"run", "travel", "One", "day", "in", "Suzhou"}, "'day'; quotes keep words together"},
      {{"--json", "sessions", "list"}, "behind the command: ponder sessions list --json"},
      {{"run"}, "ponder run: workflow is required"},
      {{"run", "travel", "x", "--seed"}, "--seed needs a value"},
      {{"run", "travel", "x", "--seed", "-1"}, "--seed: -1 is not a whole number"},
      {{"run", "travel", "x", "--steps", "0"}, "--steps: 0 is not a whole number from 1 on"},
      {{"run", "travel", "x", "--top-p", "2"}, "--top-p: 2 is not a number from 1e-06 to 1"},
      {{"run", "travel", "x", "--size", "XL"}, "--size: XL is not one of S, M, L"},
      {{"run", "travel", "x", "--budget-time", "5x"}, "not a time; 90, 15m or 2h"},
      {{"run", "travel", "x", "--threads", "100000"}, "not a number from 0 to 1024"},
      {{"eval", "travel", "--count", "x"}, "--count: x is not a whole number"},
      {{"model", "inspect", "x", "--memory", "0"}, "--memory: 0 is not a number above 0"}};
  for (const Wrong& wrong : all) {
    SCOPED_TRACE(wrong.said);
    const auto done = ponder(scratch.path(), wrong.words);
    EXPECT_EQ(done.status, 2);
    EXPECT_EQ(done.out, "");
    EXPECT_THAT(done.err, AllOf(StartsWith("ponder: error: "), HasSubstr(wrong.said),
                                HasSubstr(" --help` says what it takes")));
  }
}

TEST(CommandLine, ShowsTheCommandsWhereNoneIsNamed) {
  const Scratch scratch;
  const auto done = ponder(scratch.path(), {"sessions"});
  EXPECT_EQ(done.status, 2);
  EXPECT_EQ(done.out, "");
  EXPECT_THAT(done.err, HasSubstr("usage: ponder sessions COMMAND"));
}

/// Things that do not go together, are not there, or are meant otherwise.
TEST(CommandLine, RefusesWhatWouldBeIgnored) {
  const Scratch scratch;
  const std::string request = "One day in Suzhou.";
  const std::vector<Wrong> all = {
      {{"run", "travel", request, "--task", "3"}, "a request or a generated task"},
      {{"run", "travel", request, "--test", "make"}, "--test is for the workflow code"},
      {{"chat", "--folder", "."}, "--folder is for the workflow code"},
      {{"chat", "--session", "last", "--workflow", "code"}, "has the workflow travel, not code"},
      {{"eval", "codefix", "--kind", "x", "--class", "y"}, "--kind and --class do not go together"},
      {{"run", "travel", request, "--model", "localhost:8000/v1"}, "begins with http://"},
      {{"run", "travel", request, "--model", "ftp://host"}, "begins with http://"},
      {{"run", "travel", request, "--model", "/nowhere"}, "/nowhere: there is no such folder"},
      {{"fix", "--repo", ".", "--issue", "issue.md", "--test", "true"},
       "issue.md: there is no such file"}};
  ASSERT_EQ(ponder(scratch.path(), {"chat"}, "hello").status, 0);
  for (const Wrong& wrong : all) {
    SCOPED_TRACE(wrong.said);
    const auto done = ponder(scratch.path(), wrong.words);
    EXPECT_NE(done.status, 0);
    EXPECT_THAT(done.err, AllOf(StartsWith("ponder: error: "), HasSubstr(wrong.said)));
  }
}

TEST(CommandLine, ToolsAndEnvironmentsSayWhatTheyWant) {
  const Scratch scratch;
  ASSERT_EQ(ponder(scratch.path(), {"tool", "new", "words", "--folder", scratch.path()}).status, 0);
  const auto called = ponder(scratch.path(), {"tool", "run", scratch / "words.lua"});
  EXPECT_EQ(called.status, 1);
  EXPECT_THAT(called.err, HasSubstr("'text': is missing; arguments go with --args"));
  for (const char* environment : {"travel", "retail", "calendar", "analyst"}) {
    const auto done = ponder(scratch.path(), {"env", "run", environment, "--kind", "nope"});
    EXPECT_EQ(done.status, 1);
    EXPECT_THAT(done.err, HasSubstr("there is no kind 'nope', there are: ")) << environment;
  }
  const auto verified = ponder(scratch.path(), {"verify", scratch.path()});
  EXPECT_EQ(verified.status, 1);
  EXPECT_THAT(verified.err, HasSubstr("there is no proof.json; "));
  const auto searched = ponder(
      scratch.path(), {"run", "assistant", "x", "--web", "local=" + scratch.path().string()});
  EXPECT_EQ(searched.status, 1);
  EXPECT_THAT(searched.err, HasSubstr("`ponder index " + scratch.path().string() + "` makes one"));
}

TEST(CommandLine, AShippedModelThatHasNotLearnedAWorkflowIsNotTakenInSilence) {
  const Scratch scratch;
  const auto asked = ponder(scratch.path(), {"run", "assistant", "hello", "--budget-tokens", "4"});
  EXPECT_THAT(asked.err, HasSubstr("note: the shipped model knows the workflow travel only"));
  // What cannot go on by itself can be gone on with.
  EXPECT_THAT(asked.out, HasSubstr("(ponder chat --session "));
  const auto planned = ponder(scratch.path(), {"run", "travel", "One day in Suzhou."});
  EXPECT_THAT(planned.err, Not(HasSubstr("note: ")));
}

TEST(CommandLine, AWorkingDirectoryThatIsGoneIsNamed) {
  const Scratch scratch;
  const std::string folder = (scratch / "gone").string();
  const std::string line = "mkdir " + folder + "; cd " + folder + "; rmdir " + folder + "; ";
  EXPECT_EQ(shell(scratch, line + "$ponder env list 2>&1 | grep -q \"the working directory\""), 0);
}

TEST(CommandLine, AScriptWithAWordThatIsNotKnownIsRefused) {
  const Scratch scratch;
  write_file(scratch / "script.jsonl", R"({"content": "Done."})"
                                       "\n"
                                       R"({"tool_calls": []})"
                                       "\n");
  const auto done = ponder(scratch.path(), {"run", "assistant", "go", "--model",
                                            "script:" + (scratch / "script.jsonl").string()});
  EXPECT_EQ(done.status, 1);
  EXPECT_THAT(done.err, HasSubstr("script line 2: \"tool_calls\" is not known; known: when"));
}

TEST(CommandLine, AConfigurationThatAVariableNamesHasToBeThere) {
  const Scratch scratch;
  setenv("PONDER_CONFIG", (scratch / "none.toml").c_str(), 1);
  const auto done = ponder(scratch.path(), {"run", "travel", "One day in Suzhou."});
  unsetenv("PONDER_CONFIG");
  EXPECT_EQ(done.status, 1);
  EXPECT_THAT(done.err, HasSubstr("PONDER_CONFIG names "));
}

TEST(Output, ThatDoesNotArriveIsAFailure) {
  const Scratch scratch;
  EXPECT_EQ(shell(scratch, "$ponder doctor >/dev/null"), 0);
  EXPECT_EQ(shell(scratch, "$ponder doctor >/dev/full"), 1);
  EXPECT_EQ(shell(scratch, "$ponder env list >/dev/full"), 1);
}

TEST(Output, ThatNobodyReadsEndsAsForAnyProgram) {
  const Scratch scratch;
  EXPECT_EQ(shell(scratch, "exec 3> >(exit 0); wait $!; $ponder env list >&3"), 141);
}

}  // namespace
}  // namespace ponder::e2e
