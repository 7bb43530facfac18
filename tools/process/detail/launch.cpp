#include "tools/process/detail/launch.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <stdlib.h>  // mkdtemp
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <system_error>
#include <utility>

#include "tools/process/detail/bubblewrap.h"
#include "tools/process/detail/landlock_rules.h"
#include "tools/process/detail/seccomp_filter.h"
#include "tools/process/detail/waiter.h"
#include "tools/process/sandbox_support.h"

namespace ponder::tools {
namespace {

namespace fs = std::filesystem;

constexpr std::array kProgramFolders = {"/usr/local/bin", "/usr/bin", "/bin", "/usr/sbin", "/sbin"};
constexpr const char* kDevices[] = {"/dev/null", "/dev/zero", "/dev/full", "/dev/random",
                                    "/dev/urandom"};
constexpr const char* kReadableEtc[] = {"/etc/ld.so.cache", "/etc/alternatives", "/etc/ssl/certs",
                                        "/etc/localtime"};

struct Pipe {
  UniqueFd read_end;
  UniqueFd write_end;
};

Result<Pipe> make_pipe() {
  std::array<int, 2> ends = {-1, -1};
  if (pipe2(ends.data(), O_CLOEXEC) != 0) {
    return fail(Errc::unavailable, fmt::format("no pipe: {}", strerror(errno)));
  }
  return Pipe{UniqueFd(ends[0]), UniqueFd(ends[1])};
}

/// A file in memory that holds `bytes` and stands at its beginning: as standard input it can
/// neither block us nor break.
Result<UniqueFd> file_of(const void* bytes, std::size_t size) {
  UniqueFd file(memfd_create("ponder", MFD_CLOEXEC));
  const bool is_written = file && write(file.get(), bytes, size) == static_cast<ssize_t>(size) &&
                          lseek(file.get(), 0, SEEK_SET) == 0;
  if (!is_written)
    return fail(Errc::unavailable, fmt::format("no memory file: {}", strerror(errno)));
  return file;
}

/// Absolute, there, and without a link or a dot in it: what the policy names is what is meant.
Status check_path(const fs::path& path) {
  std::error_code error;
  const fs::path canonical = fs::canonical(path, error);
  if (error) {
    return fail(Errc::invalid_argument,
                fmt::format("sandbox: {}: {}", path.string(), error.message()));
  }
  if (canonical == path) return {};
  return fail(Errc::invalid_argument, fmt::format("sandbox: {} is really {}: name that",
                                                  path.string(), canonical.string()));
}

bool is_inside(const fs::path& path, const std::vector<fs::path>& folders) {
  return std::any_of(folders.begin(), folders.end(), [&path](const fs::path& folder) {
    return std::mismatch(folder.begin(), folder.end(), path.begin(), path.end()).first ==
           folder.end();
  });
}

Status check_policy(const SandboxPolicy& policy) {
  for (const auto* paths : {&policy.readable, &policy.writable, &policy.read_only}) {
    for (const fs::path& path : *paths) {
      PONDER_CHECK(check_path(path));
    }
  }
  for (const fs::path& path : policy.read_only) {
    if (!is_inside(path, policy.writable)) {
      return fail(Errc::invalid_argument,
                  fmt::format("sandbox: {} is read-only in no writable folder", path.string()));
    }
  }
  if (policy.isolation == Isolation::isolated) return {};
  if (policy.has_network) {
    return fail(Errc::unavailable, "sandbox: 'confined' has no network; use 'isolated'");
  }
  if (!policy.read_only.empty()) {
    return fail(Errc::unavailable,
                fmt::format("sandbox: 'confined' cannot keep {} as it is inside a writable folder; "
                            "use 'isolated', or work on a copy without it",
                            policy.read_only.front().string()));
  }
  return {};
}

Result<fs::path> find_program(const ProcessRequest& request) {
  const std::string& name = request.argv.front();
  std::error_code error;
  if (name.find('/') != std::string::npos) {
    const fs::path path = request.working_folder / name;  // an absolute name stays as it is
    if (fs::exists(path, error)) return path;
  } else {
    for (const char* folder : kProgramFolders) {
      fs::path path = fs::path(folder) / name;
      if (access(path.c_str(), X_OK) == 0) return path;
    }
  }
  return fail(Errc::not_found, fmt::format("no program '{}'", name));
}

Status check_variables(const ProcessRequest& request) {
  for (const auto& [name, value] : request.environment) {
    const bool is_name = !name.empty() && name.find('=') == std::string::npos &&
                         name.find('\0') == std::string::npos;
    if (!is_name || value.find('\0') != std::string::npos) {
      return fail(Errc::invalid_argument,
                  "sandbox: a variable's name is empty, or has a '=' or "
                  "a zero byte in it, or its value has one");
    }
  }
  return {};
}

std::vector<std::string> environment_of(const ProcessRequest& request,
                                        const std::string& temporary) {
  std::vector<std::string> out;
  out.push_back(fmt::format("PATH={}", fmt::join(kProgramFolders, ":")));
  out.push_back("HOME=" + temporary);
  out.push_back("TMPDIR=" + temporary);
  out.push_back("LANG=C.UTF-8");
  for (const auto& [name, value] : request.environment) {
    const std::string prefix = name + "=";
    std::erase_if(out, [&prefix](const std::string& entry) { return entry.starts_with(prefix); });
    out.push_back(prefix + value);
  }
  return out;
}

/// The user's processes and threads at this moment, which RLIMIT_NPROC counts too.
std::uint64_t count_own_tasks() {
  std::uint64_t count = 0;
  std::error_code error;
  const auto is_number = [](const std::string& name) {
    return std::all_of(name.begin(), name.end(), [](char c) { return c >= '0' && c <= '9'; });
  };
  for (const auto& process : fs::directory_iterator("/proc", error)) {
    struct stat status = {};
    if (!is_number(process.path().filename().string())) continue;
    if (stat(process.path().c_str(), &status) != 0 || status.st_uid != geteuid()) continue;
    const auto tasks = fs::directory_iterator(process.path() / "task", error);
    count += static_cast<std::uint64_t>(std::distance(begin(tasks), end(tasks)));
  }
  return count;
}

/// What of a sandbox lives as long as the program, and the way to start it.
struct Preparation {
  SpawnRequest spawn;
  std::optional<TemporaryFolder> temporary;
  UniqueFd ruleset;
  UniqueFd filter;
  UniqueFd options;
  UniqueFd waiter;
  Pipe status;
  Pipe report;
};

Status prepare_isolated(const ProcessRequest& request, const SandboxPolicy& policy,
                        Preparation& out) {
  PONDER_TRY(const auto filter, seccomp_filter(policy.isolation, policy.has_network));
  PONDER_TRY(out.filter, file_of(filter.data(), filter.size() * sizeof(filter[0])));
  PONDER_TRY(out.status, make_pipe());
  const std::string options = environment_options(environment_of(request, "/tmp"));
  PONDER_TRY(out.options, file_of(options.data(), options.size()));
  const std::string_view waiter = waiter_image();
  PONDER_TRY(out.waiter, file_of(waiter.data(), waiter.size()));
  PONDER_TRY(out.report, make_pipe());
  BubblewrapFds fds;
  fds.seccomp = 3;
  fds.status = 4;
  fds.options = 5;
  fds.waiter = 6;
  fds.report = 7;
  out.spawn.program = sandbox_support().bubblewrap;
  out.spawn.argv = bubblewrap_arguments(out.spawn.program, request, policy, fds);
  out.spawn.environment = {"PATH=/usr/bin:/bin"};  // bubblewrap's own
  out.spawn.inherited = {out.filter.get(), out.status.write_end.get(), out.options.get(),
                         out.waiter.get(), out.report.write_end.get()};
  return {};
}

Status prepare_confined(const ProcessRequest& request, const SandboxPolicy& policy,
                        const fs::path& program, Preparation& out) {
  PONDER_TRY(auto temporary, TemporaryFolder::create());
  LandlockPaths paths;
  paths.readable = system_folders();
  paths.readable.insert(paths.readable.end(), std::begin(kReadableEtc), std::end(kReadableEtc));
  paths.readable.insert(paths.readable.end(), policy.readable.begin(), policy.readable.end());
  paths.writable = policy.writable;
  paths.writable.push_back(temporary.path());
  paths.devices.assign(std::begin(kDevices), std::end(kDevices));
  PONDER_TRY(out.ruleset, make_landlock_ruleset(paths));
  PONDER_TRY(out.spawn.seccomp, seccomp_filter(policy.isolation, policy.has_network));
  const fs::path folder =
      request.working_folder.empty() ? temporary.path() : request.working_folder;
  out.spawn.program = program.string();
  out.spawn.argv = request.argv;
  out.spawn.environment = environment_of(request, temporary.path().string());
  out.spawn.working_folder = folder.string();
  out.spawn.landlock_ruleset = out.ruleset.get();
  out.spawn.drops_capabilities = true;
  if (geteuid() != 0) out.spawn.processes_max = count_own_tasks() + policy.limits.processes_max;
  out.temporary.emplace(std::move(temporary));
  return {};
}

}  // namespace

Result<TemporaryFolder> TemporaryFolder::create() {
  std::error_code error;
  std::string name = (fs::temp_directory_path(error) / "ponder-XXXXXX").string();
  if (error || mkdtemp(name.data()) == nullptr) {
    return fail(Errc::unavailable, fmt::format("no temporary folder: {}", strerror(errno)));
  }
  fs::path path = fs::canonical(name, error);
  return TemporaryFolder(std::move(path));
}

TemporaryFolder::TemporaryFolder(TemporaryFolder&& other) noexcept
    : path_(std::exchange(other.path_, fs::path())) {}

TemporaryFolder::~TemporaryFolder() {
  std::error_code ignored;
  if (!path_.empty()) fs::remove_all(path_, ignored);
}

Result<Launched> launch(const ProcessRequest& request, const SandboxPolicy& policy) {
  if (request.argv.empty() || request.argv.front().empty()) {
    return fail(Errc::invalid_argument, "sandbox: no program is named");
  }
  PONDER_CHECK(check_support(sandbox_support(), policy.isolation));
  PONDER_CHECK(check_policy(policy));
  PONDER_CHECK(check_variables(request));
  if (!request.working_folder.empty()) {
    PONDER_CHECK(check_path(request.working_folder));
  }
  PONDER_TRY(const fs::path program, find_program(request));

  Preparation preparation;
  if (policy.isolation == Isolation::isolated) {
    PONDER_CHECK(prepare_isolated(request, policy, preparation));
  } else {
    PONDER_CHECK(prepare_confined(request, policy, program, preparation));
  }
  std::optional<ProcessGroupLimit> group_limit;
  SpawnRequest& spawn_request = preparation.spawn;
  if (geteuid() == 0) {
    PONDER_TRY(auto limit, ProcessGroupLimit::create(policy.limits.processes_max));
    spawn_request.control_group_procs = limit.procs_file();
    group_limit.emplace(std::move(limit));
  }
  PONDER_TRY(const UniqueFd input, file_of(request.input.data(), request.input.size()));
  PONDER_TRY(Pipe output, make_pipe());
  PONDER_TRY(Pipe error, make_pipe());
  spawn_request.standard_input = input.get();
  spawn_request.standard_output = output.write_end.get();
  spawn_request.standard_error = error.write_end.get();
  spawn_request.limits = policy.limits;
  std::optional<GroupWarden> warden;
  if (policy.isolation == Isolation::confined) {
    PONDER_TRY(auto started, GroupWarden::start());
    spawn_request.group = started.group();
    warden.emplace(std::move(started));
  }
  PONDER_TRY(SpawnedProcess process, spawn(spawn_request));
  return Launched{std::move(preparation.temporary),
                  std::move(group_limit),
                  std::move(output.read_end),
                  std::move(error.read_end),
                  std::move(preparation.status.read_end),
                  std::move(preparation.report.read_end),
                  std::move(warden),
                  std::move(process)};
}

}  // namespace ponder::tools
