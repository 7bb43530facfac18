#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <boost/asio/thread_pool.hpp>
#include <fstream>
#include <nlohmann/json.hpp>
#include <set>

#include "runtime/store/sqlite_session_store.h"
#include "runtime/workflow/eval.h"
#include "runtime/workflow/fix_workflow.h"
#include "tests/runtime/scripted_steps.h"
#include "tests/runtime/support.h"
#include "tools/environment.h"
#include "tools/fix/fix_tasks.h"
#include "tools/process/sandbox_support.h"

/// Made tasks of fixing code, as `ponder eval codefix` runs them.
namespace ponder::runtime {
namespace {

namespace fs = std::filesystem;
const fs::path kLibrary = fs::path("tools") / "library";
constexpr std::uint64_t kSeed = 1'000'000;

constexpr std::uint64_t kNumPlaces = 693;  // of bugs, as docs/fixing-code.md says

/// The environment that makes the tasks.
class Codefix {
 public:
  Codefix() {
    tools::WorldOptions world;
    world.library = kLibrary;
    world.name = "codefix";
    environment_ = std::move(*tools::Environment::open(world, pool_.get_executor()));
  }
  Result<tools::GeneratedFixTask> task(std::uint64_t seed, const std::string& kind) const {
    PONDER_TRY(const tools::Task task, environment_->task(seed, kind));
    return tools::generated_fix_task(task.json);
  }

 private:
  boost::asio::thread_pool pool_{1};
  std::unique_ptr<tools::Environment> environment_;
};

class CodefixEvalTest : public ::testing::Test {
 protected:
  void SetUp() override {
    const Status status =
        tools::check_support(tools::sandbox_support(), tools::Isolation::isolated);
    if (!status) GTEST_SKIP() << status.error().message;
  }

  static EvalOptions options(const std::string& kind, std::uint32_t count) {
    EvalOptions how;
    how.workflow = "codefix";
    how.library = kLibrary;
    how.count = count;
    how.seed = kSeed;
    how.kind = kind;
    how.concurrency_max = 2;
    return how;
  }
  EvalReport evaluate(const EvalOptions& how, std::vector<ScriptedStep> script) {
    auto store = std::move(*SqliteSessionStore::open(dir_.path() / "s.db", system_clock()));
    ScriptedModel model(std::move(script));
    boost::asio::io_context context;
    auto report =
        test::run(context, run_eval(model, *store, system_clock(), how, [](const EvalCase&) {}));
    if (!report) ADD_FAILURE() << report.error().message;
    return report ? *report : EvalReport();
  }
  /// An agent that knows the reference patches.
  static std::vector<ScriptedStep> oracle(const EvalOptions& how) {
    const Codefix codefix;
    std::vector<ScriptedStep> script;
    for (std::uint64_t i = 0; i < how.count; ++i) {
      const auto task = *codefix.task(how.seed + i, how.kind);
      const std::string when = "(" + task.info.id + ")";
      script.push_back(test::calls("apply_patch", {{"patch", task.reference_patch}}));
      script.back().when = when;
      script.push_back(test::says("Fixed."));
      script.back().when = when;
    }
    return script;
  }
  void expect_all_solved(const std::string& language, std::uint32_t count) {
    const EvalOptions how = options(language, count);
    const EvalReport report = evaluate(how, oracle(how));
    ASSERT_EQ(report.cases.size(), count);
    for (const EvalCase& c : report.cases) {
      EXPECT_TRUE(c.is_solved) << language << " " << c.task_seed << " " << c.kind << ": "
                               << c.failure;
    }
  }

