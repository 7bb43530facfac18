#pragma once

// Attention of a prompt's rows over the keys and values of each head, on tensor cores (mma.cuh).
//
// A block takes 64 neighbouring rows of one sequence, one head and up to 128 columns of its values;
// wider values are two blocks', which both make the logits. Each of its four warps has 16 rows and
// everything of theirs: queries in shared memory, logits, weights and sums in registers.
// Pages of 64 keys come by, from position 0 on, as stages of 8 KiB (expanded_keys.cuh): all stages
// of the page's keys, after which its logits are known, then those of its values. The next stage is
// copied while one is multiplied. Sums are rescaled when a page has a larger logit.
//
// Queries, keys, weights and values are two bf16 each, of whose four products the smallest is left
// out: 2^-18 of a product at most, and as much is lost with what two bf16 do not hold of either
// operand. An instruction's sum may be cut short at its last bit, which is why a chain has no more
// than 12 of them before its sum is added in fp32.
//
// Bits of a row depend on its queries and the keys it sees alone: not on the rows of its block, nor
// on how many keys there are behind them. A warp leaves out pages that none of its rows sees, and a
// row is left as it is by a page that others of its warp see.
//
// Per key and head: 3 * 2 * (qk_nope_head_dim + qk_rope_head_dim + v_head_dim) operations, those of
// the logits twice for wider values.

#include "kernels/cuda/attention_parts.cuh"
#include "kernels/cuda/expanded_keys.cuh"
#include "kernels/cuda/matmul_mma.cuh"

namespace ponder::kernels {
namespace {

constexpr unsigned kExpandedWarps = 4;
constexpr unsigned kExpandedThreads = kExpandedWarps * kWarp;
constexpr unsigned kWarpRows = 16;
constexpr unsigned kPageTiles = kPageSize / 8;   // of 8 keys, in a page
constexpr unsigned kPageSteps = kPageSize / 16;  // instructions along the keys of a page
constexpr unsigned kColumnSteps = 2;             // the same along the columns of a stage
constexpr unsigned kValueStages = 4;             // of a block: 128 columns
constexpr unsigned kValueTiles = 4;              // of 8 columns, in a stage of values
static_assert(kExpandedRows == kExpandedWarps * kWarpRows);
static_assert(kPageSize * kExpandedColumns == kExpandedStageWords);

/// Of heads with up to kKeyStages * 32 columns of keys.
template <unsigned kKeyStages>
struct ExpandedMemory {
  SharedArray<uint4, 2 * kExpandedStageUnits> stages;
  SharedArray<uint4, kKeyStages * kExpandedStageUnits> queries;  // as stages of keys are
};
#ifdef __CUDACC__
static_assert(sizeof(ExpandedMemory<8>) <= std::size_t{99} << 10);
#endif

/// Two terms of an operand.
struct TermsA {
  FragmentA upper;
  FragmentA lower;
};
/// d += a @ b, but for the lower terms of both. The smaller products first.
__device__ __forceinline__ void multiply_terms(float (&d)[4], const TermsA& a,
                                               const FragmentB& upper, const FragmentB& lower) {
  mma_bf16(d, a.lower, upper);
  mma_bf16(d, a.upper, lower);
  mma_bf16(d, a.upper, upper);
}

/// The block's queries, as stages of keys are; zeros where there are none.
template <class Memory>
__device__ void split_queries(const ExpandedAttentionArgs& args, const ExpandedTile& tile,
                              std::size_t head, Memory& memory) {
  const unsigned units = key_stages(args) * 4;
  const std::size_t dim = args.qk_nope_head_dim + args.qk_rope_head_dim;
  for (unsigned i = threadIdx.x; i < kExpandedRows * units; i += kExpandedThreads) {
    const unsigned row = i / units;
    const unsigned unit = i % units;
    SplitUnit split{};
    if (row < static_cast<unsigned>(tile.num_rows) && std::size_t{8} * unit < dim) {
      const std::size_t at = static_cast<std::size_t>(tile.first_row) + row;
      const auto* eight = reinterpret_cast<const float4*>(args.q + at * args.q_row_stride +
                                                          head * args.q_head_stride + 8 * unit);
      split = split_unit(eight[0], eight[1]);
    }
    memory.queries[key_unit(row, unit)] = split.upper;
    memory.queries[key_unit(row, unit) + kTermUnits] = split.lower;
  }
}

// Of a warp's 16 rows. Value v of a tile belongs to the row v / 2 of the lane's two, which lie 8
// apart.

__device__ __forceinline__ unsigned first_warp_row() { return own_warp() * kWarpRows; }

/// What the rows make of a page of keys.
struct PageLogits {
  float d[kPageTiles][4] = {};

