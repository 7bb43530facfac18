#pragma once

// The indexer's scores on tensor cores (mma.cuh): keys are the rows of a tile, heads its columns.
//
// A warp takes 32 keys, half a page, and keeps them in registers for as many query rows as follow
// one another in the same page. Eight heads at a time are multiplied; the tile of dots goes through
// shared memory of the warp's own, so that each lane adds the heads of its key in ascending order.
// Over int8 keys the dots are exact and the bits those of the CPU. E4M3 and bf16 keys are exact in
// bf16; a query that is so too (one that queries.cuh rounded) takes one product, any other three,
// as in matmul_mma.cuh. Per key: heads * dim products, and its bytes of the page once for all rows
// that are together.

#include "kernels/cuda/index_select.cuh"
#include "kernels/cuda/matmul_mma.cuh"

namespace ponder::kernels {
namespace {

constexpr unsigned kScoreWarps = kScoreThreads / kWarp;
constexpr unsigned kWarpKeys = 32;
constexpr unsigned kKeyTiles = 2;
constexpr unsigned kTileKeys = 16;
constexpr unsigned kTileHeads = 8;
constexpr unsigned kDotsStride = kTileHeads + 1;  // no two lanes in one bank
constexpr unsigned kScoreRowsTogether = 8;
constexpr std::size_t kFewScoreRows = 64;  // up to which every row has blocks of its own
static_assert(kTileKeys == kIndexBlockKeys && kPageSize % kWarpKeys == 0);

template <class T>
using KeyDots = SharedArray<T, kScoreWarps * kWarpKeys * kDotsStride>;  // [key][head]

/// The rows and keys of a warp.
struct ScorePlace {
  std::size_t row;
  std::size_t row_end;
  std::size_t first_key;
};
__device__ __forceinline__ ScorePlace score_place(const DeviceIndexScoresArgs& args) {
  const std::size_t together = (args.rows + gridDim.y - 1) / gridDim.y;
  const std::size_t begin = blockIdx.y * together;
  const std::size_t end = begin + together < args.rows ? begin + together : args.rows;
  const std::size_t first = static_cast<std::size_t>(blockIdx.x) * kScoreThreads;
  return {begin, end, first + own_warp() * kWarpKeys};
}
__device__ __forceinline__ bool has_scores(const DeviceIndexScoresArgs& args, std::size_t row,
                                           std::size_t first_key) {
  const auto num_keys = static_cast<std::size_t>(args.num_keys[row]);
  return num_keys > args.keys_min && first_key < num_keys;
}

/// Makes a tile of dots visible to the whole warp: [key][head].
template <class T>
__device__ void put_dots(KeyDots<T>& dots, const T (&d)[kKeyTiles][4]) {
  PONDER_UNROLL
  for (unsigned v = 0; v < 4 * kKeyTiles; ++v) {
    const unsigned key = v / 4 * kTileKeys + lane_group() + v % 4 / 2 * 8;
    const unsigned head = 2 * lane_quad() + v % 2;
    dots[(own_warp() * kWarpKeys + key) * kDotsStride + head] = d[v / 4][v % 4];
  }
  __syncwarp();
}

/// Adds the heads from `head` on to the score of the lane's key; `scale` is what its dots lack.
template <class T>
__device__ float add_heads(const DeviceIndexScoresArgs& args, std::size_t row, std::size_t head,
                           float scale, KeyDots<T>& dots, float sum) {
  const float* weights = args.head_weights + row * args.heads + head;
  const std::size_t rest = args.heads - head;
  for (unsigned h = 0; h < kTileHeads && h < rest; ++h) {
    const T dot = dots[(own_warp() * kWarpKeys + lane()) * kDotsStride + h];
    const float scaled = static_cast<float>(dot) * scale;
    const float relu = scaled < 0.0f ? 0.0f : scaled;  // a NaN passes
    sum = fmaf(relu, weights[h], sum);
  }
  __syncwarp();
  return sum;
}

/// kSteps instructions cover the dimensions of a key: dim == 32 * kSteps.
template <unsigned kSteps>
__global__ void index_scores_i8_mma_kernel(DeviceIndexScoresArgs args) {
  __shared__ KeyDots<int> dots;
  const ScorePlace place = score_place(args);
  FragmentA keys[kKeyTiles][kSteps] = {};
  std::int32_t page = -1;
  for (std::size_t row = place.row; row < place.row_end; ++row) {
    if (!has_scores(args, row, place.first_key)) continue;
    const std::int32_t wanted = page_of(args.sequences, row, place.first_key);
    std::byte* block = block_of(args.cache, static_cast<std::size_t>(wanted) * kPageSize);
    const std::size_t token = place.first_key % kPageSize;
    if (wanted != page) {
      PONDER_UNROLL
      for (unsigned i = 0; i < kKeyTiles * kSteps * 4; ++i) {
        const unsigned r = i % 4;
        const std::size_t d = 32 * (i / 4 % kSteps) + 4 * lane_quad() + 16 * (r / 2);
        const std::size_t key = token + i / 4 / kSteps * kTileKeys + lane_group() + 8 * (r % 2);
        keys[i / 4 / kSteps][i / 4 % kSteps].r[r] =
            *reinterpret_cast<const unsigned*>(block + i8_code_offset(key, d, args.dim));
      }
      page = wanted;
    }
    float sum = 0.0f;
    for (std::size_t head = 0; head < args.heads; head += kTileHeads) {
      const std::size_t own_head = head + lane_group();
      const auto* q = reinterpret_cast<const unsigned*>(args.q_codes +
                                                        (row * args.heads + own_head) * args.dim);
      int d[kKeyTiles][4] = {};
      PONDER_UNROLL
      for (unsigned step = 0; step < kSteps; ++step) {
        FragmentB b{};
        if (own_head < args.heads) {
          b = {{q[8 * step + lane_quad()], q[8 * step + 4 + lane_quad()]}};
        }
        PONDER_UNROLL
        for (unsigned tile = 0; tile < kKeyTiles; ++tile) mma_int8(d[tile], keys[tile][step], b);
      }
      put_dots<int>(dots, d);
      sum = add_heads<int>(args, row, head, 1.0f, dots, sum);
    }
    const std::size_t key = place.first_key + lane();
    if (key < static_cast<std::size_t>(args.num_keys[row])) {
      args.scores[row * args.scores_stride + key] =
          sum * *key_scale(block, token + lane(), args.dim);
    }
  }
}

/// Four consecutive values of a key from dimension d on: 0 and 2, 1 and 3.
template <DType kType>
__device__ __forceinline__ FragmentB key_pairs(const DevicePages& cache, const std::byte* block,
                                               std::size_t token, std::size_t d) {
  if constexpr (kType == DType::fp8_e4m3) {
    return e4m3_pairs(*reinterpret_cast<const unsigned*>(block + token * cache.row_stride + d));
  } else {
    const auto* row = reinterpret_cast<const bf16*>(block) + token * cache.row_stride + d;
    const auto* words = reinterpret_cast<const unsigned*>(row);
    return bf16_pairs(words[0], words[1]);
  }
}

/// The products of eight heads with the warp's keys. A lane has the dimensions from
/// quad * dim / 4 on, four in each step.
template <unsigned kSteps>
__device__ void multiply_heads(const DeviceIndexScoresArgs& args, std::size_t row, std::size_t head,
                               const FragmentA (&keys)[kKeyTiles][kSteps],
                               float (&d)[kKeyTiles][4]) {
  const std::size_t own_head = head + lane_group();
  const float* q = args.q + (row * args.heads + own_head) * args.dim + 4 * kSteps * lane_quad();
  PONDER_UNROLL
  for (unsigned step = 0; step < kSteps; ++step) {
    Inputs in{};
    if (own_head < args.heads) {
      const float4 four = reinterpret_cast<const float4*>(q)[step];
      in = {{four.x, four.y, four.z, four.w}};
    }
    const InputParts parts = split_inputs(in);
    const unsigned rest = parts.middle.r[0] | parts.middle.r[1];
    const bool is_exact = __ballot_sync(kAllLanes, (rest & 0x7fff7fffu) != 0) == 0;
    PONDER_UNROLL
    for (unsigned tile = 0; tile < kKeyTiles; ++tile) {
      if (!is_exact) {
        mma_bf16(d[tile], keys[tile][step], parts.low);
        mma_bf16(d[tile], keys[tile][step], parts.middle);
      }
      mma_bf16(d[tile], keys[tile][step], parts.high);
    }
  }
}

/// The same over E4M3 or bf16 keys: dim == 16 * kSteps.
template <DType kType, unsigned kSteps>
__global__ void index_scores_mma_kernel(DeviceIndexScoresArgs args) {
  __shared__ KeyDots<float> dots;
  const ScorePlace place = score_place(args);
  FragmentA keys[kKeyTiles][kSteps] = {};
  std::int32_t page = -1;
  for (std::size_t row = place.row; row < place.row_end; ++row) {
    if (!has_scores(args, row, place.first_key)) continue;
    const std::int32_t wanted = page_of(args.sequences, row, place.first_key);
    std::byte* block = block_of(args.cache, static_cast<std::size_t>(wanted) * kPageSize);
    const std::size_t token = place.first_key % kPageSize;
    if (wanted != page) {
      PONDER_UNROLL
      for (unsigned i = 0; i < kKeyTiles * kSteps; ++i) {
        const std::size_t d = 4 * kSteps * lane_quad() + 4 * (i % kSteps);
        const std::size_t key = token + i / kSteps * kTileKeys + lane_group();
        const FragmentB upper = key_pairs<kType>(args.cache, block, key, d);
        const FragmentB lower = key_pairs<kType>(args.cache, block, key + 8, d);
        keys[i / kSteps][i % kSteps] = {{upper.r[0], lower.r[0], upper.r[1], lower.r[1]}};
      }
      page = wanted;
    }
    const float scale =
        kType == DType::fp8_e4m3 ? *key_scale(block, token + lane(), args.dim) : 1.0f;
    float sum = 0.0f;
    for (std::size_t head = 0; head < args.heads; head += kTileHeads) {
      float d[kKeyTiles][4] = {};
      multiply_heads<kSteps>(args, row, head, keys, d);
      put_dots<float>(dots, d);
      sum = add_heads<float>(args, row, head, scale, dots, sum);
    }
    const std::size_t key = place.first_key + lane();
    if (key < static_cast<std::size_t>(args.num_keys[row])) {
      args.scores[row * args.scores_stride + key] = sum;
    }
  }
}

void launch_scores_mma(void (*kernel)(DeviceIndexScoresArgs), const DeviceIndexScoresArgs& args) {
  dim3 grid;
  grid.x = ceil_div(args.num_keys_max, kScoreThreads);
  grid.y = args.rows <= kFewScoreRows ? static_cast<unsigned>(args.rows)
                                      : ceil_div(args.rows, kScoreRowsTogether);
  launch(kernel, grid, kScoreThreads, args);
}

/// Null for a width that no kernel is made for.
using ScoresKernel = void (*)(DeviceIndexScoresArgs);
ScoresKernel i8_scores_kernel(std::size_t dim) {
  if (dim == 32) return index_scores_i8_mma_kernel<1>;
  if (dim == 64) return index_scores_i8_mma_kernel<2>;
  return dim == 128 ? index_scores_i8_mma_kernel<4> : nullptr;
}
template <DType kType>
ScoresKernel scores_kernel(std::size_t dim) {
  if (dim == 32) return index_scores_mma_kernel<kType, 2>;
  if (dim == 64) return index_scores_mma_kernel<kType, 4>;
  return dim == 128 ? index_scores_mma_kernel<kType, 8> : nullptr;
}

/// Keys of 32, 64 or 128 dimensions on tensor cores; others, and those in fp32, without.
void launch_index_scores(const DeviceIndexScoresArgs& args) {
  if (args.rows == 0 || args.num_keys_max == 0) return;
  ScoresKernel kernel = nullptr;
  if (args.cache.dtype == DType::int8) kernel = i8_scores_kernel(args.dim);
  if (args.cache.dtype == DType::fp8_e4m3) kernel = scores_kernel<DType::fp8_e4m3>(args.dim);
  if (args.cache.dtype == DType::bf16 && args.cache.row_stride % 2 == 0) {
    kernel = scores_kernel<DType::bf16>(args.dim);
  }
  if (kernel != nullptr) return launch_scores_mma(kernel, args);
  launch_portable_scores(args);
}

}  // namespace
}  // namespace ponder::kernels
