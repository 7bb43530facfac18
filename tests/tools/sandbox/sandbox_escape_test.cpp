#include <gtest/gtest.h>
#include <sys/wait.h>

#include <array>
#include <cstdio>
#include <filesystem>
#include <memory>
#include <sstream>
#include <string>
#include <vector>

#include "tests/tools/call_tool.h"
#include "tests/tools/sandbox/sandbox_host.h"
#include "tools/process/run_process.h"
#include "tools/process/sandbox_support.h"

namespace ponder::tools {
namespace {

using tests::run_sync;
using tests::SandboxHost;

struct ClosePipe {
  void operator()(FILE* pipe) const noexcept { pclose(pipe); }
};

/// What a shell command prints, outside of any sandbox.
std::string output_of(const std::string& command) {
  const std::unique_ptr<FILE, ClosePipe> pipe(popen(command.c_str(), "r"));
  std::string text;
  std::array<char, 4096> buffer;
  while (fgets(buffer.data(), buffer.size(), pipe.get()) != nullptr) text += buffer.data();
  return text;
}

struct Escape {
  std::string name;
  bool works_outside;
};

std::vector<Escape> all_escapes() {
  std::istringstream list(output_of("/usr/bin/python3 tests/tools/sandbox/escapes.py --list"));
  std::vector<Escape> escapes;
  std::string line;
  while (std::getline(list, line)) {
    const bool is_free = line.ends_with('*');
    if (is_free) line.pop_back();
    escapes.push_back({line, is_free});
  }
  return escapes;
}

class SandboxEscape : public testing::TestWithParam<Isolation> {
 protected:
  void SetUp() override {
    const Status status = check_support(sandbox_support(), GetParam());
    if (!status) GTEST_SKIP() << status.error().message;
  }

  Result<ProcessResult> attempt(const std::string& escape) {
    SandboxPolicy policy;
    policy.isolation = GetParam();
    policy.writable = {host_.fresh_work()};
    policy.readable = {host_.scripts()};
    policy.limits.file_bytes_max = 1 << 20;
    ProcessRequest request({"/usr/bin/python3", (host_.scripts() / "escapes.py").string(), escape});
    request.environment = {{"PONDER_TEST", host_.description()}};
    return run_sync(run_process(std::move(request), std::move(policy),
                                Deadline::after(system_clock(), std::chrono::seconds(60))));
  }

  SandboxHost host_;
};

TEST_P(SandboxEscape, EveryAttemptIsRefusedAndChangesNothingOutside) {
  const std::vector<Escape> escapes = all_escapes();
  ASSERT_GE(escapes.size(), 60U);
  for (const Escape& escape : escapes) {
    SCOPED_TRACE(escape.name);
    const auto result = attempt(escape.name);
    ASSERT_TRUE(result.has_value()) << result.error().message;
    EXPECT_TRUE(result->standard_output.text.starts_with("refused: "))
        << result->exit_code << ": " << result->standard_output.text << result->standard_error.text;
    EXPECT_EQ(host_.changes_outside(), "");
    host_.reset_outside();
  }
}

/// The loader of whatever runs first obeys these, be it the program or what sets its sandbox up.
TEST_P(SandboxEscape, VariablesOfTheLoaderWorkInsideOnly) {
  SandboxPolicy policy;
  policy.isolation = GetParam();
  policy.writable = {host_.fresh_work()};
  ProcessRequest request({"true"});
  const std::string outside = (host_.outside() / "loaded").string();
  request.environment = {{"LD_DEBUG", "files"}, {"LD_DEBUG_OUTPUT", outside}};
  const auto refused = run_sync(run_process(request, policy, Deadline::never()));
  ASSERT_TRUE(refused.has_value()) << refused.error().message;
  EXPECT_EQ(host_.changes_outside(), "");

  const std::string inside = (policy.writable[0] / "loaded").string();
  request.environment = {{"LD_DEBUG", "files"}, {"LD_DEBUG_OUTPUT", inside}};
  const auto allowed = run_sync(run_process(request, policy, Deadline::never()));
  ASSERT_TRUE(allowed.has_value()) << allowed.error().message;
  EXPECT_FALSE(std::filesystem::is_empty(policy.writable[0]));
}

INSTANTIATE_TEST_SUITE_P(Isolations, SandboxEscape,
                         testing::Values(Isolation::isolated, Isolation::confined),
                         [](const auto& info) { return std::string(isolation_name(info.param)); });

/// An attempt that fails everywhere would prove nothing.
TEST(SandboxEscapeControl, HarmlessAttemptsSucceedWithoutASandbox) {
  SandboxHost host;
  setenv("PONDER_TEST", host.description().c_str(), 1);
  std::size_t tried = 0;
  for (const Escape& escape : all_escapes()) {
    if (!escape.works_outside) continue;
    SCOPED_TRACE(escape.name);
    host.fresh_work();
    host.reset_outside();
    const std::string command = "/usr/bin/python3 tests/tools/sandbox/escapes.py " + escape.name;
    EXPECT_EQ(output_of(command), "escaped\n");
    ++tried;
  }
  unsetenv("PONDER_TEST");
  EXPECT_GE(tried, 20U);
}

}  // namespace
}  // namespace ponder::tools