  /// Adds a stage of columns.
  template <class Memory>
  __device__ __forceinline__ void multiply(unsigned stage, unsigned column_stage, Memory& memory) {
    TermsA a[kColumnSteps];
    const unsigned q =
        column_stage * kExpandedStageUnits + (first_warp_row() + lane_group()) * 4 + lane_quad();
    PONDER_UNROLL
    for (unsigned term = 0; term < 2; ++term) {
      const uint4 above = memory.queries[q + term * kTermUnits];
      const uint4 below = memory.queries[q + term * kTermUnits + 8 * 4];
      (term == 0 ? a[0].upper : a[0].lower) = {{above.x, below.x, above.y, below.y}};
      (term == 0 ? a[1].upper : a[1].lower) = {{above.z, below.z, above.w, below.w}};
    }
    PONDER_UNROLL
    for (unsigned tile = 0; tile < kPageTiles; ++tile) {
      const unsigned k =
          stage % 2 * kExpandedStageUnits + (8 * tile + lane_group()) * 4 + lane_quad();
      const uint4 upper = memory.stages[k];
      const uint4 lower = memory.stages[k + kTermUnits];
      float dots[4] = {};
      multiply_terms(dots, a[0], {{upper.x, upper.y}}, {{lower.x, lower.y}});
      multiply_terms(dots, a[1], {{upper.z, upper.w}}, {{lower.z, lower.w}});
      PONDER_UNROLL
      for (unsigned v = 0; v < 4; ++v) d[tile][v] += dots[v];
    }
  }

  /// The key of the page that the lane's value i of a row belongs to.
  __device__ static int key_of(unsigned i) {
    return static_cast<int>(8 * (i / 2) + 2 * lane_quad() + i % 2);
  }
};

/// Largest base-2 logit and the sum of weights, so far.
struct RowWeights {
  float max[2] = {negative_infinity(), negative_infinity()};
  float sum[2] = {};  // the lane's part of it
};

/// Weights of a page against the largest logit so far, with it; none for keys that are not seen.
struct PageWeights {
  TermsA terms[kPageSteps];
  float factor[2];  // of what was summed before
  bool sees[2];     // any key of the page

  /// `visible`: how many keys the lane's rows see from the page's first one on, if any.
  __device__ __forceinline__ void make(PageLogits& logits, float scale, const int (&visible)[2],
                                       RowWeights& rows) {
    PONDER_UNROLL
    for (unsigned row = 0; row < 2; ++row) {
      sees[row] = visible[row] > 0;
      float max = rows.max[row];
      PONDER_UNROLL
      for (unsigned i = 0; i < 2 * kPageTiles; ++i) {
        float& logit = logits.d[i / 2][2 * row + i % 2];
        logit *= scale;
        if (PageLogits::key_of(i) < visible[row]) max = fmaxf(max, logit);
      }
      max = fmaxf(max, __shfl_xor_sync(kAllLanes, max, 1));
      max = fmaxf(max, __shfl_xor_sync(kAllLanes, max, 2));
      factor[row] = exp2f(rows.max[row] - max);
      float sum = 0.0f;
      PONDER_UNROLL
      for (unsigned i = 0; i < 2 * kPageTiles; ++i) {
        float& logit = logits.d[i / 2][2 * row + i % 2];
        logit = PageLogits::key_of(i) < visible[row] ? exp2f(logit - max) : 0.0f;
        sum += logit;
      }
      if (!sees[row]) continue;
      rows.max[row] = max;
      rows.sum[row] = fmaf(rows.sum[row], factor[row], sum);
    }
    PONDER_UNROLL
    for (unsigned i = 0; i < 4 * kPageSteps; ++i) {
      const unsigned r = i % 4;
      const auto& tile = logits.d[i / 4 * 2 + r / 2];
      const SplitPair split = split_pair(tile[r % 2 * 2], tile[r % 2 * 2 + 1]);
      terms[i / 4].upper.r[r] = split.upper;
      terms[i / 4].lower.r[r] = split.lower;
    }
  }
};

/// Weighted sums of the block's values: 32 columns for each stage. Tile j of a stage has its
/// columns j, 4 + j, 8 + j and so on, since a lane reads 4 neighbours.
struct WarpSums {
  float d[kValueStages][kValueTiles][4] = {};

