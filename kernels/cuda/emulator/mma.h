#pragma once

#include <cstdint>

#include "kernels/cuda/emulator/simt.h"

/// Tensor-core instructions, in the layout of registers that kernels/cuda/mma.cuh describes: every
/// element is fetched from the register of the lane that has to hold it, so that an operand laid
/// out in another way gives another product.
namespace ponder::kernels::emulator {

/// The sixteen products and d are added in double precision and rounded once; a device rounds
/// otherwise in the last bits.
void multiply_bf16(float (&d)[4], const Fragments& own);
void multiply_int8(int (&d)[4], const Fragments& own);
/// fma.rn.bf16x2 of x, y and -0.
std::uint32_t multiply_bf16_pair(std::uint32_t x, std::uint32_t y);
/// cvt.rn.bf16x2, the first in the low half.
std::uint32_t round_bf16_pair(float first, float second);

}  // namespace ponder::kernels::emulator
