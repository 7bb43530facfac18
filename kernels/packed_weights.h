#pragma once

// Weights in the order in which products read them. Rows are taken 16 at a time, and their words of
// four bytes are interleaved:
//
//   packed[block][word][row in block]    word w of row r is bytes 4w .. 4w + 3 of that row
//
// So 64 bytes hold the same four int8 inputs of 16 rows (of int4 the same eight), one vector whose
// lanes are outputs: a product needs no shuffle and reads a block from its first byte to its last.
// 16 words are also a tile of right operands as AMX wants it. One copy serves one row of x and
// many.

#include <cstddef>
#include <cstdint>

#include "kernels/kernel_table.h"

namespace ponder::kernels {

/// Bytes of `n` rows of `row_bytes` each, packed: whole blocks.
[[nodiscard]] std::size_t packed_bytes(std::size_t n, std::size_t row_bytes) noexcept;

/// Packs rows that lie one after the other; rows that the last block lacks become zeros.
/// Requires: row_bytes is a multiple of 4; `packed` has packed_bytes(n, row_bytes).
void pack_weights(const std::uint8_t* rows, std::size_t n, std::size_t row_bytes,
                  std::uint8_t* packed) noexcept;

}  // namespace ponder::kernels
