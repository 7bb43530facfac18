#include "tools/code/code_tools.h"

#include <gtest/gtest.h>

#include <boost/asio/steady_timer.hpp>
#include <boost/asio/thread_pool.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <cstdlib>
#include <functional>
#include <optional>

#include "base/async/task_group.h"
#include "tests/tools/call_tool.h"
#include "tests/tools/temporary_folder.h"
#include "tools/process/sandbox_support.h"

namespace ponder::tools {
namespace {

namespace asio = boost::asio;

class CodeTools : public testing::Test {
 protected:
  void SetUp() override {
    const Status status = check_support(sandbox_support(), Isolation::isolated);
    if (!status) GTEST_SKIP() << status.error().message;
    CodeProject project;
    project.folder = folder_.path();
    project.test_command = "sh run-tests";
    project.test_reports = "reports/*.xml";
    const Status added = add_code_tools(registry_, project, pool_.get_executor());
    ASSERT_TRUE(added.has_value()) << added.error().message;
  }

  Result<ToolOutput> call(const std::string& name, const std::string& arguments,
                          Deadline deadline = Deadline::never()) {
    const ToolContext context(system_clock(), deadline, 100'000);
    return tests::run_sync(
        tests::call_tool(registry_, {"", name, arguments}, {kRunPrograms}, context));
  }
  asio::awaitable<Result<ToolOutput>> invoke(std::string name, std::string arguments) {
    const ToolContext context(system_clock(), Deadline::never(), 100'000);
    const context::ToolCall call("", std::move(name), std::move(arguments));
    const std::vector<std::string> grants(1, kRunPrograms);
    auto output = co_await tests::call_tool(registry_, call, grants, context);
    co_return output;
  }
  static asio::awaitable<void> store(asio::awaitable<Result<ToolOutput>> work,
                                     std::optional<Result<ToolOutput>>* out) {
    return tests::store_result(std::move(work), out);
  }
  static asio::awaitable<void> wait_for(std::function<bool()> is_there) {
    asio::steady_timer timer(co_await asio::this_coro::executor);
    while (!is_there()) {
      timer.expires_after(std::chrono::milliseconds(10));
      co_await timer.async_wait(asio::use_awaitable);
    }
  }
  /// What `work` gives, which has a group of its own.
  using Work = std::function<asio::awaitable<Result<int>>(TaskGroup*)>;
  static asio::awaitable<Result<int>> run_with_group(Work work) {
    TaskGroup group(co_await asio::this_coro::executor);
    auto result = co_await work(&group);
    co_return result;
  }
  static int with_group(Work work) { return *tests::run_sync(run_with_group(std::move(work))); }
  void git(const std::string& command) {
    const std::string full = "git -C " + folder_.path().string() +
                             " -c user.name=t -c user.email=t@t " + command + " > /dev/null";
    ASSERT_EQ(std::system(full.c_str()), 0) << command;
  }

  tests::TemporaryFolder folder_;
  Registry registry_;
  boost::asio::thread_pool pool_{1};
};

TEST_F(CodeTools, TheModelReadsTheTestCommandAsItWasGiven) {
  EXPECT_NE(registry_.find("run_tests")->spec().description.find("(sh run-tests)"),
            std::string::npos);
}

TEST_F(CodeTools, ShellSaysWhatWasPrintedAndHowItEnded) {
  folder_.write("x", "content\n");
  EXPECT_EQ(call("shell", R"({"command":"cat x; pwd >/dev/null; echo e >&2; exit 2"})")->content,
            "content\n[standard error]\ne\n[exit code 2]\n");
  EXPECT_EQ(call("shell", R"({"command":"true"})")->content, "[exit code 0]\n");
}

TEST_F(CodeTools, ShellKillsWhatTakesTooLongAndSaysSo) {
  const auto output = call("shell", R"({"command":"sleep 600","seconds":1})");
  ASSERT_TRUE(output.has_value());
  EXPECT_EQ(output->content, "error: killed after 1 s; \"seconds\" gives it longer");
  const auto turn = Deadline::after(system_clock(), std::chrono::milliseconds(200));
  const auto ended = call("shell", R"({"command":"sleep 600"})", turn);
  ASSERT_FALSE(ended.has_value());
  EXPECT_EQ(ended.error().code, Errc::deadline);
}

TEST_F(CodeTools, TestRunnersAreAskedToNameEveryTestAndOtherProgramsAreNot) {
  folder_.write("run-tests", "echo \"test_a.py::test_it PASSED ($PYTEST_ADDOPTS, $GOFLAGS)\"\n");
  const auto tests = call("run_tests", "{}");
  EXPECT_NE(tests->content.find("1 passed, 0 failed, 0 skipped (pytest)"), std::string::npos);
  EXPECT_NE(tests->content.find("(-vv -p no:cacheprovider, -v)"), std::string::npos)
      << tests->content;
  const auto shell = call("shell", R"({"command":"echo \"($PYTEST_ADDOPTS, $GOFLAGS)\""})");
  EXPECT_EQ(shell->content, "(, )\n[exit code 0]\n");
}

TEST_F(CodeTools, ShellCannotReachTheRepositorysHooks) {
  git("init -q");
  const auto output = call("shell", R"({"command":"echo evil > .git/hooks/pre-commit"})");
  ASSERT_TRUE(output.has_value());
  EXPECT_NE(output->content.find("[exit code "), std::string::npos);
  EXPECT_FALSE(std::filesystem::exists(folder_.path() / ".git/hooks/pre-commit"));
}

TEST_F(CodeTools, ARepositoryThatAProgramMakesIsRemoved) {
  const auto output =
      call("shell", R"({"command":"mkdir -p sub/.git/hooks; echo evil > sub/.git/config"})");
  ASSERT_TRUE(output.has_value());
  EXPECT_NE(output->content.find("was removed: a repository may not be made here]"),
            std::string::npos);
  EXPECT_FALSE(std::filesystem::exists(folder_.path() / "sub/.git"));
}

TEST_F(CodeTools, ALinkInARepositorysPlaceIsRemovedToo) {
  const auto output =
      call("shell", R"({"command":"mkdir own; echo evil > own/config; ln -s own .git"})");
  ASSERT_TRUE(output.has_value());
  EXPECT_NE(output->content.find("was removed: a repository may not be made here]"),
            std::string::npos);
  EXPECT_FALSE(std::filesystem::is_symlink(folder_.path() / ".git"));
}

/// What git would run for whoever stands in a folder that is itself a repository, by any name.
constexpr const char* kMakeItRun =
    "git config core.bare false; git config core.worktree .; "
    "git config core.fsmonitor 'touch evil; false'";

TEST_F(CodeTools, AFolderThatAProgramMakesARepositoryIsNoneAfterwards) {
  const std::string init = std::string("git init -q --bare; ") + kMakeItRun;
  for (const std::string folder : {".", "sub", "sub/deeper"}) {
    SCOPED_TRACE(folder);
    const std::string command = "mkdir -p " + folder + "; cd " + folder + "; " + init;
    const auto output = call("shell", "{\"command\":\"" + command + "\"}");
    ASSERT_TRUE(output.has_value());
    EXPECT_NE(output->content.find("HEAD was removed: a repository may not be made here]"),
              std::string::npos)
        << output->content;
    const auto place = folder_.path() / folder;
    EXPECT_TRUE(std::filesystem::exists(place / "config"));
    EXPECT_NE(std::system(("cd " + place.string() + " && git status >/dev/null 2>&1").c_str()), 0);
    EXPECT_FALSE(std::filesystem::exists(place / "evil"));
  }
}

TEST_F(CodeTools, AFolderWhoseRepositoryLiesElsewhereIsNoneAfterwards) {
  const auto output = call("shell", R"({"command":"mkdir -p a/objects a/refs b; )"
                                    R"(echo ../a > b/commondir; ln -s refs/heads/main b/HEAD"})");
  ASSERT_TRUE(output.has_value());
  EXPECT_FALSE(std::filesystem::is_symlink(folder_.path() / "b/HEAD")) << output->content;
}

TEST_F(CodeTools, AFolderThatIsARepositoryStaysAsItIs) {
  git("init -q --bare sub");
  std::filesystem::create_directory(folder_.path() / "sub/.git");
  const auto output = call("shell", R"({"command":"echo evil >> sub/config; )"
                                    R"(echo evil > sub/hooks/pre-push; echo evil > sub/.git/x"})");
  ASSERT_TRUE(output.has_value());
  EXPECT_FALSE(std::filesystem::exists(folder_.path() / "sub/hooks/pre-push"));
  EXPECT_FALSE(std::filesystem::exists(folder_.path() / "sub/.git/x"));
  EXPECT_TRUE(std::filesystem::exists(folder_.path() / "sub/HEAD")) << output->content;
  EXPECT_EQ(folder_.read("sub/config").find("evil"), std::string::npos);
}

