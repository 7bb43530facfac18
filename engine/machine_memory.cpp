#include "engine/machine_memory.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <limits>
#include <string>

namespace ponder::engine {
namespace {

constexpr std::uint64_t kCacheBytesDefaultMax = std::uint64_t{4} << 30;

/// The number behind `key` in a file of "key value" lines; `absent` when there is none.
std::uint64_t value_of(const char* file, const std::string& key, std::uint64_t absent) {
  std::ifstream in(file);
  std::string word;
  while (in >> word) {
    std::uint64_t value = 0;
    if (word == key && in >> value) return value;
  }
  return absent;
}

/// The number that the file holds; `absent` for "max" or no such file.
std::uint64_t number_in(const char* file, std::uint64_t absent) {
  std::ifstream in(file);
  std::uint64_t value = 0;
  return in >> value ? value : absent;
}

}  // namespace

MachineMemory machine_memory() {
  constexpr std::uint64_t kKiB = 1024;
  constexpr std::uint64_t kNone = std::numeric_limits<std::uint64_t>::max();
  const auto physical = static_cast<std::uint64_t>(sysconf(_SC_PHYS_PAGES)) *
                        static_cast<std::uint64_t>(sysconf(_SC_PAGE_SIZE));
  MachineMemory memory;
  memory.total = value_of("/proc/meminfo", "MemTotal:", physical / kKiB) * kKiB;
  memory.available = value_of("/proc/meminfo", "MemAvailable:", physical / kKiB) * kKiB;
  const std::uint64_t limit = number_in("/sys/fs/cgroup/memory.max", kNone);
  if (limit == kNone) return memory;
  const std::uint64_t used = number_in("/sys/fs/cgroup/memory.current", 0);
  const std::uint64_t cached = value_of("/sys/fs/cgroup/memory.stat", "file", 0);
  const std::uint64_t taken = used - std::min(used, cached);
  memory.total = std::min(memory.total, limit);
  memory.available = std::min(memory.available, limit - std::min(limit, taken));
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
