#pragma once

// The keys and values of a prompt's heads for attention_expanded.cuh: latents as they are cached,
// and what the products with a head's two matrices made of them, laid out as tensor cores read it.
//
// A number is cut into two bf16, the upper one rounded to nearest and the lower one what is left,
// rounded too: together they hold 16 bits of it or more. For every head and page of keys there are
// stages of 8 KiB, in the order in which a block multiplies them, each as it lies in shared memory:
//
//   of keys:   32 columns of all keys,            unit term * 256 + key * 4 + column / 8;
//   of values: 32 columns of all pairs of keys,   unit term * 256 + pair * 8 +
//                                                      (column / 4 ^ pair % 4 * 2),
//
// a unit being 16 bytes: 8 columns of a key, or 4 columns of two keys, whose bf16 share a word.
// Both orders let a warp read its operands without a conflict of banks. A head's last columns are
// those that turn with the position, which all heads share.
//
// A key that is not finite, or whose value is not, becomes NaN, and its value 0: so it makes NaN of
// every row that sees it, and nothing of a row that does not, whose weight for it is 0.

#include "kernels/cuda/mma.cuh"
#include "kernels/cuda/numeric.cuh"
#include "kernels/cuda/pages.cuh"

namespace ponder::kernels {
namespace {

constexpr unsigned kSplitThreads = 256;
constexpr unsigned kExpandedStageUnits = kExpandedStageWords / 4;
constexpr unsigned kTermUnits = kExpandedStageUnits / 2;  // of one of the two terms
constexpr unsigned kNanPair = 0x7fc07fc0u;

__device__ __forceinline__ float latent_at(const ReadLatentsArgs& args, const std::byte* row,
                                           std::size_t d) {
  if (args.cache.dtype == DType::f32) return reinterpret_cast<const float*>(row)[d];
  if (args.cache.dtype == DType::bf16) return from_bf16(reinterpret_cast<const bf16*>(row)[d]);
  if (d < args.kv_lora_rank) {
    const auto* scales = reinterpret_cast<const float*>(row + args.fp8.scales_at);
    return from_e4m3(static_cast<fp8_e4m3>(row[d])) * scales[d / kFp8LatentGroup];
  }
  const auto* rope = reinterpret_cast<const bf16*>(row + args.fp8.rope_at);
  return from_bf16(rope[d - args.kv_lora_rank]);
}

/// A warp for each key.
__global__ void read_latents_kernel(ReadLatentsArgs args) {
  const std::size_t dim = args.kv_lora_rank + args.qk_rope_head_dim;
  const std::size_t row_unit = args.cache.dtype == DType::fp8_e4m3 ? 1
                               : args.cache.dtype == DType::bf16   ? sizeof(bf16)
                                                                   : sizeof(float);
  const std::size_t num_keys = args.pages_read * kPageSize;
  const std::size_t num_warps = num_global_threads() / kWarp;
  for (std::size_t key = global_thread() / kWarp; key < num_keys; key += num_warps) {
    const std::size_t token = key % kPageSize;
    const bool is_there = token < static_cast<std::size_t>(args.page_keys[key / kPageSize]);
    const auto page = static_cast<std::size_t>(args.pages[key / kPageSize]);
    const std::byte* row =
        block_of(args.cache, page * kPageSize) + token * args.cache.row_stride * row_unit;
    for (std::size_t d = lane(); d < dim; d += kWarp) {
      args.latents[key * dim + d] = is_there ? latent_at(args, row, d) : 0.0f;
    }
  }
}

void launch_read_latents(const ReadLatentsArgs& args) {
  const std::size_t lanes = args.pages_read * kPageSize * kWarp;
  if (lanes == 0) return;
  launch(read_latents_kernel, blocks_for(lanes, kSplitThreads), kSplitThreads, args);
}

/// Two numbers as pairs of upper and of lower terms, the first in the low half.
struct SplitPair {
  unsigned upper;
  unsigned lower;
};
__device__ __forceinline__ SplitPair split_pair(float first, float second) {
  const unsigned upper = round_bf16_pair(first, second);
  return {upper, round_bf16_pair(first - __uint_as_float(upper << 16),
                                 second - __uint_as_float(upper & 0xffff0000u))};
}
__device__ __forceinline__ bool is_finite_pair(unsigned pair) {
  return (pair & 0x7f80u) != 0x7f80u && (pair & 0x7f800000u) != 0x7f800000u;
}

/// Eight numbers, or twice four, as units of either term.
struct SplitUnit {
  uint4 upper;
  uint4 lower;
};
__device__ __forceinline__ SplitUnit split_unit(float4 a, float4 b) {
  const SplitPair pairs[4] = {split_pair(a.x, a.y), split_pair(a.z, a.w), split_pair(b.x, b.y),
                              split_pair(b.z, b.w)};
  return {{pairs[0].upper, pairs[1].upper, pairs[2].upper, pairs[3].upper},
          {pairs[0].lower, pairs[1].lower, pairs[2].lower, pairs[3].lower}};
}
__device__ __forceinline__ bool is_finite_unit(const uint4& upper) {
  return is_finite_pair(upper.x) && is_finite_pair(upper.y) && is_finite_pair(upper.z) &&
         is_finite_pair(upper.w);
}

/// Stages of a page of keys: expanded_stages(), which the host has.
__device__ __forceinline__ unsigned stages_for(std::size_t columns) {
  return static_cast<unsigned>((columns + kExpandedColumns - 1) / kExpandedColumns);
}
__device__ __forceinline__ unsigned key_stages(const ExpandedAttentionArgs& args) {
  return stages_for(args.qk_nope_head_dim + args.qk_rope_head_dim);
}
__device__ __forceinline__ unsigned value_stages(const ExpandedAttentionArgs& args) {
  return stages_for(args.v_head_dim);
}
/// The first stage of a head's page of keys.
__device__ __forceinline__ uint4* stages_of(const ExpandedAttentionArgs& args, std::size_t head,
                                            std::size_t page) {
  const std::size_t stages = key_stages(args) + value_stages(args);
  return reinterpret_cast<uint4*>(args.workspace) +
         (head * args.pages + page) * stages * kExpandedStageUnits;
}

/// Where a unit of keys or values lies from the first stage of its kind on.
__device__ __forceinline__ unsigned key_unit(unsigned key, unsigned unit) {
  return unit / 4 * kExpandedStageUnits + key * 4 + unit % 4;
}
__device__ __forceinline__ unsigned value_unit(unsigned pair, unsigned unit) {
  return unit / 8 * kExpandedStageUnits + pair * 8 + (unit % 8 ^ pair % 4 * 2);
}

/// Eight columns of a head's key: its own, then those of all heads; zeros behind them.
__device__ __forceinline__ SplitUnit load_key_unit(const ExpandedAttentionArgs& args,
                                                   std::size_t head, std::size_t key,
                                                   std::size_t column) {
  const float* from = nullptr;
  if (column < args.qk_nope_head_dim) {
    from = args.keys + (head * args.pages * kPageSize + key) * args.qk_nope_head_dim + column;
  } else if (column < args.qk_nope_head_dim + args.qk_rope_head_dim) {
    from = args.latents + key * (args.kv_lora_rank + args.qk_rope_head_dim) + args.kv_lora_rank +
           (column - args.qk_nope_head_dim);
  } else {
    return {};
  }
  const auto* eight = reinterpret_cast<const float4*>(from);
  return split_unit(eight[0], eight[1]);
}

/// Four columns of the values of a pair of keys; zeros behind them.
__device__ __forceinline__ SplitUnit load_value_unit(const ExpandedAttentionArgs& args,
                                                     std::size_t head, std::size_t key,
                                                     std::size_t column) {
  if (column >= args.v_head_dim) return {};
  const float* from =
      args.values + (head * args.pages * kPageSize + key) * args.v_head_dim + column;
  const float4 a = *reinterpret_cast<const float4*>(from);
  const float4 b = *reinterpret_cast<const float4*>(from + args.v_head_dim);
  return split_unit({a.x, b.x, a.y, b.y}, {a.z, b.z, a.w, b.w});
}

/// Whether the first, and the second, of a pair of keys are finite with their values, in two bits.
__device__ unsigned finite_pair(const ExpandedAttentionArgs& args, std::size_t head,
                                std::size_t key) {
  bool is_first = true;
  bool is_second = true;
  for (std::size_t unit = lane(); unit < key_stages(args) * 4; unit += kWarp) {
    is_first = is_first && is_finite_unit(load_key_unit(args, head, key, 8 * unit).upper);
    is_second = is_second && is_finite_unit(load_key_unit(args, head, key + 1, 8 * unit).upper);
  }
  for (std::size_t unit = lane(); unit < value_stages(args) * 8; unit += kWarp) {
    const uint4 pairs = load_value_unit(args, head, key, 4 * unit).upper;
    const unsigned words[4] = {pairs.x, pairs.y, pairs.z, pairs.w};
    for (unsigned i = 0; i < 4; ++i) {
      is_first = is_first && is_finite_pair(words[i] & 0xffffu);
      is_second = is_second && is_finite_pair(words[i] & 0xffff0000u);
    }
  }
  const unsigned first = __ballot_sync(kAllLanes, is_first) == kAllLanes ? 1 : 0;
  const unsigned second = __ballot_sync(kAllLanes, is_second) == kAllLanes ? 2 : 0;
  return first | second;
}

__device__ __forceinline__ uint4 masked(const uint4& unit, unsigned mask) {
  return {unit.x & mask, unit.y & mask, unit.z & mask, unit.w & mask};
}

/// A warp for each pair of keys of a head.
__global__ void split_keys_kernel(ExpandedAttentionArgs args) {
  const std::size_t pairs = args.pages * kPageSize / 2;
  const std::size_t num_warps = num_global_threads() / kWarp;
  for (std::size_t i = global_thread() / kWarp; i < args.heads * pairs; i += num_warps) {
    const std::size_t head = i / pairs;
    const std::size_t key = i % pairs * 2;
    const unsigned finite = finite_pair(args, head, key);
    uint4* stages = stages_of(args, head, key / kPageSize);
    for (unsigned j = 0; j < 2; ++j) {
      const auto at = static_cast<unsigned>(key % kPageSize + j);
      for (unsigned unit = lane(); unit < key_stages(args) * 4; unit += kWarp) {
        SplitUnit split = load_key_unit(args, head, key + j, 8 * unit);
        if ((finite >> j & 1u) == 0) split.upper = {kNanPair, kNanPair, kNanPair, kNanPair};
        stages[key_unit(at, unit)] = split.upper;
        stages[key_unit(at, unit) + kTermUnits] = split.lower;
      }
    }
    stages += static_cast<std::size_t>(key_stages(args)) * kExpandedStageUnits;
    const auto pair = static_cast<unsigned>(key % kPageSize / 2);
    const unsigned mask =
        ((finite & 1u) != 0 ? 0xffffu : 0u) | ((finite & 2u) != 0 ? 0xffff0000u : 0u);
    for (unsigned unit = lane(); unit < value_stages(args) * 8; unit += kWarp) {
      const SplitUnit split = load_value_unit(args, head, key, std::size_t{4} * unit);
      stages[value_unit(pair, unit)] = masked(split.upper, mask);
      stages[value_unit(pair, unit) + kTermUnits] = masked(split.lower, mask);
    }
  }
}

void launch_split_keys(const ExpandedAttentionArgs& args) {
  const std::size_t lanes = args.heads * args.pages * (kPageSize / 2) * kWarp;
  launch(split_keys_kernel, blocks_for(lanes, kSplitThreads), kSplitThreads, args);
}

}  // namespace
}  // namespace ponder::kernels
