#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <nlohmann/json.hpp>

#include "tests/e2e/process.h"

/// The agent with the shipped model, through the front door. What the model decides is its own
/// affair: these tests hold for a good and for a bad plan.
namespace ponder::e2e {
namespace {

using nlohmann::json;
using ::testing::HasSubstr;

constexpr const char* kRequest =
    "Plan a one-day trip to Suzhou. Hotels must cost at most 600 CNY per night.";

TEST(Run, EndsWithAVerdictAndALogThatCanBeShownAndExported) {
  const Scratch scratch;
  const auto done =
      ponder(scratch.path(), {"run", "travel", kRequest, "--out", (scratch / "out").string()});
  ASSERT_TRUE(done.status == 0 || done.status == 1) << done.status << done.err;
  EXPECT_THAT(done.out, HasSubstr("session "));
  EXPECT_THAT(done.out, HasSubstr("-> "));  // it did call tools

  const auto listed = ponder(scratch.path(), {"sessions", "list", "--json"});
  ASSERT_EQ(listed.status, 0) << listed.err;
  const auto session = json::parse(listed.out).at("id").get<std::string>();
  const auto shown = ponder(scratch.path(), {"sessions", "show", session});
  EXPECT_EQ(shown.status, 0) << shown.err;
  EXPECT_THAT(shown.out, HasSubstr("Suzhou"));
  const auto exported = ponder(scratch.path(), {"sessions", "export", session});
  EXPECT_EQ(exported.status, 0) << exported.err;
  EXPECT_THAT(exported.out, HasSubstr("\"session_started\""));
  EXPECT_THAT(exported.out, HasSubstr("\"tool_finished\""));

  const auto explained = ponder(scratch.path(), {"context", "explain", session, "--json"});
  ASSERT_EQ(explained.status, 0) << explained.err;
  const auto report = json::parse(explained.out);
  std::uint64_t tokens = 0;
  for (const auto& segment : report.at("segments")) tokens += segment.at("tokens").get<int>();
  EXPECT_EQ(tokens, report.at("tokens").get<std::uint64_t>());
  EXPECT_THAT(ponder(scratch.path(), {"context", "explain", "last"}).out, HasSubstr("once more"));

  const auto resumed = ponder(scratch.path(), {"sessions", "resume", session});
  EXPECT_EQ(resumed.status, 1);
  EXPECT_THAT(resumed.err, HasSubstr("no interrupted turn"));
}

TEST(Run, StreamsEventsAsJsonLines) {
  const Scratch scratch;
  const auto done = ponder(scratch.path(), {"run", "travel", kRequest, "--json"});
  std::size_t lines = 0;
  for (std::size_t begin = 0; begin < done.out.size(); ++lines) {
    const auto end = done.out.find('\n', begin);
    ASSERT_TRUE(json::parse(done.out.substr(begin, end - begin)).contains("type"));
    begin = end + 1;
  }
  EXPECT_GT(lines, 5U);
}

TEST(Run, AnInterruptEndsCleanlyAndTheSessionGoesOn) {
  const Scratch scratch;
  const auto stopped =
      ponder(scratch.path(), {"run", "travel", kRequest}, "", /*interrupt_after_bytes=*/20);
  ASSERT_EQ(stopped.status, 130) << stopped.out << stopped.err;
  EXPECT_THAT(stopped.out, HasSubstr("interrupted"));
  const auto shown = ponder(scratch.path(), {"sessions", "show", "last"});
  EXPECT_EQ(shown.status, 0) << shown.err;
  EXPECT_THAT(shown.out, HasSubstr("cancelled"));
}

TEST(Verify, RefusesAFolderWithoutArtefacts) {
  const Scratch scratch;
  const auto done = ponder(scratch.path(), {"verify", scratch.path().string()});
  EXPECT_EQ(done.status, 1);
  EXPECT_THAT(done.err, HasSubstr("proof.json"));
}

TEST(Eval, ReportsEachKindWithAnInterval) {
  const Scratch scratch;
  const auto done = ponder(scratch.path(), {"eval", "travel", "--count", "2", "--json"});
  ASSERT_EQ(done.status, 0) << done.err;
  const auto report = json::parse(done.out);
  EXPECT_EQ(report.at("cases").size(), 2U);
}

TEST(BadInput, EachEndsInOneLineAndANonZeroStatus) {
  const Scratch scratch;
  const auto fails = [&](std::vector<std::string> arguments, const std::string& names) {
    const auto done = ponder(scratch.path(), arguments);
    EXPECT_NE(done.status, 0) << names;
    EXPECT_THAT(done.err, HasSubstr(names));
  };
  fails({"run", "travel"}, "nothing to do");
  fails({"run", "cooking", "soup"}, "travel");
  fails({"run", "travel", kRequest, "--model", (scratch / "nothing").string()}, "nothing");
  fails({"run", "travel", kRequest, "--model", "http://127.0.0.1:1/v1"}, "127.0.0.1");
  fails({"sessions", "show", "no-such-session"}, "no-such-session");
  fails({"run", "travel", kRequest, "--size", "XXL"}, "--size");
  write_file(scratch / "sessions.db", "this is no database, but it is long enough to be read");
  fails({"sessions", "list"}, "sessions.db");
}

TEST(BadInput, LimitsAndSamplingThatMakeNoSenseAreRefused) {
  const Scratch scratch;
  for (const std::vector<std::string>& words :
       std::vector<std::vector<std::string>>{{"--steps", "0"},
                                             {"--temperature", "-1"},
                                             {"--temperature", "nan"},
                                             {"--top-p", "nan"},
                                             {"--top-p", "0"},
                                             {"--repetition-penalty", "nan"},
                                             {"--frequency-penalty", "nan"},
                                             {"--presence-penalty", "nan"},
                                             {"--budget-tokens", "0"},
                                             {"--budget-tokens", "many"},
                                             {"--budget-time", "0"},
                                             {"--budget-time", "-1m"},
                                             {"--budget-time", "15 parsecs"},
                                             {"--budget-time", "1000h"}}) {
    std::vector<std::string> command = {"run", "travel", kRequest};
    command.insert(command.end(), words.begin(), words.end());
    EXPECT_EQ(ponder(scratch.path(), command).status, 2) << words[0] << " " << words[1];
  }
}

TEST(Budgets, StandInTheSessionAsTheyWereGiven) {
  const Scratch scratch;
  write_file(scratch / "script.jsonl", R"({"content": "Done."})"
                                       "\n");
  const std::vector<std::string> command = {"run",
                                            "assistant",
                                            "hello",
                                            "--model",
                                            "script:" + (scratch / "script.jsonl").string(),
                                            "--json",
                                            "--steps",
                                            "3",
                                            "--budget-tokens",
                                            "5000",
                                            "--budget-time"};
  const auto limits_with = [&](const std::string& time) {
    std::vector<std::string> words = command;
    words.push_back(time);
    const auto done = ponder(scratch.path(), words);
    EXPECT_EQ(done.status, 0) << done.err;
    return json::parse(done.out.substr(0, done.out.find('\n'))).at("data").at("limits");
  };
  const json limits = limits_with("15m");
  EXPECT_EQ(limits.at("steps_max"), 3);
  EXPECT_EQ(limits.at("tokens_turn_max"), 5000);
  EXPECT_EQ(limits.at("turn_ms_max"), 900'000);
  EXPECT_EQ(limits_with("90").at("turn_ms_max"), 90'000);
  EXPECT_EQ(limits_with("2h").at("turn_ms_max"), 7'200'000);
}

TEST(LostOutput, IsNotedOnceAndTheSessionGoesOnToItsEnd) {
  const Scratch scratch;
  write_file(scratch / "script.jsonl", "{\"reasoning\": \"hm\", \"content\": \"it is seven\"}\n");
  const std::string model = " --model script:" + (scratch / "script.jsonl").string();
  for (const char* more : {"", " --json"}) {
    const std::string sessions = (scratch / (std::string("sessions") + more)).string();
    const std::string errors = (scratch / "errors").string();
    const std::string command = "PONDER_SESSIONS='" + sessions +
                                "' " PONDER_BINARY " run assistant 'how many?'" + model + more +
                                " > /dev/full 2> " + errors;
    EXPECT_EQ(std::system(command.c_str()), 0) << read_file(errors);
    const std::string note = read_file(errors);
    EXPECT_EQ(note.find("standard output is lost"), note.rfind("standard output is lost")) << note;
    EXPECT_THAT(note, HasSubstr("standard output is lost (No space left on device)"));
    const std::string show = "PONDER_SESSIONS='" + sessions +
                             "' " PONDER_BINARY " sessions export last > " +
                             (scratch / "log").string();
    ASSERT_EQ(std::system(show.c_str()), 0);
    EXPECT_THAT(read_file(scratch / "log"), HasSubstr(R"("reason":"answered")"));
  }
}

TEST(Import, SaysThatTheLogIsFromElsewhere) {
  const Scratch scratch;
  write_file(
      scratch / "log.jsonl",
      R"({"session":"s","seq":1,"time_ms":5,"type":"session_started","version":1,"data":{}})");
  const auto done =
      ponder(scratch.path(), {"sessions", "import", (scratch / "log.jsonl").string()});
  EXPECT_EQ(done.status, 0) << done.err;
  EXPECT_THAT(ponder(scratch.path(), {"sessions", "export", "s"}).out, HasSubstr(R"("seq":2,)"));
  EXPECT_THAT(ponder(scratch.path(), {"sessions", "export", "s"}).out,
              HasSubstr(R"("type":"session_imported")"));
}

TEST(Doctor, SaysWhatThisMachineHas) {
  const Scratch scratch;
  const auto done = ponder(scratch.path(), {"doctor"});
  EXPECT_EQ(done.status, 0) << done.out << done.err;
  EXPECT_THAT(done.out, HasSubstr("kernels"));
  EXPECT_THAT(done.out, HasSubstr("library"));
  EXPECT_THAT(done.out, HasSubstr("engine/models/mini-code"));
  EXPECT_THAT(done.out, HasSubstr("git /usr/bin/git"));
}

TEST(ToolTest, WithoutExamplesItShowsWhatTheModelReads) {
  const Scratch scratch;
  write_file(scratch / "probe.lua",
             "return { name = 'probe', description = 'd', effect = 'pure',\n"
             "  run = function() return 'what it gives' end }\n");
  const auto done = ponder(scratch.path(), {"tool", "test", (scratch / "probe.lua").string()});
  EXPECT_EQ(done.status, 0) << done.out << done.err;
  EXPECT_THAT(done.out, HasSubstr("tokens): what it gives"));
  EXPECT_THAT(done.out, HasSubstr("the file has no examples"));
}

TEST(Replay, OfAScriptsSessionAsksForTheScript) {
  const Scratch scratch;
  write_file(scratch / "script.jsonl", R"({"content":"hello"})"
                                       "\n");
  const std::string script = "script:" + (scratch / "script.jsonl").string();
  ASSERT_EQ(ponder(scratch.path(), {"chat", "--model", script}, "hi\n").status, 0);
  const auto replayed = ponder(scratch.path(), {"sessions", "replay", "last"});
  EXPECT_EQ(replayed.status, 1);
  EXPECT_THAT(replayed.err, HasSubstr("a script answered in this session"));
}

TEST(Help, NamesEveryCommand) {
  const Scratch scratch;
  const auto done = ponder(scratch.path(), {"--help"});
  EXPECT_EQ(done.status, 0);
  for (const char* command : {"run", "chat", "eval", "sessions", "verify", "encode", "parse",
                              "tokenize", "logits", "model", "bench", "doctor", "  work "})
    EXPECT_THAT(done.out, HasSubstr(command));
  EXPECT_THAT(ponder(scratch.path(), {"--version"}).out, HasSubstr("ponder 0."));
  EXPECT_EQ(ponder(scratch.path(), {"--no-such-option"}).status, 2);
}

TEST(Help, MeasurementsKeepNoCachePagesOnDisk) {
  const Scratch scratch;
  for (const char* bench : {"engine", "loop"}) {
    for (const char* option : {"--spill-dir", "--spill-limit"}) {
      const auto done = ponder(scratch.path(), {"bench", bench, option, "7"});
      EXPECT_EQ(done.status, 2) << bench;
      EXPECT_THAT(done.err, HasSubstr(option));
    }
    EXPECT_THAT(ponder(scratch.path(), {"bench", bench, "--help"}).out, HasSubstr("--drafts"));
  }
  EXPECT_THAT(ponder(scratch.path(), {"run", "--help"}).out, HasSubstr("--spill-dir"));
}

}  // namespace
}  // namespace ponder::e2e
