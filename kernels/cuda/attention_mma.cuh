#pragma once

// Gathered attention on tensor cores (mma.cuh), over bf16 and FP8 latents.
//
// A block takes 16, 32 or 64 heads of one row over one part of its slots, in two products. First
// queries times latents: the part's logits stay in registers, warps sharing heads and slots, while
// stages of 32 columns go by (attention_tiles.cuh). Then, with the part's maximum known, weights
// times latents: the sums stay in registers, warps sharing heads and columns, while stages of 16
// slots go by. So queries are read once and nothing is rescaled; latents are read once for all
// heads of the block, and once more from the second-level cache.
//
// Nothing is rounded before the sums: a latent is a bf16 as it stands, and a query or a weight is
// cut into three that add up to it. An instruction's sum may be cut short at its last bit, which
// is why logits are sums in fp32 over the stages. Bits of a head depend on its row's query and
// slots alone: how many heads a block takes changes which warp computes an element, never how.
//
// Per slot and head: 3 * 2 * (2 * kv_lora_rank + qk_rope_head_dim) operations.

#include "kernels/cuda/attention_tiles.cuh"

namespace ponder::kernels {
namespace {

constexpr unsigned kTileHeadCount = 16;
constexpr unsigned kStageSteps = kStageColumns / 16;  // instructions along a stage of columns
constexpr unsigned kBlockTiles = kColumnBlock / 8;    // tiles of 8 columns in a block of columns
// bf16 that a float is cut into; three hold all of it. At 512 + 64 columns, 700 slots and values up
// to 0.7 the largest error is 4e-7 in the emulator, where no instruction cuts its sum short; two
// terms for a weight make 4e-6 of it, two for a query 2e-5, which grows with the logits.
constexpr unsigned kQueryTerms = 3;
constexpr unsigned kWeightTerms = 3;

/// How the eight warps of a block share its work.
template <unsigned kTiles>
struct WarpShares {
  static constexpr unsigned kHeadWarps = kTiles == 1 ? 1 : 2;  // along the heads
  static constexpr unsigned kOtherWarps = kTileWarps / kHeadWarps;
  static constexpr unsigned kHeadTiles = kTiles / kHeadWarps;  // of a warp
  static constexpr unsigned kSlots = kDevicePartSlots / kOtherWarps;
  static constexpr unsigned kSlotTiles = kSlots / 8;
  static constexpr unsigned kColumnBlocks = kRankMax / kColumnBlock / kOtherWarps;

