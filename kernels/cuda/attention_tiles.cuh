#pragma once

// What attention on tensor cores has in shared memory, and how cache rows come there as bf16: a
// stage at a time, the next one while the one before is multiplied. Two kinds of stages,
//
//   columns: 32 columns of all slots of a part,   unit slot * 4 + column / 8;
//   slots:   all columns of 16 slots,             unit slot * 64 + (column / 8 ^ slot / 2 % 4 * 2),
//
// a unit being 8 columns of a slot, 16 bytes. Both orders let a warp read its operands of
// attention_mma.cuh, and write what it loads, without a conflict of banks. Rows in bf16 are copied
// asynchronously. Rows in FP8 are decoded on the way: scales are powers of two (Fp8LatentLayout),
// so that bf16 holds code * scale exactly.

#include "kernels/cuda/attention_parts.cuh"
#include "kernels/cuda/matmul_mma.cuh"
#include "kernels/cuda/pages.cuh"

namespace ponder::kernels {
namespace {

constexpr unsigned kTileThreads = 256;
constexpr unsigned kTileWarps = kTileThreads / kWarp;
constexpr unsigned kRankMax = 512;    // columns of c that tiles are made for
constexpr unsigned kUnitColumns = 8;  // of 16 bytes
constexpr unsigned kStageUnits = 1024;
constexpr unsigned kStageColumns = 32;
constexpr unsigned kStageSlots = 16;
constexpr unsigned kColumnUnits = kStageColumns / kUnitColumns;  // of a slot in a stage of columns
constexpr unsigned kSlotUnits = kRankMax / kUnitColumns;         // the same in a stage of slots
constexpr unsigned kThreadUnits = kStageUnits / kTileThreads;
constexpr unsigned kColumnBlock = 64;   // columns that a warp reads together
constexpr unsigned kWarpSlotsMax = 64;  // slots that a warp multiplies with queries
constexpr unsigned kSumSlots = 32;      // whose weights are added first
constexpr unsigned kSums = kDevicePartSlots / kSumSlots;
static_assert(kDevicePartSlots * kColumnUnits == kStageUnits);
static_assert(kStageSlots * kSlotUnits == kStageUnits);
static_assert(kDevicePartSlots == kTileThreads);

/// Of a block with kTiles tiles of 16 heads; of four tiles as much as any device since sm_80 has.
template <unsigned kTiles>
struct AttentionMemory {
  SharedArray<uint4, 2 * kStageUnits> stages;
  /// Softmax weights as a lane needs them for an operand: [tile][16 slots][head / 8][lane] of slots
  /// 2 * quad, 2 * quad + 1, 2 * quad + 8, 2 * quad + 9.
  SharedArray<float4, kTiles * kDevicePartSlots * 4> weights;
  SharedArray<std::int32_t, kDevicePartSlots> slots;
  SharedArray<float, kSums * kTiles * 16> per_head;  // maxima of warps, then sums of weights
};
#ifdef __CUDACC__
static_assert(sizeof(AttentionMemory<4>) <= std::size_t{99} << 10);
#endif

/// Where a stage's place in shared memory begins.
__device__ __forceinline__ unsigned stage_at(unsigned stage) { return stage % 2 * kStageUnits; }
__device__ __forceinline__ unsigned column_unit(unsigned slot, unsigned unit) {
  return slot * kColumnUnits + unit;
}
__device__ __forceinline__ unsigned slot_unit(unsigned slot, unsigned unit) {
  return slot * kSlotUnits + (unit ^ (slot / 2 % 4 * 2));
}

enum class StageKind : std::uint8_t { columns, slots };

/// What there is to load for a part.
struct PartShape {
  unsigned slots;
  unsigned rank;  // kv_lora_rank
  unsigned dim;   // kv_lora_rank + qk_rope_head_dim

