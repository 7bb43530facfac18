// The tiles of the processor. Holding a Tiles makes every context switch of the thread carry 8 KiB
// more, so a kernel holds one no longer than it multiplies.

#include <immintrin.h>

#include <cstddef>
#include <cstdint>

namespace ponder::kernels {
namespace {

struct alignas(64) TileConfig {
  std::uint8_t palette = 1;
  std::uint8_t start_row = 0;
  std::uint8_t reserved[14] = {};
  std::uint16_t row_bytes[16] = {64, 64, 64, 64, 64, 64, 64, 64};
  std::uint8_t rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};
};
static_assert(sizeof(TileConfig) == 64);

class Tiles {
 public:
  // Products take this many bytes of the inner dimension at once: 64 or 32.
  explicit Tiles(std::size_t inner_bytes = 64) {
    TileConfig config;
    for (int left = 4; left < 6; ++left) {
      config.row_bytes[left] = static_cast<std::uint16_t>(inner_bytes);
    }
    for (int right = 6; right < 8; ++right) {
      config.rows[right] = static_cast<std::uint8_t>(inner_bytes / 4);
    }
    _tile_loadconfig(&config);
  }
  ~Tiles() { _tile_release(); }
  Tiles(const Tiles&) = delete;
  Tiles& operator=(const Tiles&) = delete;

  // The number of a tile is part of the instruction, and gcc wants it spelt out.
  template <int T>
  void zero() {
    if constexpr (T == 0) _tile_zero(0);
    if constexpr (T == 1) _tile_zero(1);
    if constexpr (T == 2) _tile_zero(2);
    if constexpr (T == 3) _tile_zero(3);
  }
  template <int T>
  void load(const void* p, std::size_t stride) {
    if constexpr (T == 0) _tile_loadd(0, p, stride);
    if constexpr (T == 1) _tile_loadd(1, p, stride);
    if constexpr (T == 2) _tile_loadd(2, p, stride);
    if constexpr (T == 3) _tile_loadd(3, p, stride);
    if constexpr (T == 4) _tile_loadd(4, p, stride);
    if constexpr (T == 5) _tile_loadd(5, p, stride);
    if constexpr (T == 6) _tile_loadd(6, p, stride);
    if constexpr (T == 7) _tile_loadd(7, p, stride);
  }
  template <int T>
  void store(void* p, std::size_t stride) {
    if constexpr (T == 0) _tile_stored(0, p, stride);
    if constexpr (T == 1) _tile_stored(1, p, stride);
    if constexpr (T == 2) _tile_stored(2, p, stride);
    if constexpr (T == 3) _tile_stored(3, p, stride);
  }
  template <int A, int B>
  void dot_int8() {
    if constexpr (A == 0 && B == 0) _tile_dpbssd(0, 4, 6);
    if constexpr (A == 0 && B == 1) _tile_dpbssd(1, 4, 7);
    if constexpr (A == 1 && B == 0) _tile_dpbssd(2, 5, 6);
    if constexpr (A == 1 && B == 1) _tile_dpbssd(3, 5, 7);
  }
  template <int A, int B>
  void dot_bf16() {
    if constexpr (A == 0 && B == 0) _tile_dpbf16ps(0, 4, 6);
    if constexpr (A == 0 && B == 1) _tile_dpbf16ps(1, 4, 7);
    if constexpr (A == 1 && B == 0) _tile_dpbf16ps(2, 5, 6);
    if constexpr (A == 1 && B == 1) _tile_dpbf16ps(3, 5, 7);
  }
};

}  // namespace
}  // namespace ponder::kernels
