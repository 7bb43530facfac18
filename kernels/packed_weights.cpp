#include "kernels/packed_weights.h"

#include <algorithm>
#include <cstring>

namespace ponder::kernels {
namespace {

constexpr std::size_t kWordBytes = 4;
constexpr std::size_t kBlockWordBytes = kScaleRows * kWordBytes;

}  // namespace

std::size_t packed_bytes(std::size_t n, std::size_t row_bytes) noexcept {
  return (n + kScaleRows - 1) / kScaleRows * kScaleRows * row_bytes;
}

void pack_weights(const std::uint8_t* rows, std::size_t n, std::size_t row_bytes,
                  std::uint8_t* packed) noexcept {
  for (std::size_t block = 0; block < n; block += kScaleRows) {
    const std::size_t num_rows = std::min(kScaleRows, n - block);
    const std::uint8_t* from = rows + block * row_bytes;
    std::uint8_t* to = packed + block * row_bytes;
    if (num_rows < kScaleRows) std::memset(to, 0, kScaleRows * row_bytes);
    for (std::size_t word = 0; word < row_bytes / kWordBytes; ++word) {
      for (std::size_t row = 0; row < num_rows; ++row) {
        std::memcpy(to + word * kBlockWordBytes + row * kWordBytes,
                    from + row * row_bytes + word * kWordBytes, kWordBytes);
      }
    }
  }
}

}  // namespace ponder::kernels