  __device__ PartShape(const DeviceAttentionArgs& args, std::size_t part_slots)
      : slots(static_cast<unsigned>(part_slots)),
        rank(static_cast<unsigned>(args.kv_lora_rank)),
        dim(static_cast<unsigned>(args.kv_lora_rank + args.qk_rope_head_dim)) {}
  __device__ unsigned column_stages() const { return (dim + kStageColumns - 1) / kStageColumns; }
  __device__ unsigned slot_stages() const { return (slots + kStageSlots - 1) / kStageSlots; }
};

/// A unit of a stage that a thread loads.
struct StageUnit {
  unsigned slot;    // of the part
  unsigned column;  // the first of 8
  unsigned at;      // in shared memory
  bool is_read;     // by somebody
  bool is_there;    // in the cache; zeros otherwise
};
template <StageKind kKind>
__device__ __forceinline__ StageUnit stage_unit(const PartShape& part, unsigned stage, unsigned i) {
  const unsigned unit = threadIdx.x + i * kTileThreads;
  StageUnit result;
  if constexpr (kKind == StageKind::columns) {
    result.slot = unit / kColumnUnits;
    result.column = stage * kStageColumns + unit % kColumnUnits * kUnitColumns;
    result.at = stage_at(stage) + unit;
    result.is_read = result.slot / kWarpSlotsMax * kWarpSlotsMax < part.slots;
    result.is_there = result.slot < part.slots && result.column < part.dim;
  } else {
    const unsigned slot = unit / kSlotUnits;
    result.slot = stage * kStageSlots + slot;
    result.column = unit % kSlotUnits * kUnitColumns;
    result.at = stage_at(stage) + slot_unit(slot, unit % kSlotUnits);
    result.is_read = result.column / kColumnBlock * kColumnBlock < part.rank;
    result.is_there = result.slot < part.slots && result.column < part.rank;
  }
  return result;
}

/// Loads of one stage: start() for all of a thread's units, and when the stage before has been
/// multiplied finish(); others see them after a barrier.
template <DType kType, StageKind kKind, unsigned kTiles>
struct StageLoads;

template <StageKind kKind, unsigned kTiles>
struct StageLoads<DType::bf16, kKind, kTiles> {
  __device__ void start(const DeviceAttentionArgs& args, const PartShape& part, unsigned stage,
                        AttentionMemory<kTiles>& memory) {
    PONDER_UNROLL
    for (unsigned i = 0; i < kThreadUnits; ++i) {
      const StageUnit unit = stage_unit<kKind>(part, stage, i);
      if (!unit.is_read) continue;
      const std::byte* from = args.cache.pages;
      if (unit.is_there) {
        const auto slot = static_cast<std::size_t>(memory.slots[unit.slot]);
        const std::size_t at = slot % kPageSize * args.cache.row_stride + unit.column;
        from = block_of(args.cache, slot) + at * sizeof(bf16);
      }
      copy_async(memory.stages, unit.at, from, unit.is_there);
    }
  }
  __device__ void finish(const PartShape&, unsigned, AttentionMemory<kTiles>&) {
    wait_for_copies();
  }
};

/// Four codes in a word times a scale that is a power of two, as two pairs of bf16.
__device__ __forceinline__ uint2 scaled_e4m3_pairs(unsigned word, unsigned scale_pair) {
  const FragmentB pairs = e4m3_pairs(word);
  uint2 result;
  result.x = multiply_bf16_pair(__byte_perm(pairs.r[0], pairs.r[1], 0x5410), scale_pair);
  result.y = multiply_bf16_pair(__byte_perm(pairs.r[0], pairs.r[1], 0x7632), scale_pair);
  return result;
}

template <StageKind kKind, unsigned kTiles>
struct StageLoads<DType::fp8_e4m3, kKind, kTiles> {
  uint4 raw[kThreadUnits];        // eight codes in x and y, or eight bf16
  unsigned scales[kThreadUnits];  // a pair of them as bf16

  /// Stages of slots have no rope.
  __device__ static bool has_codes(const PartShape& part, const StageUnit& unit) {
    return kKind == StageKind::slots || unit.column < part.rank;
  }

  __device__ void start(const DeviceAttentionArgs& args, const PartShape& part, unsigned stage,
                        AttentionMemory<kTiles>& memory) {
    PONDER_UNROLL
    for (unsigned i = 0; i < kThreadUnits; ++i) {
      const StageUnit unit = stage_unit<kKind>(part, stage, i);
      raw[i] = {};
      scales[i] = 0;
      if (!unit.is_there) continue;
      const auto slot = static_cast<std::size_t>(memory.slots[unit.slot]);
      const std::byte* row = block_of(args.cache, slot) + slot % kPageSize * args.cache.row_stride;
      if (has_codes(part, unit)) {
        const uint2 codes = *reinterpret_cast<const uint2*>(row + unit.column);
        raw[i].x = codes.x;
        raw[i].y = codes.y;
        const auto* of_groups = reinterpret_cast<const unsigned*>(row + args.fp8.scales_at);
        scales[i] = __byte_perm(of_groups[unit.column / kFp8LatentGroup], 0, 0x3232);
      } else {
        const auto* rope = reinterpret_cast<const unsigned*>(row + args.fp8.rope_at +
                                                             2 * (unit.column - part.rank));
        raw[i] = {rope[0], rope[1], rope[2], rope[3]};
      }
    }
  }
  __device__ void finish(const PartShape& part, unsigned stage, AttentionMemory<kTiles>& memory) {
    PONDER_UNROLL
    for (unsigned i = 0; i < kThreadUnits; ++i) {
      const StageUnit unit = stage_unit<kKind>(part, stage, i);
      if (!unit.is_read) continue;
      uint4 values = raw[i];
      if (has_codes(part, unit)) {
        const uint2 low = scaled_e4m3_pairs(raw[i].x, scales[i]);
        const uint2 high = scaled_e4m3_pairs(raw[i].y, scales[i]);
        values = {low.x, low.y, high.x, high.y};
      }
      memory.stages[unit.at] = values;
    }
  }
};

}  // namespace
}  // namespace ponder::kernels
