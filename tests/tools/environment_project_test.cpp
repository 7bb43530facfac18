#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <boost/asio/thread_pool.hpp>
#include <filesystem>
#include <memory>
#include <string>
#include <utility>

#include "tests/tools/script_folder.h"
#include "tools/environment_check.h"
#include "tools/player.h"
#include "tools/process/sandbox_support.h"

// Environments whose tasks are projects: files and a command, run in the sandbox.
namespace ponder::tools {
namespace {

using ::testing::Contains;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

constexpr const char* kSums = R"lua(
local RUN = [[
count=0
check() {
  count=$((count + 1))
  if [ "$(sh sum.sh "$1" "$2")" = "$3" ]; then result=ok; else result='not ok'; fi
  echo "$result $count - sum of $1 and $2"
}
for file in tests/*_test.sh; do . "$file"; done
]]
local sums = { name = 'sums', description = 'Wrong sums.', project = true, kinds = { 'sum' } }
function sums.task(seed, db, kind)
  local a, b = seed % 7 + 2, seed % 5 + 3
  return {
    id = 'sums-' .. seed, kind = 'sum', text = 'sum.sh gives wrong results.',
    files = {
      ['sum.sh'] = 'echo $(($1 - $2))\n',
      ['tests/run.sh'] = RUN,
      ['tests/first_test.sh'] = ('check %d %d %d\n'):format(a, b, a + b),
    },
    hidden = { ['tests/second_test.sh'] = 'check 40 2 42\n' },
    test = 'sh tests/run.sh', seconds = 20, sum = a + b,
  }
end
function sums.oracle(task)
  return { { tool = 'edit', arguments = { path = 'sum.sh', old = '-', new = '+' } } }
end
return sums
)lua";

class EnvironmentProject : public ::testing::Test {
 protected:
  void SetUp() override {
    const Status status = check_support(sandbox_support(), Isolation::isolated);
    if (!status) GTEST_SKIP() << status.error().message;
  }

  /// Opens `kSums` with `old` replaced, which must be there.
  Result<std::unique_ptr<Environment>> open(const std::string& old = "name",
                                            const std::string& with = "name") {
    std::string text = kSums;
    const std::size_t at = text.find(old);
    EXPECT_NE(at, std::string::npos) << old;
    text.replace(at, old.size(), with);
    folder_.write("sums.lua", text);
    return Environment::open(world(), pool_.get_executor());
  }
  WorldOptions world() const {
    WorldOptions world;
    world.library = folder_.path();
    world.name = "sums";
    return world;
  }
  void begin() {
    environment_ = std::move(*open());
    task_ = *environment_->task(3);
    ASSERT_TRUE(environment_->begin(task_));
    player_ = std::move(*Player::make(*environment_));
  }
  void call_as_the_oracle() {
    const auto calls = environment_->oracle();
    ASSERT_TRUE(calls) << calls.error().message;
    for (const context::ToolCall& one : *calls) call(one.name, one.arguments);
  }
  std::string call(const std::string& tool, const std::string& arguments) {
    context::ToolCall call;
    call.name = tool;
    call.arguments = arguments;
    return player_->call(call, "test")->content;
  }

  tests::ScriptFolder folder_;
  boost::asio::thread_pool pool_{2};
  std::unique_ptr<Environment> environment_;
  std::unique_ptr<Player> player_;
  Task task_;
};

TEST_F(EnvironmentProject, TheTestsOfTheTaskAreTheVerifier) {
  begin();
  EXPECT_THAT(call("run_tests", "{}"), HasSubstr("failed: sum of 5 and 6"));
  const Judgement idle = *environment_->judge();
  EXPECT_FALSE(idle.is_solved);
  EXPECT_EQ(idle.detail, "nothing was changed that could mend it");
  call_as_the_oracle();
  const Judgement done = *environment_->judge();
  EXPECT_TRUE(done.is_solved) << done.detail;
  EXPECT_THAT(done.detail, HasSubstr("sum of 5 and 6"));
}

TEST_F(EnvironmentProject, HiddenTestsTellAnAnswerForTheVisibleOnes) {
  begin();
  call("write", R"({"path": "sum.sh", "content": "echo 11\n"})");
  EXPECT_THAT(call("run_tests", "{}"), HasSubstr("1 passed, 0 failed"));
  EXPECT_EQ(environment_->judge()->detail, "hidden tests fail: sum of 40 and 2");
}

TEST_F(EnvironmentProject, TestsThatWereChangedAreNotTheVerifier) {
  begin();
  call("write", R"({"path": "tests/first_test.sh", "content": "check 1 1 0\n"})");
  EXPECT_FALSE(environment_->judge()->is_solved);
}

TEST_F(EnvironmentProject, ATaskBegunAnewIsAsItWas) {
  begin();
  const std::string before = *environment_->dump();
  call("write", R"({"path": "sum.sh", "content": "echo 11\n"})");
  EXPECT_NE(*environment_->dump(), before);
  ASSERT_TRUE(environment_->begin(task_));
  EXPECT_EQ(*environment_->dump(), before);
}

TEST_F(EnvironmentProject, CheckFindsItSoundAndAnOracleThatIsNot) {
  ASSERT_TRUE(open());
  CheckOptions options;
  options.world = world();
  options.num_tasks = 2;
  options.random_calls = 4;
  const CheckReport report = *check_environment(options, pool_.get_executor());
  EXPECT_THAT(report.problems, IsEmpty());
  EXPECT_EQ(report.num_tools, 9U);
  EXPECT_EQ(report.oracle.hits, 2U);
  ASSERT_TRUE(open("new = '+'", "new = '*'"));
  options.num_tasks = 1;
  const CheckReport wrong = *check_environment(options, pool_.get_executor());
  EXPECT_THAT(wrong.problems, Contains(HasSubstr("the oracle does not solve it: no test that")));
}

TEST_F(EnvironmentProject, WhatIsNoProjectSaysWhatIsMissing) {
  EXPECT_THAT(open("project = true", "project = true, tools = { { name = 'x' } }").error().message,
              HasSubstr("no function run"));
  EXPECT_THAT(open("function sums.oracle(", "function sums.verify() end\nfunction sums.oracle(")
                  .error()
                  .message,
              HasSubstr("tools, verify and solve cannot be given"));
  const auto fault = [this](const std::string& old, const std::string& with) {
    const auto environment = std::move(*open(old, with));
    EXPECT_TRUE(environment->begin(*environment->task(1)));
    Registry registry;
    return environment->add_tools(registry).error().message;
  };
  EXPECT_EQ(fault("['sum.sh'] =", "['../sum.sh'] ="), "'../sum.sh' is no path in a project");
  EXPECT_THAT(fault("test = 'sh", "tests = 'sh"), HasSubstr("there is no field 'test'"));
  EXPECT_EQ(fault("files = {", "files = {}, others = {"), "the task's project has no files");
}

TEST_F(EnvironmentProject, ATaskNoTestOfWhichFailsIsAtFault) {
  environment_ = std::move(*open("$1 - $2", "$1 + $2"));
  ASSERT_TRUE(environment_->begin(*environment_->task(1)));
  EXPECT_EQ(environment_->judge().error().message, "no test of the exercise fails");
}

TEST_F(EnvironmentProject, CodefixIsOneAndTakesKindsInParts) {
  WorldOptions world;
  world.library = "tools/library";
  world.name = "codefix";
  environment_ = std::move(*Environment::open(world, pool_.get_executor()));
  EXPECT_THAT(environment_->card().kinds, Contains("off_by_one"));
  const auto task = environment_->task(1'000'000, "lua/off_by_one");
  ASSERT_TRUE(task) << task.error().message;
  EXPECT_EQ(task->kind, "off_by_one");
  ASSERT_TRUE(environment_->begin(*task));
  player_ = std::move(*Player::make(*environment_));
  call_as_the_oracle();
  EXPECT_TRUE(environment_->judge()->is_solved);
  EXPECT_THAT(
      environment_->task(1, "lua/wrong_colour").error().message,
      HasSubstr("there is no task of the kind 'lua/wrong_colour'; a kind is one of python"));
}

}  // namespace
}  // namespace ponder::tools
