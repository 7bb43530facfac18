#include "tools/script/tool_trial.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <boost/asio/thread_pool.hpp>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <regex>
#include <set>
#include <string>
#include <vector>

#include "tests/tools/call_tool.h"
#include "tests/tools/script_folder.h"
#include "tools/script/detail/context_functions.h"

namespace ponder::tools {
namespace {

using ::testing::AllOf;
using ::testing::Contains;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

std::string read_text(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>()};
}

class ToolTrial : public ::testing::Test {
 protected:
  ToolTrial() : pool_(1) {}
  ~ToolTrial() override { pool_.join(); }

  TrialReport try_text(const std::string& text) {
    folder_.write("probe.lua", text);
    auto report = tests::run_sync(
        try_tool(folder_.path() / "probe.lua", system_clock(), pool_.get_executor()));
    EXPECT_TRUE(report) << report.error().message;
    return report ? *report : TrialReport();
  }
  static std::vector<std::string> faults(const TrialReport& report) {
    std::vector<std::string> out;
    for (const TrialCase& one : report.cases) {
      if (!one.fault.empty()) out.push_back(one.title + ": " + one.fault);
    }
    return out;
  }

  tests::ScriptFolder folder_;
  boost::asio::thread_pool pool_;
};

TEST_F(ToolTrial, EveryToolOfTheDocumentPassesItsOwnTest) {
  const std::string document = read_text("docs/writing-tools.md");
  const std::string begin = "```lua\n";
  int num_tools = 0;
  for (std::size_t at = document.find(begin); at != std::string::npos;
       at = document.find(begin, at)) {
    at += begin.size();
    const std::string text = document.substr(at, document.find("```", at) - at);
    if (text.starts_with("-- broken.lua")) continue;
    SCOPED_TRACE(text.substr(0, text.find('\n')));
    const TrialReport report = try_text(text);
    EXPECT_THAT(faults(report), IsEmpty());
    EXPECT_GE(report.cases.size(), 5U);
    ++num_tools;
  }
  EXPECT_EQ(num_tools, 3);
}

TEST_F(ToolTrial, AnExampleWhoseResultIsAnotherIsAFault) {
  const TrialReport report =
      try_text(R"(return { name = 'probe', description = 'd', effect = 'pure',
    examples = { { args = {}, expect = 'b' }, { args = {}, expect = 'a' },
                 { args = {}, expect_error = 'no' } },
    run = function() return 'a' end })");
  ASSERT_GE(report.cases.size(), 3U);
  EXPECT_EQ(report.cases[0].fault, "expected: b");
  EXPECT_EQ(report.cases[1].fault, "");
  EXPECT_EQ(report.cases[2].fault, "an error with \"no\" was expected");
}

TEST_F(ToolTrial, ArgumentsAtTheirEndsFindWhatBreaksTheTool) {
  const TrialReport report =
      try_text(R"(return { name = 'probe', description = 'd', effect = 'pure',
    parameters = { type = 'object', properties = {
      text = { type = 'string' }, n = { type = 'integer', minimum = 0, maximum = 9 } } },
    run = function(args)
      if args.text == '' then return ('x')() end
      if args.n and args.n > 9 then error('the schema keeps this away') end
      return 'fine'
    end })");
  ASSERT_EQ(faults(report).size(), 1U);
  EXPECT_THAT(faults(report)[0], AllOf(HasSubstr("text = \"\""), HasSubstr("attempt to call")));
  EXPECT_GT(report.num_refused, 2U);
}

TEST_F(ToolTrial, HostileAnswersFindAToolThatTrustsTheWorld) {
  const std::string careless = R"(return { name = 'probe', description = 'd', effect = 'pure',
    capabilities = { 'http' },
    run = function(args, ctx)
      return ctx.json.decode(ctx.http.get('https://example.com/').body).field end })";
  EXPECT_GE(faults(try_text(careless)).size(), 2U);
  const std::string careful = R"(return { name = 'probe', description = 'd', effect = 'pure',
    capabilities = { 'http' },
    run = function(args, ctx)
      local response, problem = ctx.http.get('https://example.com/')
      if not response then return nil, problem end
      local data = ctx.json.decode(response.body)
      return type(data) == 'table' and data.field or 'nothing' end })";
  EXPECT_THAT(faults(try_text(careful)), IsEmpty());
}

