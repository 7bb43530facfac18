#include "tools/process/run_process.h"

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <csignal>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <utility>
#include <vector>

#include "base/async/task_group.h"
#include "tests/tools/call_tool.h"
#include "tools/process/git_places.h"
#include "tools/process/sandbox_support.h"

namespace ponder::tools {
namespace {

namespace asio = boost::asio;
namespace fs = std::filesystem;
using tests::run_sync;

Deadline in_a_minute() { return Deadline::after(system_clock(), std::chrono::seconds(60)); }

class RunProcess : public testing::TestWithParam<Isolation> {
 protected:
  RunProcess() {
    std::string name = "/var/tmp/ponder-process-XXXXXX";
    EXPECT_NE(mkdtemp(name.data()), nullptr);
    work_ = fs::canonical(name);
  }
  ~RunProcess() override { fs::remove_all(work_); }

  void SetUp() override {
    const Status status = check_support(sandbox_support(), GetParam());
    if (!status) GTEST_SKIP() << status.error().message;
  }

  SandboxPolicy policy() const {
    SandboxPolicy policy;
    policy.isolation = GetParam();
    policy.writable = {work_};
    return policy;
  }
  /// A shell script in the writable folder.
  ProcessRequest shell(const std::string& script) const {
    ProcessRequest request({"sh", "-c", script});
    request.working_folder = work_;
    return request;
  }
  Result<ProcessResult> run(ProcessRequest request) {
    return run_sync(run_process(std::move(request), policy(), in_a_minute()));
  }
  std::string read(const std::string& name) const {
    std::ifstream in(work_ / name);
    return {std::istreambuf_iterator<char>(in), {}};
  }
  bool is_growing(const std::string& name) const {
    const auto before = fs::file_size(work_ / name);
    EXPECT_TRUE(run_sync(pause(std::chrono::milliseconds(300))).has_value());
    return fs::file_size(work_ / name) != before;
  }
  static asio::awaitable<Result<int>> pause(std::chrono::milliseconds time) {
    asio::steady_timer timer(co_await asio::this_coro::executor, time);
    co_await timer.async_wait(asio::use_awaitable);
    co_return 0;
  }