  __device__ static unsigned first_tile() { return own_warp() / kOtherWarps * kHeadTiles; }
  __device__ static unsigned other() { return own_warp() % kOtherWarps; }
};

/// An operand of floats, as bf16 that add up to it.
template <unsigned kTerms>
struct Terms {
  FragmentA parts[kTerms];
};

/// Of two rows with four columns each. A term keeps 8 bits of what the one before left. An infinite
/// query leaves NaN, and so does it in plain arithmetic, by its softmax. An infinite latent does in
/// all columns of a head; in plain arithmetic those of a weight 0 have their number but in its own.
template <unsigned kTerms>
__device__ __forceinline__ Terms<kTerms> cut(float4 upper, float4 lower) {
  float x[8] = {upper.x, upper.y, lower.x, lower.y, upper.z, upper.w, lower.z, lower.w};
  Terms<kTerms> terms;
  PONDER_UNROLL
  for (unsigned t = 0; t < kTerms; ++t) {
    PONDER_UNROLL
    for (unsigned r = 0; r < 4; ++r) {
      terms.parts[t].r[r] = upper_halves(x[2 * r], x[2 * r + 1]);
    }
    PONDER_UNROLL
    for (unsigned i = 0; i < 8; ++i) {
      x[i] -= __uint_as_float(__float_as_uint(x[i]) & 0xffff0000u);
    }
  }
  return terms;
}

/// Where a head's queries lie from a column on, which are neighbours up to the next multiple of 8.
__device__ __forceinline__ const float* query_at(const DeviceAttentionArgs& args,
                                                 const PartPlace& place, const PartShape& part,
                                                 std::size_t head, unsigned column) {
  if (column < part.rank) {
    return args.q_nope + place.row * args.q_nope_row_stride + head * args.q_nope_head_stride +
           column;
  }
  return args.q_rope + place.row * args.q_rope_row_stride + head * args.q_rope_head_stride +
         (column - part.rank);
}

/// A lane's columns of its heads' queries in a stage: 8 of each of two heads in a tile.
template <unsigned kHeadTiles>
struct QueryColumns {
  float4 x[kHeadTiles][2][kStageSteps];
};
template <unsigned kHeadTiles>
__device__ QueryColumns<kHeadTiles> load_queries(const DeviceAttentionArgs& args,
                                                 const PartPlace& place, const PartShape& part,
                                                 unsigned first_tile, unsigned stage) {
  QueryColumns<kHeadTiles> result{};
  const unsigned column = stage * kStageColumns + lane_quad() * kUnitColumns;
  if (column >= part.dim) return result;
  PONDER_UNROLL
  for (unsigned i = 0; i < 2 * kHeadTiles; ++i) {
    const std::size_t head =
        place.head_begin + (first_tile + i / 2) * kTileHeadCount + i % 2 * 8 + lane_group();
    if (head >= args.heads) continue;
    const auto* from = reinterpret_cast<const float4*>(query_at(args, place, part, head, column));
    PONDER_UNROLL
    for (unsigned step = 0; step < kStageSteps; ++step) {
      result.x[i / 2][i % 2][step] = from[step];
    }
  }
  return result;
}

/// Has a stage's queries brought near, by as many threads as there are heads, while no register
/// could hold them.
template <unsigned kTiles>
__device__ void prefetch_queries(const DeviceAttentionArgs& args, const PartPlace& place,
                                 const PartShape& part, unsigned stage) {
  const std::size_t head = place.head_begin + threadIdx.x;
  const unsigned column = stage * kStageColumns;
  if (threadIdx.x >= kTiles * kTileHeadCount || head >= args.heads || column >= part.dim) return;
  prefetch(query_at(args, place, part, head, column));
}

/// The same as operands.
template <unsigned kHeadTiles>
struct QueryTerms {
  Terms<kQueryTerms> tiles[kHeadTiles][kStageSteps];
};
template <unsigned kHeadTiles>
__device__ __forceinline__ QueryTerms<kHeadTiles> cut_queries(const QueryColumns<kHeadTiles>& q) {
  QueryTerms<kHeadTiles> result;
  PONDER_UNROLL
  for (unsigned i = 0; i < kHeadTiles * kStageSteps; ++i) {
    const auto& x = q.x[i / kStageSteps];
    const unsigned step = i % kStageSteps;
    result.tiles[i / kStageSteps][step] = cut<kQueryTerms>(x[0][step], x[1][step]);
  }
  return result;
}

/// Logits, then weights, of a warp: tiles of heads by tiles of slots.
template <unsigned kTiles>
struct PartLogits {
  using Shares = WarpShares<kTiles>;
  float d[Shares::kHeadTiles][Shares::kSlotTiles][4];

  /// Adds a stage of columns.
  __device__ void multiply(const QueryTerms<Shares::kHeadTiles>& a, unsigned stage,
                           AttentionMemory<kTiles>& memory) {
    const unsigned first_slot = Shares::other() * Shares::kSlots;
    PONDER_UNROLL
    for (unsigned pair = 0; pair < Shares::kSlotTiles; pair += 2) {
      uint4 latents[2];
      PONDER_UNROLL
      for (unsigned j = 0; j < 2; ++j) {
        const unsigned slot = first_slot + 8 * (pair + j) + lane_group();
        latents[j] = memory.stages[stage_at(stage) + column_unit(slot, lane_quad())];
      }
      float sums[2][Shares::kHeadTiles][4] = {};
      PONDER_UNROLL
      for (unsigned i = 0; i < kStageSteps * kQueryTerms; ++i) {
        const unsigned step = i / kQueryTerms;
        const unsigned term = kQueryTerms - 1 - i % kQueryTerms;
        PONDER_UNROLL
        for (unsigned j = 0; j < 2; ++j) {
          const FragmentB b = step == 0 ? FragmentB{{latents[j].x, latents[j].y}}
                                        : FragmentB{{latents[j].z, latents[j].w}};
          PONDER_UNROLL
          for (unsigned tile = 0; tile < Shares::kHeadTiles; ++tile) {
            mma_bf16(sums[j][tile], a.tiles[tile][step].parts[term], b);
          }
        }
      }
      PONDER_UNROLL
      for (unsigned i = 0; i < 8 * Shares::kHeadTiles; ++i) {
        d[i / 8][pair + i / 4 % 2][i % 4] += sums[i / 4 % 2][i / 8][i % 4];
      }
    }
  }

