#include "tools/process/detail/spawn.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <linux/capability.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <memory>
#include <string>
#include <string_view>

#include "base/assert.h"

namespace ponder::tools {
namespace {

constexpr std::size_t kStackBytes = 256 * 1024;
constexpr int kFreeFd = 32;  // copies that a child works with lie from here on
constexpr int kLastSignal = 64;

/// What the child needs, laid out before its birth: it shares our memory and must not allocate.
struct Plan {
  const SpawnRequest* request = nullptr;
  std::vector<char*> argv;
  std::vector<char*> environment;
  sock_fprog seccomp = {};
  pid_t parent = 0;
  const char* failed_step = nullptr;  // the child's report
  int error = 0;
};

std::vector<char*> c_strings(const std::vector<std::string>& words) {
  std::vector<char*> out;
  for (const std::string& word : words) out.push_back(const_cast<char*>(word.c_str()));
  out.push_back(nullptr);
  return out;
}

// The functions below run in the child. Each gives false with errno set.

bool join_control_group(const std::string& procs_file) {
  if (procs_file.empty()) return true;
  const int fd = open(procs_file.c_str(), O_WRONLY | O_CLOEXEC);
  return fd >= 0 && write(fd, "0", 1) == 1 && close(fd) == 0;
}

/// Moves a descriptor out of the way of 0, 1, 2, ..
bool set_aside(int& fd) {
  if (fd < 0) return true;
  fd = fcntl(fd, F_DUPFD_CLOEXEC, kFreeFd);
  return fd >= 0;
}

bool place_descriptors(const SpawnRequest& request, int* landlock_ruleset) {
  std::array<int, 3 + kInheritedMax> fds = {request.standard_input, request.standard_output,
                                            request.standard_error};
  fds.fill(-1);
  fds[0] = request.standard_input;
  fds[1] = request.standard_output;
  fds[2] = request.standard_error;
  const std::size_t used = 3 + request.inherited.size();
  for (std::size_t i = 3; i < used; ++i) fds[i] = request.inherited[i - 3];
  if (!set_aside(*landlock_ruleset)) return false;
  for (int& fd : fds) {
    if (!set_aside(fd)) return false;
  }
  for (std::size_t i = 0; i < used; ++i) {
    if (fds[i] >= 0 && dup2(fds[i], static_cast<int>(i)) < 0) return false;
  }
  return close_range(static_cast<unsigned>(used), kFreeFd - 1, 0) == 0 &&
         close_range(kFreeFd, ~0U, CLOSE_RANGE_CLOEXEC) == 0;
}

bool limit(__rlimit_resource resource, std::uint64_t value) {
  rlimit bound = {};
  if (getrlimit(resource, &bound) != 0) return false;
  const rlim_t allowed = bound.rlim_max < value ? bound.rlim_max : value;
  bound = {allowed, allowed};
  return setrlimit(resource, &bound) == 0;
}

bool set_limits(const SpawnRequest& request) {
  const ProcessLimits& limits = request.limits;
  return limit(RLIMIT_CORE, 0) && limit(RLIMIT_CPU, limits.cpu_seconds_max) &&
         limit(RLIMIT_NOFILE, limits.open_files_max) &&
         limit(RLIMIT_FSIZE, limits.file_bytes_max) &&
         limit(RLIMIT_DATA, limits.memory_bytes_max) && limit(RLIMIT_MEMLOCK, 0) &&
         (request.processes_max == 0 || limit(RLIMIT_NPROC, request.processes_max));
}

/// Root without capabilities is a user who owns root's files and nothing more.
bool drop_capabilities() {
  for (unsigned long capability = 0; capability <= CAP_LAST_CAP; ++capability) {
    if (prctl(PR_CAPBSET_DROP, capability, 0, 0, 0) != 0 && errno != EPERM && errno != EINVAL) {
      return false;
    }
  }
  __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
  std::array<__user_cap_data_struct, _LINUX_CAPABILITY_U32S_3> none = {};
  return syscall(SYS_capset, &header, none.data()) == 0;
}

bool reset_signals() {
  struct sigaction fresh = {};
  fresh.sa_handler = SIG_DFL;
  for (int signal = 1; signal <= kLastSignal; ++signal) sigaction(signal, &fresh, nullptr);
  sigset_t none;
  sigemptyset(&none);
  return sigprocmask(SIG_SETMASK, &none, nullptr) == 0;
}

/// The child's life before the program.
int child_main(void* argument) {
  Plan& plan = *static_cast<Plan*>(argument);
  const SpawnRequest& request = *plan.request;
  int landlock_ruleset = request.landlock_ruleset;
  const auto tried = [&plan](const char* step, bool is_done) {
    if (is_done) return true;
    plan.error = errno;
    plan.failed_step = step;
    return false;
  };
  const bool is_ready =
      tried("have a process group", setpgid(0, request.group) == 0) &&
      tried("die with us", request.outlives_us || (prctl(PR_SET_PDEATHSIG, SIGKILL) == 0 &&
                                                   getppid() == plan.parent)) &&
      tried("join the control group", join_control_group(request.control_group_procs)) &&
      tried("place its descriptors", place_descriptors(request, &landlock_ruleset)) &&
      tried("enter its folder",
            request.working_folder.empty() || chdir(request.working_folder.c_str()) == 0) &&
      tried("take its limits", set_limits(request)) &&
      tried("reset its signals", reset_signals()) &&
      tried("drop capabilities", !request.drops_capabilities || drop_capabilities()) &&
      tried("renounce privileges", prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0) &&
      tried("enter landlock", landlock_ruleset < 0 ||
                                  syscall(SYS_landlock_restrict_self, landlock_ruleset, 0) == 0) &&
      tried("enter seccomp", plan.seccomp.len == 0 || syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER,
                                                              0, &plan.seccomp) == 0);
  if (is_ready) {
    execve(request.program.c_str(), plan.argv.data(), plan.environment.data());
    tried("run", false);
  }
  _exit(127);
}

}  // namespace

