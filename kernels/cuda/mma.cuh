#pragma once

// Products on tensor cores, by the instructions that every device since sm_80 has. All lanes of a
// warp call them together; a tile is spread over their registers as the PTX manual lays it out.
// With group = lane / 4 and quad = lane % 4, and a register holding its elements from the low bits:
//
//   a (16 x 16 bf16, or 16 x 32 int8): register i has row group + 8 * (i % 2), and two (four)
//     consecutive columns from width * quad + 4 * width * (i / 2) on, width being 2 (4);
//   b (16 x 8, or 32 x 8): register i has column group, and as many rows from
//     width * quad + 4 * width * i on;
//   d (16 x 8): value i has row group + 8 * (i / 2) and column 2 * quad + i % 2.
//
// The order of the inner dimension is free as long as both sides keep to the same one. Integer sums
// are exact. Products of bf16 are exact, and their sum has the device's own rounding in fp32, which
// depends on the 16 products and what they are added to alone.

#include "kernels/cuda/simt.cuh"

#ifndef __CUDACC__
#include "kernels/cuda/emulator/mma.h"
#endif

namespace ponder::kernels {
namespace {

/// A lane's part of a tile.
struct FragmentA {
  unsigned r[4];
};
struct FragmentB {
  unsigned r[2];
};

#ifdef __CUDACC__
/// d += a @ b.
__device__ __forceinline__ void mma_bf16(float (&d)[4], const FragmentA& a, const FragmentB& b) {
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 "
      "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
      : "r"(a.r[0]), "r"(a.r[1]), "r"(a.r[2]), "r"(a.r[3]), "r"(b.r[0]), "r"(b.r[1]));
}

__device__ __forceinline__ void mma_int8(int (&d)[4], const FragmentA& a, const FragmentB& b) {
  asm volatile(
      "mma.sync.aligned.m16n8k32.row.col.s32.s8.s8.s32 "
      "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
      : "+r"(d[0]), "+r"(d[1]), "+r"(d[2]), "+r"(d[3])
      : "r"(a.r[0]), "r"(a.r[1]), "r"(a.r[2]), "r"(a.r[3]), "r"(b.r[0]), "r"(b.r[1]));
}

/// The products of the two bf16 in either half, rounded to nearest; subnormals count.
__device__ __forceinline__ unsigned multiply_bf16_pair(unsigned x, unsigned y) {
  unsigned result;
  asm("fma.rn.bf16x2 %0, %1, %2, %3;" : "=r"(result) : "r"(x), "r"(y), "r"(0x80008000u));  // + -0
  return result;
}

/// Two floats as bf16, rounded to nearest: the first in the low half.
__device__ __forceinline__ unsigned round_bf16_pair(float first, float second) {
  unsigned result;
  asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(result) : "f"(second), "f"(first));
  return result;
}
#else
inline void mma_bf16(float (&d)[4], const FragmentA& a, const FragmentB& b) {
  emulator::multiply_bf16(d, {{a.r[0], a.r[1], a.r[2], a.r[3]}, {b.r[0], b.r[1]}});
}
inline void mma_int8(int (&d)[4], const FragmentA& a, const FragmentB& b) {
  emulator::multiply_int8(d, {{a.r[0], a.r[1], a.r[2], a.r[3]}, {b.r[0], b.r[1]}});
}
inline unsigned multiply_bf16_pair(unsigned x, unsigned y) {
  return emulator::multiply_bf16_pair(x, y);
}
inline unsigned round_bf16_pair(float first, float second) {
  return emulator::round_bf16_pair(first, second);
}
#endif

/// Both bf16 halves of `pair` times 2^120, exactly.
__device__ __forceinline__ unsigned raise_bf16_pair(unsigned pair) {
  return multiply_bf16_pair(pair, 0x7b807b80u);
}

}  // namespace
}  // namespace ponder::kernels
