#pragma once

// Operations whose rows are independent: norms, what a layer adds to the residual stream,
// activation and gathers. Norms: a block for each row, which it reads once and keeps in shared
// memory. The others: a thread for four elements, striding over the grid. All are bound by bytes.

#include "kernels/cuda/device_table.h"
#include "kernels/cuda/row_sums.cuh"

namespace ponder::kernels {
namespace {

constexpr unsigned kNormThreadsMax = 512;
constexpr unsigned kElementThreads = 128;
using NormRow = SharedRow<kNormThreadsMax * kOwnFloats>;

/// y <- weight * x * scale, the row's x being in `row`, or else where `load` has it.
template <class Load>
__device__ __forceinline__ void write_normalised(float* y, const float* weight, std::size_t dim,
                                                 bool is_aligned, float scale, NormRow& row,
                                                 const Load& load) {
  const bool is_whole = dim <= std::size_t{kOwnFloats} * blockDim.x;
  for (std::size_t i = 4 * threadIdx.x; i < dim; i += 4 * blockDim.x) {
    const Four x = is_whole ? take_four(row, i) : load(i);
    const Four weights = load_four(weight, i, dim, is_aligned);
    store_four(y, i, dim, scaled(x, scale, weights), is_aligned);
  }
}

__global__ void __launch_bounds__(kNormThreadsMax) rms_norm_kernel(RmsNormArgs args) {
  __shared__ NormRow row;
  const bool is_aligned = args.dim % 4 == 0 && has_aligned_fours(args.x, args.x_stride) &&
                          has_aligned_fours(args.y, args.y_stride) &&
                          is_aligned_to(args.weight, 16);
  prefetch_row(args.weight, args.dim);
  const float* x = args.x + blockIdx.x * args.x_stride;
  const auto load = [&](std::size_t i) -> Four { return load_four(x, i, args.dim, is_aligned); };
  const float scale =
      rms_norm_scale(row, args.dim, args.eps, load, [](std::size_t, const Four&) -> void {});
  write_normalised(args.y + blockIdx.x * args.y_stride, args.weight, args.dim, is_aligned, scale,
                   row, load);
}

/// The rows of all experts are asked for at once; one that is not there is read from row 0 and left
/// out.
template <bool kIsAligned>
__device__ __forceinline__ void add_experts(const ResidualNormArgs& args, std::size_t i,
                                            Four& sum) {
  const std::size_t end = (blockIdx.x + std::size_t{1}) * args.slots;
  PONDER_UNROLL_8
  for (std::size_t slot = end - args.slots; slot < end; ++slot) {
    const std::int32_t source = args.expert_rows[slot];
    const bool is_there = source >= 0;
    const std::size_t from = is_there ? static_cast<std::size_t>(source) * args.dim : 0;
    const Four x = load_four(args.expert_output + from, i, args.dim, kIsAligned);
    const float weight = args.expert_weights[slot];
    PONDER_UNROLL
    for (unsigned k = 0; k < 4; ++k) {
      sum.x[k] = is_there ? fmaf(weight, x.x[k], sum.x[k]) : sum.x[k];
    }
  }
}

/// What a layer adds to the residual stream, from element i of the block's row on.
template <bool kIsAligned, bool kHasExperts>
__device__ __forceinline__ Four layer_output(const ResidualNormArgs& args, std::size_t i) {
  Four sum{};
  if (!kHasExperts || args.output != nullptr) {
    sum = load_four(args.output + blockIdx.x * args.dim, i, args.dim, kIsAligned);
  }
  if constexpr (kHasExperts) add_experts<kIsAligned>(args, i, sum);
  return sum;
}

template <bool kIsAligned, bool kHasExperts>
__global__ void __launch_bounds__(kNormThreadsMax) residual_norm_kernel(ResidualNormArgs args) {
  __shared__ NormRow row;
  prefetch_row(args.weight, args.dim);
  float* hidden = args.hidden + blockIdx.x * args.dim;
  const auto again = [&](std::size_t i) -> Four {
    return load_four(hidden, i, args.dim, kIsAligned);
  };
  const auto load = [&](std::size_t i) -> Four {
    Four x = again(i);
    const Four output = layer_output<kIsAligned, kHasExperts>(args, i);
    PONDER_UNROLL
    for (unsigned k = 0; k < 4; ++k) x.x[k] += output.x[k];
    return x;
  };
  const auto keep = [&](std::size_t i, const Four& x) -> void {
    store_four(hidden, i, args.dim, x, kIsAligned);
  };
  const float scale = rms_norm_scale(row, args.dim, args.eps, load, keep);
  write_normalised(args.y + blockIdx.x * args.dim, args.weight, args.dim, kIsAligned, scale, row,
                   again);
}

/// A warp's fours are a group of codes.
__global__ void silu_mul_kernel(DeviceSiluArgs args) {
  const bool is_aligned = args.n % 4 == 0 && is_aligned_to(args.gate, 16) &&
                          is_aligned_to(args.up, 16) && is_aligned_to(args.y, 16);
  for (std::size_t i = 4 * global_thread(); i < args.n; i += 4 * num_global_threads()) {
    const Four gate = load_four(args.gate, i, args.n, is_aligned);
    const Four up = load_four(args.up, i, args.n, is_aligned);
    Four y;
    PONDER_UNROLL
    for (unsigned k = 0; k < 4; ++k) {
      y.x[k] = gate.x[k] / (1.0f + expf(-gate.x[k])) * up.x[k];
    }
    if (args.codes != nullptr) {
      const std::size_t group = i / kActivationGroup;
      store_activation_codes(args.codes + group * kActivationGroup, args.scales + group, y);
    }
    if (args.y != nullptr) store_four(args.y, i, args.n, y, is_aligned);
  }
}

/// Values i to i + 3 of a table that are to be aligned if all of its fours are.
__device__ __forceinline__ Four table_four(const GatherRowsArgs& args, std::size_t at,
                                           std::size_t n, bool is_aligned) {
  if (args.dtype != DType::bf16) {
    return load_four(static_cast<const float*>(args.table) + at, 0, n, is_aligned);
  }
  const bf16* from = static_cast<const bf16*>(args.table) + at;
  if (is_aligned) {
    const uint2 words = *reinterpret_cast<const uint2*>(from);
    return {{__uint_as_float(words.x << 16), __uint_as_float(words.x & 0xffff0000u),
             __uint_as_float(words.y << 16), __uint_as_float(words.y & 0xffff0000u)}};
  }
  Four four{};
  PONDER_UNROLL
  for (unsigned k = 0; k < 4; ++k) {
    if (k < n) four.x[k] = from_bf16(from[k]);
  }
  return four;
}

__global__ void gather_rows_kernel(GatherRowsArgs args) {
  const bool is_aligned = args.dim % 4 == 0 && has_aligned_fours(args.y, args.y_stride) &&
                          is_aligned_to(args.table, 16);
  const unsigned row_fours = ceil_div(args.dim, 4);
  const unsigned n = static_cast<unsigned>(args.rows) * row_fours;
  for (auto at = static_cast<unsigned>(global_thread()); at < n; at += gridDim.x * blockDim.x) {
    const std::size_t row = at / row_fours;
    const std::size_t i = std::size_t{4} * (at % row_fours);
    const std::int32_t source = args.indices[row];
    Four four{};
    if (source >= 0) {
      const std::size_t from = static_cast<std::size_t>(source) * args.dim + i;
      four = table_four(args, from, args.dim - i, is_aligned);
    }
    store_four(args.y + row * args.y_stride, i, args.dim, four, is_aligned);
  }
}

dim3 rows_grid(std::size_t rows) {
  dim3 grid;
  grid.x = static_cast<unsigned>(rows);
  return grid;
}

/// Whole chains, and no more threads than have fours.
unsigned norm_threads(std::size_t dim) {
  const unsigned wanted = ceil_div(dim, 4 * kRowChains) * kRowChains;
  return wanted < kNormThreadsMax ? wanted : kNormThreadsMax;
}

void launch_rms_norm(const RmsNormArgs& args) {
  if (args.rows > 0) launch(rms_norm_kernel, rows_grid(args.rows), norm_threads(args.dim), args);
}
void launch_residual_norm(const ResidualNormArgs& args) {
  if (args.rows == 0) return;
  const bool is_aligned = has_aligned_fours(args.hidden, args.dim) &&
                          is_aligned_to(args.output, 16) && is_aligned_to(args.expert_output, 16) &&
                          is_aligned_to(args.weight, 16) && is_aligned_to(args.y, 16);
  const bool has_experts = args.slots > 0;
  const auto kernel = is_aligned    ? has_experts ? residual_norm_kernel<true, true>
                                                  : residual_norm_kernel<true, false>
                         : has_experts ? residual_norm_kernel<false, true>
                                    : residual_norm_kernel<false, false>;
  launch(kernel, rows_grid(args.rows), norm_threads(args.dim), args);
}
template <class Args>
void launch_elements(void (*kernel)(Args), std::size_t n, const Args& args) {
  if (n > 0) launch(kernel, blocks_for(n, kElementThreads), kElementThreads, args);
}
void launch_silu_mul(const DeviceSiluArgs& args) {
  launch_elements(silu_mul_kernel, (args.n + 3) / 4, args);
}
void launch_gather_rows(const GatherRowsArgs& args) {
  launch_elements(gather_rows_kernel, args.rows * ceil_div(args.dim, 4), args);
}

}  // namespace
}  // namespace ponder::kernels
