#include "tools/process/detail/seccomp_filter.h"

#include <fmt/format.h>
#include <sched.h>
#include <seccomp.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <memory>
#include <string>
#include <string_view>
#include <utility>

#include "tools/detail/unique_fd.h"

namespace ponder::tools {
namespace {

struct ReleaseFilter {
  void operator()(void* filter) const noexcept { seccomp_release(filter); }
};
using Filter = std::unique_ptr<void, ReleaseFilter>;

/// Refused in every sandbox. Names, because a system call that the headers or the machine do not
/// know is no fault: it is left out.
constexpr std::array kRefused = {
    // other processes
    "ptrace",
    "process_vm_readv",
    "process_vm_writev",
    "process_madvise",
    "process_mrelease",
    "kcmp",
    "pidfd_getfd",
    "perf_event_open",
    "move_pages",
    "migrate_pages",
    // mounts and namespaces
    "mount",
    "umount",
    "umount2",
    "pivot_root",
    "chroot",
    "unshare",
    "setns",
    "open_tree",
    "move_mount",
    "fsopen",
    "fsconfig",
    "fsmount",
    "fspick",
    "mount_setattr",
    "open_by_handle_at",
    "name_to_handle_at",
    "quotactl",
    "quotactl_fd",
    "fanotify_init",
    // the kernel itself
    "bpf",
    "init_module",
    "finit_module",
    "delete_module",
    "kexec_load",
    "kexec_file_load",
    "reboot",
    "swapon",
    "swapoff",
    "acct",
    "syslog",
    "iopl",
    "ioperm",
    "modify_ldt",
    "lookup_dcookie",
    "sethostname",
    "setdomainname",
    "vhangup",
    "nfsservctl",
    "personality",
    // interfaces with a history of holes
    "io_uring_setup",
    "io_uring_enter",
    "io_uring_register",
    "userfaultfd",
    "keyctl",
    "add_key",
    "request_key",
    "vmsplice",
    // clocks
    "settimeofday",
    "clock_settime",
    "clock_adjtime",
    "adjtimex",
    "stime",
};

/// What only a namespace of its own keeps inside. Of System V's objects all calls, for their
/// numbers are small and no key is needed to guess one.
constexpr std::array kRefusedWithoutNamespaces = {
    "setsid", "setpgid", "shmget", "shmat",  "shmctl",  "msgget",    "msgctl", "msgsnd",
    "msgrcv", "semget",  "semop",  "semctl", "mq_open", "mq_unlink", "socket", "semtimedop",
};

/// Calls that change how a process is scheduled, by its number; 0 is who calls. Without a process
/// namespace that could be any of the user's processes, ponder among them.
constexpr std::array kOfOneselfOnly = {
    "prlimit64", "sched_setaffinity", "sched_setscheduler", "sched_setparam", "sched_setattr",
};
constexpr std::uint64_t kIoPriorityOfAProcess = 1;  // IOPRIO_WHO_PROCESS

/// What Landlock does not govern: it would work on every file that the user owns. None is needed
/// for a build or a test.
constexpr std::array kRefusedOutsideLandlock = {
    "chown",        "lchown",        "fchown",       "fchownat",    "setxattr",
    "lsetxattr",    "fsetxattr",     "setxattrat",   "removexattr", "lremovexattr",
    "fremovexattr", "removexattrat", "file_setattr",
};

/// Families that a network namespace holds.
constexpr std::array kNamespacedFamilies = {AF_UNIX, AF_INET, AF_INET6, AF_NETLINK};
/// With the host's network, a unix socket would reach the host's abstract names.
constexpr std::array kNetworkFamilies = {AF_INET, AF_INET6, AF_NETLINK};

/// The kernel looks at the lower half of an int argument only; what is above is the caller's.
constexpr std::uint64_t kLow32 = 0xFFFFFFFF;
constexpr std::uint64_t kNamespaceFlags = CLONE_NEWNS | CLONE_NEWUTS | CLONE_NEWIPC |
                                          CLONE_NEWUSER | CLONE_NEWPID | CLONE_NEWNET |
                                          CLONE_NEWCGROUP | 0x80 /* CLONE_NEWTIME */;

scmp_arg_cmp compare(unsigned argument, scmp_compare how, std::uint64_t value,
                     std::uint64_t other = 0) {
  return {argument, how, value, other};
}

/// A system call that sets a mode, and which of its arguments that is.
struct ModeCall {
  const char* name;
  unsigned argument;
};
constexpr std::array<ModeCall, 4> kModeCalls = {
    {{"chmod", 1}, {"fchmod", 1}, {"fchmodat", 2}, {"fchmodat2", 2}}};
/// Bits that hand a file on: to whoever runs it, or to everybody for writing.
constexpr std::array<std::uint64_t, 3> kRefusedModes = {04000, 02000, 0002};
constexpr std::uint64_t kOwnerReads = 0400;

/// The library may be older than the kernel. New system calls have one number on all machines.
int number_of(std::string_view name) {
  constexpr std::array<std::pair<std::string_view, int>, 4> kRecent = {
      {{"fchmodat2", 452}, {"setxattrat", 463}, {"removexattrat", 466}, {"file_setattr", 469}}};
  for (const auto& [recent, number] : kRecent) {
    if (recent == name) return number;
  }
  return seccomp_syscall_resolve_name(std::string(name).c_str());
}

class Builder {
 public:
  explicit Builder(void* filter) : filter_(filter) {}