  fs::path work_;
};

TEST_P(RunProcess, AnExitCodeThatNoSignalHasIsNoSignal) {
  const auto result = run(shell("exit 255"));
  ASSERT_TRUE(result.has_value()) << result.error().message;
  EXPECT_EQ(result->exit_code, 255);
  EXPECT_EQ(result->signal, 0);
}

TEST_P(RunProcess, AnExitCodeThatAShellGivesForASignalIsNoSignal) {
  for (const int code : {129, 137, 143, 192}) {
    const auto result = run(shell("exit " + std::to_string(code)));
    ASSERT_TRUE(result.has_value()) << result.error().message;
    EXPECT_EQ(result->exit_code, code);
    EXPECT_EQ(result->signal, 0) << code;
  }
  for (const int signal : {SIGHUP, SIGTERM, SIGKILL}) {
    const auto result = run(shell("kill -" + std::to_string(signal) + " $$"));
    ASSERT_TRUE(result.has_value()) << result.error().message;
    EXPECT_EQ(result->exit_code, 128 + signal);
    EXPECT_EQ(result->signal, signal);
  }
}

TEST_P(RunProcess, ASignalToTheWholeGroupIsTheProgramsAffair) {
  const auto result = run(shell("trap 'echo heard' TERM; kill -TERM 0; echo on; exit 5"));
  ASSERT_TRUE(result.has_value()) << result.error().message;
  EXPECT_EQ(result->standard_output.text, "heard\non\n");
  EXPECT_EQ(result->exit_code, 5);
  EXPECT_EQ(result->signal, 0);
}

TEST_P(RunProcess, AProgramThatKillsItsWholeGroupIsStillToldOf) {
  const auto result = run(shell("kill -KILL 0"));
  ASSERT_TRUE(result.has_value()) << result.error().message;
  EXPECT_EQ(result->signal, SIGKILL);
  EXPECT_EQ(result->exit_code, 128 + SIGKILL);
}

TEST_P(RunProcess, AProgramHasNoDescriptorBesideItsStreams) {
  const auto result = run(
      shell("for n in 0 1 2 3 4 5 6 7 8 9; do (: >&$n) 2>/dev/null && echo has $n; done; true"));
  ASSERT_TRUE(result.has_value()) << result.error().message;
  EXPECT_EQ(result->standard_output.text, "has 0\nhas 1\nhas 2\n");
}

TEST_P(RunProcess, GivesOutputErrorOutputAndExitCode) {
  const auto result = run(shell("cat; echo bad >&2; exit 3"));
  ASSERT_TRUE(result.has_value()) << result.error().message;
  EXPECT_EQ(result->exit_code, 3);
  EXPECT_EQ(result->signal, 0);
  EXPECT_EQ(result->standard_output.text, "");
  EXPECT_EQ(result->standard_error.text, "bad\n");
}

TEST_P(RunProcess, FeedsItsInputWhole) {
  ProcessRequest request = shell("cat");
  for (int i = 0; i < 100'000; ++i) request.input += "0123456789\n";
  request.output_bytes_max = 4 << 20;
  const std::string input = request.input;
  const auto result = run(std::move(request));
  ASSERT_TRUE(result.has_value()) << result.error().message;
  EXPECT_EQ(result->standard_output.text, input);
}

TEST_P(RunProcess, SurvivesAProgramThatDoesNotReadItsInput) {
  ProcessRequest request = shell("exit 0");
  request.input.assign(1 << 20, 'x');
  const auto result = run(std::move(request));
  ASSERT_TRUE(result.has_value()) << result.error().message;
  EXPECT_EQ(result->exit_code, 0);
}

TEST_P(RunProcess, SaysWhichSignalEndedIt) {
  const auto result = run(shell("kill -SEGV $$"));
  ASSERT_TRUE(result.has_value()) << result.error().message;
  EXPECT_EQ(result->signal, SIGSEGV);
  EXPECT_EQ(result->exit_code, 128 + SIGSEGV);
}

TEST_P(RunProcess, KeepsTheBeginningAndTheEndOfAFlood) {
  ProcessRequest request = shell("echo first; head -c 50000000 /dev/zero; echo last");
  request.output_bytes_max = 1000;
  const auto result = run(std::move(request));
  ASSERT_TRUE(result.has_value()) << result.error().message;
  const std::string& text = result->standard_output.text;
  EXPECT_TRUE(text.starts_with("first\n"));
  EXPECT_TRUE(text.ends_with("last\n"));
  EXPECT_LT(text.size(), 1100U);
  EXPECT_EQ(result->standard_output.bytes_dropped, 50'000'011 - 1000U);
}

TEST_P(RunProcess, WritesWhereItMayAndLeavesTheFilesToUs) {
  const auto result = run(shell("echo made > made; mkdir folder; touch folder/x"));
  ASSERT_TRUE(result.has_value()) << result.error().message;
  EXPECT_EQ(result->exit_code, 0) << result->standard_error.text;
  EXPECT_EQ(read("made"), "made\n");
  EXPECT_TRUE(fs::exists(work_ / "folder/x"));
}

TEST_P(RunProcess, HasATemporaryFolderOfItsOwnThatIsGoneAfterwards) {
  const auto first = run(shell("echo x > $TMPDIR/mark && cat $TMPDIR/mark && echo $TMPDIR"));
  ASSERT_TRUE(first.has_value()) << first.error().message;
  EXPECT_TRUE(first->standard_output.text.starts_with("x\n")) << first->standard_error.text;
  const auto second = run(shell("ls -A $TMPDIR"));
  ASSERT_TRUE(second.has_value());
  EXPECT_EQ(second->standard_output.text, "");
  std::string folder = first->standard_output.text.substr(2);
  folder.pop_back();
  if (GetParam() == Isolation::confined) {
    EXPECT_FALSE(fs::exists(folder));
  }
  EXPECT_FALSE(fs::exists("/tmp/mark"));
}

TEST_P(RunProcess, SeesOnlyTheVariablesThatItIsGiven) {
  setenv("PONDER_TEST_TOKEN", "a secret", 1);
  ProcessRequest request({"env"});
  request.environment = {{"MINE", "1"}, {"LANG", "C"}};
  const auto result = run(std::move(request));
  unsetenv("PONDER_TEST_TOKEN");
  ASSERT_TRUE(result.has_value()) << result.error().message;
  const std::string& text = result->standard_output.text;
  EXPECT_EQ(text.find("PONDER_TEST_TOKEN"), std::string::npos);
  EXPECT_NE(text.find("MINE=1\n"), std::string::npos);
  EXPECT_NE(text.find("LANG=C\n"), std::string::npos);
  EXPECT_EQ(text.find("LANG=C.UTF-8"), std::string::npos);
}

TEST_P(RunProcess, RefusesVariablesThatWouldEndInTheMiddle) {
  using std::string_literals::operator""s;
  const std::pair<std::string, std::string> bad[] = {
      {"A\0--bind\0/\0/mnt"s, "x"}, {"A", "x\0--bind\0/\0/mnt"s}, {"", "x"}, {"A=B", "x"}};
  for (const auto& variable : bad) {
    ProcessRequest request({"true"});
    request.environment = {variable};
    const auto result = run(std::move(request));
    ASSERT_FALSE(result.has_value()) << variable.first;
    EXPECT_EQ(result.error().code, Errc::invalid_argument);
  }
}

TEST_P(RunProcess, EndsAtItsDeadline) {
  const auto deadline = Deadline::after(system_clock(), std::chrono::milliseconds(300));
  const auto result = run_sync(run_process(shell("sleep 600"), policy(), deadline));
  ASSERT_FALSE(result.has_value());
  EXPECT_EQ(result.error().code, Errc::deadline);
}

asio::awaitable<void> run_into(Result<ProcessResult>* out, ProcessRequest request,
                               SandboxPolicy policy) {
  auto result = co_await run_process(std::move(request), std::move(policy), in_a_minute());
  *out = std::move(result);
}

asio::awaitable<Result<int>> cancel_after(std::chrono::milliseconds time,
                                          Result<ProcessResult>* out, ProcessRequest request,
                                          SandboxPolicy policy) {
  const auto executor = co_await asio::this_coro::executor;
  TaskGroup group(executor);
  group.spawn(run_into(out, std::move(request), std::move(policy)));
  asio::steady_timer timer(executor, time);
  co_await timer.async_wait(asio::use_awaitable);
  group.cancel();
  co_await group.join();
  co_return 0;
}

asio::awaitable<void> ignore_result(asio::awaitable<Result<int>> work) {
  const auto ignored = co_await std::move(work);
  (void)ignored;
}

TEST_P(RunProcess, KillsTheWholeTreeWhenItIsCancelled) {
  Result<ProcessResult> result = fail(Errc::internal, "never ended");
  // A daemon that left its parent, its terminal and its streams behind, and ignores what it can.
  const std::string script =
      "(trap '' TERM HUP INT; setsid sh -c 'while :; do echo >> ticks; sleep 0.02; done' "
      ">/dev/null 2>&1 </dev/null &) ; "
      "(while :; do echo >> ticks; sleep 0.02; done >/dev/null 2>&1 </dev/null &); sleep 600";
  const auto ended =
      run_sync(cancel_after(std::chrono::milliseconds(600), &result, shell(script), policy()));
  ASSERT_TRUE(ended.has_value());
  ASSERT_FALSE(result.has_value());
  EXPECT_EQ(result.error().code, Errc::cancelled);
  EXPECT_NE(read("ticks"), "");
  EXPECT_FALSE(is_growing("ticks"));
}

asio::awaitable<Result<int>> cancel_each(std::vector<Result<ProcessResult>>* out,
                                         ProcessRequest request, SandboxPolicy policy) {
  TaskGroup group(co_await asio::this_coro::executor);
  for (std::size_t i = 0; i < out->size(); ++i) {
    auto one = cancel_after(std::chrono::milliseconds(i / 2), &(*out)[i], request, policy);
    group.spawn(ignore_result(std::move(one)));
  }
  co_await group.join();
  co_return 0;
}

/// So many at once that each is met at another step of its start.
TEST_P(RunProcess, IsKilledAtWhateverStepOfItsStart) {
  std::vector<Result<ProcessResult>> results(100, fail(Errc::internal, "never ended"));
  ASSERT_TRUE(run_sync(cancel_each(&results, shell("sleep 1000"), policy())).has_value());
  for (const auto& result : results) {
    ASSERT_FALSE(result.has_value());
    EXPECT_EQ(result.error().code, Errc::cancelled);
  }
}

/// Another host than this one runs the program, and has no time to clean up.
TEST_P(RunProcess, TheWholeTreeDiesWithAHostThatIsKilled) {
  const std::string script =
      "(while :; do echo >> ticks; sleep 0.02; done >/dev/null 2>&1 </dev/null &); "
      "(sh -c 'while :; do echo >> grand; sleep 0.02; done' & wait) & "
      "python3 -c 'import ctypes; ctypes.CDLL(None).prctl(1, 0)\nimport time\nwhile 1: "
      "open(\"bare\", \"a\").write(\"x\"); time.sleep(0.02)' & "
      "exec python3 -c 'import ctypes; ctypes.CDLL(None).prctl(1, 0)\nimport time\nwhile 1: "
      "open(\"leader\", \"a\").write(\"x\"); time.sleep(0.02)'";
  const pid_t host = fork();
  if (host == 0) {
    (void)run_sync(run_process(shell(script), policy(), in_a_minute()));
    _exit(0);
  }
  ASSERT_GT(host, 0);
  const auto begun = [this](const char* name) { return fs::exists(work_ / name); };
  for (int i = 0; i < 600 && !(begun("grand") && begun("bare") && begun("leader")); ++i) {
    EXPECT_TRUE(run_sync(pause(std::chrono::milliseconds(50))).has_value());
  }
  kill(host, SIGKILL);
  waitpid(host, nullptr, 0);
  for (const char* name : {"ticks", "grand", "bare", "leader"}) {
    ASSERT_TRUE(begun(name)) << name;
    for (int i = 0; i < 20 && is_growing(name); ++i) {
    }
    EXPECT_FALSE(is_growing(name)) << name;
  }
}

TEST_P(RunProcess, LeavesNothingRunningAfterTheProgramEnded) {
  const std::string script =
      "(while :; do echo >> ticks; sleep 0.02; done >/dev/null 2>&1 </dev/null &); "
      "while [ ! -s ticks ]; do sleep 0.01; done; echo done";
  const auto result = run(shell(script));
  ASSERT_TRUE(result.has_value()) << result.error().message;
  EXPECT_EQ(result->standard_output.text, "done\n");
  EXPECT_FALSE(is_growing("ticks"));
}

TEST_P(RunProcess, DoesNotWaitForAChildThatHoldsTheOutputOpen) {
  const auto result = run(shell("sleep 600 & echo done"));
  ASSERT_TRUE(result.has_value()) << result.error().message;
  EXPECT_EQ(result->standard_output.text, "done\n");
}

TEST_P(RunProcess, BoundsAForkBomb) {
  SandboxPolicy small = policy();
  small.limits.processes_max = 40;
  ProcessRequest request({"/usr/bin/python3", "-c", R"(
import os, sys
made = 0
try:
    while made < 1000:
        if os.fork() == 0:
            import time
            time.sleep(600)
        made += 1
except OSError as error:
    print("stopped after", made, error)
)"});
  const auto result = run_sync(run_process(std::move(request), small, in_a_minute()));
  ASSERT_TRUE(result.has_value()) << result.error().message;
  EXPECT_TRUE(result->standard_output.text.starts_with("stopped after "))
      << result->standard_output.text << result->standard_error.text;
}

TEST_P(RunProcess, BoundsMemory) {
  SandboxPolicy small = policy();
  small.limits.memory_bytes_max = 256 << 20;
  ProcessRequest request({"/usr/bin/python3", "-c", "x = bytearray(1 << 30); print('got it')"});
  const auto result = run_sync(run_process(std::move(request), small, in_a_minute()));
  ASSERT_TRUE(result.has_value()) << result.error().message;
  EXPECT_NE(result->standard_error.text.find("MemoryError"), std::string::npos)
      << result->standard_error.text;
}

TEST_P(RunProcess, BoundsTheSizeOfAFile) {
  SandboxPolicy small = policy();
  small.limits.file_bytes_max = 1 << 20;
  ProcessRequest request = shell("head -c 5000000 /dev/zero > big");
  const auto result = run_sync(run_process(std::move(request), small, in_a_minute()));
  ASSERT_TRUE(result.has_value()) << result.error().message;
  EXPECT_NE(result->exit_code, 0);
  EXPECT_LE(fs::file_size(work_ / "big"), 1U << 20);
}

TEST_P(RunProcess, BoundsProcessorTime) {
  SandboxPolicy small = policy();
  small.limits.cpu_seconds_max = 1;
  ProcessRequest request = shell("while :; do :; done");
  const auto result = run_sync(run_process(std::move(request), small, in_a_minute()));
  ASSERT_TRUE(result.has_value()) << result.error().message;
  EXPECT_NE(result->signal, 0);
}

TEST_P(RunProcess, SaysThatThereIsNoSuchProgram) {
  const auto result = run(ProcessRequest({"no-such-program"}));
  ASSERT_FALSE(result.has_value());
  EXPECT_EQ(result.error().code, Errc::not_found);
  EXPECT_EQ(result.error().message, "no program 'no-such-program'");
}

TEST_P(RunProcess, RefusesPathsThatAreNotWhatTheySay) {
  fs::create_directory_symlink("/etc", work_ / "link");
  SandboxPolicy bad = policy();
  bad.readable = {work_ / "link"};
  const auto result = run_sync(run_process(shell("true"), bad, in_a_minute()));
  ASSERT_FALSE(result.has_value());
  EXPECT_EQ(result.error().code, Errc::invalid_argument);
  EXPECT_NE(result.error().message.find("is really /etc"), std::string::npos);
}

INSTANTIATE_TEST_SUITE_P(Isolations, RunProcess,
                         testing::Values(Isolation::isolated, Isolation::confined),
                         [](const auto& info) { return std::string(isolation_name(info.param)); });

class GitFolder : public RunProcess {
 protected:
  void SetUp() override {
    RunProcess::SetUp();
    for (const char* folder : {".git/hooks", "nested/.git/hooks", "src"}) {
      fs::create_directories(work_ / folder);
    }
    std::ofstream(work_ / ".git/config") << "[core]\n";
    fs::create_directory_symlink("/etc", work_ / "src/.git");
  }
};

TEST_P(GitFolder, IsFoundAtAnyDepthAndLinksAreToldFromFolders) {
  fs::create_directories(work_ / "locked/.git");
  fs::permissions(work_ / "locked", fs::perms::none);
  auto found = git_places(work_);
  ASSERT_TRUE(found.has_value()) << found.error().message;
  std::sort(found->begin(), found->end(),
            [](const GitPlace& a, const GitPlace& b) { return a.path < b.path; });
  EXPECT_EQ(*found, (std::vector<GitPlace>{{work_ / ".git", "", false},
                                           {work_ / "locked/.git", "", false},
                                           {work_ / "nested/.git", "", false},
                                           {work_ / "src/.git", "/etc", false}}));
}

TEST_P(GitFolder, CanBeReadButNeitherChangedNorMovedAway) {
  SandboxPolicy guarded = policy();
  guarded.read_only = {work_ / ".git", work_ / "nested/.git"};
  ProcessRequest request = shell(
      "cat .git/config; echo x > .git/hooks/pre-commit; echo x > nested/.git/hooks/post-commit; "
      "echo x >> .git/config; mv .git other; rm -rf .git; mv nested away; mkdir -p "
      "nested/.git/hooks; "
      "echo x > nested/.git/hooks/pre-push; echo ok > src/file");
  const auto result = run_sync(run_process(std::move(request), guarded, in_a_minute()));
  if (GetParam() == Isolation::confined) {
    ASSERT_FALSE(result.has_value());
    EXPECT_EQ(result.error().code, Errc::unavailable);
    EXPECT_NE(result.error().message.find("'confined' cannot keep"), std::string::npos);
    return;
  }
  ASSERT_TRUE(result.has_value()) << result.error().message;
  EXPECT_TRUE(result->standard_output.text.starts_with("[core]\n"));
  EXPECT_EQ(read(".git/config"), "[core]\n");
  EXPECT_EQ(read("src/file"), "ok\n");
  EXPECT_FALSE(fs::exists(work_ / "other"));
  EXPECT_TRUE(fs::is_empty(work_ / ".git/hooks"));
  for (const auto& entry : fs::recursive_directory_iterator(work_)) {
    EXPECT_NE(entry.path().filename(), "pre-push") << entry.path();
    EXPECT_NE(entry.path().filename(), "post-commit") << entry.path();
  }
}

INSTANTIATE_TEST_SUITE_P(Isolations, GitFolder,
                         testing::Values(Isolation::isolated, Isolation::confined),
                         [](const auto& info) { return std::string(isolation_name(info.param)); });

TEST(SandboxPolicy, ConfinedRefusesANetwork) {
  SandboxPolicy policy;
  policy.isolation = Isolation::confined;
  policy.has_network = true;
  if (!check_support(sandbox_support(), policy.isolation)) GTEST_SKIP() << "no Landlock ABI 6";
  const auto result = run_sync(run_process(ProcessRequest({"true"}), policy, in_a_minute()));
  ASSERT_FALSE(result.has_value());
  EXPECT_EQ(result.error().message, "sandbox: 'confined' has no network; use 'isolated'");
}

TEST(SandboxSupport, SaysWhatIsMissingAndWhatToDo) {
  SandboxSupport nothing;
  EXPECT_EQ(check_support(nothing, Isolation::isolated).error().message,
            "sandbox: the kernel has no seccomp");
  SandboxSupport old;
  old.has_seccomp = true;
  old.limits_processes = true;
  old.landlock_abi = 2;
  EXPECT_EQ(check_support(old, Isolation::confined).error().message,
            "sandbox: 'confined' needs Landlock ABI 6 (Linux 6.12), here is 2");
  EXPECT_EQ(check_support(old, Isolation::isolated).error().message,
            "sandbox: 'isolated' needs bubblewrap: apt-get install bubblewrap");
  old.bubblewrap = "/usr/bin/bwrap";
  old.namespace_error = "bwrap: no permission";
  EXPECT_EQ(check_support(old, Isolation::isolated).error().code, Errc::unavailable);
  old.limits_processes = false;
  EXPECT_EQ(check_support(old, Isolation::confined).error().code, Errc::unavailable);
}

}  // namespace
}  // namespace ponder::tools
