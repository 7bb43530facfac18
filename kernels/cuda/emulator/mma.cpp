#include "kernels/cuda/emulator/mma.h"

#include <bit>

namespace ponder::kernels::emulator {
namespace {

constexpr unsigned kQuad = 4;    // lanes that share a row of a, or a column of b
constexpr unsigned kGroups = 8;  // such quads in a warp

using Lanes = std::array<Fragments, 32>;

/// Element (row, column) of a, of which a register holds `width`, in the low `32 / width` bits.
std::uint32_t element_a(const Lanes& lanes, unsigned row, unsigned column, unsigned width) {
  const unsigned lane = row % kGroups * kQuad + column / width % kQuad;
  const unsigned i = row / kGroups + 2 * (column / (kQuad * width));
  return lanes[lane].a[i] >> (32 / width * (column % width));
}

std::uint32_t element_b(const Lanes& lanes, unsigned row, unsigned column, unsigned width) {
  const unsigned lane = column * kQuad + row / width % kQuad;
  return lanes[lane].b[row / (kQuad * width)] >> (32 / width * (row % width));
}

/// Row and column of the running lane's value i of d.
unsigned own_row(unsigned i) { return thread_index.x % 32 / kQuad + kGroups * (i / 2); }
unsigned own_column(unsigned i) { return thread_index.x % kQuad * 2 + i % 2; }

float bf16_value(std::uint32_t bits) { return std::bit_cast<float>(bits << 16); }

/// To nearest even.
std::uint32_t rounded_to_bf16(float x) {
  const auto bits = std::bit_cast<std::uint32_t>(x);
  if (x != x) return 0x7fffU;
  return (bits + 0x7fffU + (bits >> 16 & 1U)) >> 16;
}

/// The product of two bf16, which fp32 holds but for its smallest.
std::uint32_t bf16_product(std::uint32_t x, std::uint32_t y) {
  return rounded_to_bf16(bf16_value(x & 0xffffU) * bf16_value(y & 0xffffU));
}

}  // namespace

void multiply_bf16(float (&d)[4], const Fragments& own) {
  const Lanes& lanes = gather(own);
  for (unsigned i = 0; i < 4; ++i) {
    double sum = d[i];
    for (unsigned k = 0; k < 16; ++k) {
      sum += double{bf16_value(element_a(lanes, own_row(i), k, 2))} *
             double{bf16_value(element_b(lanes, k, own_column(i), 2))};
    }
    d[i] = static_cast<float>(sum);
  }
}

void multiply_int8(int (&d)[4], const Fragments& own) {
  const Lanes& lanes = gather(own);
  for (unsigned i = 0; i < 4; ++i) {
    for (unsigned k = 0; k < 32; ++k) {
      d[i] += static_cast<std::int8_t>(element_a(lanes, own_row(i), k, 4)) *
              static_cast<std::int8_t>(element_b(lanes, k, own_column(i), 4));
    }
  }
}

std::uint32_t multiply_bf16_pair(std::uint32_t x, std::uint32_t y) {
  return bf16_product(x, y) | bf16_product(x >> 16, y >> 16) << 16;
}

std::uint32_t round_bf16_pair(float first, float second) {
  return rounded_to_bf16(first) | rounded_to_bf16(second) << 16;
}

}  // namespace ponder::kernels::emulator
