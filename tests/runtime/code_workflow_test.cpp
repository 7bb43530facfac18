#include "runtime/workflow/code_workflow.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/cancellation_signal.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/thread_pool.hpp>
#include <chrono>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>
#include <optional>

#include "runtime/agent/agent.h"
#include "runtime/model/scripted_model.h"
#include "runtime/store/sqlite_session_store.h"
#include "runtime/workflow/judging.h"
#include "tests/runtime/scripted_steps.h"
#include "tests/runtime/support.h"
#include "tools/process/sandbox_support.h"

namespace ponder::runtime {
namespace {

namespace asio = boost::asio;
namespace fs = std::filesystem;
using nlohmann::json;
using ::testing::HasSubstr;

using test::calls;
using test::says;

class CodeWorkflowTest : public ::testing::Test {
 protected:
  void SetUp() override {
    const Status status =
        tools::check_support(tools::sandbox_support(), tools::Isolation::isolated);
    if (!status) GTEST_SKIP() << status.error().message;
    const std::string git =
        "git -C " + project_.path().string() + " -c user.name=t -c user.email=t@t ";
    write("add.sh", "echo $(($1 - $2))\n");
    write("test.sh",
          "if test $(sh add.sh 2 2) = 4; then echo 'ok 1 - adds'; else\n"
          "echo 'not ok 1 - adds'; exit 1; fi\n");
    ASSERT_EQ(std::system((git + "init -q").c_str()), 0);
    ASSERT_EQ(std::system((git + "add -A").c_str()), 0);
    ASSERT_EQ(std::system((git + "commit -q -m start").c_str()), 0);
    store_ = std::move(*SqliteSessionStore::open(dir_.path() / "sessions.db", system_clock()));
  }

  void write(const std::string& file, const std::string& text) {
    std::ofstream(project_.path() / file) << text;
  }
  static std::string read(const fs::path& file) {
    std::ifstream in(file);
    return {std::istreambuf_iterator<char>(in), {}};
  }
  WorkflowOptions options() const {
    WorkflowOptions how;
    how.name = kCodeWorkflow;
    how.request = "the sum is wrong";
    how.directory = dir_.path() / "out";
    how.project.folder = project_.path();
    how.project.test_command = "sh test.sh";
    return how;
  }
  std::unique_ptr<Workflow> open() {
    auto workflow = Workflow::open(options());
    PONDER_ASSERT(workflow.has_value());
    return std::move(*workflow);
  }
  void run(Workflow& workflow, std::vector<ScriptedStep> script) {
    model_ = std::make_unique<ScriptedModel>(std::move(script));
    AgentParts parts(*model_, workflow.registry(), *store_, system_clock());
    parts.grants = workflow.grants();
    parts.approvals.mode = ApprovalMode::always;
    SessionStarted start = workflow.session_start();
    start.limits = limits_;
    agent_ = std::move(*test::run(context_, Agent::start(parts, start)));
    ASSERT_TRUE(test::run(context_, agent_->run_turn(workflow.request())));
  }

