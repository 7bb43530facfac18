#pragma once

// The rate of tensor-core products whose operands are in registers already: the bound that the
// benchmarks state for kernels made of mma.cuh. Operands differ from lane to lane and are no zeros,
// which a device multiplies faster.

#include "kernels/cuda/device_table.h"
#include "kernels/cuda/mma.cuh"

namespace ponder::kernels {
namespace {

constexpr unsigned kProbeThreads = kProbeWarps * kWarp;

/// A bf16 pair, or four int8 codes, of small magnitude and either sign.
__device__ __forceinline__ unsigned probe_operand(unsigned i, DType dtype) {
  const unsigned bits = (static_cast<unsigned>(global_thread()) * 8u + i) * 2654435761u;
  return dtype == DType::int8 ? bits : (bits & 0x807f807fu) | 0x3f003f00u;
}

__device__ void probe_operands(DType dtype, FragmentA& a, FragmentB& b) {
  for (unsigned i = 0; i < 4; ++i) a.r[i] = probe_operand(i, dtype);
  for (unsigned i = 0; i < 2; ++i) b.r[i] = probe_operand(4 + i, dtype);
}

__global__ void probe_bf16_kernel(ProbeProductsArgs args) {
  FragmentA a;
  FragmentB b;
  probe_operands(DType::bf16, a, b);
  float d[kProbeTiles][4] = {};
  for (std::size_t round = 0; round < args.rounds; ++round) {
    PONDER_UNROLL
    for (unsigned tile = 0; tile < kProbeTiles; ++tile) mma_bf16(d[tile], a, b);
  }
  float sum = 0.0f;
  PONDER_UNROLL
  for (unsigned tile = 0; tile < kProbeTiles; ++tile) sum += d[tile][0] + d[tile][3];
  args.sums[global_thread()] = sum;
}

__global__ void probe_int8_kernel(ProbeProductsArgs args) {
  FragmentA a;
  FragmentB b;
  probe_operands(DType::int8, a, b);
  int d[kProbeTiles][4] = {};
  for (std::size_t round = 0; round < args.rounds; ++round) {
    PONDER_UNROLL
    for (unsigned tile = 0; tile < kProbeTiles; ++tile) mma_int8(d[tile], a, b);
  }
  // The rounds may overflow: the sum is only there so that the products are not left out.
  unsigned sum = 0;
  PONDER_UNROLL
  for (unsigned tile = 0; tile < kProbeTiles; ++tile) sum ^= static_cast<unsigned>(d[tile][0]);
  args.sums[global_thread()] = static_cast<float>(sum);
}

void launch_probe_products(const ProbeProductsArgs& args) {
  dim3 grid;
  grid.x = static_cast<unsigned>(args.blocks);
  launch(args.dtype == DType::int8 ? probe_int8_kernel : probe_bf16_kernel, grid, kProbeThreads,
         args);
}

}  // namespace
}  // namespace ponder::kernels