Result<SpawnedProcess> spawn(const SpawnRequest& request) {
  PONDER_ASSERT(request.inherited.size() <= kInheritedMax);
  Plan plan;
  plan.request = &request;
  plan.argv = c_strings(request.argv);
  plan.environment = c_strings(request.environment);
  plan.parent = getpid();
  if (!request.seccomp.empty()) {
    plan.seccomp = {static_cast<unsigned short>(request.seccomp.size()),
                    const_cast<sock_filter*>(request.seccomp.data())};
  }
  const auto stack = std::make_unique<std::byte[]>(kStackBytes);
  // No handler of ours may run in the child, which shares our memory until it runs its program.
  sigset_t all;
  sigset_t before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  int pidfd = -1;
  const pid_t pid = clone(child_main, stack.get() + kStackBytes,
                          CLONE_VM | CLONE_VFORK | CLONE_PIDFD | SIGCHLD, &plan, &pidfd);
  const int error = errno;
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
  if (pid < 0) return fail(Errc::unavailable, fmt::format("no new process: {}", strerror(error)));
  SpawnedProcess process(pid, request.group, UniqueFd(pidfd));
  if (plan.failed_step == nullptr) return process;
  const bool is_missing = plan.error == ENOENT || plan.error == ENOTDIR;
  return fail(
      is_missing ? Errc::not_found : Errc::unavailable,
      fmt::format("{}: cannot {}: {}", request.program, plan.failed_step, strerror(plan.error)));
}

SpawnedProcess::~SpawnedProcess() {
  if (!pidfd_) return;
  kill_group();
  reap();
}

void SpawnedProcess::signal_group(int signal) { ::kill(-group_, signal); }

void SpawnedProcess::kill_group() {
  signal_group(SIGKILL);
  syscall(SYS_pidfd_send_signal, pidfd_.get(), SIGKILL, nullptr, 0);
}

UniqueFd SpawnedProcess::open_child(pid_t child) const {
  UniqueFd handle(static_cast<int>(syscall(SYS_pidfd_open, child, 0)));
  // The handle comes first: whoever has the number now had it then, or the handle is of nobody.
  std::ifstream status(fmt::format("/proc/{}/status", child));
  constexpr std::string_view kParent = "PPid:";
  for (std::string line; handle && std::getline(status, line);) {
    if (!line.starts_with(kParent)) continue;
    const bool is_ours = std::atol(line.c_str() + kParent.size()) == group_;
    if (is_ours) return handle;
  }
  return {};
}

siginfo_t SpawnedProcess::reap() {
  siginfo_t end = {};
  const auto id = static_cast<id_t>(pidfd_.get());
  while (waitid(P_PIDFD, id, &end, WEXITED | WNOWAIT) != 0 && errno == EINTR) {
  }
  ::kill(-group_, SIGKILL);  // its number is ours as long as its leader is not reaped
  while (waitid(P_PIDFD, id, &end, WEXITED) != 0 && errno == EINTR) {
  }
  pidfd_.reset();
  return end;
}

}  // namespace ponder::tools
