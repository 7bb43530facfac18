#pragma once

// y[b] = x[b] @ w[b]^T for f32 weights, which only small models and routers have (matmul_mma.cuh
// has the others), and what x becomes for weights in codes.
//
// A block makes a tile of 32 rows by 64 columns of one of the batch, 128 threads with 4 x 4 outputs
// each; 32 inputs of both sides at a time lie in shared memory. Each output is one chain of fmaf
// over the inputs in ascending order, so its bits depend on its row and column alone. No tensor
// cores; bound by arithmetic for many rows, by bytes for few.

#include "kernels/cuda/device_table.h"
#include "kernels/cuda/fours.cuh"

namespace ponder::kernels {
namespace {

constexpr unsigned kTileRows = 32;
constexpr unsigned kTileColumns = 64;
constexpr unsigned kTileDepth = 32;
constexpr unsigned kMatmulThreads = 128;
constexpr unsigned kOwnRows = 4;     // of a thread
constexpr unsigned kOwnColumns = 4;  // of a thread
constexpr unsigned kThreadColumns = kTileColumns / kOwnColumns;

/// The row of x that stands in the place of a row. Requires: the row is in a group.
__device__ __forceinline__ int x_row_of(const DeviceMatmulArgs& args, std::size_t row) {
  return args.x_rows == nullptr ? static_cast<int>(row) : args.x_rows[row];
}
/// The inputs of a row of x, for the block's one of the batch.
__device__ __forceinline__ const float* inputs_of(const DeviceMatmulArgs& args, int x_row) {
  const auto row = static_cast<unsigned>(x_row);
  const auto stride = static_cast<unsigned>(args.x_stride);
  return args.x + blockIdx.z * args.x_batch_stride + static_cast<std::size_t>(row) * stride;
}

/// The rows and the matrix of a block.
struct MatmulTile {
  DeviceMatrix w;
  std::size_t row_begin;  // in x and y
  std::size_t row_end;
  std::size_t column_begin;
  std::size_t y_offset;
};

/// False: the block has nothing to do.
__device__ bool find_tile(const DeviceMatmulArgs& args, MatmulTile& tile) {
  const std::size_t b = blockIdx.z;
  std::size_t begin = 0;
  std::size_t end = args.m;
  if (args.group_begin != nullptr) {
    begin = static_cast<std::size_t>(args.group_begin[b]);
    end = static_cast<std::size_t>(args.group_begin[b + 1]);
  }
  tile.row_begin = begin + static_cast<std::size_t>(blockIdx.y) * kTileRows;
  tile.row_end = end;
  tile.column_begin = static_cast<std::size_t>(blockIdx.x) * kTileColumns;
  tile.y_offset = b * args.y_batch_stride;
  if (tile.row_begin >= tile.row_end) return false;
  tile.w = args.w[b];
  return true;
}

__device__ __forceinline__ float group_scale_at(const DeviceMatrix& w, std::size_t n, std::size_t k,
                                                std::size_t width) {
  const std::size_t block = n / kScaleRows * (width / w.group) + k / w.group;
  return from_bf16(w.group_scales[block * kScaleRows + n % kScaleRows]);
}

/// The first of the thread's rows and columns within the tile.
__device__ __forceinline__ unsigned own_row() { return threadIdx.x / kThreadColumns * kOwnRows; }
__device__ __forceinline__ unsigned own_column() {
  return threadIdx.x % kThreadColumns * kOwnColumns;
}

__device__ void store_tile(const DeviceMatmulArgs& args, const MatmulTile& tile,
                           const float (&y)[kOwnRows][kOwnColumns]) {
  for (unsigned i = 0; i < kOwnRows; ++i) {
    const std::size_t row = tile.row_begin + own_row() + i;
    for (unsigned j = 0; j < kOwnColumns; ++j) {
      const std::size_t column = tile.column_begin + own_column() + j;
      if (row < tile.row_end && column < args.n) {
        args.y[tile.y_offset + row * args.y_stride + column] = y[i][j];
      }
    }
  }
}

__global__ void matmul_kernel(DeviceMatmulArgs args) {
  __shared__ SharedArray<float, kTileRows * kTileDepth> x_tile;     // [row][k]
  __shared__ SharedArray<float, kTileColumns * kTileDepth> w_tile;  // [k][column]
  MatmulTile tile;
  if (!find_tile(args, tile)) return;
  const auto* weights = static_cast<const float*>(tile.w.data);
  const bool has_rows = tile.row_begin + own_row() < tile.row_end;
  float y[kOwnRows][kOwnColumns] = {};
  for (std::size_t begin = 0; begin < args.k; begin += kTileDepth) {
    for (unsigned i = threadIdx.x; i < kTileRows * kTileDepth; i += kMatmulThreads) {
      const std::size_t row = tile.row_begin + i / kTileDepth;
      const std::size_t k = begin + i % kTileDepth;
      const bool is_inside = row < tile.row_end && k < args.k;
      x_tile[i] = is_inside ? inputs_of(args, x_row_of(args, row))[k] : 0.0f;
    }
    for (unsigned i = threadIdx.x; i < kTileColumns * kTileDepth; i += kMatmulThreads) {
      const std::size_t column = tile.column_begin + i / kTileDepth;
      const std::size_t k = begin + i % kTileDepth;
      const bool is_inside = column < args.n && k < args.k;
      w_tile[i % kTileDepth * kTileColumns + i / kTileDepth] =
          is_inside ? weights[column * args.k + k] : 0.0f;
    }
    __syncthreads();
    const std::size_t depth = args.k - begin < kTileDepth ? args.k - begin : kTileDepth;
    for (unsigned k = 0; has_rows && k < depth; ++k) {
      float w[kOwnColumns];
      for (unsigned j = 0; j < kOwnColumns; ++j) w[j] = w_tile[k * kTileColumns + own_column() + j];
      for (unsigned i = 0; i < kOwnRows; ++i) {
        const float x = x_tile[(own_row() + i) * kTileDepth + k];
        for (unsigned j = 0; j < kOwnColumns; ++j) y[i][j] = fmaf(x, w[j], y[i][j]);
      }
    }
    __syncthreads();
  }
  store_tile(args, tile, y);
}

/// x as int8 with a scale for each kActivationGroup inputs: a warp for each group, four inputs for
/// a lane.
__global__ void quantize_activations_kernel(DeviceMatmulArgs args) {
  const std::size_t groups = args.k / kActivationGroup;
  const std::size_t n = args.m_total * groups;
  const bool is_aligned = has_aligned_fours(args.x, args.x_stride);
  for (std::size_t i = global_thread() / kWarp; i < n; i += num_global_threads() / kWarp) {
    const int x_row = x_row_of(args, i / groups);
    if (x_row < 0) continue;
    const float* x = inputs_of(args, x_row) + i % groups * kActivationGroup;
    const Four four = load_four(x, 4 * lane(), kActivationGroup, is_aligned);
    store_activation_codes(args.x_codes + i * kActivationGroup, args.x_scales + i, four);
  }
}

void launch_matmul_f32(const DeviceMatmulArgs& args) {
  dim3 grid;
  grid.x = ceil_div(args.n, kTileColumns);
  grid.y = ceil_div(args.m, kTileRows);
  grid.z = static_cast<unsigned>(args.batch);
  launch(matmul_kernel, grid, kMatmulThreads, args);
}

}  // namespace
}  // namespace ponder::kernels
