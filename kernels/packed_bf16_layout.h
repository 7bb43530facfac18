#pragma once

// BF16 weights in some 12 bits each, losslessly: what lies where, for those that write and read
// them. Plain data and constants, because files compiled for one instruction set include it.
//
// Weights of one matrix differ little in size: in a block of 4 rows by 64 columns nearly always all
// exponents lie within 16 of each other. The upper byte of a bf16 is the sign and the exponent
// without its last bit; a block stores each as a nibble, the sign and how far it lies above the
// block's window, and the lower byte as it is:
//
//   block = 2 pairs of rows, each [64 nibble bytes][64 lower bytes of row 0][64 of row 1]
//   nibble byte: row 0 in the lower half, row 1 in the upper one; a nibble is sign * 8 + code
//   upper byte = sign * 128 + (window + code); with kPackedZeros code 0 means 0 instead
//
// A block that no window covers is raw, [4][64] bf16; so are the last k % 64 columns. Bytes of a
// row stand in the order in which unpacking interleaves them to vectors of 16 floats.
//
// A band is 16 rows, in the order in which products read it, from its first byte to its last:
// sections of 1024 columns; in each the four stripes of 4 rows; in each the blocks, and after the
// last of them the columns that are left. Rows that the last stripe lacks are zeros, stripes that
// the last band lacks are not there. The matrix:
//
//   [bands] u64: where each band begins, in bytes from the start of the matrix
//   [bands][4 * (k / 64)] u8: windows, in the order of the band's blocks
//   bands, 64-byte aligned

#include <cstddef>
#include <cstdint>

namespace ponder::kernels {

inline constexpr std::size_t kPackedBandRows = 16;
inline constexpr std::size_t kPackedRows = 4;        // of a stripe
inline constexpr std::size_t kPackedSection = 1024;  // columns
inline constexpr std::size_t kPackedColumns = 64;    // of a block
inline constexpr std::size_t kPackedPairBytes = 3 * kPackedColumns;
inline constexpr std::size_t kPackedBlockBytes = kPackedRows / 2 * kPackedPairBytes;
inline constexpr std::size_t kPackedRawBytes = kPackedRows * kPackedColumns * 2;
inline constexpr std::size_t kPackedAlignment = 64;

// A window is the smallest upper byte of a block's magnitudes, or one less with kPackedZeros.
inline constexpr std::uint8_t kPackedWindowMax = 120;  // the last that ends with infinity
inline constexpr std::uint8_t kPackedZeros = 0x80;     // added to a window
inline constexpr std::uint8_t kPackedRaw = 0xff;

/// Of a stripe's part of a section.
constexpr std::size_t packed_rest_bytes(std::size_t columns_left) noexcept {
  const std::size_t bytes = kPackedRows * columns_left * 2;
  return (bytes + kPackedAlignment - 1) / kPackedAlignment * kPackedAlignment;
}

/// Where the parts of a packed matrix of n rows by k columns are, in bytes from its start.
struct PackedBf16Shape {
  constexpr PackedBf16Shape(std::size_t n, std::size_t k) noexcept
      : bands((n + kPackedBandRows - 1) / kPackedBandRows),
        band_windows(kPackedBandRows / kPackedRows * (k / kPackedColumns)),
        windows_at(bands * sizeof(std::uint64_t)),
        bands_at((windows_at + bands * band_windows + kPackedAlignment - 1) / kPackedAlignment *
                 kPackedAlignment) {}
  std::size_t bands;
  std::size_t band_windows;  // of a band, also of the last
  std::size_t windows_at;
  std::size_t bands_at;
};

}  // namespace ponder::kernels
