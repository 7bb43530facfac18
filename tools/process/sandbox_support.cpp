#include "tools/process/sandbox_support.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <array>

#include "tools/process/detail/bubblewrap.h"
#include "tools/process/detail/control_group.h"
#include "tools/process/detail/landlock_rules.h"
#include "tools/process/detail/seccomp_filter.h"
#include "tools/process/detail/spawn.h"

namespace ponder::tools {
namespace {

/// Not looked up in PATH: whoever owns that could put something else in its place.
constexpr std::array kBubblewrapPaths = {"/usr/bin/bwrap", "/bin/bwrap", "/usr/local/bin/bwrap"};

std::string find_bubblewrap() {
  for (const char* path : kBubblewrapPaths) {
    if (access(path, X_OK) == 0) return path;
  }
  return {};
}

std::string read_some(int fd) {
  std::string text(512, '\0');
  const ssize_t bytes = read(fd, text.data(), text.size());
  text.resize(bytes > 0 ? static_cast<std::size_t>(bytes) : 0);
  while (!text.empty() && text.back() == '\n') text.pop_back();
  return text;
}

/// Runs `true` as every later program will run. Empty, or what bubblewrap says.
std::string try_namespaces(const std::string& bubblewrap) {
  SandboxPolicy policy;
  SpawnRequest request;
  request.program = bubblewrap;
  request.argv = bubblewrap_arguments(bubblewrap, ProcessRequest({"true"}), policy, {});
  request.environment = {"PATH=/usr/bin:/bin"};
  std::array<int, 2> ends = {-1, -1};
  if (pipe2(ends.data(), O_CLOEXEC) != 0) return "no pipe";
  const UniqueFd from(ends[0]);
  UniqueFd to(ends[1]);
  const UniqueFd nothing(open("/dev/null", O_RDWR | O_CLOEXEC));
  request.standard_input = nothing.get();
  request.standard_output = to.get();
  request.standard_error = to.get();
  auto process = spawn(request);
  to.reset();
  if (!process) return process.error().message;
  const std::string said = read_some(from.get());
  const siginfo_t end = process->reap();
  if (end.si_code == CLD_EXITED && end.si_status == 0) return {};
  return said.empty() ? "bubblewrap failed without a word" : said;
}

SandboxSupport probe() {
  SandboxSupport support;
  support.has_seccomp = seccomp_filter(Isolation::isolated, false).has_value();
  support.landlock_abi = landlock_abi();
  support.bubblewrap = find_bubblewrap();
  if (!support.bubblewrap.empty()) support.namespace_error = try_namespaces(support.bubblewrap);
  support.limits_processes = geteuid() != 0 || ProcessGroupLimit::create(1).has_value();
  return support;
}

}  // namespace

const SandboxSupport& sandbox_support() {
  static const SandboxSupport support = probe();
  return support;
}

Status check_support(const SandboxSupport& support, Isolation isolation) {
  if (!support.has_seccomp) return fail(Errc::unavailable, "sandbox: the kernel has no seccomp");
  if (!support.limits_processes) {
    return fail(
        Errc::unavailable,
        "sandbox: the number of root's processes cannot be limited here (no control group); "
        "run ponder as another user");
  }
  if (isolation == Isolation::confined) {
    if (support.landlock_abi >= kLandlockAbiMin) return {};
    return fail(Errc::unavailable,
                fmt::format("sandbox: 'confined' needs Landlock ABI {} (Linux 6.12), here is {}",
                            kLandlockAbiMin, support.landlock_abi));
  }
  if (support.bubblewrap.empty()) {
    return fail(Errc::unavailable,
                "sandbox: 'isolated' needs bubblewrap: apt-get install bubblewrap");
  }
  if (support.namespace_error.empty()) return {};
  return fail(Errc::unavailable,
              fmt::format("sandbox: 'isolated' needs user namespaces, which are refused here ({}); "
                          "'confined' does without",
                          support.namespace_error));
}

std::vector<std::string> describe(const SandboxSupport& support) {
  const auto line = [&support](Isolation isolation) {
    const Status status = check_support(support, isolation);
    return fmt::format("{}: {}", isolation_name(isolation),
                       status ? "available" : status.error().message);
  };
  return {
      line(Isolation::isolated),
      line(Isolation::confined),
      fmt::format("seccomp: {}", support.has_seccomp ? "yes" : "no"),
      fmt::format("landlock: ABI {}", support.landlock_abi),
      fmt::format("bubblewrap: {}", support.bubblewrap.empty() ? "no" : support.bubblewrap),
      fmt::format("process limit: {}", support.limits_processes ? "yes" : "no"),
  };
}

}  // namespace ponder::tools
