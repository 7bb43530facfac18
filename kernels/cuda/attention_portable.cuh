#pragma once

// Gathered attention, the portable form: out[h] = sum over slots of softmax(scale * <q[h], [c |
// k_rope]>) * c.
//
// A block takes 16 heads of one row over one part of its slots, 8 cache rows at a time: they are
// decoded once into shared memory and serve all 16 heads, first for the 128 products with the
// queries (two threads each), then for the sums, of which every thread keeps its columns in
// registers. A running maximum per head; parts and tiles are fixed by the slots alone. Per slot and
// head: 2 * (2 * kv_lora_rank + qk_rope_head_dim) operations; the cache row is read once for each
// 16 heads. Any shape and every cache; without tensor cores.

#include "kernels/cuda/attention_parts.cuh"
#include "kernels/cuda/pages.cuh"

namespace ponder::kernels {
namespace {

constexpr unsigned kAttentionThreads = 256;
constexpr unsigned kHeadTile = 16;
constexpr unsigned kSlotTile = 8;
constexpr unsigned kOwnValues = kLatentDimMax / kAttentionThreads;  // columns of a thread
static_assert(kHeadTile * kSlotTile * 2 == kAttentionThreads);

using LatentTile = SharedArray<float, kSlotTile * kLatentDimMax>;  // [slot][dim]
using LogitTile = SharedArray<float, kHeadTile * kSlotTile>;       // [head][slot]
using HeadValues = SharedArray<float, kHeadTile>;

__device__ __forceinline__ float latent_value(const DeviceAttentionArgs& args, std::size_t slot,
                                              std::size_t dim) {
  const std::byte* block = block_of(args.cache, slot);
  const std::size_t at = slot % kPageSize * args.cache.row_stride;
  if (args.cache.dtype == DType::f32) return reinterpret_cast<const float*>(block)[at + dim];
  if (args.cache.dtype == DType::bf16) {
    return from_bf16(reinterpret_cast<const bf16*>(block)[at + dim]);
  }
  const std::byte* row = block + at;
  if (dim >= args.kv_lora_rank) {
    const auto* rope = reinterpret_cast<const bf16*>(row + args.fp8.rope_at);
    return from_bf16(rope[dim - args.kv_lora_rank]);
  }
  const auto* scales = reinterpret_cast<const float*>(row + args.fp8.scales_at);
  return from_e4m3(static_cast<fp8_e4m3>(row[dim])) * scales[dim / kFp8LatentGroup];
}

/// Base-2 logits of the tile; of heads or slots that do not exist -inf.
__device__ void compute_logits(const DeviceAttentionArgs& args, const PartPlace& place,
                               LatentTile& latents, LogitTile& logits, std::size_t num_slots) {
  const std::size_t slot = threadIdx.x / 2 % kSlotTile;
  const std::size_t head = place.head_begin + threadIdx.x / 2 / kSlotTile;
  const bool is_inside = head < args.heads && slot < num_slots;
  float dot = 0.0f;
  if (is_inside) {
    const float* q_nope =
        args.q_nope + place.row * args.q_nope_row_stride + head * args.q_nope_head_stride;
    const float* q_rope =
        args.q_rope + place.row * args.q_rope_row_stride + head * args.q_rope_head_stride;
    const std::size_t at = slot * kLatentDimMax;
    for (std::size_t d = threadIdx.x % 2; d < args.kv_lora_rank; d += 2) {
      dot = fmaf(q_nope[d], latents[at + d], dot);
    }
    for (std::size_t d = threadIdx.x % 2; d < args.qk_rope_head_dim; d += 2) {
      dot = fmaf(q_rope[d], latents[at + args.kv_lora_rank + d], dot);
    }
  }
  dot += __shfl_xor_sync(kAllLanes, dot, 1);
  const float logit = dot * (args.softmax_scale * kLog2E);
  if (threadIdx.x % 2 == 0) logits[threadIdx.x / 2] = is_inside ? logit : negative_infinity();
}

/// Turns the tile's logits of one head into weights against the new maximum.
__device__ void update_head(LogitTile& logits, HeadValues& maxima, HeadValues& sums,
                            HeadValues& rescales, std::size_t num_slots) {
  const std::size_t head = threadIdx.x;
  const float before = maxima[head];
  float max = before;
  for (std::size_t s = 0; s < num_slots; ++s) max = fmaxf(max, logits[head * kSlotTile + s]);
  const float rescale = before == max ? 1.0f : exp2f(before - max);
  float sum = sums[head] * rescale;
  for (std::size_t s = 0; s < num_slots; ++s) {
    const float weight = exp2f(logits[head * kSlotTile + s] - max);
    logits[head * kSlotTile + s] = weight;
    sum += weight;
  }
  maxima[head] = max;
  sums[head] = sum;
  rescales[head] = rescale;
}

__global__ void attention_portable_kernel(DeviceAttentionArgs args) {
  __shared__ LatentTile latents;
  __shared__ LogitTile logits;
  __shared__ HeadValues maxima;
  __shared__ HeadValues sums;
  __shared__ HeadValues rescales;
  const PartPlace place{blockIdx.z, blockIdx.y, static_cast<std::size_t>(blockIdx.x) * kHeadTile};
  const std::size_t part_slots = slots_of_part(args, place);
  if (part_slots == 0) return;
  const std::int32_t* slots =
      args.slots + place.row * args.slots_stride + place.part * kDevicePartSlots;
  const std::size_t dim = args.kv_lora_rank + args.qk_rope_head_dim;
  if (threadIdx.x < kHeadTile) {
    maxima[threadIdx.x] = negative_infinity();
    sums[threadIdx.x] = 0.0f;
  }
  float out[kHeadTile][kOwnValues] = {};
  for (std::size_t tile = 0; tile < part_slots; tile += kSlotTile) {
    const std::size_t left = part_slots - tile;
    const std::size_t tile_slots = left < kSlotTile ? left : kSlotTile;
    for (std::size_t i = threadIdx.x; i < tile_slots * dim; i += kAttentionThreads) {
      const auto slot = static_cast<std::size_t>(slots[tile + i / dim]);
      latents[i / dim * kLatentDimMax + i % dim] = latent_value(args, slot, i % dim);
    }
    __syncthreads();
    compute_logits(args, place, latents, logits, tile_slots);
    __syncthreads();
    if (threadIdx.x < kHeadTile) update_head(logits, maxima, sums, rescales, tile_slots);
    __syncthreads();
    // Both loops are unrolled, so that `out` stays in registers.
    PONDER_UNROLL
    for (unsigned j = 0; j < kOwnValues; ++j) {
      const std::size_t d = threadIdx.x + j * kAttentionThreads;
      if (d >= args.kv_lora_rank) continue;
      PONDER_UNROLL
      for (unsigned h = 0; h < kHeadTile; ++h) {
        if (place.head_begin + h >= args.heads) continue;
        float sum = out[h][j] * rescales[h];
        for (std::size_t s = 0; s < tile_slots; ++s) {
          sum = fmaf(logits[h * kSlotTile + s], latents[s * kLatentDimMax + d], sum);
        }
        out[h][j] = sum;
      }
    }
    __syncthreads();
  }
  PONDER_UNROLL
  for (unsigned h = 0; h < kHeadTile; ++h) {
    const std::size_t head = place.head_begin + h;
    if (head >= args.heads) continue;
    float* to = args.parts + part_at(args, place, head) * args.kv_lora_rank;
    PONDER_UNROLL
    for (unsigned j = 0; j < kOwnValues; ++j) {
      const std::size_t d = threadIdx.x + j * kAttentionThreads;
      if (d < args.kv_lora_rank) to[d] = out[h][j];
    }
    if (threadIdx.x == h) {
      float* stats = part_stats(args) + 2 * part_at(args, place, head);
      stats[0] = maxima[h];
      stats[1] = sums[h];
    }
  }
}

/// The parts of rows that are together.
void launch_attention_portable(const DeviceAttentionArgs& args) {
  dim3 grid;
  grid.x = ceil_div(args.heads, kHeadTile);
  grid.y = static_cast<unsigned>(args.parts_max);
  grid.z = static_cast<unsigned>(args.rows);
  launch(attention_portable_kernel, grid, kAttentionThreads, args);
}

}  // namespace
}  // namespace ponder::kernels
