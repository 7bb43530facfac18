#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <string>

namespace ponder {
namespace {

// Outcomes to choose from; they run in a process of their own only.
TEST(DISABLED_Outcome, Passes) {}
TEST(DISABLED_Outcome, Skips) { GTEST_SKIP() << "nothing to do here"; }
TEST(DISABLED_Outcome, Fails) { FAIL() << "on purpose"; }

/// The exit code of this program when it runs these tests.
int exit_code_of(const std::string& filter) {
  const std::string command = "\"$(readlink /proc/" + std::to_string(getpid()) +
                              "/exe)\" --gtest_also_run_disabled_tests --gtest_filter='" + filter +
                              "' >/dev/null 2>&1";
  const int status = std::system(command.c_str());
  return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

TEST(TestMain, SaysThatSomethingWasSkippedOnlyWhereNothingFailed) {
  EXPECT_EQ(exit_code_of("*Outcome.Passes"), 0);
  EXPECT_EQ(exit_code_of("*Outcome.Passes:*Outcome.Skips"), 77);
  EXPECT_EQ(exit_code_of("*Outcome.Fails"), 1);
  EXPECT_EQ(exit_code_of("*Outcome.*"), 1);
}

}  // namespace
}  // namespace ponder