  /// Adds a page's stage of values to those of its columns.
  template <class Memory>
  __device__ __forceinline__ void multiply(unsigned stage, unsigned column_stage,
                                           const PageWeights& weights, Memory& memory) {
    // Pairs of keys that lie 4 apart have their units in the same order.
    const unsigned own = stage % 2 * kExpandedStageUnits + value_unit(lane_quad(), lane_group());
    float of_page[kValueTiles][4] = {};
    PONDER_UNROLL
    for (unsigned step = 0; step < kPageSteps; ++step) {
      const TermsA& a = weights.terms[step];
      uint4 upper[2];
      uint4 lower[2];
      PONDER_UNROLL
      for (unsigned r = 0; r < 2; ++r) {
        const unsigned v = own + (8 * step + 4 * r) * 8;
        upper[r] = memory.stages[v];
        lower[r] = memory.stages[v + kTermUnits];
      }
      multiply_terms(of_page[0], a, {{upper[0].x, upper[1].x}}, {{lower[0].x, lower[1].x}});
      multiply_terms(of_page[1], a, {{upper[0].y, upper[1].y}}, {{lower[0].y, lower[1].y}});
      multiply_terms(of_page[2], a, {{upper[0].z, upper[1].z}}, {{lower[0].z, lower[1].z}});
      multiply_terms(of_page[3], a, {{upper[0].w, upper[1].w}}, {{lower[0].w, lower[1].w}});
    }
    PONDER_UNROLL
    for (unsigned i = 0; i < 4 * kValueTiles; ++i) {
      const unsigned row = i % 4 / 2;
      float& sum = d[column_stage][i / 4][i % 4];
      if (weights.sees[row]) sum = fmaf(sum, weights.factor[row], of_page[i / 4][i % 4]);
    }
  }

  __device__ __forceinline__ void store(const ExpandedAttentionArgs& args, const ExpandedTile& tile,
                                        const RowWeights& weights) {
    PONDER_UNROLL
    for (unsigned row = 0; row < 2; ++row) {
      float total = weights.sum[row];
      total += __shfl_xor_sync(kAllLanes, total, 1);
      total += __shfl_xor_sync(kAllLanes, total, 2);
      const float scale = 1.0f / total;
      const unsigned in_tile = first_warp_row() + 8 * row + lane_group();
      if (in_tile >= static_cast<unsigned>(tile.num_rows)) continue;
      float* out = args.out +
                   (static_cast<std::size_t>(tile.first_row) + in_tile) * args.out_row_stride +
                   blockIdx.y * args.out_head_stride;
      PONDER_UNROLL
      for (unsigned i = 0; i < 2 * kValueStages; ++i) {
        const unsigned column =
            (blockIdx.z * kValueStages + i / 2) * kExpandedColumns + 8 * lane_quad() + i % 2 * 4;
        if (column >= args.v_head_dim) continue;
        const auto& of = d[i / 2];
        const unsigned v = 2 * row + i % 2;
        *reinterpret_cast<float4*>(out + column) = {of[0][v] * scale, of[1][v] * scale,
                                                    of[2][v] * scale, of[3][v] * scale};
      }
    }
  }
};

/// Copies of a block's stages, one ahead of those that are multiplied: of each page all of its keys
/// and the block's own values. Pages follow each other.
struct ExpandedLoads {
  const uint4* next;    // to be started
  unsigned of_keys;     // stages of a page
  unsigned of_values;   // the same, of the block
  unsigned all_values;  // of all blocks
  unsigned in_page = 0;
  unsigned left;  // to be started

  __device__ ExpandedLoads(const ExpandedAttentionArgs& args, const ExpandedTile& tile)
      : next(stages_of(args, blockIdx.y, static_cast<std::size_t>(tile.first_page))),
        of_keys(key_stages(args)),
        all_values(value_stages(args)) {
    const unsigned others = blockIdx.z * kValueStages;
    of_values = all_values - others < kValueStages ? all_values - others : kValueStages;
    const auto keys = static_cast<unsigned>(tile.num_keys + tile.num_rows - 1);
    left = (keys + kPageSize - 1) / kPageSize * (of_keys + of_values);
  }

