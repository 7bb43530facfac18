#include "engine/machine_memory.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <limits>
#include <string>
#include <string_view>

namespace ponder::engine {
namespace {

namespace fs = std::filesystem;

constexpr std::uint64_t kNone = std::numeric_limits<std::uint64_t>::max();
constexpr std::uint64_t kCacheBytesDefaultMax = std::uint64_t{4} << 30;

/// The number behind `key` in a file of "key value" lines; `absent` when there is none.
std::uint64_t value_of(const fs::path& file, const std::string& key, std::uint64_t absent) {
  std::ifstream in(file);
  std::string word;
  while (in >> word) {
    std::uint64_t value = 0;
    if (word == key && in >> value) return value;
  }
  return absent;
}

/// The number that the file holds; `absent` for "max" or no such file.
std::uint64_t number_in(const fs::path& file, std::uint64_t absent) {
  std::ifstream in(file);
  std::uint64_t value = 0;
  return in >> value ? value : absent;
}

/// The process's group as a path below the mount, "/" where there is none that can be found there.
std::string control_group(const fs::path& root) {
  constexpr std::string_view kVersion2 = "0::/";
  std::ifstream in(root / "proc/self/cgroup");
  for (std::string line; std::getline(in, line);) {
    if (!line.starts_with(kVersion2)) continue;
    const fs::path path = line.substr(kVersion2.size() - 1);
    // Of a group outside what the container sees the path begins so.
    if (std::ranges::find(path, fs::path("..")) == path.end()) return path;
  }
  return "/";
}

void apply_limit(const fs::path& group, MachineMemory& memory) {
  const std::uint64_t limit = number_in(group / "memory.max", kNone);
  if (limit == kNone) return;
  const std::uint64_t used = number_in(group / "memory.current", 0);
  const std::uint64_t cached = value_of(group / "memory.stat", "file", 0);
  const std::uint64_t taken = used - std::min(used, cached);
  memory.total = std::min(memory.total, limit);
  memory.available = std::min(memory.available, limit - std::min(limit, taken));
}

}  // namespace

MachineMemory machine_memory(const fs::path& root) {
  constexpr std::uint64_t kKiB = 1024;
  const auto physical = static_cast<std::uint64_t>(sysconf(_SC_PHYS_PAGES)) *
                        static_cast<std::uint64_t>(sysconf(_SC_PAGE_SIZE));
  const fs::path meminfo = root / "proc/meminfo";
  MachineMemory memory;
  memory.total = value_of(meminfo, "MemTotal:", physical / kKiB) * kKiB;
  memory.available = value_of(meminfo, "MemAvailable:", physical / kKiB) * kKiB;
  fs::path group = root / "sys/fs/cgroup";
  apply_limit(group, memory);
  for (const fs::path& name : fs::path(control_group(root)).relative_path()) {
    group /= name;
    apply_limit(group, memory);
  }
  return memory;
}

std::uint64_t default_cache_bytes(const MachineMemory& memory) {
  return std::min(memory.total / 4, kCacheBytesDefaultMax);
}

std::string bytes_text(std::uint64_t bytes) {
  if (bytes < 1'000'000) return fmt::format("{} bytes", bytes);
  if (bytes < 1'000'000'000) return fmt::format("{:.1f} MB", static_cast<double>(bytes) / 1e6);
  return fmt::format("{:.2f} GB", static_cast<double>(bytes) / 1e9);
}

}  // namespace ponder::engine
