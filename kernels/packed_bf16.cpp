#include "kernels/packed_bf16.h"

#include <algorithm>
#include <cstring>

namespace ponder::kernels {
namespace {

constexpr std::size_t kLineColumns = 16;  // a vector of floats of the widest unpacking

// Where the byte of a column stands among the 64 of its row: unpacking takes bytes in halves of 16,
// and the two of a pair come from vectors that follow each other.
constexpr std::size_t place_of(std::size_t column) {
  const std::size_t vector = column / kLineColumns;
  const std::size_t lane = column % kLineColumns;
  return lane / 4 * 16 + vector / 2 * 8 + lane % 4 * 2 + vector % 2;
}

constexpr std::size_t column_at(std::size_t place) {
  const std::size_t lane = place / 16 * 4 + place % 8 / 2;
  const std::size_t vector = place % 16 / 8 * 2 + place % 2;
  return vector * kLineColumns + lane;
}

constexpr bool each_place_is_found_again() {
  for (std::size_t i = 0; i < kPackedColumns; ++i) {
    if (column_at(place_of(i)) != i) return false;
  }
  return true;
}
static_assert(each_place_is_found_again());

// The magnitude's upper byte: all of the exponent but its last bit.
constexpr unsigned upper_magnitude(bf16 weight) { return weight >> 8 & 0x7f; }

// The rows of a stripe that exist.
struct StripeRows {
  StripeRows(const PackedBf16Plan& plan, const bf16* rows, std::size_t n)
      : first(rows + n * plan.k), stride(plan.k), count(std::min(kPackedRows, plan.n - n)) {}
  const bf16* row(std::size_t r) const { return first + r * stride; }
  const bf16* first;
  std::size_t stride;
  std::size_t count;
};

// Calls f(first row, column, columns) for each stripe's part of a section, in a band's order.
template <class F>
void each_part(const PackedBf16Plan& plan, std::size_t band, F f) {
  const std::size_t end = std::min(plan.n, (band + 1) * kPackedBandRows);
  for (std::size_t column = 0; column < plan.k; column += kPackedSection) {
    const std::size_t columns = std::min(kPackedSection, plan.k - column);
    for (std::size_t n = band * kPackedBandRows; n < end; n += kPackedRows) f(n, column, columns);
  }
}

std::uint8_t window_of(const StripeRows& rows, std::size_t column) {
  // In bytes, so that the compiler takes many at once.
  std::uint8_t largest = 0;
  std::uint8_t smallest = 0xff;
  std::uint8_t smallest_less_one = 0xff;  // where zeros wrap around and so do not count
  for (std::size_t r = 0; r < rows.count; ++r) {
    const bf16* row = rows.row(r) + column;
    for (std::size_t i = 0; i < kPackedColumns; ++i) {
      const auto upper = static_cast<std::uint8_t>(upper_magnitude(row[i]));
      largest = std::max(largest, upper);
      smallest = std::min(smallest, upper);
      smallest_less_one = std::min(smallest_less_one, static_cast<std::uint8_t>(upper - 1));
    }
  }
  if (rows.count < kPackedRows) smallest = 0;
  constexpr unsigned kCodes = 8;
  const unsigned window = largest < kCodes ? 0 : largest - (kCodes - 1);
  if (smallest >= window) return static_cast<std::uint8_t>(window);
  if (smallest == 0 && smallest_less_one >= window) {
    return static_cast<std::uint8_t>(window | kPackedZeros);
  }
  return kPackedRaw;
}

void pack_raw(const StripeRows& rows, std::size_t column, std::size_t count, std::uint8_t* to) {
  for (std::size_t r = 0; r < rows.count; ++r) {
    std::memcpy(to + r * count * sizeof(bf16), rows.row(r) + column, count * sizeof(bf16));
  }
}

// Requires: zeros at `to`.
void pack_block(const StripeRows& rows, std::size_t column, std::uint8_t window, std::uint8_t* to) {
  const auto first = static_cast<std::uint8_t>(window & ~kPackedZeros);
  const bool has_zeros = (window & kPackedZeros) != 0;
  for (std::size_t r = 0; r < rows.count; ++r) {
    const bf16* row = rows.row(r) + column;
    std::uint8_t codes[kPackedColumns];  // in the order of the columns: many at once
    for (std::size_t i = 0; i < kPackedColumns; ++i) {
      const auto upper = static_cast<std::uint8_t>(upper_magnitude(row[i]));
      const auto code = static_cast<std::uint8_t>(upper - first);
      const std::uint8_t kept = has_zeros && upper == 0 ? std::uint8_t{0} : code;
      const auto sign = static_cast<std::uint8_t>(row[i] >> 15 << 3);
      codes[i] = static_cast<std::uint8_t>((sign | kept) << r % 2 * 4);
    }
    std::uint8_t* nibbles = to + r / 2 * kPackedPairBytes;
    std::uint8_t* lower = nibbles + (1 + r % 2) * kPackedColumns;
    for (std::size_t place = 0; place < kPackedColumns; ++place) {
      const std::size_t i = column_at(place);
      nibbles[place] |= codes[i];
      lower[place] = static_cast<std::uint8_t>(row[i]);
    }
  }
}

}  // namespace

PackedBf16Plan::PackedBf16Plan(std::size_t rows, std::size_t columns)
    : n(rows),
      k(columns),
      shape(rows, columns),
      windows(shape.bands * shape.band_windows, kPackedRaw),
      offsets(shape.bands + 1) {}

void choose_windows(PackedBf16Plan& plan, const bf16* rows, std::size_t begin,
                    std::size_t end) noexcept {
  for (std::size_t band = begin; band < end; ++band) {
    std::uint8_t* window = plan.windows.data() + band * plan.shape.band_windows;
    each_part(plan, band, [&](std::size_t n, std::size_t column, std::size_t columns) {
      const StripeRows stripe(plan, rows, n);
      for (; columns >= kPackedColumns; columns -= kPackedColumns) {
        *window++ = window_of(stripe, column);
        column += kPackedColumns;
      }
    });
  }
}

std::size_t place_bands(PackedBf16Plan& plan) noexcept {
  std::size_t at = plan.shape.bands_at;
  for (std::size_t band = 0; band < plan.shape.bands; ++band) {
    plan.offsets[band] = at;
    const std::uint8_t* window = plan.windows.data() + band * plan.shape.band_windows;
    each_part(plan, band, [&](std::size_t, std::size_t, std::size_t columns) {
      for (std::size_t block = 0; block < columns / kPackedColumns; ++block) {
        at += *window++ == kPackedRaw ? kPackedRawBytes : kPackedBlockBytes;
      }
      at += packed_rest_bytes(columns % kPackedColumns);
    });
  }
  plan.offsets[plan.shape.bands] = at;
  return at;
}

void pack_bands(const PackedBf16Plan& plan, const bf16* rows, std::size_t begin, std::size_t end,
                std::uint8_t* packed) noexcept {
  const PackedBf16Shape& shape = plan.shape;
  for (std::size_t band = begin; band < end; ++band) {
    const std::uint64_t offset = plan.offsets[band];
    const std::uint8_t* window = plan.windows.data() + band * shape.band_windows;
    std::memcpy(packed + band * sizeof offset, &offset, sizeof offset);
    // There may be none, in a matrix narrower than a block.
    std::copy_n(window, shape.band_windows, packed + shape.windows_at + band * shape.band_windows);
    std::uint8_t* to = packed + offset;
    std::memset(to, 0, plan.offsets[band + 1] - offset);
    each_part(plan, band, [&](std::size_t n, std::size_t column, std::size_t columns) {
      const StripeRows stripe(plan, rows, n);
      for (; columns >= kPackedColumns; columns -= kPackedColumns, ++window) {
        if (*window == kPackedRaw) {
          pack_raw(stripe, column, kPackedColumns, to);
          to += kPackedRawBytes;
        } else {
          pack_block(stripe, column, *window, to);
          to += kPackedBlockBytes;
        }
        column += kPackedColumns;
      }
      pack_raw(stripe, column, columns, to);
      to += packed_rest_bytes(columns);
    });
  }
}

std::size_t unpack_bf16(const std::uint8_t* packed, std::uint8_t window, std::size_t columns,
                        bf16* weights) noexcept {
  if (window == kPackedRaw) {
    std::memcpy(weights, packed, kPackedRows * columns * sizeof(bf16));
    return packed_rest_bytes(columns);
  }
  const unsigned first = window & ~kPackedZeros & 0xffU;
  const bool has_zeros = (window & kPackedZeros) != 0;
  for (std::size_t r = 0; r < kPackedRows; ++r) {
    const std::uint8_t* nibbles = packed + r / 2 * kPackedPairBytes;
    const std::uint8_t* lower = nibbles + (1 + r % 2) * kPackedColumns;
    for (std::size_t i = 0; i < kPackedColumns; ++i) {
      const std::size_t place = place_of(i);
      const unsigned nibble = static_cast<unsigned>(nibbles[place]) >> r % 2 * 4 & 15;
      const unsigned code = nibble & 7;
      const unsigned magnitude = has_zeros && code == 0 ? 0 : first + code;
      const unsigned upper = nibble >> 3 << 7 | magnitude;
      weights[r * kPackedColumns + i] = static_cast<bf16>(upper << 8 | lower[place]);
    }
  }
  return kPackedBlockBytes;
}

}  // namespace ponder::kernels
