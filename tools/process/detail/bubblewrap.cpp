#include "tools/process/detail/bubblewrap.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <string_view>

namespace ponder::tools {
namespace {

namespace fs = std::filesystem;

/// Files below /etc that programs read and that say nothing about the machine's owner.
constexpr const char* kHarmlessEtc[] = {
    "/etc/ld.so.cache", "/etc/alternatives", "/etc/ssl/certs",      "/etc/ca-certificates",
    "/etc/localtime",   "/etc/mime.types",   "/etc/java-17-openjdk"};
/// Where the waiter lies in the sandbox.
constexpr const char* kWaiter = "/.ponder-waiter";
constexpr const char* kNetworkEtc[] = {"/etc/resolv.conf", "/etc/hosts", "/etc/nsswitch.conf",
                                       "/etc/services", "/etc/protocols"};

class Arguments {
 public:
  explicit Arguments(const std::string& program) : list_{program} {}

  template <class... Words>
  void add(Words&&... words) {
    (list_.emplace_back(std::forward<Words>(words)), ...);
  }
  void bind(const char* option, const fs::path& path) { add(option, path.string(), path.string()); }
  std::vector<std::string> take() { return std::move(list_); }

 private:
  std::vector<std::string> list_;
};

void add_system(Arguments& arguments, bool has_network) {
  for (const fs::path& folder : system_folders()) {
    std::error_code error;
    if (fs::is_symlink(folder, error)) {
      arguments.add("--symlink", fs::read_symlink(folder, error).string(), folder.string());
    } else if (fs::is_directory(folder, error)) {
      arguments.bind("--ro-bind", folder);
    }
  }
  for (const char* path : kHarmlessEtc) arguments.bind("--ro-bind-try", path);
  if (!has_network) return;
  for (const char* path : kNetworkEtc) arguments.bind("--ro-bind-try", path);
}

void add_scratch(Arguments& arguments, std::uint64_t bytes_max) {
  const std::string size = fmt::format("{}", bytes_max);
  // /proc/sys belongs to the host's root, and so to a sandbox that root starts, without any
  // capability: nothing in /proc is written.
  arguments.add("--proc", "/proc", "--remount-ro", "/proc", "--dev", "/dev");
  // The shared memory of a whole machine would be the default size.
  arguments.add("--size", size, "--tmpfs", "/dev/shm", "--remount-ro", "/dev");
  arguments.add("--size", size, "--tmpfs", "/tmp");
}

/// A mount point cannot be moved, but the folder that holds it can, mount and all. So each folder
/// on the way to it becomes a mount point too.
void add_read_only(Arguments& arguments, const fs::path& path,
                   const std::vector<fs::path>& writable) {
  std::vector<fs::path> on_the_way;
  for (fs::path folder = path.parent_path(); folder != folder.root_path();
       folder = folder.parent_path()) {
    if (std::find(writable.begin(), writable.end(), folder) != writable.end()) break;
    on_the_way.push_back(folder);
  }
  std::reverse(on_the_way.begin(), on_the_way.end());
  for (const fs::path& folder : on_the_way) arguments.bind("--bind", folder);
  arguments.bind("--ro-bind", path);
}

}  // namespace

const std::vector<fs::path>& system_folders() {
  static const std::vector<fs::path> folders = {"/usr",   "/bin",   "/sbin",  "/lib",
                                                "/lib32", "/lib64", "/libx32"};
  return folders;
}

std::vector<std::string> bubblewrap_arguments(const std::string& bubblewrap,
                                              const ProcessRequest& request,
                                              const SandboxPolicy& policy,
                                              const BubblewrapFds& fds) {
  Arguments arguments(bubblewrap);
  arguments.add("--unshare-user", "--unshare-all", "--disable-userns", "--die-with-parent",
                "--new-session", "--cap-drop", "ALL", "--hostname", "sandbox");
  if (policy.has_network) arguments.add("--share-net");
  add_system(arguments, policy.has_network);
  add_scratch(arguments, policy.limits.temporary_bytes_max);
  for (const fs::path& path : policy.readable) arguments.bind("--ro-bind", path);
  for (const fs::path& path : policy.writable) arguments.bind("--bind", path);
  for (const fs::path& path : policy.read_only) add_read_only(arguments, path, policy.writable);
  if (fds.waiter >= 0) {
    arguments.add("--perms", "0555", "--ro-bind-data", fmt::format("{}", fds.waiter), kWaiter);
  }
  arguments.add("--remount-ro", "/");
  const std::string folder = request.working_folder.string();
  arguments.add("--chdir", folder.empty() ? "/tmp" : folder);
  if (fds.seccomp >= 0) arguments.add("--seccomp", fmt::format("{}", fds.seccomp));
  if (fds.status >= 0) arguments.add("--json-status-fd", fmt::format("{}", fds.status));
  if (fds.options >= 0) arguments.add("--args", fmt::format("{}", fds.options));
  arguments.add("--");
  if (geteuid() != 0) {
    // Counted from within the user namespace, so that the user's other processes do not count.
    arguments.add("/usr/bin/prlimit", fmt::format("--nproc={0}:{0}", policy.limits.processes_max),
                  "--");
  }
  if (fds.waiter >= 0) arguments.add(kWaiter, fmt::format("{}", fds.report));
  for (const std::string& word : request.argv) arguments.add(word);
  return arguments.take();
}

std::string environment_options(const std::vector<std::string>& environment) {
  std::string options = "--clearenv";
  options += '\0';
  for (const std::string& entry : environment) {
    const std::size_t at = entry.find('=');
    for (const std::string& word :
         {std::string("--setenv"), entry.substr(0, at), entry.substr(at + 1)}) {
      options += word;
      options += '\0';
    }
  }
  return options;
}

bool setup_succeeded(const std::string& status_lines) {
  return status_lines.find("\"exit-code\"") != std::string::npos;
}

pid_t init_process(const std::string& status_lines) {
  constexpr std::string_view kName = "\"child-pid\":";
  const std::size_t at = status_lines.find(kName);
  const bool is_whole = status_lines.find('\n') != std::string::npos;
  if (at == std::string::npos || !is_whole) return 0;
  return static_cast<pid_t>(std::atol(status_lines.c_str() + at + kName.size()));
}

}  // namespace ponder::tools