  test::TempDir dir_;
  test::TempDir project_;
  asio::io_context context_;
  std::unique_ptr<SessionStore> store_;
  std::unique_ptr<ScriptedModel> model_;
  std::unique_ptr<Agent> agent_;
  Limits limits_;
};

TEST_F(CodeWorkflowTest, AFixIsMadeTestedJudgedAndWrittenDownAsAPatch) {
  const auto workflow = open();
  run(*workflow, {calls("run_tests", json::object()), calls("read", {{"path", "add.sh"}}),
                  calls("edit", {{"path", "add.sh"}, {"old", "$1 - $2"}, {"new", "$1 + $2"}}),
                  calls("run_tests", json::object()), says("It subtracted.")});
  const auto history = agent_->state().history();
  std::vector<std::string> results;
  for (const auto& message : history) {
    if (message.role == context::Role::tool) results.push_back(message.content);
  }
  ASSERT_EQ(results.size(), 4U);
  EXPECT_THAT(results[0], HasSubstr("0 passed, 1 failed, 0 skipped (tap)\nfailed: adds\n"));
  EXPECT_THAT(results[1], HasSubstr("1\techo $(($1 - $2))"));
  EXPECT_THAT(results[2], HasSubstr("+echo $(($1 + $2))"));
  EXPECT_THAT(results[3], HasSubstr("1 passed, 0 failed"));

  const auto verdict = workflow->judge(agent_->state());
  ASSERT_TRUE(verdict) << verdict.error().message;
  EXPECT_TRUE(verdict->is_solved) << verdict->detail;
  EXPECT_EQ(verdict->detail, "sh test.sh: 1 passed, 0 failed, 0 skipped (tap)");
  const auto files = workflow->write_artefacts(dir_.path() / "out", agent_->id(), agent_->state());
  ASSERT_TRUE(files) << files.error().message;
  EXPECT_THAT(read(dir_.path() / "out/changes.patch"), HasSubstr("+echo $(($1 + $2))"));
}

TEST_F(CodeWorkflowTest, APatchOutsideOfARepositoryIsRefusedBeforeTheWorkBegins) {
  fs::remove_all(project_.path() / ".git");
  WorkflowOptions how = options();
  const auto refused = Workflow::open(how);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, Errc::invalid_argument);
  EXPECT_THAT(refused.error().message, HasSubstr("is not in a git repository"));
  how.directory.clear();  // nothing is to be written
  EXPECT_TRUE(Workflow::open(how));
}

TEST_F(CodeWorkflowTest, ARepositoryThatIsGoneInTheEndLeavesTheVerdictAndASentence) {
  const auto workflow = open();
  run(*workflow, {says("It is fine as it is.")});
  fs::remove_all(project_.path() / ".git");
  const auto files = workflow->write_artefacts(dir_.path() / "out", agent_->id(), agent_->state());
  ASSERT_TRUE(files) << files.error().message;
  EXPECT_EQ(read(dir_.path() / "out/changes.patch"), "# the folder is not in a git repository\n");
}

TEST_F(CodeWorkflowTest, ThePatchHoldsNewFilesAndWhatWasStagedAndNotItself) {
  write("add.sh", "echo $(($1 + $2))\n");
  const std::string git = "git -C " + project_.path().string() + " ";
  ASSERT_EQ(std::system((git + "add -A").c_str()), 0);
  write("new.txt", "first line\n");
  write("noise.log", "noise\n");
  write(".gitignore", "*.log\n");
  fs::create_directories(project_.path() / "found");
  write("found/old.patch", "an earlier one\n");
  const auto index = read(project_.path() / ".git/index");
  const auto workflow = open();
  const auto files = workflow->write_artefacts(project_.path() / "found", {}, SessionState());
  ASSERT_TRUE(files) << files.error().message;
  const std::string patch = read(project_.path() / "found/changes.patch");
  EXPECT_THAT(patch, HasSubstr("+echo $(($1 + $2))"));
  EXPECT_THAT(patch, HasSubstr("+first line"));
  EXPECT_EQ(patch.find("noise\n"), std::string::npos);
  EXPECT_EQ(patch.find("an earlier one"), std::string::npos);
  EXPECT_EQ(read(project_.path() / ".git/index"), index) << "nothing is staged by it";
  std::ofstream(dir_.path() / "changes.patch") << patch;
  const std::string fresh = (dir_.path() / "fresh").string();
  ASSERT_EQ(std::system((git + "worktree add -q " + fresh + " HEAD").c_str()), 0);
  ASSERT_EQ(std::system(
                ("git -C " + fresh + " apply " + (dir_.path() / "changes.patch").string()).c_str()),
            0)
      << patch;
  EXPECT_EQ(read(fs::path(fresh) / "new.txt"), "first line\n");
}

TEST_F(CodeWorkflowTest, TestsThatStillFailAreNotSolved) {
  const auto workflow = open();
  run(*workflow, {says("It is fine as it is.")});
  const auto verdict = workflow->judge(agent_->state());
  ASSERT_TRUE(verdict) << verdict.error().message;
  EXPECT_FALSE(verdict->is_solved);
  EXPECT_EQ(verdict->detail, "sh test.sh: 0 passed, 1 failed, 0 skipped (tap)");
}

TEST_F(CodeWorkflowTest, TestsMayTakeLongerThanAUsualCall) {
  write("test.sh", "sleep 0.4\necho 'ok 1 - adds'\n");
  limits_.tool_ms_max = 50;
  const auto workflow = open();
  run(*workflow, {calls("run_tests", json::object()), calls("shell", {{"command", "sleep 0.4"}}),
                  says("Fine.")});
  std::vector<std::string> results;
  for (const auto& message : agent_->state().history()) {
    if (message.role == context::Role::tool) results.push_back(message.content);
  }
  ASSERT_EQ(results.size(), 2U);
  EXPECT_THAT(results[0], HasSubstr("1 passed"));
  EXPECT_THAT(results[1], HasSubstr("[exit code 0]"));
}

TEST_F(CodeWorkflowTest, AJudgementThatIsStoppedEndsAtOnceWithAllThatItStarted) {
  write("test.sh", "sh -c 'while :; do sleep 0.02; echo x >> alive; done' &\nsleep 1000\n");
  const auto workflow = open();
  run(*workflow, {says("It is fine as it is.")});
  const fs::path alive = project_.path() / "alive";
  asio::thread_pool judging(1);
  asio::cancellation_signal stop;
  std::optional<Result<WorkflowVerdict>> verdict;
  asio::co_spawn(context_, judge_on(judging.get_executor(), *workflow, agent_->state()),
                 asio::bind_cancellation_slot(
                     stop.slot(), [&verdict](std::exception_ptr, Result<WorkflowVerdict> judged) {
                       verdict.emplace(std::move(judged));
                     }));
  context_.restart();
  const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(30);
  while (!fs::exists(alive) && std::chrono::steady_clock::now() < end) context_.poll();
  ASSERT_TRUE(fs::exists(alive));
  stop.emit(asio::cancellation_type::terminal);
  context_.run();
  ASSERT_TRUE(verdict.has_value());
  ASSERT_FALSE(*verdict);
  EXPECT_EQ(verdict->error().code, Errc::cancelled);
  const auto size = fs::file_size(alive);
  asio::steady_timer a_while(context_, std::chrono::milliseconds(200));
  a_while.wait();
  EXPECT_EQ(fs::file_size(alive), size) << "something is still running";
}

TEST_F(CodeWorkflowTest, ASessionGoesOnInTheSameFolder) {
  const auto workflow = open();
  const SessionStarted start = workflow->session_start();
  EXPECT_THAT(start.environment, HasSubstr("\"sandbox\":\"isolated\""));
  const auto logged = json::parse(start.environment)["protections"].get<std::vector<std::string>>();
  std::vector<std::string> expected = tools::describe(tools::sandbox_support());
  expected.insert(expected.begin(), "programs: isolated");
  EXPECT_EQ(logged, expected) << "the log says what kept its programs in";
  const auto again = reopen_code_workflow(start, {});
  ASSERT_TRUE(again) << again.error().message;
  EXPECT_EQ((*again)->session_start().environment, start.environment);
  EXPECT_EQ((*again)->request(), "the sum is wrong");
}

TEST_F(CodeWorkflowTest, AFolderThatIsGoneIsAClearError) {
  const auto workflow = open();
  SessionStarted start = workflow->session_start();
  fs::remove_all(project_.path());
  const auto again = reopen_code_workflow(start, {});
  ASSERT_FALSE(again);
  EXPECT_EQ(again.error().code, Errc::not_found);
}

}  // namespace
}  // namespace ponder::runtime