  template <class Memory>
  __device__ __forceinline__ void start(unsigned stage, Memory& memory) {
    if (left == 0) return;
    --left;
    PONDER_UNROLL
    for (unsigned i = 0; i < kExpandedStageUnits / kExpandedThreads; ++i) {
      const unsigned unit = threadIdx.x + i * kExpandedThreads;
      copy_async(memory.stages, stage % 2 * kExpandedStageUnits + unit, next + unit, true);
    }
    const unsigned others = blockIdx.z * kValueStages;
    unsigned stages = 1;
    if (++in_page == of_keys) stages += others;
    if (in_page == of_keys + of_values) {
      stages += all_values - others - of_values;
      in_page = 0;
    }
    next += static_cast<std::size_t>(stages) * kExpandedStageUnits;
  }
};

template <unsigned kKeyStages>
__global__ void __launch_bounds__(kExpandedThreads, 2)
    attention_expanded_kernel(ExpandedAttentionArgs args) {
  auto& memory = block_memory<ExpandedMemory<kKeyStages>>();
  const ExpandedTile tile = args.tiles[blockIdx.x];
  ExpandedLoads loads(args, tile);
  loads.start(0, memory);
  split_queries(args, tile, blockIdx.y, memory);
  int num_keys[2];    // that the lane's rows see from the page on, if any
  int warp_keys = 0;  // the same of the warp's last row
  PONDER_UNROLL
  for (unsigned row = 0; row < 2; ++row) {
    const auto in_tile = static_cast<int>(first_warp_row() + 8 * row + lane_group());
    num_keys[row] = in_tile < tile.num_rows ? tile.num_keys + in_tile : 0;
  }
  if (static_cast<int>(first_warp_row()) < tile.num_rows) {
    const auto end = static_cast<int>(first_warp_row() + kWarpRows);
    warp_keys = tile.num_keys - 1 + (end < tile.num_rows ? end : tile.num_rows);
  }
  wait_for_copies();
  __syncthreads();

  WarpSums sums;
  RowWeights rows;
  unsigned stage = 0;
  const auto finish = [&] {
    wait_for_copies();
    __syncthreads();
    ++stage;
  };
  bool is_last = false;
  while (!is_last) {
    const bool has_work = warp_keys > 0;
    PageLogits logits;
    for (unsigned column = 0; column < loads.of_keys; ++column) {
      loads.start(stage + 1, memory);
      if (has_work) logits.multiply(stage, column, memory);
      finish();
    }
    PageWeights weights;
    if (has_work) weights.make(logits, args.softmax_scale * kLog2E, num_keys, rows);
    PONDER_UNROLL
    for (unsigned column = 0; column < kValueStages; ++column) {
      if (column < loads.of_values) {
        is_last = loads.left == 0;
        loads.start(stage + 1, memory);
        if (has_work) sums.multiply(stage, column, weights, memory);
        finish();
      }
    }
    warp_keys -= static_cast<int>(kPageSize);
    num_keys[0] -= static_cast<int>(kPageSize);
    num_keys[1] -= static_cast<int>(kPageSize);
  }
  sums.store(args, args.tiles[blockIdx.x], rows);
}

template <unsigned kKeyStages>
void launch_expanded_tiles(const ExpandedAttentionArgs& args) {
  dim3 grid;
  grid.x = static_cast<unsigned>(args.num_tiles);
  grid.y = static_cast<unsigned>(args.heads);
  grid.z = ceil_div(expanded_stages(args.v_head_dim), kValueStages);
  launch_with_memory<ExpandedMemory<kKeyStages>>(attention_expanded_kernel<kKeyStages>, grid,
                                                 kExpandedThreads, args);
}

/// Requires: fits_expanded() of the shape.
void launch_attention_expanded(const ExpandedAttentionArgs& args) {
  if (args.num_tiles == 0 || args.heads == 0) return;
  launch_split_keys(args);
  if (expanded_stages(args.qk_nope_head_dim + args.qk_rope_head_dim) <= 6) {
    launch_expanded_tiles<6>(args);  // DeepSeek-V3.2
  } else {
    launch_expanded_tiles<8>(args);  // GLM-5
  }
}

}  // namespace
}  // namespace ponder::kernels
