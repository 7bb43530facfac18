#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

/// What a child process may reach, and how much of it it may use.
namespace ponder::tools {

/// How a process is kept in. Both refuse the system calls of seccomp_filter.h and hold the limits;
/// they differ in what the process can see.
enum class Isolation {
  /// Namespaces of its own for users, mounts, processes, network, IPC and host name (bubblewrap):
  /// what it may not reach is not there.
  isolated,
  /// Landlock: what it may not reach is refused. It sees that other processes exist, has no
  /// sockets, and cannot be kept out of a folder inside one that it may write to. Landlock does not
  /// govern modes and times of files outside: they are kept from the worst only; see
  /// seccomp_filter.h. For places where namespaces are forbidden, such as most containers.
  confined,
};

/// "isolated" or "confined".
std::string_view isolation_name(Isolation isolation);
/// `invalid_argument` names the known ones.
Result<Isolation> parse_isolation(std::string_view name);

/// Limits of one call. Those of memory, processor time and files hold for each process, so that the
/// whole is bounded by the product with `processes_max`.
struct ProcessLimits {
  std::uint32_t processes_max = 256;  // and threads, at the same time
  std::uint32_t cpu_seconds_max = 600;
  std::uint32_t open_files_max = 1024;
  std::uint64_t memory_bytes_max = std::uint64_t{4} << 30;     // private and writable
  std::uint64_t file_bytes_max = std::uint64_t{1} << 30;       // of one file
  std::uint64_t temporary_bytes_max = std::uint64_t{1} << 30;  // of /tmp; isolated only
};

/// What a process may reach beside the system's programs, libraries and certificates, which are
/// always readable, and an empty /tmp of its own. Everything else is refused or absent.
///
/// Paths are absolute and must exist; each is resolved once, before the process starts.
struct SandboxPolicy {
  Isolation isolation = Isolation::isolated;
  std::vector<std::filesystem::path> readable;
  std::vector<std::filesystem::path> writable;
  /// Files and folders inside writable ones that stay as they are, and cannot be moved out of the
  /// way. `confined` cannot promise that and refuses to run when there are any.
  std::vector<std::filesystem::path> read_only;
  bool has_network = false;  // isolated: the host's; confined: refused
  ProcessLimits limits;
};

}  // namespace ponder::tools
