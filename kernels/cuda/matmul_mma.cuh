#pragma once

// Products with weights on tensor cores (mma.cuh): weights are the 16 rows of a tile, rows of x its
// 8 columns, so that a single row of x wastes nothing but arithmetic that the bytes leave idle.
//
// Floating point (bf16, fp8). Nothing is rounded before the sums: a float of x is cut into three
// bf16 of 8 bits each, which add up to it, and every weight is a bf16 as it stands (fp8 but for its
// block's scale, which multiplies the sum of 128 inputs). So three products give fp32's result.
// The inputs of a row are cut into kMmaParts parts, one for each warp of a block, whatever the
// shape: an output is the sum of its parts, each a chain over chunks of 128 inputs, each a chain of
// instructions. Its bits depend on its row and column alone.
//
// Codes (int8, int4). Warps multiply 128 inputs each; exact sums of every weight group meet in
// shared memory, and a thread for each output adds them in ascending order: the bits of the CPU.
//
// A lane reads what is its own from memory, without shared memory between: 32 consecutive weights,
// or 8 codes, of a row. For few rows that is all there is to read; for many rows x comes from the
// second-level cache again and again, which bounds it.

#include "kernels/cuda/matmul.cuh"
#include "kernels/cuda/mma.cuh"

namespace ponder::kernels {
namespace {

constexpr unsigned kMmaWeights = 16;  // rows of w in a tile
constexpr unsigned kMmaRows = 8;      // rows of x in a tile
constexpr unsigned kMmaParts = 4;     // warps of a block
constexpr unsigned kMmaThreads = kMmaParts * kWarp;
constexpr unsigned kMmaChunk = 128;   // inputs that share a scale
constexpr unsigned kMmaSteps = 8;     // instructions for a chunk, of 16 inputs
constexpr unsigned kLaneInputs = 32;  // of a chunk; 4 in each step
constexpr unsigned kManyRows = 8;     // more on average take the larger tile
static_assert(kMmaChunk == kFp8BlockSize && kMmaChunk == kActivationGroup);

__device__ __forceinline__ unsigned lane_group() { return lane() / 4; }
__device__ __forceinline__ unsigned lane_quad() { return lane() % 4; }
__device__ __forceinline__ unsigned own_warp() { return threadIdx.x / kWarp; }

/// The rows of one of the batch.
struct MmaRows {
  std::size_t begin;
  std::size_t end;
};
__device__ __forceinline__ MmaRows rows_of_batch(const DeviceMatmulArgs& args) {
  if (args.group_begin == nullptr) return {0, args.m};
  return {static_cast<std::size_t>(args.group_begin[blockIdx.z]),
          static_cast<std::size_t>(args.group_begin[blockIdx.z + 1])};
}

/// Two floats' upper halves, as bf16: the first in the low half.
__device__ __forceinline__ unsigned upper_halves(float first, float second) {
  return __byte_perm(__float_as_uint(first), __float_as_uint(second), 0x7632);
}
/// What the upper half leaves of a number, exactly.
__device__ __forceinline__ float below_upper_half(float x) {
  return is_finite(x) ? x - __uint_as_float(__float_as_uint(x) & 0xffff0000u) : 0.0f;
}

/// Four consecutive inputs of a column: elements 0 and 2, elements 1 and 3.
struct Inputs {
  float x[4];
};
__device__ __forceinline__ FragmentB upper_fragment(const Inputs& in) {
  return {{upper_halves(in.x[0], in.x[2]), upper_halves(in.x[1], in.x[3])}};
}
__device__ __forceinline__ Inputs below_upper_halves(const Inputs& in) {
  Inputs rest;
  PONDER_UNROLL
  for (unsigned i = 0; i < 4; ++i) rest.x[i] = below_upper_half(in.x[i]);
  return rest;
}

/// The three bf16 that a float is the sum of.
struct InputParts {
  FragmentB high;
  FragmentB middle;
  FragmentB low;
};
__device__ __forceinline__ InputParts split_inputs(const Inputs& in) {
  const Inputs middle = below_upper_halves(in);
  return {upper_fragment(in), upper_fragment(middle), upper_fragment(below_upper_halves(middle))};
}

/// Four bf16 weights in two words as pairs: elements 0 and 2, elements 1 and 3.
__device__ __forceinline__ FragmentB bf16_pairs(unsigned low, unsigned high) {
  return {{__byte_perm(low, high, 0x5410), __byte_perm(low, high, 0x7632)}};
}

/// The same of four E4M3 codes in a word, as bf16. Exponent and mantissa are moved to where bf16
/// has them and raised by the difference of the two biases, which also makes subnormals right.
__device__ __forceinline__ FragmentB e4m3_pairs(unsigned word) {
  FragmentB pairs;
  PONDER_UNROLL
  for (unsigned i = 0; i < 2; ++i) {
    const unsigned codes = word >> (8 * i);
    pairs.r[i] = raise_bf16_pair(((codes & 0x007f007fu) << 4) | ((codes & 0x00800080u) << 8));
  }
  const unsigned nan_codes = ((word & 0x7f7f7f7fu) + 0x01010101u) & 0x80808080u;
  if (nan_codes != 0) {
    pairs.r[0] |= (nan_codes >> 7 & 0x00010001u) * 0x7fffu;
    pairs.r[1] |= (nan_codes >> 15 & 0x00010001u) * 0x7fffu;
  }
  return pairs;
}

/// A lane's weights of one row in a chunk, as they are stored; zeros beyond the matrix.
template <DType kType>
struct WeightWords {
  static constexpr unsigned kPerStep = kType == DType::bf16 ? 2 : 1;
  unsigned words[kPerStep * kMmaSteps];

