#pragma once

// Packs BF16 weights as kernels/packed_bf16_layout.h says, so that products with few rows, which
// memory's bandwidth bounds, read a quarter less.
//
// Thread: none; ranges of bands can be done by several threads at once.

#include <cstddef>
#include <cstdint>
#include <vector>

#include "kernels/kernel_table.h"
#include "kernels/packed_bf16_layout.h"

namespace ponder::kernels {

/// Which window each block of a matrix gets, and so where its bands will be.
struct PackedBf16Plan {
  PackedBf16Plan(std::size_t n, std::size_t k);

  std::size_t n;
  std::size_t k;
  PackedBf16Shape shape;
  std::vector<std::uint8_t> windows;   // [bands][band_windows]
  std::vector<std::uint64_t> offsets;  // [bands + 1]; the last one is the size of the matrix
};

/// Chooses the windows of bands [begin, end). `rows`: [n, k] dense, aligned to 2 bytes.
void choose_windows(PackedBf16Plan& plan, const bf16* rows, std::size_t begin,
                    std::size_t end) noexcept;

/// Sets the offsets, once all windows are chosen. Returns the bytes of the packed matrix.
std::size_t place_bands(PackedBf16Plan& plan) noexcept;

/// Writes the parts of `packed` that belong to bands [begin, end).
/// Requires: windows and offsets are set; `packed` is aligned to 64 bytes and has place_bands().
void pack_bands(const PackedBf16Plan& plan, const bf16* rows, std::size_t begin, std::size_t end,
                std::uint8_t* packed) noexcept;

/// The weights of a block, or of the last columns of a stripe's part of a section, which are raw:
/// [4][columns], written. Returns their bytes in the matrix.
std::size_t unpack_bf16(const std::uint8_t* packed, std::uint8_t window, std::size_t columns,
                        bf16* weights) noexcept;

}  // namespace ponder::kernels
