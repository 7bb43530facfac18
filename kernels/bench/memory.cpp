#include "kernels/bench/memory.h"

#include <sys/mman.h>

#include <cstdint>
#include <cstdlib>
#include <cstring>

namespace ponder::kernels::bench {

std::byte* allocate(std::size_t bytes) {
  constexpr std::size_t kHugePage = std::size_t{2} << 20;
  bytes = (bytes + kHugePage - 1) / kHugePage * kHugePage;
  auto* memory = static_cast<std::byte*>(std::aligned_alloc(kHugePage, bytes));
  if (memory == nullptr) std::abort();
  madvise(memory, bytes, MADV_HUGEPAGE);
  std::memset(memory, 0, bytes);
  return memory;
}

std::byte* allocate_codes(std::size_t bytes) {
  std::byte* memory = allocate(bytes);
  std::uint64_t state = 1;
  for (std::size_t i = 0; i + sizeof state <= bytes; i += sizeof state) {
    state = state * 6364136223846793005ULL + 1442695040888963407ULL;
    const std::uint64_t bits = (state ^ state >> 29) & 0x1f1f1f1f1f1f1f1fULL;
    const std::uint64_t word = bits | 0x2020202020202020ULL;
    std::memcpy(memory + i, &word, sizeof word);
  }
  return memory;
}

}  // namespace ponder::kernels::bench
