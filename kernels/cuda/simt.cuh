#pragma once

// What kernels are written in: CUDA C++, by a few small helpers, so that the same source compiles
// for a GPU and, against the emulator, for the CPU. Kernels keep shared memory in SharedArray, use
// whole warps only (blocks are multiples of 32 threads), and say fmaf where they mean it: the
// library is compiled without contraction, so that both compute the same bits but for exp and exp2.

#include <cstddef>
#include <cstdint>

#ifdef __CUDACC__
#include <cuda_runtime.h>

/// Before a loop whose arrays are to stay in registers.
#define PONDER_UNROLL _Pragma("unroll")
/// Before one of unknown length whose loads are to be under way together.
#define PONDER_UNROLL_8 _Pragma("unroll 8")

namespace ponder::kernels {

template <class T, std::size_t N>
struct SharedArray {
  T values[N];
  __device__ T& operator[](std::size_t i) { return values[i]; }
  __device__ T add_atomically(std::size_t i, T value) { return atomicAdd(&values[i], value); }
};

/// Floats that are also read four at a time, from i on, a multiple of 4.
template <std::size_t N>
struct alignas(16) SharedRow : SharedArray<float, N> {};
template <std::size_t N>
__device__ __forceinline__ float4 load_shared(SharedRow<N>& from, std::size_t i) {
  return *reinterpret_cast<const float4*>(&from[i]);
}
template <std::size_t N>
__device__ __forceinline__ void store_shared(SharedRow<N>& to, std::size_t i, const float4& four) {
  *reinterpret_cast<float4*>(&to[i]) = four;
}

/// The stream of the open device.
cudaStream_t stream() noexcept;

template <class Args>
void launch(void (*kernel)(Args), dim3 grid, unsigned threads, const Args& args) {
  kernel<<<grid, threads, 0, stream()>>>(args);
}

/// The same with a `Memory` for each block, which may be larger than what __shared__ can have.
template <class Memory, class Args>
void launch_with_memory(void (*kernel)(Args), dim3 grid, unsigned threads, const Args& args) {
  const cudaStream_t queue = stream();  // first: it makes the device the thread's current one
  cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, sizeof(Memory));
  kernel<<<grid, threads, sizeof(Memory), queue>>>(args);
}
/// That memory. Nobody sets it to anything.
template <class Memory>
__device__ __forceinline__ Memory& block_memory() {
  extern __shared__ uint4 dynamic_memory[];
  return *reinterpret_cast<Memory*>(dynamic_memory);
}

/// Asks for the line of global memory at an address.
__device__ __forceinline__ void prefetch(const void* at) {
  asm volatile("prefetch.global.L1 [%0];" : : "l"(at));
}

/// Begins to copy 16 bytes from global memory, aligned to as many, or zeros if there are none, into
/// an element. They are there for the thread that copies when it has waited, and for others after
/// a barrier behind that. Requires: `from` may be named even if it is not read.
template <std::size_t N>
__device__ __forceinline__ void copy_async(SharedArray<uint4, N>& to, std::size_t i,
                                           const void* from, bool is_there) {
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;"
               :
               : "r"(static_cast<unsigned>(__cvta_generic_to_shared(&to[i]))), "l"(from),
                 "r"(is_there ? 16 : 0)
               : "memory");
}
__device__ __forceinline__ void wait_for_copies() {
  asm volatile("cp.async.wait_all;" ::: "memory");
}

}  // namespace ponder::kernels
#else
#include "kernels/cuda/emulator/simt.h"
#define PONDER_UNROLL
#define PONDER_UNROLL_8
#endif

namespace ponder::kernels {
namespace {

constexpr unsigned kWarp = 32;
constexpr unsigned kAllLanes = 0xFFFFFFFFu;

__device__ __forceinline__ unsigned lane() { return threadIdx.x % kWarp; }

__device__ __forceinline__ float negative_infinity() { return __uint_as_float(0xff800000u); }
__device__ __forceinline__ float quiet_nan() { return __uint_as_float(0x7fc00000u); }
__device__ __forceinline__ bool is_finite(float x) {
  return (__float_as_uint(x) & 0x7f800000u) != 0x7f800000u;
}
__device__ __forceinline__ bool is_nan(float x) {
  return (__float_as_uint(x) & 0x7fffffffu) > 0x7f800000u;
}

/// Of all lanes, in an order that is fixed and the same in each of them.
__device__ __forceinline__ float warp_sum(float x) {
  for (unsigned mask = kWarp / 2; mask > 0; mask /= 2) x += __shfl_xor_sync(kAllLanes, x, mask);
  return x;
}

__device__ __forceinline__ unsigned warp_sum(unsigned x) {
  for (unsigned mask = kWarp / 2; mask > 0; mask /= 2) x += __shfl_xor_sync(kAllLanes, x, mask);
  return x;
}

/// NaN never wins.
__device__ __forceinline__ float warp_max(float x) {
  for (unsigned mask = kWarp / 2; mask > 0; mask /= 2) {
    x = fmaxf(x, __shfl_xor_sync(kAllLanes, x, mask));
  }
  return x;
}

/// How many threads before this one have the flag set; `total`: how many of all.
template <std::size_t N>
__device__ int count_before(bool flag, SharedArray<int, N>& scratch, int& total) {
  const unsigned votes = __ballot_sync(kAllLanes, flag);
  if (lane() == 0) scratch[threadIdx.x / kWarp] = __popc(votes);
  __syncthreads();
  int before = __popc(votes & ((1u << lane()) - 1u));
  total = 0;
  for (unsigned warp = 0; warp < blockDim.x / kWarp; ++warp) {
    const int count = scratch[warp];
    if (warp < threadIdx.x / kWarp) before += count;
    total += count;
  }
  __syncthreads();
  return before;
}

/// The sum over the threads before this one; `total`: over all of them. Every thread of the block
/// calls it.
template <std::size_t N>
__device__ unsigned sum_before(unsigned x, SharedArray<unsigned, N>& scratch, unsigned& total) {
  unsigned through = x;  // the sum over the lanes up to this one
  for (unsigned delta = 1; delta < kWarp; delta *= 2) {
    const unsigned below = __shfl_up_sync(kAllLanes, through, delta);
    if (lane() >= delta) through += below;
  }
  if (lane() == kWarp - 1) scratch[threadIdx.x / kWarp] = through;
  __syncthreads();
  unsigned before = through - x;
  total = 0;
  for (unsigned warp = 0; warp < blockDim.x / kWarp; ++warp) {
    const unsigned sum = scratch[warp];
    if (warp < threadIdx.x / kWarp) before += sum;
    total += sum;
  }
  __syncthreads();
  return before;
}

/// The thread's number in a grid of one dimension, and how many there are.
__device__ __forceinline__ std::size_t global_thread() {
  return static_cast<std::size_t>(blockIdx.x) * blockDim.x + threadIdx.x;
}
__device__ __forceinline__ std::size_t num_global_threads() {
  return static_cast<std::size_t>(gridDim.x) * blockDim.x;
}

__host__ __device__ inline unsigned ceil_div(std::size_t a, std::size_t b) {
  return static_cast<unsigned>((a + b - 1) / b);
}

/// Blocks for n elements that a grid of one dimension strides over.
inline dim3 blocks_for(std::size_t n, unsigned threads) {
  constexpr std::size_t kBlocksMax = 4096;
  const std::size_t blocks = (n + threads - 1) / threads;
  dim3 grid;
  grid.x = static_cast<unsigned>(blocks < kBlocksMax ? blocks : kBlocksMax);
  return grid;
}

}  // namespace
}  // namespace ponder::kernels
