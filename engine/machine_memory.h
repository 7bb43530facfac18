#pragma once

#include <cstdint>
#include <filesystem>
#include <string>

namespace ponder::engine {

/// What this process may use, in bytes: the machine's memory, or less where its control group
/// (version 2) or a group above that has a limit; what other members of that group take counts.
/// `available` counts what the page cache would give back.
struct MachineMemory {
  std::uint64_t total = 0;
  std::uint64_t available = 0;
};

/// `root`: where proc and sys are found, for tests. In a container the group's own path may lead
/// nowhere; then the limit of what is mounted there counts, which is the container's.
MachineMemory machine_memory(const std::filesystem::path& root = "/");

/// What the cache of an engine takes that is told no size: a quarter of the memory, at most 4 GiB.
std::uint64_t default_cache_bytes(const MachineMemory& memory);

/// "19.96 GB", in powers of ten, as model cards count; below a million "123456 bytes".
std::string bytes_text(std::uint64_t bytes);

}  // namespace ponder::engine