  __device__ FragmentB pairs(unsigned step) const {
    if constexpr (kType == DType::bf16) {
      return bf16_pairs(words[2 * step], words[2 * step + 1]);
    } else {
      return e4m3_pairs(words[step]);
    }
  }
};

template <DType kType>
__device__ WeightWords<kType> load_weights(const DeviceMatmulArgs& args, const DeviceMatrix& w,
                                           std::size_t n, std::size_t k) {
  constexpr unsigned kBytes = kType == DType::bf16 ? 2 : 1;
  constexpr unsigned kWords = kLaneInputs * kBytes / 4;
  WeightWords<kType> result{};
  if (n >= args.n || k >= args.k) return result;
  const auto* from = static_cast<const std::uint8_t*>(w.data) + (n * args.k + k) * kBytes;
  if (args.k % 16 == 0 && k + kLaneInputs <= args.k) {
    PONDER_UNROLL
    for (unsigned i = 0; i < kWords / 4; ++i) {
      const uint4 four = reinterpret_cast<const uint4*>(from)[i];
      result.words[4 * i] = four.x;
      result.words[4 * i + 1] = four.y;
      result.words[4 * i + 2] = four.z;
      result.words[4 * i + 3] = four.w;
    }
    return result;
  }
  const std::size_t bytes = (args.k - k) * kBytes;
  PONDER_UNROLL
  for (unsigned i = 0; i < 4 * kWords; ++i) {
    if (i < bytes) result.words[i / 4] |= static_cast<unsigned>(from[i]) << (8 * (i % 4));
  }
  return result;
}

/// Whether four inputs of x may be read at once.
__device__ __forceinline__ bool has_aligned_rows(const DeviceMatmulArgs& args) {
  const auto address = reinterpret_cast<std::size_t>(args.x);
  return (args.k | args.x_stride | args.x_batch_stride) % 4 == 0 && address % 16 == 0;
}

__device__ __forceinline__ Inputs load_inputs(const DeviceMatmulArgs& args, const float* row,
                                              bool is_aligned, std::size_t k) {
  Inputs in{};
  if (row == nullptr || k >= args.k) return in;
  if (is_aligned) {
    const float4 four = *reinterpret_cast<const float4*>(row + k);
    return {{four.x, four.y, four.z, four.w}};
  }
  PONDER_UNROLL
  for (unsigned i = 0; i < 4; ++i) {
    if (k + i < args.k) in.x[i] = row[k + i];
  }
  return in;
}

/// Blocks of a processor: as many as registers allow without spilling.
template <DType kType, unsigned kTilesX>
constexpr unsigned kMmaBlocks = kTilesX > 1                ? 3
                                : kType == DType::fp8_e4m3 ? 8
                                                           : 7;

/// Sums of a warp: tiles of w by tiles of x.
template <unsigned kTilesW, unsigned kTilesX>
struct MmaSums {
  float d[kTilesW][kTilesX][4];
};

/// One chunk of inputs, from `k` on the lane's own.
template <DType kType, unsigned kTilesW, unsigned kTilesX>
__device__ void multiply_chunk(const DeviceMatmulArgs& args, const DeviceMatrix& w,
                               const int (&x_rows)[kTilesX], bool is_aligned,
                               std::size_t first_weight, std::size_t k,
                               MmaSums<kTilesW, kTilesX>& sums) {
  WeightWords<kType> weights[kTilesW][2];
  PONDER_UNROLL
  for (unsigned i = 0; i < kTilesW; ++i) {
    PONDER_UNROLL
    for (unsigned half = 0; half < 2; ++half) {
      const std::size_t n = first_weight + kMmaWeights * i + 8 * half + lane_group();
      weights[i][half] = load_weights<kType>(args, w, n, k);
    }
  }
  PONDER_UNROLL
  for (unsigned step = 0; step < kMmaSteps; ++step) {
    FragmentA a[kTilesW];
    PONDER_UNROLL
    for (unsigned i = 0; i < kTilesW; ++i) {
      const FragmentB upper = weights[i][0].pairs(step);
      const FragmentB lower = weights[i][1].pairs(step);
      a[i] = {{upper.r[0], lower.r[0], upper.r[1], lower.r[1]}};
    }
    PONDER_UNROLL
    for (unsigned j = 0; j < kTilesX; ++j) {
      const float* row = x_rows[j] < 0 ? nullptr : inputs_of(args, x_rows[j]);
      const InputParts x = split_inputs(load_inputs(args, row, is_aligned, k + 4 * step));
      PONDER_UNROLL
      for (unsigned i = 0; i < kTilesW; ++i) {
        mma_bf16(sums.d[i][j], a[i], x.low);
        mma_bf16(sums.d[i][j], a[i], x.middle);
        mma_bf16(sums.d[i][j], a[i], x.high);
      }
    }
  }
}

/// The warp's part of the inputs for all of its outputs.
template <DType kType, unsigned kTilesW, unsigned kTilesX>
__device__ MmaSums<kTilesW, kTilesX> multiply_part(const DeviceMatmulArgs& args,
                                                   const DeviceMatrix& w, const MmaRows& rows,
                                                   std::size_t first_row,
                                                   std::size_t first_weight) {
  int x_rows[kTilesX];  // of the lane; -1: none
  PONDER_UNROLL
  for (unsigned j = 0; j < kTilesX; ++j) {
    const std::size_t row = first_row + kMmaRows * j + lane_group();
    x_rows[j] = row < rows.end ? x_row_of(args, row) : -1;
  }
  const bool is_aligned = has_aligned_rows(args);
  const std::size_t chunks = (args.k + kMmaChunk - 1) / kMmaChunk;
  const std::size_t end = chunks * (own_warp() + 1) / kMmaParts;
  MmaSums<kTilesW, kTilesX> total{};
  for (std::size_t chunk = chunks * own_warp() / kMmaParts; chunk < end; ++chunk) {
    MmaSums<kTilesW, kTilesX> sums{};
    multiply_chunk<kType>(args, w, x_rows, is_aligned, first_weight,
                          chunk * kMmaChunk + kLaneInputs * lane_quad(), sums);
    PONDER_UNROLL
    for (unsigned i = 0; i < kTilesW; ++i) {
      float scale = 1.0f;
      const std::size_t n = first_weight + kMmaWeights * i;
      if (kType == DType::fp8_e4m3 && n < args.n) {
        scale = w.scales[n / kFp8BlockSize * w.scales_stride + chunk];
      }
      PONDER_UNROLL
      for (unsigned v = 0; v < 4 * kTilesX; ++v) {
        float& to = total.d[i][v / 4][v % 4];
        to = fmaf(sums.d[i][v / 4][v % 4], scale, to);
      }
    }
  }
  return total;
}

template <DType kType, unsigned kTilesW, unsigned kTilesX>
__global__ void __launch_bounds__(kMmaThreads, (kMmaBlocks<kType, kTilesX>))
    matmul_mma_kernel(DeviceMatmulArgs args) {
  constexpr unsigned kColumns = kMmaWeights * kTilesW;  // of y
  constexpr unsigned kOutputs = kColumns * kMmaRows * kTilesX;
  __shared__ SharedArray<float, kMmaParts * kOutputs> parts;  // [part][row][column]
  const MmaRows rows = rows_of_batch(args);
  const std::size_t first_weight = static_cast<std::size_t>(blockIdx.x) * kColumns;
  constexpr unsigned kRows = kMmaRows * kTilesX;
  std::size_t first_row = rows.begin + static_cast<std::size_t>(blockIdx.y) * kRows;
  if (first_row >= rows.end) return;
  const DeviceMatrix w = args.w[blockIdx.z];
  for (; first_row < rows.end; first_row += static_cast<std::size_t>(gridDim.y) * kRows) {
    const auto sums =
        multiply_part<kType, kTilesW, kTilesX>(args, w, rows, first_row, first_weight);
    PONDER_UNROLL
    for (unsigned i = 0; i < kTilesW; ++i) {
      PONDER_UNROLL
      for (unsigned v = 0; v < 4 * kTilesX; ++v) {
        const unsigned row = v / 4 * kMmaRows + 2 * lane_quad() + v % 2;
        const unsigned column = i * kMmaWeights + lane_group() + v % 4 / 2 * 8;
        parts[own_warp() * kOutputs + row * kColumns + column] = sums.d[i][v / 4][v % 4];
      }
    }
    __syncthreads();
    for (unsigned i = threadIdx.x; i < kOutputs; i += kMmaThreads) {
      float sum = parts[i];
      for (unsigned part = 1; part < kMmaParts; ++part) sum += parts[part * kOutputs + i];
      const std::size_t row = first_row + i / kColumns;
      const std::size_t column = first_weight + i % kColumns;
      if (row < rows.end && column < args.n) {
        args.y[blockIdx.z * args.y_batch_stride + row * args.y_stride + column] = sum;
      }
    }
    __syncthreads();
  }
}

/// A lane's eight codes of a row from `k` on: the first and second four, or of int4 the even and
/// the odd ones.
template <DType kType>
__device__ FragmentB load_codes(const DeviceMatmulArgs& args, const DeviceMatrix& w, std::size_t n,
                                std::size_t k) {
  constexpr unsigned kPerByte = kType == DType::int4 ? 2 : 1;
  if (n >= args.n) return {};
  const std::size_t word = k / kPerByte / 4;
  const std::size_t row_words = args.k / kPerByte / 4;
  const std::size_t at =
      w.is_packed ? n / kScaleRows * kScaleRows * row_words + word * kScaleRows + n % kScaleRows
                  : n * row_words + word;
  const auto* words = static_cast<const unsigned*>(w.data) + at;
  if constexpr (kType == DType::int8) {
    return {{words[0], words[w.is_packed ? kScaleRows : 1]}};
  } else {
    // code + 8 in every half byte; the 8 goes without a borrow from byte to byte.
    const unsigned even = (words[0] & 0x0f0f0f0fu) + 0x78787878u;
    const unsigned odd = (words[0] >> 4 & 0x0f0f0f0fu) + 0x78787878u;
    return {{even ^ 0x80808080u, odd ^ 0x80808080u}};
  }
}

template <DType kType>
__device__ FragmentB load_input_codes(const DeviceMatmulArgs& args, std::size_t row,
                                      std::size_t row_end, std::size_t k) {
  if (row >= row_end) return {};
  const auto* words = reinterpret_cast<const unsigned*>(args.x_codes + row * args.k + k);
  if constexpr (kType == DType::int8) return {{words[0], words[1]}};
  return {{__byte_perm(words[0], words[1], 0x6420), __byte_perm(words[0], words[1], 0x7531)}};
}

/// Exact sums of each weight group of 128 inputs from `begin` on, into `sums` [group][row][weight].
template <DType kType, unsigned kTilesX, std::size_t kSize>
__device__ void multiply_code_groups(const DeviceMatmulArgs& args, const DeviceMatrix& w,
                                     std::size_t first_row, std::size_t row_end,
                                     std::size_t first_weight, std::size_t begin,
                                     SharedArray<int, kSize>& sums, unsigned first_group) {
  constexpr unsigned kOutputs = kMmaWeights * kMmaRows * kTilesX;
  int d[kTilesX][4] = {};
  unsigned group = first_group;
  for (unsigned done = 0; done < kMmaChunk; done += 32) {
    const std::size_t k = begin + done + 8 * lane_quad();
    const FragmentB upper = load_codes<kType>(args, w, first_weight + lane_group(), k);
    const FragmentB lower = load_codes<kType>(args, w, first_weight + 8 + lane_group(), k);
    const FragmentA a{{upper.r[0], lower.r[0], upper.r[1], lower.r[1]}};
    PONDER_UNROLL
    for (unsigned j = 0; j < kTilesX; ++j) {
      const std::size_t row = first_row + kMmaRows * j + lane_group();
      mma_int8(d[j], a, load_input_codes<kType>(args, row, row_end, k));
    }
    if ((done + 32) % w.group != 0) continue;
    PONDER_UNROLL
    for (unsigned v = 0; v < 4 * kTilesX; ++v) {
      const unsigned row = v / 4 * kMmaRows + 2 * lane_quad() + v % 2;
      const unsigned column = lane_group() + v % 4 / 2 * 8;
      sums[group * kOutputs + row * kMmaWeights + column] = d[v / 4][v % 4];
      d[v / 4][v % 4] = 0;
    }
    ++group;
  }
}

template <DType kType, unsigned kTilesX>
__global__ void matmul_codes_mma_kernel(DeviceMatmulArgs args) {
  constexpr unsigned kOutputs = kMmaWeights * kMmaRows * kTilesX;  // kTilesX of each thread
  constexpr unsigned kGroupsMax = kMmaParts * (kType == DType::int4 ? 4 : 1);
  __shared__ SharedArray<int, kGroupsMax * kOutputs> sums;  // [group][row][weight]
  const MmaRows rows = rows_of_batch(args);
  const std::size_t first_weight = static_cast<std::size_t>(blockIdx.x) * kMmaWeights;
  constexpr unsigned kRows = kMmaRows * kTilesX;
  std::size_t first_row = rows.begin + static_cast<std::size_t>(blockIdx.y) * kRows;
  if (first_row >= rows.end) return;
  const DeviceMatrix w = args.w[blockIdx.z];
  const unsigned groups_per_chunk = kMmaChunk / w.group;
  const std::size_t column = first_weight + threadIdx.x % kMmaWeights;
  for (; first_row < rows.end; first_row += static_cast<std::size_t>(gridDim.y) * kRows) {
    float y[kTilesX] = {};
    for (std::size_t begin = 0; begin < args.k; begin += kMmaParts * kMmaChunk) {
      const std::size_t own_begin = begin + own_warp() * kMmaChunk;
      if (own_begin < args.k) {
        multiply_code_groups<kType, kTilesX>(args, w, first_row, rows.end, first_weight, own_begin,
                                             sums, own_warp() * groups_per_chunk);
      }
      __syncthreads();
      for (unsigned group = 0; group < kMmaParts * groups_per_chunk; ++group) {
        const std::size_t k = begin + group * w.group;
        if (k >= args.k || column >= args.n) break;
        const float w_scale = group_scale_at(w, column, k, args.k);
        PONDER_UNROLL
        for (unsigned j = 0; j < kTilesX; ++j) {
          const unsigned i = j * kMmaThreads + threadIdx.x;
          const std::size_t row = first_row + i / kMmaWeights;
          if (row >= rows.end) continue;
          const float scale = args.x_scales[(row * args.k + k) / kActivationGroup] * w_scale;
          y[j] = fmaf(static_cast<float>(sums[group * kOutputs + i]), scale, y[j]);
        }
      }
      __syncthreads();
    }
    PONDER_UNROLL
    for (unsigned j = 0; j < kTilesX; ++j) {
      const std::size_t row = first_row + (j * kMmaThreads + threadIdx.x) / kMmaWeights;
      if (row < rows.end && column < args.n) {
        args.y[blockIdx.z * args.y_batch_stride + row * args.y_stride + column] = y[j];
      }
    }
  }
}

/// Rows of one of the batch: of a group as many as there would be if all had equally many, which
/// decides on a tile and on how many blocks share its rows. The result does not depend on it.
std::size_t usual_rows(const DeviceMatmulArgs& args) {
  return args.group_begin == nullptr ? args.m : (args.m_total + args.batch - 1) / args.batch;
}

void launch_mma(void (*kernel)(DeviceMatmulArgs), unsigned columns, unsigned rows,
                const DeviceMatmulArgs& args) {
  dim3 grid;
  grid.x = ceil_div(args.n, columns);
  grid.y = ceil_div(usual_rows(args), rows);
  grid.z = static_cast<unsigned>(args.batch);
  launch(kernel, grid, kMmaThreads, args);
}

template <DType kType>
void launch_matmul_mma(const DeviceMatmulArgs& args) {
  if (usual_rows(args) <= kManyRows) {
    launch_mma(matmul_mma_kernel<kType, 1, 1>, kMmaWeights, kMmaRows, args);
  } else {
    launch_mma(matmul_mma_kernel<kType, 2, 4>, 2 * kMmaWeights, 4 * kMmaRows, args);
  }
}

template <DType kType>
void launch_matmul_codes_mma(const DeviceMatmulArgs& args) {
  if (usual_rows(args) <= kManyRows) {
    launch_mma(matmul_codes_mma_kernel<kType, 1>, kMmaWeights, kMmaRows, args);
  } else {
    launch_mma(matmul_codes_mma_kernel<kType, 4>, kMmaWeights, 4 * kMmaRows, args);
  }
}

void launch_matmul(const DeviceMatmulArgs& args) {
  if (args.m_total == 0 || args.n == 0) return;
  if (args.w_dtype == DType::f32) return launch_matmul_f32(args);
  if (args.w_dtype == DType::bf16) return launch_matmul_mma<DType::bf16>(args);
  if (args.w_dtype == DType::fp8_e4m3) return launch_matmul_mma<DType::fp8_e4m3>(args);
  if (!args.x_is_coded) {
    const std::size_t lanes = args.m_total * (args.k / kActivationGroup) * kWarp;
    launch(quantize_activations_kernel, blocks_for(lanes, kMatmulThreads), kMatmulThreads, args);
  }
  if (args.w_dtype == DType::int8) return launch_matmul_codes_mma<DType::int8>(args);
  launch_matmul_codes_mma<DType::int4>(args);
}

}  // namespace
}  // namespace ponder::kernels