  /// Slot of value v of a tile.
  __device__ static unsigned slot_of(unsigned tile, unsigned v) {
    return Shares::other() * Shares::kSlots + 8 * tile + 2 * lane_quad() + v % 2;
  }
  /// Where a number of the lane's head lies among those of all heads.
  __device__ static unsigned head_at(unsigned tile, unsigned half) {
    return (Shares::first_tile() + tile) * kTileHeadCount + 8 * half + lane_group();
  }

  /// Makes base-2 logits of the dots, and weights against the part's maximum of those; maxima and
  /// sums of weights go to the part's place, weights to shared memory.
  __device__ void weigh(const DeviceAttentionArgs& args, const PartPlace& place,
                        const PartShape& part, AttentionMemory<kTiles>& memory) {
    constexpr unsigned kHeads = kTiles * kTileHeadCount;
    const float scale = args.softmax_scale * kLog2E;
    float maxima[Shares::kHeadTiles][2];
    PONDER_UNROLL
    for (unsigned i = 0; i < 2 * Shares::kHeadTiles; ++i) {
      float max = negative_infinity();
      PONDER_UNROLL
      for (unsigned j = 0; j < 2 * Shares::kSlotTiles; ++j) {
        float& logit = d[i / 2][j / 2][i % 2 * 2 + j % 2];
        logit *= scale;
        if (slot_of(j / 2, j % 2) < part.slots) max = fmaxf(max, logit);
      }
      max = fmaxf(max, __shfl_xor_sync(kAllLanes, max, 1));
      max = fmaxf(max, __shfl_xor_sync(kAllLanes, max, 2));
      if (lane_quad() == 0) memory.per_head[Shares::other() * kHeads + head_at(i / 2, i % 2)] = max;
    }
    __syncthreads();
    PONDER_UNROLL
    for (unsigned i = 0; i < 2 * Shares::kHeadTiles; ++i) {
      float max = negative_infinity();
      for (unsigned warp = 0; warp < Shares::kOtherWarps; ++warp) {
        max = fmaxf(max, memory.per_head[warp * kHeads + head_at(i / 2, i % 2)]);
      }
      maxima[i / 2][i % 2] = max;
      const std::size_t head = place.head_begin + head_at(i / 2, i % 2);
      if (Shares::other() == 0 && lane_quad() == 0 && head < args.heads) {
        part_stats(args)[2 * part_at(args, place, head)] = max;
      }
    }
    __syncthreads();
    PONDER_UNROLL
    for (unsigned i = 0; i < 2 * Shares::kHeadTiles; ++i) {
      put_weights(i / 2, i % 2, maxima[i / 2][i % 2], part, memory);
    }
    __syncthreads();
    const std::size_t head = place.head_begin + threadIdx.x;
    if (threadIdx.x < kHeads && head < args.heads) {
      float sum = 0.0f;
      for (unsigned i = 0; i < kSums; ++i) sum += memory.per_head[i * kHeads + threadIdx.x];
      part_stats(args)[2 * part_at(args, place, head) + 1] = sum;
    }
  }