  template <class... Comparisons>
  void refuse(const char* name, int error, Comparisons... comparisons) {
    const int number = number_of(name);
    if (number == __NR_SCMP_ERROR) return;
    const std::array<scmp_arg_cmp, sizeof...(Comparisons)> arguments = {comparisons...};
    note(seccomp_rule_add_array(filter_, SCMP_ACT_ERRNO(static_cast<std::uint16_t>(error)), number,
                                arguments.size(), arguments.data()));
  }

  /// Refuses socket() for every family but these: gaps between them, and what comes after.
  template <std::size_t N>
  void allow_only_families(const std::array<int, N>& families) {
    for (int family = 0; family < AF_MAX; ++family) {
      bool is_allowed = false;
      for (const int allowed : families) is_allowed = is_allowed || family == allowed;
      if (is_allowed) continue;
      refuse("socket", EAFNOSUPPORT,
             compare(0, SCMP_CMP_MASKED_EQ, kLow32, static_cast<std::uint32_t>(family)));
    }
    refuse("socket", EAFNOSUPPORT, compare(0, SCMP_CMP_GE, static_cast<std::uint32_t>(AF_MAX)));
  }

  /// Compilers and package managers set modes by path, so that not every mode can be refused.
  void refuse_modes() {
    for (const ModeCall& call : kModeCalls) {
      for (const std::uint64_t bit : kRefusedModes) {
        refuse(call.name, EPERM, compare(call.argument, SCMP_CMP_MASKED_EQ, bit, bit));
      }
      refuse(call.name, EPERM, compare(call.argument, SCMP_CMP_MASKED_EQ, kOwnerReads, 0));
    }
  }

  /// The first argument says whether the second numbers a process, a group or a user.
  void refuse_priorities_of_others(const char* name, std::uint64_t process) {
    refuse(name, EPERM, compare(0, SCMP_CMP_NE, process));
    refuse(name, EPERM, compare(1, SCMP_CMP_NE, 0));
  }

  void note(int result) {
    if (result != 0 && result_ == 0) result_ = result;
  }
  int result() const { return result_; }

 private:
  void* filter_;
  int result_ = 0;
};

Result<std::vector<sock_filter>> exported(void* filter) {
  const UniqueFd file(memfd_create("seccomp", MFD_CLOEXEC));
  if (!file || seccomp_export_bpf(filter, file.get()) != 0) {
    return fail(Errc::unavailable, "seccomp: cannot write the filter");
  }
  const off_t bytes = lseek(file.get(), 0, SEEK_END);
  std::vector<sock_filter> program(static_cast<std::size_t>(bytes) / sizeof(sock_filter));
  if (pread(file.get(), program.data(), static_cast<std::size_t>(bytes), 0) != bytes) {
    return fail(Errc::unavailable, "seccomp: cannot read the filter");
  }
  return program;
}

}  // namespace

Result<std::vector<sock_filter>> seccomp_filter(Isolation isolation, bool has_network) {
  const Filter filter(seccomp_init(SCMP_ACT_ALLOW));
  if (!filter) return fail(Errc::unavailable, "seccomp: no memory for the filter");
  Builder builder(filter.get());
  for (const char* name : kRefused) builder.refuse(name, EPERM);
  builder.refuse("clone", EPERM, compare(0, SCMP_CMP_MASKED_EQ, CLONE_NEWUSER, CLONE_NEWUSER));
  for (std::uint64_t flag = 1; flag <= kNamespaceFlags; flag <<= 1) {
    if ((flag & kNamespaceFlags) == 0 || flag == CLONE_NEWUSER) continue;
    builder.refuse("clone", EPERM, compare(0, SCMP_CMP_MASKED_EQ, flag, flag));
  }
  // Its flags lie in memory, where a filter cannot look; C libraries go back to clone.
  builder.refuse("clone3", ENOSYS);
  builder.refuse("ioctl", EPERM, compare(1, SCMP_CMP_MASKED_EQ, kLow32, TIOCSTI));
  builder.refuse("ioctl", EPERM, compare(1, SCMP_CMP_MASKED_EQ, kLow32, TIOCLINUX));
  if (isolation == Isolation::confined) {
    for (const char* name : kRefusedWithoutNamespaces) builder.refuse(name, EPERM);
    for (const char* name : kRefusedOutsideLandlock) builder.refuse(name, EPERM);
    builder.refuse_modes();
    for (const char* name : kOfOneselfOnly) {
      builder.refuse(name, EPERM, compare(0, SCMP_CMP_NE, 0));
    }
    builder.refuse_priorities_of_others("setpriority", PRIO_PROCESS);
    builder.refuse_priorities_of_others("ioprio_set", kIoPriorityOfAProcess);
  } else if (has_network) {
    builder.allow_only_families(kNetworkFamilies);
  } else {
    builder.allow_only_families(kNamespacedFamilies);
  }
  if (builder.result() != 0) {
    return fail(Errc::unavailable,
                fmt::format("seccomp: cannot build the filter: {}", strerror(-builder.result())));
  }
  return exported(filter.get());
}

}  // namespace ponder::tools
