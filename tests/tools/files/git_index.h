#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace ponder::tests {

inline std::string big_endian(std::uint32_t value, int num_bytes) {
  std::string out;
  for (int shift = 8 * (num_bytes - 1); shift >= 0; shift -= 8) {
    out += static_cast<char>(value >> shift & 0xff);
  }
  return out;
}

/// All of an entry of git's index but its path.
inline std::string index_entry(std::size_t path_bytes) {
  constexpr std::uint32_t kLongest = 0xfff;
  const auto length = static_cast<std::uint32_t>(path_bytes);
  return std::string(24, '\1') + big_endian(0100644, 4) + std::string(12 + 20, '\1') +
         big_endian(length < kLongest ? length : kLongest, 2);
}

/// An index of version 2 with these files.
inline std::string index_of(const std::vector<std::string>& paths) {
  std::string out = "DIRC" + big_endian(2, 4) + big_endian(paths.size(), 4);
  for (const std::string& path : paths) {
    std::string entry = index_entry(path.size()) + path;
    entry.append(8 - entry.size() % 8, '\0');
    out += entry;
  }
  return out + std::string(20, '\1');
}

}  // namespace ponder::tests