  /// Of one head. Slots are added in an order that does not depend on how warps share them.
  __device__ void put_weights(unsigned tile, unsigned half, float max, const PartShape& part,
                              AttentionMemory<kTiles>& memory) {
    constexpr unsigned kGroupTiles = kSumSlots / 8;
    PONDER_UNROLL
    for (unsigned group = 0; group < Shares::kSlotTiles / kGroupTiles; ++group) {
      float sum = 0.0f;
      float weights[2 * kGroupTiles];
      PONDER_UNROLL
      for (unsigned j = 0; j < 2 * kGroupTiles; ++j) {
        const unsigned slot_tile = group * kGroupTiles + j / 2;
        const bool is_there = slot_of(slot_tile, j % 2) < part.slots;
        weights[j] = is_there ? exp2f(d[tile][slot_tile][half * 2 + j % 2] - max) : 0.0f;
        sum += weights[j];
      }
      PONDER_UNROLL
      for (unsigned j = 0; j < kGroupTiles / 2; ++j) {
        const unsigned step =
            (Shares::other() * Shares::kSlots + group * kSumSlots) / kStageSlots + j;
        memory.weights[weights_at(Shares::first_tile() + tile, step, half)] = {
            weights[4 * j], weights[4 * j + 1], weights[4 * j + 2], weights[4 * j + 3]};
      }
      sum += __shfl_xor_sync(kAllLanes, sum, 1);
      sum += __shfl_xor_sync(kAllLanes, sum, 2);
      const unsigned first_sum = Shares::other() * (Shares::kSlots / kSumSlots);
      if (lane_quad() == 0) {
        memory.per_head[(first_sum + group) * kTiles * kTileHeadCount + head_at(tile, half)] = sum;
      }
    }
  }

  /// Where the lane's weights of a stage of slots lie.
  __device__ static unsigned weights_at(unsigned tile, unsigned stage, unsigned half) {
    return ((tile * (kDevicePartSlots / kStageSlots) + stage) * 2 + half) * kWarp + lane();
  }
};

/// Sums of a warp: tiles of heads by blocks of 64 columns. Tile j of a block has its columns
/// j, 8 + j, 16 + j and so on, since a lane reads 8 neighbours.
template <unsigned kTiles>
struct PartSums {
  using Shares = WarpShares<kTiles>;
  float d[Shares::kHeadTiles][Shares::kColumnBlocks][kBlockTiles][4];

  __device__ static unsigned first_column(unsigned block) {
    return (block * Shares::kOtherWarps + Shares::other()) * kColumnBlock;
  }

  /// Adds a stage of slots.
  __device__ void multiply(const PartShape& part, unsigned stage, AttentionMemory<kTiles>& memory) {
    if (first_column(0) >= part.rank) return;
    Terms<kWeightTerms> a[Shares::kHeadTiles];
    PONDER_UNROLL
    for (unsigned tile = 0; tile < Shares::kHeadTiles; ++tile) {
      const unsigned at = PartLogits<kTiles>::weights_at(Shares::first_tile() + tile, stage, 0);
      a[tile] = cut<kWeightTerms>(memory.weights[at], memory.weights[at + kWarp]);
    }
    PONDER_UNROLL
    for (unsigned block = 0; block < Shares::kColumnBlocks; ++block) {
      if (first_column(block) >= part.rank) continue;
      FragmentB b[kBlockTiles];
      load_latents(stage, first_column(block), b, memory);
      PONDER_UNROLL
      for (unsigned i = 0; i < kWeightTerms * kBlockTiles; ++i) {
        const unsigned term = kWeightTerms - 1 - i / kBlockTiles;
        PONDER_UNROLL
        for (unsigned tile = 0; tile < Shares::kHeadTiles; ++tile) {
          mma_bf16(d[tile][block][i % kBlockTiles], a[tile].parts[term], b[i % kBlockTiles]);
        }
      }
    }
  }