TEST_F(ToolTrial, HostileAnswersHoldZerosAndEscapes) {
  EXPECT_THAT(faults(try_text(R"(return { name = 'probe', description = 'd', effect = 'pure',
    capabilities = { 'http' },
    run = function(args, ctx)
      local response, problem = ctx.http.get('https://example.com/')
      if not response then return nil, problem end
      if response.body:find('\0\27', 1, true) then return response.no.field end
      return 'shown' end })")),
              Contains(HasSubstr("attempt to index")));
}

TEST_F(ToolTrial, ListsInListsDoNotMultiply) {
  std::string items = "{ type = 'array', minItems = 1000, items = { type = 'integer' } }";
  for (int i = 0; i < 4; ++i) items = "{ type = 'array', minItems = 1000, items = " + items + " }";
  const TrialReport report = try_text(
      "return { name = 'probe', description = 'd', effect = 'pure', parameters = { type = "
      "'object', properties = { all = " +
      items + " } }, run = function(args, ctx) return 'seen' end }");
  EXPECT_THAT(faults(report), IsEmpty());
}

TEST_F(ToolTrial, ATrialTouchesNothingAndTellsTheTimeOfItsOwn) {
  const auto victim = folder_.path() / "victim.txt";
  const TrialReport report = try_text(R"(return { name = 'probe', description = 'd',
    effect = 'irreversible', capabilities = { 'fs', 'exec', 'sql', 'kv', 'ask', 'secret:key' },
    examples = { { expect = '2025-10-01T08:30:00Z' } },
    run = function(args, ctx)
      ctx.fs.write('victim.txt', 'x') ctx.exec({'touch', ')" +
                                      victim.string() + R"('})
      ctx.sql('CREATE TABLE t(a)') ctx.sleep(1000) ctx.kv.set('a', 1) ctx.ask('?')
      ctx.exec({'id'}, {env = {KEY = ctx.secret('key')}})
      return ctx.time.format(ctx.time.now()) end })");
  EXPECT_THAT(faults(report), IsEmpty());
  EXPECT_FALSE(std::filesystem::exists(victim));
}

TEST_F(ToolTrial, AToolThatCallsTheContextAsItCannotBeCalledIsBroken) {
  const auto with = [this](const std::string& body) {
    return faults(
        try_text("return { name = 'probe', description = 'd', effect = 'pure',\n"
                 "  run = function(args, ctx)\n" +
                 body + "\nend }"));
  };
  EXPECT_THAT(with("ctx.kv.set('a', 1) return 'kept'"),
              Contains(HasSubstr("does not declare the capability \"kv\"")));
  EXPECT_THAT(with("ctx.sleep('long') return 'slept'"), Contains(HasSubstr("ctx.sleep")));
  EXPECT_THAT(with("table.sort({2, 1}, function() ctx.sleep(1) end) return 'sorted'"),
              Contains(HasSubstr("cannot wait here")));
  EXPECT_THAT(with("local fine = pcall(ctx.sleep, 'long')\n"
                   "if not fine then return nil, 'no such time' end"),
              IsEmpty())
      << "an answer in the tool's own words";
}

TEST(LuaAnnotations, NameEveryFunctionOfCtxAndNoOther) {
  std::set<std::string> annotated;
  const std::string text = read_text("tools/library/ponder.d.lua");
  const std::regex declaration("\nfunction (\\w+)\\.(\\w+)\\(");
  for (std::sregex_iterator it(text.begin(), text.end(), declaration), end; it != end; ++it) {
    const std::string area = (*it)[1];
    annotated.insert(area == "ctx" ? (*it)[2].str() : area + "." + (*it)[2].str());
  }
  std::set<std::string> real;
  for (const ContextFunction& function : context_functions()) real.insert(full_name(function));
  EXPECT_EQ(annotated, real);
}

}  // namespace
}  // namespace ponder::tools
