#pragma once

// How rows lie in the pages of a cache, for those that write them and those that read them.

#include "kernels/cuda/device_table.h"
#include "kernels/cuda/simt.cuh"

namespace ponder::kernels {
namespace {

/// The layer's block in the page of a slot.
__device__ __forceinline__ std::byte* block_of(const DevicePages& cache, std::size_t slot) {
  return cache.pages + slot / kPageSize * cache.page_bytes + cache.block_offset;
}

/// A page of codes ends with the tokens' scales.
__device__ __forceinline__ float* key_scale(std::byte* block, std::size_t token, std::size_t dim) {
  return reinterpret_cast<float*>(block + kPageSize * dim) + token;
}

/// Where a code of mode I8 lies in its page.
__device__ __forceinline__ std::size_t i8_code_offset(std::size_t token, std::size_t d,
                                                      std::size_t dim) {
  return token / kIndexBlockKeys * kIndexBlockKeys * dim + 64 * (d / 4) +
         4 * (token % kIndexBlockKeys) + d % 4;
}

}  // namespace
}  // namespace ponder::kernels