  /// The operands of a block of columns: a register has the same column of two slots.
  __device__ static void load_latents(unsigned stage, unsigned column, FragmentB (&b)[kBlockTiles],
                                      AttentionMemory<kTiles>& memory) {
    PONDER_UNROLL
    for (unsigned r = 0; r < 2; ++r) {
      const unsigned slot = 2 * lane_quad() + 8 * r;
      const unsigned unit = column / kUnitColumns + lane_group();
      const uint4 even = memory.stages[stage_at(stage) + slot_unit(slot, unit)];
      const uint4 odd = memory.stages[stage_at(stage) + slot_unit(slot + 1, unit)];
      const unsigned first[4] = {even.x, even.y, even.z, even.w};
      const unsigned second[4] = {odd.x, odd.y, odd.z, odd.w};
      PONDER_UNROLL
      for (unsigned j = 0; j < kBlockTiles; ++j) {
        b[j].r[r] = __byte_perm(first[j / 2], second[j / 2], j % 2 == 0 ? 0x5410 : 0x7632);
      }
    }
  }

  __device__ void store(const DeviceAttentionArgs& args, const PartPlace& place,
                        const PartShape& part) const {
    PONDER_UNROLL
    for (unsigned i = 0; i < Shares::kHeadTiles * Shares::kColumnBlocks * 4; ++i) {
      const unsigned tile = i / 4 / Shares::kColumnBlocks;
      const unsigned block = i / 4 % Shares::kColumnBlocks;
      const unsigned v = i % 4;
      const std::size_t head = place.head_begin + PartLogits<kTiles>::head_at(tile, v / 2);
      const unsigned column = first_column(block) + kUnitColumns * (2 * lane_quad() + v % 2);
      if (head >= args.heads || column >= part.rank) continue;
      auto* to = reinterpret_cast<float4*>(args.parts +
                                           part_at(args, place, head) * args.kv_lora_rank + column);
      const auto& sums = d[tile][block];
      to[0] = {sums[0][v], sums[1][v], sums[2][v], sums[3][v]};
      to[1] = {sums[4][v], sums[5][v], sums[6][v], sums[7][v]};
    }
  }
};

/// The logits of a part, before their scale. Others may use the stages again when it is done.
template <DType kType, unsigned kTiles>
__device__ __forceinline__ void multiply_queries(const DeviceAttentionArgs& args,
                                                 const PartPlace& place, const PartShape& part,
                                                 PartLogits<kTiles>& logits,
                                                 AttentionMemory<kTiles>& memory) {
  using Shares = WarpShares<kTiles>;
  const bool has_slots = Shares::other() * Shares::kSlots < part.slots;
  StageLoads<kType, StageKind::columns, kTiles> loads;
  loads.start(args, part, 0, memory);
  prefetch_queries<kTiles>(args, place, part, 0);
  loads.finish(part, 0, memory);
  __syncthreads();
  for (unsigned stage = 0; stage < part.column_stages(); ++stage) {
    const bool has_next = stage + 1 < part.column_stages();
    if (has_next) loads.start(args, part, stage + 1, memory);
    prefetch_queries<kTiles>(args, place, part, stage + 1);
    const auto a = cut_queries(
        load_queries<Shares::kHeadTiles>(args, place, part, Shares::first_tile(), stage));
    if (has_slots) logits.multiply(a, stage, memory);
    if (has_next) loads.finish(part, stage + 1, memory);
    __syncthreads();
  }
}

/// Blocks that share a processor: as many as there are registers for without any in memory.
template <DType kType, unsigned kTiles>
constexpr unsigned kBlocksTogether = kTiles == 1 || (kTiles == 2 && kType == DType::bf16) ? 2 : 1;

/// kTiles tiles of 16 heads.
template <DType kType, unsigned kTiles>
__global__ void __launch_bounds__(kTileThreads, (kBlocksTogether<kType, kTiles>))
    attention_mma_kernel(DeviceAttentionArgs args) {
  auto& memory = block_memory<AttentionMemory<kTiles>>();
  const PartPlace place{blockIdx.z, blockIdx.y,
                        static_cast<std::size_t>(blockIdx.x) * kTiles * kTileHeadCount};
  const std::size_t part_slots = slots_of_part(args, place);
  if (part_slots == 0) return;
  const PartShape part(args, part_slots);
  if (threadIdx.x < part_slots) {
    const std::size_t at = place.row * args.slots_stride + place.part * kDevicePartSlots;
    memory.slots[threadIdx.x] = args.slots[at + threadIdx.x];
  }
  __syncthreads();
  PartLogits<kTiles> logits{};
  multiply_queries<kType, kTiles>(args, place, part, logits, memory);
  StageLoads<kType, StageKind::slots, kTiles> loads;
  loads.start(args, part, 0, memory);
  logits.weigh(args, place, part, memory);
  loads.finish(part, 0, memory);
  __syncthreads();
  PartSums<kTiles> sums{};
  for (unsigned stage = 0; stage < part.slot_stages(); ++stage) {
    const bool has_next = stage + 1 < part.slot_stages();
    if (has_next) loads.start(args, part, stage + 1, memory);
    sums.multiply(part, stage, memory);
    if (has_next) loads.finish(part, stage + 1, memory);
    __syncthreads();
  }
  sums.store(args, place, part);
}

/// Whether the kernels here take the shape: rows of the cache and queries that can be read in units
/// of 8 columns.
bool fits_attention_mma(const DeviceAttentionArgs& args) {
  const DevicePages& cache = args.cache;
  const bool is_fp8 = cache.dtype == DType::fp8_e4m3;
  if (!is_fp8 && cache.dtype != DType::bf16) return false;
  const auto begin = reinterpret_cast<std::size_t>(cache.pages) + cache.block_offset;
  const std::size_t row_bytes = cache.row_stride * (is_fp8 ? 1 : sizeof(bf16));
  const std::size_t rows = begin | cache.page_bytes | row_bytes;
  if (rows % (is_fp8 ? kUnitColumns : kUnitColumns * sizeof(bf16)) != 0) return false;
  if (is_fp8 && (args.fp8.scales_at | args.fp8.rope_at) % 4 != 0) return false;
  const auto q =
      reinterpret_cast<std::size_t>(args.q_nope) | reinterpret_cast<std::size_t>(args.q_rope);
  const auto parts = reinterpret_cast<std::size_t>(args.parts);
  const std::size_t strides = args.q_nope_row_stride | args.q_nope_head_stride |
                              args.q_rope_row_stride | args.q_rope_head_stride;
  if ((q | parts) % sizeof(float4) != 0 || strides % 4 != 0) return false;
  return args.kv_lora_rank <= kRankMax &&
         (args.kv_lora_rank | args.qk_rope_head_dim) % kUnitColumns == 0;
}

template <unsigned kTiles>
void launch_attention_tiles(const DeviceAttentionArgs& args) {
  dim3 grid;
  grid.x = ceil_div(args.heads, kTiles * kTileHeadCount);
  grid.y = static_cast<unsigned>(args.parts_max);
  grid.z = static_cast<unsigned>(args.rows);
  auto* kernel = args.cache.dtype == DType::bf16 ? attention_mma_kernel<DType::bf16, kTiles>
                                                 : attention_mma_kernel<DType::fp8_e4m3, kTiles>;
  launch_with_memory<AttentionMemory<kTiles>>(kernel, grid, kTileThreads, args);
}

/// Tiles of 16 heads for a block: as many as there are, but rather more blocks than large ones
/// while a device would not be filled. The result does not depend on it.
constexpr std::size_t kBlocksWanted = 128;
unsigned attention_head_tiles(const DeviceAttentionArgs& args) {
  unsigned tiles = 4;
  while (tiles > 1 && (args.heads <= tiles / 2 * kTileHeadCount ||
                       ceil_div(args.heads, tiles * kTileHeadCount) * args.parts_max * args.rows <
                           kBlocksWanted)) {
    tiles /= 2;
  }
  return tiles;
}

/// The parts of rows that are together. Requires: fits_attention_mma(args).
void launch_attention_mma(const DeviceAttentionArgs& args) {
  const unsigned tiles = attention_head_tiles(args);
  if (tiles == 1) return launch_attention_tiles<1>(args);
  if (tiles == 2) return launch_attention_tiles<2>(args);
  launch_attention_tiles<4>(args);
}

}  // namespace
}  // namespace ponder::kernels