TEST_F(CodeTools, NothingRunsInARepositoryWithoutFilesToWorkOn) {
  git("init -q --bare");
  const auto output = call("shell", R"({"command":"true"})");
  const std::string said = output ? output->content : output.error().message;
  EXPECT_NE(said.find("is itself a git repository"), std::string::npos) << said;
}

TEST_F(CodeTools, ARepositoryIsRemovedWhenItsCallIsCancelled) {
  const auto until = [this] { return std::filesystem::exists(folder_.path() / "ready"); };
  const auto cancel = [this, until](TaskGroup* group) -> asio::awaitable<Result<int>> {
    std::optional<Result<ToolOutput>> output;
    group->spawn(
        store(invoke("shell", R"({"command":"mkdir sub; mkdir sub/.git; touch ready; sleep 600"})"),
              &output));
    co_await wait_for(until);
    group->cancel();
    co_await group->join();
    co_return output && !*output && (*output).error().code == Errc::cancelled ? 1 : 0;
  };
  EXPECT_EQ(with_group(cancel), 1);
  EXPECT_TRUE(until());
  EXPECT_TRUE(std::filesystem::exists(folder_.path() / "sub"));
  EXPECT_FALSE(std::filesystem::exists(folder_.path() / "sub/.git"));
}

/// The second program finds the first one's repository there when it begins, and makes it anew.
TEST_F(CodeTools, ARepositoryIsRemovedWhenAnotherProgramSawIt) {
  const auto until = [this] { return std::filesystem::exists(folder_.path() / "first"); };
  const auto both = [this, until](TaskGroup* group) -> asio::awaitable<Result<int>> {
    std::optional<Result<ToolOutput>> first;
    std::optional<Result<ToolOutput>> second;
    group->spawn(store(invoke("shell", R"({"command":"mkdir -p x/.git; touch first; )"
                                       R"(while [ ! -e second ]; do sleep 0.02; done"})"),
                       &first));
    co_await wait_for(until);
    group->spawn(
        store(invoke("shell", R"({"command":"touch second; i=0; )"
                              R"(while [ -e x/.git -a $((i=i+1)) -lt 30 ]; do sleep 0.05; )"
                              R"(done; mkdir -p x/.git; echo evil > x/.git/config"})"),
              &second));
    co_await group->join();
    co_return first&& second && *first && *second ? 1 : 0;
  };
  EXPECT_EQ(with_group(both), 1);
  EXPECT_TRUE(std::filesystem::exists(folder_.path() / "x"));
  EXPECT_FALSE(std::filesystem::exists(folder_.path() / "x/.git"));
}

