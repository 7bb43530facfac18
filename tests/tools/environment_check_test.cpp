#include "tools/environment_check.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <boost/asio/thread_pool.hpp>
#include <string>
#include <utility>

#include "tests/tools/script_folder.h"
#include "tools/detail/random_play.h"
#include "tools/environment_template.h"

// What `ponder env check` finds: the small environment that `env new` writes, and that environment
// with one thing spoilt after the other.
namespace ponder::tools {
namespace {

using ::testing::Contains;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

TEST(RandomAgent, TakesAnyNumberWhereASchemaAllowsAll) {
  const std::vector<context::ToolSpec> tools = {
      {"all", "",
       R"({"type":"object","required":["n"],"properties":{"n":{"type":"integer",)"
       R"("minimum":-9223372036854775808,"maximum":9223372036854775807}}})"},
      {"last", "",
       R"({"type":"object","required":["n"],"properties":{"n":{"type":"integer",)"
       R"("minimum":9223372036854775807}}})"}};
  RandomAgent agent(tools, 1);
  for (int i = 0; i < 100; ++i) {
    const context::ToolCall call = agent.next_call();
    if (call.name == "last") {
      EXPECT_EQ(call.arguments, R"({"n":9223372036854775807})");
    }
  }
}

class EnvironmentCheck : public ::testing::Test {
 protected:
  /// The template with `old` replaced, which must be there.
  CheckReport check_with(const std::string& old, const std::string& with) {
    std::string text(environment_template());
    const std::size_t at = text.find(old);
    EXPECT_NE(at, std::string::npos) << old;
    text.replace(at, old.size(), with);
    return check(text);
  }
  CheckReport check(const std::string& text) {
    folder_.write("NAME.lua", text);
    CheckOptions options;
    options.world.library = folder_.path();
    options.world.name = "NAME";
    options.world_seed_of = [](std::uint64_t seed) { return seed / 10; };
    auto report = check_environment(options, pool_.get_executor());
    if (!report) {
      ADD_FAILURE() << report.error().message;
      return {};
    }
    return std::move(*report);
  }

