#include <gmock/gmock.h>

#include <filesystem>

#include "tests/tools/script/script_host.h"
#include "tools/process/sandbox_support.h"

// ctx.exec with real programs in the real sandbox; refusals are in script_tool_test.cpp.
namespace ponder::tools {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;

class ScriptExec : public tests::ScriptHost {
 protected:
  void SetUp() override {
    const Status status = check_support(sandbox_support(), Isolation::isolated);
    if (!status) GTEST_SKIP() << status.error().message;
    options_.grants = {"exec", "fs:" + work_.path().string()};
  }
  /// What a script with this body gives; it may run programs in the folder `work_`.
  std::string exec(const std::string& body) { return run(body, "'exec', 'fs'"); }

  tests::ScriptFolder work_;
};

TEST_F(ScriptExec, AProgramGivesBothStreamsAndItsExitStatus) {
  EXPECT_EQ(exec("return ctx.exec({'sh', '-c', 'cat; echo bad >&2; exit 3'}, {input = 'in'})"),
            R"({"code":3,"stderr":"bad\n","stdout":"in"})");
  EXPECT_EQ(exec("return ctx.exec({'sh', '-c', 'kill -9 $$'}).code"), "137");
}

TEST_F(ScriptExec, NoShellReadsTheArguments) {
  EXPECT_EQ(exec("return ctx.exec({'echo', '$HOME; id', '*'}).stdout"), "$HOME; id *\n");
}

TEST_F(ScriptExec, AProgramThatIsNotThereSaysSo) {
  const std::string said = exec(
      "local done, why = ctx.exec({'no-such-program'})\n"
      "return done and (done.code .. ' ' .. done.stderr) or why");
  EXPECT_THAT(said, HasSubstr("no-such-program"));
}

TEST_F(ScriptExec, AProgramThatDoesNotEndIsKilledAfterItsSeconds) {
  EXPECT_EQ(exec("local done, why = ctx.exec({'sleep', '600'}, {seconds_max = 1})\n"
                 "return tostring(done) .. ': ' .. why"),
            "nil: the program was killed after 1 s; seconds_max gives it longer");
}

TEST_F(ScriptExec, AFloodIsCutToItsBytes) {
  EXPECT_EQ(exec("local done = ctx.exec({'sh', '-c', 'echo first; head -c 9000000 /dev/zero; "
                 "echo last'}, {bytes_max = 1000})\n"
                 "return { #done.stdout < 1200, done.stdout:sub(1, 5), done.stdout:sub(-5, -2) }"),
            R"([true,"first","last"])");
}

TEST_F(ScriptExec, TheFolderIsItsOwnAndNothingElseIsThere) {
  work_.write("a.txt", "alpha");
  work_.write("../outside.txt", "secret");
  EXPECT_EQ(exec("local done = ctx.exec({'sh', '-c', 'cat a.txt; echo beta > b.txt; "
                 "cat ../outside.txt; cat /etc/shadow; ls /root /home'})\n"
                 "return { done.stdout, ctx.fs.read('b.txt'), #done.stderr > 0 }"),
            R"(["alpha","beta\n",true])");
  fs::remove(work_.path() / "../outside.txt");
}

TEST_F(ScriptExec, AFolderToReadIsNotWritten) {
  work_.write("a.txt", "alpha");
  options_.grants = {"exec", "fs-read:" + work_.path().string()};
  EXPECT_EQ(run("local done = ctx.exec({'sh', '-c', 'cat a.txt; echo beta > b.txt'})\n"
                "return { done.stdout, done.code ~= 0 }",
                "'exec', 'fs-read'"),
            R"(["alpha",true])");
  EXPECT_FALSE(fs::exists(work_.path() / "b.txt"));
}

TEST_F(ScriptExec, GitRunsNothingThatAProgramLeft) {
  work_.write(".git/config", "");
  work_.write(".git/hooks/sample", "");
  const std::string said = exec(
      "local done = ctx.exec({'sh', '-c', 'echo evil > .git/hooks/pre-commit; mkdir -p sub; "
      "cp -r .git sub/.git'})\nreturn done.stderr");
  EXPECT_THAT(said, HasSubstr("sub/.git was removed"));
  EXPECT_FALSE(fs::exists(work_.path() / ".git/hooks/pre-commit"));
  EXPECT_FALSE(fs::exists(work_.path() / "sub/.git"));
}

TEST_F(ScriptExec, ThereIsNoNetwork) {
  EXPECT_EQ(exec("return ctx.exec({'cat', '/proc/net/route'}).stdout"),
            exec("return (ctx.exec({'cat', '/proc/net/route'}).stdout:match('^[^\\n]*\\n'))"))
      << "a head line and no route";
}

TEST_F(ScriptExec, AVariableMayHoldASecretThatIsSeenNowhere) {
  options_.grants.push_back("secret:key");
  EXPECT_EQ(run("return ctx.exec({'sh', '-c', 'echo ${#KEY} $KEY'}, {env = "
                "{KEY = ctx.secret('key')}}).stdout",
                "'exec', 'fs', 'secret:key'"),
            "14 [secret]\n");
}

TEST_F(ScriptExec, OnlyTheProgramsThatWereGrantedAreRun) {
  options_.grants = {"exec:echo"};
  EXPECT_EQ(run("return ctx.exec({'echo', 'x'}).stdout", "'exec:echo'"), "x\n");
  EXPECT_THAT(run("return ctx.exec({'sh', '-c', 'id'})", "'exec:echo'"),
              HasSubstr("the program 'sh' was not granted: exec:sh"));
}

TEST_F(ScriptExec, WhereTheSandboxCannotKeepItsPromisesNothingIsRun) {
  if (!check_support(sandbox_support(), Isolation::confined)) GTEST_SKIP() << "no Landlock ABI 6";
  options_.isolation = Isolation::confined;
  work_.write(".git/config", "");
  EXPECT_THAT(exec("local done, why = ctx.exec({'touch', 'ran'})\n"
                   "return tostring(done) .. ': ' .. why"),
              HasSubstr("confined"));
  EXPECT_FALSE(fs::exists(work_.path() / "ran"));
}

}  // namespace
}  // namespace ponder::tools