TEST_F(CodeTools, GitDiffShowsChangesAndRunsNothing) {
  git("init -q");
  folder_.write("x", "a\n");
  folder_.write(".gitattributes", "x diff=evil\n");
  git("add -A");
  git("commit -q -m first");
  git("config diff.evil.textconv 'touch evil; cat'");
  git("config core.fsmonitor 'touch evil'");
  folder_.write("x", "b\n");
  const auto output = call("git_diff", "{}");
  ASSERT_TRUE(output.has_value());
  EXPECT_NE(output->content.find("-a\n+b\n"), std::string::npos) << output->content;
  EXPECT_FALSE(std::filesystem::exists(folder_.path() / "evil"));
}

TEST_F(CodeTools, GitDiffSaysThatThereIsNoRepositoryAndNotHowGitIsCalled) {
  for (const char* arguments : {"{}", R"({"path":".git"})"}) {
    const auto output = call("git_diff", arguments);
    ASSERT_TRUE(output.has_value());
    EXPECT_EQ(output->content,
              std::string(kNoRepository) + ": there is nothing to compare with\n[exit code 129]\n");
  }
}

TEST_F(CodeTools, RunTestsNamesWhatFailed) {
  folder_.write("run-tests",
                "echo 'ok 1 - adds'\necho \"not ok 2 - subtracts $1\"\necho 'ok 3 - later # SKIP'\n"
                "exit 1\n");
  const auto output = call("run_tests", R"({"arguments":["twice"]})");
  ASSERT_TRUE(output.has_value());
  EXPECT_TRUE(
      output->content.starts_with("1 passed, 1 failed, 1 skipped (tap)\nfailed: subtracts twice\n"))
      << output->content;
  EXPECT_TRUE(output->content.ends_with("[exit code 1]\n"));
}

TEST_F(CodeTools, RunTestsReadsTheReportThatTheTestsWrote) {
  folder_.write("reports/old.xml", "<testsuite><testcase name=\"stale\"/></testsuite>");
  folder_.write("run-tests",
                "echo 'ok 1 - printed'\ncat > reports/new.xml <<END\n"
                "<testsuite><testcase name=\"adds\"/><testcase name=\"subtracts\">"
                "<failure message=\"got $1\"/></testcase></testsuite>\nEND\nexit 1\n");
  const auto output = call("run_tests", R"({"arguments":["7"]})");
  ASSERT_TRUE(output.has_value());
  EXPECT_TRUE(
      output->content.starts_with("1 passed, 1 failed, 0 skipped (junit)\n"
                                  "failed: subtracts: got 7\nok 1 - printed\n"))
      << output->content;
}

TEST_F(CodeTools, WithoutAReportRunTestsSaysSoAndReadsTheOutput) {
  folder_.write("run-tests", "echo 'ok 1 - printed'\n");
  const auto output = call("run_tests", "{}");
  ASSERT_TRUE(output.has_value());
  EXPECT_TRUE(
      output->content.starts_with("1 passed, 0 failed, 0 skipped (tap)\n"
                                  "[reports/*.xml: the run wrote no such file]\n"))
      << output->content;
}

TEST_F(CodeTools, RunTestsSaysWhenItUnderstandsNothing) {
  folder_.write("run-tests", "echo all is well; echo '<x/>' > reports/x.xml\n");
  folder_.write("reports/.keep", "");
  EXPECT_EQ(call("run_tests", "{}")->content,
            "0 passed, 0 failed, 0 skipped (no test runner's output was recognised)\n"
            "[reports/x.xml: the root is <x>, not <testsuites> or <testsuite>]\n"
            "all is well\n[exit code 0]\n");
}

}  // namespace
}  // namespace ponder::tools