  tests::ScriptFolder folder_;
  boost::asio::thread_pool pool_{1};
};

TEST_F(EnvironmentCheck, WhatEnvNewWritesIsSound) {
  const CheckReport report = check(std::string(environment_template()));
  EXPECT_THAT(report.problems, IsEmpty());
  EXPECT_EQ(report.num_tools, 2U);
  EXPECT_EQ(report.num_worlds, 2U);
  EXPECT_EQ(report.oracle.hits, 20U);
  EXPECT_EQ(report.oracle.total, 20U);
  EXPECT_EQ(report.empty.hits, 0U);
  EXPECT_EQ(report.mutants.total, 80U);
  EXPECT_EQ(report.kinds.size(), 2U);
  EXPECT_EQ(report.levels.at(1).effort_mean(), 2.0);
  EXPECT_THAT(check_report_json("NAME", report), HasSubstr(R"("problems":[])"));
}

TEST_F(EnvironmentCheck, AnOracleThatDoesNotSolveIsNamedWithTheVerifiersWords) {
  const auto report = check_with("names = NAME.solve(task, db)", "names = { 'red cup' }");
  EXPECT_EQ(report.oracle.hits, 0U);
  EXPECT_THAT(report.problems, Contains(HasSubstr("the oracle does not solve it: 1 things, must")));
}

TEST_F(EnvironmentCheck, ToolsThatTheOracleCannotUseAreNamed) {
  const auto report = check_with("arguments = { shelf = 1 }", "arguments = { shelves = 1 }");
  EXPECT_THAT(report.problems, IsEmpty()) << "the answer is right still";
  const auto wrong = check_with("arguments = { names =", "arguments = { thing_names =");
  EXPECT_THAT(wrong.problems, Contains(HasSubstr("submit: error: parameter 'names': is missing")));
}

TEST_F(EnvironmentCheck, AVerifierThatAcceptsAnythingFailsByItsMutants) {
  const auto report = check_with("ok = #violations == 0", "ok = true");
  EXPECT_LT(report.mutants.share(), 0.5);
  EXPECT_THAT(report.problems, Contains(HasSubstr("changed solutions were refused, 90% must be")));
}

TEST_F(EnvironmentCheck, AVerifierThatRaisesIsAProblemOfItsTask) {
  const auto report = check_with("if #answer ~= task.count", "if #answer.x.y ~= task.count");
  EXPECT_THAT(report.problems, Contains(HasSubstr("verify: NAME.lua:")));
}

TEST_F(EnvironmentCheck, WorldsAndTasksThatDependOnChanceAreFound) {
  // The order of keys that are tables follows from where they lie in memory: the nearest thing to
  // chance that scripts can reach.
  const std::string chance =
      "(function() local keys, sum = {}, 0 for i = 1, 100 do keys[{}] = i end "
      "for _, i in pairs(keys) do sum = (sum * 31 + i) % 1000003 end return sum end)()";
  const auto world = check_with("name, shelf, rng:int(10, 300))",
                                "name, shelf, rng:int(10, 300) + " + chance + ")");
  EXPECT_THAT(world.problems, Contains(HasSubstr("built again, it is another world")));
  const auto task =
      check_with("text = text:format(count, sum)", "text = text:format(count, sum) .. " + chance);
  EXPECT_THAT(task.problems, Contains(HasSubstr("drawn again, it is another task")));
}

TEST_F(EnvironmentCheck, ASolverThatGivesUpIsSeen) {
  const auto some =
      check_with("local names = search(1, task.count, task.sum)",
                 "local names = task.seed % 2 == 0 and search(1, task.count, task.sum)");
  EXPECT_EQ(some.num_infeasible, 10U);
  EXPECT_EQ(some.oracle.total, 10U);
  const auto all = check_with("if names then return names end", "");
  EXPECT_THAT(all.problems, Contains(HasSubstr("the solver finds none of the tasks feasible")));
}

TEST_F(EnvironmentCheck, AToolThatIsNotAsIdempotentAsItSaysIsFound) {
  const auto report = check_with("ctx.state.submitted = args.names",
                                 "ctx.state.submitted = ctx.state.submitted and {} or args.names");
  EXPECT_THAT(report.problems,
              Contains(HasSubstr("submit calls itself idempotent; made twice it changes")));
}

TEST_F(EnvironmentCheck, AToolWithoutAnEffectAndAnUndeclaredKindAreFound) {
  const auto effect = check_with("    effect = \"idempotent\",\n", "");
  EXPECT_THAT(effect.problems, Contains(HasSubstr("tool 'submit' declares no effect")));
  const auto kind = check_with("kinds = { \"pair\", \"triple\" }", "kinds = { \"pair\" }");
  EXPECT_THAT(kind.problems, IsEmpty()) << "it draws from its kinds";
  const auto other = check_with("    kind = kind,\n", "    kind = \"quartet\",\n");
  EXPECT_THAT(other.problems, Contains(HasSubstr("its kind 'quartet' is not one of the declared")));
}

TEST_F(EnvironmentCheck, DifficultyThatTakesLessEffortIsFound) {
  const auto report = check_with("effort = count", "effort = 9 - count");
  EXPECT_THAT(report.problems, Contains(HasSubstr("difficulty 2 takes an effort of 6.00")));
}

TEST_F(EnvironmentCheck, AnEnvironmentThatDoesNotOpenIsAnError) {
  folder_.write("NAME.lua", "return {");
  CheckOptions options;
  options.world.library = folder_.path();
  options.world.name = "NAME";
  EXPECT_FALSE(check_environment(options, pool_.get_executor()));
}

}  // namespace
}  // namespace ponder::tools