  test::TempDir dir_{"/var/tmp"};
};

TEST_F(CodefixEvalTest, TheReferencePatchesSolvePythonTasks) { expect_all_solved("python", 12); }
TEST_F(CodefixEvalTest, TheReferencePatchesSolveLuaTasks) { expect_all_solved("lua", 14); }
TEST_F(CodefixEvalTest, TheReferencePatchesSolveCppTasks) { expect_all_solved("cpp", 4); }

TEST_F(CodefixEvalTest, AnAgentThatDoesNothingSolvesNone) {
  const EvalOptions how = options("lua", 6);
  std::vector<ScriptedStep> script;
  for (std::uint32_t i = 0; i < how.count; ++i) script.push_back(test::says("Looks right to me."));
  for (const EvalCase& c : evaluate(how, std::move(script)).cases) {
    EXPECT_FALSE(c.is_solved) << c.task_seed;
    EXPECT_FALSE(c.failure.empty());
  }
}

TEST_F(CodefixEvalTest, ATaskThatCannotBeOpenedIsCountedAndNamed) {
  test::TempDir tasks("/var/tmp");
  const Codefix codefix;
  for (const std::uint64_t seed : {kSeed, kSeed + 1}) {
    const auto task = *codefix.task(seed, "lua");
    ASSERT_TRUE(tools::write_fix_task(tasks.path() / std::to_string(seed), task));
  }
  std::ofstream(tasks.path() / std::to_string(kSeed) / "task.json") << "no JSON";
  EvalOptions how = options("", 2);
  how.workflow = kFixWorkflow;
  how.fix.tasks = tasks.path();
  how.seed = 0;
  const EvalReport report = evaluate(how, {test::says("Looks right to me.")});
  ASSERT_EQ(report.cases.size(), 2U);
  EXPECT_EQ(report.cases[0].reason, "not opened");
  EXPECT_THAT(report.cases[0].failure, ::testing::HasSubstr("task.json"));
  EXPECT_EQ(report.cases[1].reason, "wrong answer");
  EXPECT_THAT(eval_table(report), ::testing::HasSubstr("not solved, not opened: 1"));
}

TEST(Codefix, HasHundredsOfPlacesForBugsOfManyClasses) {
  const Codefix codefix;
  std::set<std::string> classes;
  std::set<std::string> patches;
  for (std::uint64_t i = 0; i < kNumPlaces; ++i) {
    const auto task = codefix.task(kSeed + i, "");
    ASSERT_TRUE(task) << task.error().message;
    classes.insert(task->info.bug_class);
    patches.insert(task->reference_patch);
  }
  EXPECT_GE(classes.size(), 12U);
  EXPECT_EQ(patches.size(), kNumPlaces) << "no task comes twice";
}

TEST(Codefix, ASeedIsATask) {
  const auto one = *Codefix().task(7, "lua");
  const auto again = *Codefix().task(7, "lua");
  EXPECT_EQ(one.files, again.files);
  EXPECT_EQ(one.info.issue, again.info.issue);
  EXPECT_EQ(one.info.language, "lua");
}

TEST(Codefix, TheModelIsNotToldTheClass) {
  const Codefix codefix;
  for (std::uint64_t seed = 0; seed < 50; ++seed) {
    const auto task = *codefix.task(seed, "");
    EXPECT_EQ(task.info.issue.find(task.info.bug_class), std::string::npos);
    for (const auto& [path, text] : task.files) EXPECT_EQ(text.find("@@"), std::string::npos);
  }
}

TEST(FixTasks, AFolderHoldsWhatWasMade) {
  test::TempDir dir("/var/tmp");
  const auto task = *Codefix().task(3, "python");
  ASSERT_TRUE(tools::write_fix_task(dir.path() / "t", task));
  EXPECT_FALSE(tools::write_fix_task(dir.path() / "t", task)) << "nothing is overwritten";
  const auto info = tools::read_fix_task(dir.path() / "t");
  ASSERT_TRUE(info) << info.error().message;
  EXPECT_EQ(info->id, task.info.id);
  EXPECT_EQ(info->test_command, task.info.test_command);
  EXPECT_EQ(info->issue, task.info.issue);
  EXPECT_EQ(tools::list_fix_tasks(dir.path())->size(), 1U);
  fs::remove(dir.path() / "t/issue.md");
  EXPECT_EQ(tools::read_fix_task(dir.path() / "t").error().code, Errc::not_found);
}

}  // namespace
}  // namespace ponder::runtime
