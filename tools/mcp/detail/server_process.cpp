#include "tools/mcp/detail/server_process.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <limits>
#include <sstream>

#include "tools/process/sandbox_support.h"

namespace ponder::mcp {
namespace {

namespace fs = std::filesystem;
using tools::UniqueFd;
using Variables = std::vector<std::pair<std::string, std::string>>;

constexpr const char* kPath = "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin";
constexpr std::uint64_t kMemoryBytesMax = std::uint64_t{16} << 30;  // private and writable, each
constexpr std::uint32_t kOpenFilesMax = 65'536;

struct Ends {
  UniqueFd ours;
  UniqueFd theirs;
};

Result<Ends> ends_of(int made, const std::array<int, 2>& fds) {
  if (made != 0) return fail(Errc::unavailable, fmt::format("no pipe: {}", strerror(errno)));
  return Ends{UniqueFd(fds[0]), UniqueFd(fds[1])};
}

Result<Ends> make_socket() {
  std::array<int, 2> fds = {-1, -1};
  const int made = socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds.data());
  return ends_of(made, fds);
}

Result<Ends> make_pipe() {
  std::array<int, 2> fds = {-1, -1};
  const int made = pipe2(fds.data(), O_CLOEXEC);
  return ends_of(made, fds);
}

void set_default(Variables& variables, const char* name, const char* value) {
  const auto is_it = [name](const auto& variable) { return variable.first == name; };
  if (std::none_of(variables.begin(), variables.end(), is_it)) variables.emplace_back(name, value);
}

Variables with_defaults(const Variables& given) {
  Variables variables;
  for (const auto& [name, value] : given) {  // the last one holds
    std::erase_if(variables, [&name](const auto& other) { return other.first == name; });
    variables.emplace_back(name, value);
  }
  set_default(variables, "PATH", kPath);
  set_default(variables, "LANG", "C.UTF-8");
  set_default(variables, "HOME", "/tmp");
  return variables;
}

Result<fs::path> find_program(const std::string& name, const fs::path& folder,
                              const Variables& variables) {
  if (name.find('/') != std::string::npos) {
    fs::path path = folder / name;  // an absolute name stays as it is
    if (access(path.c_str(), X_OK) == 0) return path;
    return fail(Errc::not_found, fmt::format("there is no program {}", path.string()));
  }
  const auto is_path = [](const auto& variable) { return variable.first == "PATH"; };
  const std::string list = std::find_if(variables.begin(), variables.end(), is_path)->second;
  std::istringstream folders(list);
  for (std::string entry; std::getline(folders, entry, ':');) {
    fs::path path = fs::path(entry) / name;
    if (path.is_absolute() && access(path.c_str(), X_OK) == 0) return path;
  }
  return fail(Errc::not_found, fmt::format("there is no program '{}' in {}", name, list));
}

/// The program as the first process of a namespace, which ends with it.
std::vector<std::string> in_own_namespace(const std::string& bubblewrap, const fs::path& folder) {
  return {bubblewrap,
          "--dev-bind",
          "/",
          "/",
          "--proc",
          "/proc",
          "--unshare-pid",
          "--die-with-parent",
          "--chdir",
          folder.string(),
          "--"};
}

}  // namespace

Result<ServerProcess> start_server(const ServerCommand& command) {
  if (command.argv.empty() || command.argv.front().empty()) {
    return fail(Errc::invalid_argument, "no command is named");
  }
  const fs::path folder = command.working_folder.empty() ? "/" : command.working_folder;
  const Variables variables = with_defaults(command.environment);
  PONDER_TRY(const fs::path program, find_program(command.argv.front(), folder, variables));
  PONDER_TRY(Ends input, make_socket());
  PONDER_TRY(Ends output, make_pipe());
  PONDER_TRY(Ends errors, make_pipe());

  tools::SpawnRequest request;
  const tools::SandboxSupport& support = tools::sandbox_support();
  if (!support.bubblewrap.empty() && support.namespace_error.empty()) {
    request.argv = in_own_namespace(support.bubblewrap, folder);
  }
  request.argv.push_back(program.string());
  request.argv.insert(request.argv.end(), command.argv.begin() + 1, command.argv.end());
  request.program = request.argv.front();
  for (const auto& [name, value] : variables) {
    request.environment.push_back(fmt::format("{}={}", name, value));
  }
  request.working_folder = folder.string();
  request.standard_input = input.theirs.get();
  request.standard_output = output.theirs.get();  // the end that pipe2 made for writing
  request.standard_error = errors.theirs.get();
  request.limits.cpu_seconds_max = std::numeric_limits<std::uint32_t>::max();
  request.limits.open_files_max = kOpenFilesMax;
  request.limits.memory_bytes_max = kMemoryBytesMax;
  request.limits.file_bytes_max = std::numeric_limits<std::uint64_t>::max();
  PONDER_TRY(tools::SpawnedProcess process, tools::spawn(request));
  return ServerProcess{std::move(process), std::move(input.ours), std::move(output.ours),
                       std::move(errors.ours)};
}

}  // namespace ponder::mcp
