#pragma once

// Operations whose rows are independent: norms, rotary embedding, activation, sums and gathers.
// Norms: a block for each row. The others: a thread for each element, striding over the grid.
// All are bound by bytes: each input is read once (norms: twice) and each output written once.

#include "kernels/cuda/device_table.h"
#include "kernels/cuda/numeric.cuh"

namespace ponder::kernels {
namespace {

constexpr unsigned kNormThreads = 128;
constexpr unsigned kElementThreads = 128;

__global__ void rms_norm_kernel(RmsNormArgs args) {
  __shared__ SharedArray<float, kWarp> sums;
  const float* x = args.x + blockIdx.x * args.x_stride;
  float* y = args.y + blockIdx.x * args.y_stride;
  float squares = 0.0f;
  for (std::size_t i = threadIdx.x; i < args.dim; i += blockDim.x) {
    squares = fmaf(x[i], x[i], squares);
  }
  squares = block_sum(squares, sums);
  const float scale = 1.0f / sqrtf(squares / static_cast<float>(args.dim) + args.eps);
  for (std::size_t i = threadIdx.x; i < args.dim; i += blockDim.x) {
    y[i] = x[i] * scale * args.weight[i];
  }
}

__global__ void layer_norm_kernel(LayerNormArgs args) {
  __shared__ SharedArray<float, kWarp> sums;
  const float* x = args.x + blockIdx.x * args.x_stride;
  float* y = args.y + blockIdx.x * args.y_stride;
  const auto dim = static_cast<float>(args.dim);
  float sum = 0.0f;
  for (std::size_t i = threadIdx.x; i < args.dim; i += blockDim.x) sum += x[i];
  const float mean = block_sum(sum, sums) / dim;
  float squares = 0.0f;
  for (std::size_t i = threadIdx.x; i < args.dim; i += blockDim.x) {
    squares = fmaf(x[i] - mean, x[i] - mean, squares);
  }
  const float scale = 1.0f / sqrtf(block_sum(squares, sums) / dim + args.eps);
  for (std::size_t i = threadIdx.x; i < args.dim; i += blockDim.x) {
    y[i] = fmaf((x[i] - mean) * scale, args.weight[i], args.bias[i]);
  }
}

__global__ void rope_kernel(RopeArgs args) {
  const std::size_t half = args.dim / 2;
  const bool interleaved = args.layout == RopeLayout::interleaved;
  const std::size_t n = args.rows * args.heads * half;
  for (std::size_t i = global_thread(); i < n; i += num_global_threads()) {
    const std::size_t j = i % half;
    const std::size_t head = i / half % args.heads;
    const std::size_t row = i / half / args.heads;
    const std::size_t position =
        args.positions == nullptr ? row : static_cast<std::size_t>(args.positions[row]);
    const float cos = args.cos[position * half + j];
    const float sin = args.sin[position * half + j];
    float* x = args.x + row * args.row_stride + head * args.head_stride;
    float& first = x[interleaved ? 2 * j : j];
    float& second = x[interleaved ? 2 * j + 1 : j + half];
    const float a = first;
    const float b = second;
    first = fmaf(a, cos, -(b * sin));
    second = fmaf(a, sin, b * cos);
  }
}

__global__ void silu_mul_kernel(SiluMulArgs args) {
  const std::size_t n = args.rows * args.dim;
  for (std::size_t i = global_thread(); i < n; i += num_global_threads()) {
    const std::size_t row = i / args.dim;
    const std::size_t column = i % args.dim;
    const float z = args.gate[row * args.gate_stride + column];
    const float up = args.up[row * args.up_stride + column];
    args.y[row * args.y_stride + column] = z / (1.0f + expf(-z)) * up;
  }
}

__global__ void weighted_sum_kernel(WeightedSumArgs args) {
  const std::size_t n = args.rows * args.dim;
  for (std::size_t i = global_thread(); i < n; i += num_global_threads()) {
    const std::size_t row = i / args.dim;
    const std::size_t column = i % args.dim;
    float sum = args.y[row * args.y_stride + column];
    for (std::size_t slot = 0; slot < args.slots; ++slot) {
      const std::int32_t source = args.indices[row * args.slots + slot];
      if (source < 0) continue;
      const float x = args.x[static_cast<std::size_t>(source) * args.x_stride + column];
      sum = fmaf(args.weights[row * args.slots + slot], x, sum);
    }
    args.y[row * args.y_stride + column] = sum;
  }
}

struct AddArgs {
  float* y;
  const float* x;
  std::size_t n;
};

__global__ void add_kernel(AddArgs args) {
  for (std::size_t i = global_thread(); i < args.n; i += num_global_threads()) {
    args.y[i] += args.x[i];
  }
}

__global__ void gather_rows_kernel(GatherRowsArgs args) {
  const std::size_t n = args.rows * args.dim;
  for (std::size_t i = global_thread(); i < n; i += num_global_threads()) {
    const std::size_t row = i / args.dim;
    const std::size_t column = i % args.dim;
    const std::int32_t source = args.indices[row];
    float value = 0.0f;
    if (source >= 0) {
      const std::size_t at = static_cast<std::size_t>(source) * args.dim + column;
      value = args.dtype == DType::bf16 ? from_bf16(static_cast<const bf16*>(args.table)[at])
                                        : static_cast<const float*>(args.table)[at];
    }
    args.y[row * args.y_stride + column] = value;
  }
}

__global__ void scale_index_weights_kernel(ScaleIndexWeightsArgs args) {
  for (std::size_t i = global_thread(); i < args.n; i += num_global_threads()) {
    const float scaled = args.weights[i] * args.scale;
    args.weights[i] = args.q_scales == nullptr ? scaled : scaled * args.q_scales[i];
  }
}

dim3 rows_grid(std::size_t rows) {
  dim3 grid;
  grid.x = static_cast<unsigned>(rows);
  return grid;
}

void launch_rms_norm(const RmsNormArgs& args) {
  if (args.rows > 0) launch(rms_norm_kernel, rows_grid(args.rows), kNormThreads, args);
}
void launch_layer_norm(const LayerNormArgs& args) {
  if (args.rows > 0) launch(layer_norm_kernel, rows_grid(args.rows), kNormThreads, args);
}
template <class Args>
void launch_elements(void (*kernel)(Args), std::size_t n, const Args& args) {
  if (n > 0) launch(kernel, blocks_for(n, kElementThreads), kElementThreads, args);
}
void launch_rope(const RopeArgs& args) {
  launch_elements(rope_kernel, args.rows * args.heads * args.dim / 2, args);
}
void launch_silu_mul(const SiluMulArgs& args) {
  launch_elements(silu_mul_kernel, args.rows * args.dim, args);
}
void launch_weighted_sum(const WeightedSumArgs& args) {
  launch_elements(weighted_sum_kernel, args.rows * args.dim, args);
}
void launch_add(float* y, const float* x, std::size_t n) {
  launch_elements(add_kernel, n, AddArgs{y, x, n});
}
void launch_gather_rows(const GatherRowsArgs& args) {
  launch_elements(gather_rows_kernel, args.rows * args.dim, args);
}
void launch_scale_index_weights(const ScaleIndexWeightsArgs& args) {
  launch_elements(scale_index_weights_kernel, args.n, args);
}

}  // namespace
}  // namespace ponder::kernels
