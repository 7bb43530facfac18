#pragma once

// Parts of gathered attention: where a part of a row leaves its sums, and how the parts of a row
// are combined. Parts are fixed by the slots alone and combined in ascending order.

#include "kernels/cuda/device_table.h"
#include "kernels/cuda/numeric.cuh"

namespace ponder::kernels {
namespace {

constexpr float kLog2E = 1.44269504088896340736f;
constexpr unsigned kCombineThreads = 128;

/// One part of one row, rows counted from the first of those that are together.
struct PartPlace {
  std::size_t row;
  std::size_t part;
  std::size_t head_begin;
};

__device__ __forceinline__ std::size_t part_at(const DeviceAttentionArgs& args,
                                               const PartPlace& place, std::size_t head) {
  return (place.row * args.parts_max + place.part) * args.heads + head;
}

/// parts: [.., kv_lora_rank] sums, then for each of them maximum and weight.
__device__ __forceinline__ float* part_stats(const DeviceAttentionArgs& args) {
  return args.parts + args.rows_together * args.parts_max * args.heads * args.kv_lora_rank;
}

/// How many of the row's slots the part has; none behind its last one.
__device__ __forceinline__ std::size_t slots_of_part(const DeviceAttentionArgs& args,
                                                     const PartPlace& place) {
  const auto num_slots = static_cast<std::size_t>(args.num_slots[place.row]);
  const std::size_t begin = place.part * kDevicePartSlots;
  if (begin >= num_slots) return 0;
  const std::size_t rest = num_slots - begin;
  return rest < kDevicePartSlots ? rest : kDevicePartSlots;
}

__global__ void attention_combine_kernel(DeviceAttentionArgs args) {
  const std::size_t head = blockIdx.x;
  const std::size_t row = blockIdx.y;
  const auto num_slots = static_cast<std::size_t>(args.num_slots[row]);
  const std::size_t num_parts = (num_slots + kDevicePartSlots - 1) / kDevicePartSlots;
  const float* stats = part_stats(args);
  float max = negative_infinity();
  for (std::size_t p = 0; p < num_parts; ++p) {
    max = fmaxf(max, stats[2 * part_at(args, {row, p, 0}, head)]);
  }
  float* out = args.out + (row * args.heads + head) * args.kv_lora_rank;
  for (std::size_t d = threadIdx.x; d < args.kv_lora_rank; d += blockDim.x) {
    float sum = 0.0f;
    float weights = 0.0f;
    for (std::size_t p = 0; p < num_parts; ++p) {
      const std::size_t at = part_at(args, {row, p, 0}, head);
      const float weight = exp2f(stats[2 * at] - max);
      weights = fmaf(weight, stats[2 * at + 1], weights);
      sum = fmaf(weight, args.parts[at * args.kv_lora_rank + d], sum);
    }
    out[d] = num_parts == 0 ? 0.0f : sum / weights;
  }
}

/// Of rows whose parts are all there.
void launch_attention_combine(const DeviceAttentionArgs& args) {
  dim3 heads;
  heads.x = static_cast<unsigned>(args.heads);
  heads.y = static_cast<unsigned>(args.rows);
  launch(attention_combine_kernel, heads, kCombineThreads, args);
}

}  // namespace
}  // namespace ponder::kernels
