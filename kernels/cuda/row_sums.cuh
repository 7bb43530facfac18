#pragma once

// Sums over a row, for norms. A row has kRowChains chains: element i is in chain i % kRowChains, in
// ascending order. The chains of 32 consecutive numbers are added by a butterfly, and what they
// come to in order. So the sum depends on the row alone, and whether a block or a warp forms it,
// and with how many threads, changes no bit.

#include "kernels/cuda/fours.cuh"

namespace ponder::kernels {
namespace {

constexpr unsigned kRowChains = 128;
constexpr unsigned kRowSums = kRowChains / kWarp;
constexpr unsigned kOwnFours = 4;  // of a row, that a thread reads together
constexpr unsigned kOwnFloats = 4 * kOwnFours;

/// Of a row whose chains are those of the first kRowChains threads. Every thread of the block calls
/// it and gets it.
__device__ __forceinline__ float sum_of_chains(float chain) {
  __shared__ SharedArray<float, kRowSums> sums;
  if (threadIdx.x < kRowChains) {
    chain = warp_sum(chain);
    if (lane() == 0) sums[threadIdx.x / kWarp] = chain;
  }
  __syncthreads();
  float sum = 0.0f;
  PONDER_UNROLL
  for (unsigned i = 0; i < kRowSums; ++i) sum += sums[i];
  return sum;
}

/// Of a row that a warp has: chain 32 * i + lane is chains[i].
__device__ __forceinline__ float sum_of_chains(const float (&chains)[kRowSums]) {
  float sum = 0.0f;
  PONDER_UNROLL
  for (unsigned i = 0; i < kRowSums; ++i) sum += warp_sum(chains[i]);
  return sum;
}

/// Asks for what a block will read when it has been through its row once.
__device__ __forceinline__ void prefetch_row(const float* row, std::size_t dim) {
  constexpr unsigned kLineFloats = 32;
  for (std::size_t i = kLineFloats * threadIdx.x; i < dim; i += kLineFloats * blockDim.x) {
    prefetch(row + i);
  }
}

/// What a row is multiplied with in an RMS norm, by a block. load(i) gives its values from i on,
/// four of them; what a thread loads together is under way before keep(i, four) sees any of it, for
/// which a thread without so many loads the first ones again. A row of up to kOwnFloats values for
/// each thread is whole in `row` afterwards, and each thread may read there what it has loaded,
/// without a barrier. Requires: at least kRowChains threads, and `row` has kOwnFloats for each.
template <std::size_t N, class Load, class Keep>
__device__ float rms_norm_scale(SharedRow<N>& row, std::size_t dim, float eps, const Load& load,
                                const Keep& keep) {
  const std::size_t piece = std::size_t{kOwnFloats} * blockDim.x;
  float squares = 0.0f;
  for (std::size_t begin = 0; begin < dim; begin += piece) {
    const std::size_t n = dim - begin < piece ? dim - begin : piece;
    Four own[kOwnFours];
    PONDER_UNROLL
    for (unsigned k = 0; k < kOwnFours; ++k) {
      const std::size_t i = 4 * (std::size_t{k} * blockDim.x + threadIdx.x);
      // Beyond the end: a value that nobody uses, so that the loads stay together.
      own[k] = load(begin + (i < n ? i : 0));
    }
    PONDER_UNROLL
    for (unsigned k = 0; k < kOwnFours; ++k) {
      const std::size_t i = 4 * (std::size_t{k} * blockDim.x + threadIdx.x);
      if (i >= n) continue;
      keep(begin + i, own[k]);
      put_four(row, i, own[k]);
    }
    __syncthreads();
    if (threadIdx.x < kRowChains) {
      PONDER_UNROLL_8
      for (std::size_t i = threadIdx.x; i < n; i += kRowChains) {
        const float x = row[i];
        squares = fmaf(x, x, squares);
      }
    }
    if (begin + piece < dim) __syncthreads();
  }
  return 1.0f / sqrtf(sum_of_chains(squares) / static_cast<float>(dim) + eps);
}

/// Values of a row, its scale and its weights.
__device__ __forceinline__ Four scaled(const Four& x, float scale, const Four& weights) {
  Four y;
  PONDER_UNROLL
  for (unsigned k = 0; k < 4; ++k) y.x[k] = x.x[k] * scale * weights.x[k];
  return y;
}

}  // namespace
}  // namespace ponder::kernels
