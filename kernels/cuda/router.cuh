#pragma once

// The choice of experts and the order in which their rows are computed. Choosing: a block for each
// row, best first by rounds of a maximum over the block; a few thousand operations a row, so it is
// bound by latency. Ordering: one block, a thread for each expert, which reads all choices in
// ascending order: a stable sort in which no atomic decides anything.

#include "kernels/cuda/device_table.h"
#include "kernels/cuda/elementwise.cuh"
#include "kernels/cuda/numeric.cuh"

namespace ponder::kernels {
namespace {

constexpr unsigned kRouterThreads = 128;
using ExpertFloats = SharedArray<float, kExpertsMax>;
using ExpertFlags = SharedArray<int, kExpertsMax>;

/// A value and its place; places break ties, lower first. -1: nothing.
struct Best {
  float value;
  int index;
};

__device__ __forceinline__ bool is_better(const Best& a, const Best& b) {
  if (a.index < 0 || b.index < 0) return b.index < 0 && a.index >= 0;
  return a.value > b.value || (a.value == b.value && a.index < b.index);
}

/// The best of values[0..n) whose flag is not set; every thread gets it, and the flag is set.
__device__ int take_best(ExpertFloats& values, ExpertFlags& taken, std::size_t n) {
  __shared__ SharedArray<float, kRouterThreads> best_values;
  __shared__ SharedArray<int, kRouterThreads> best_indices;
  __shared__ SharedArray<int, 1> result;
  Best best{0.0f, -1};
  for (std::size_t i = threadIdx.x; i < n; i += blockDim.x) {
    if (taken[i] != 0) continue;
    const Best candidate{values[i], static_cast<int>(i)};
    if (is_better(candidate, best)) best = candidate;
  }
  best_values[threadIdx.x] = best.value;
  best_indices[threadIdx.x] = best.index;
  __syncthreads();
  if (threadIdx.x == 0) {
    for (unsigned i = 1; i < kRouterThreads; ++i) {
      const Best candidate{best_values[i], best_indices[i]};
      if (is_better(candidate, best)) best = candidate;
    }
    taken[static_cast<std::size_t>(best.index)] = 1;
    result[0] = best.index;
  }
  __syncthreads();
  return result[0];
}

/// Leaves the experts of the best groups: the others are taken.
__device__ void drop_groups(const RouterArgs& args, ExpertFloats& choice, ExpertFlags& taken) {
  __shared__ ExpertFloats group_scores;
  __shared__ ExpertFlags kept;
  const std::size_t group_size = args.experts / args.groups;
  for (std::size_t g = threadIdx.x; g < args.groups; g += blockDim.x) {
    float first = negative_infinity();
    float second = negative_infinity();
    for (std::size_t i = 0; i < group_size; ++i) {
      const float value = choice[g * group_size + i];
      if (value > first) {
        second = first;
        first = value;
      } else if (value > second) {
        second = value;
      }
    }
    group_scores[g] = group_size == 1 ? first : first + second;
    kept[g] = 0;
  }
  __syncthreads();
  for (std::size_t i = 0; i < args.topk_group; ++i) take_best(group_scores, kept, args.groups);
  for (std::size_t e = threadIdx.x; e < args.experts; e += blockDim.x) {
    taken[e] = kept[e / group_size] != 0 ? 0 : 1;
  }
  __syncthreads();
}

__global__ void router_kernel(RouterArgs args) {
  __shared__ ExpertFloats probabilities;
  __shared__ ExpertFloats choice;
  __shared__ ExpertFlags taken;
  const std::size_t row = blockIdx.x;
  const float* logits = args.logits + row * args.logits_stride;
  for (std::size_t e = threadIdx.x; e < args.experts; e += blockDim.x) {
    const double z = logits[e];
    const auto probability = static_cast<float>(1.0 / (1.0 + exp(-z)));
    const float biased = args.bias == nullptr ? probability : probability + args.bias[e];
    probabilities[e] = probability;
    choice[e] = is_nan(biased) ? negative_infinity() : biased;
    taken[e] = 0;
  }
  __syncthreads();
  if (args.topk_group < args.groups) drop_groups(args, choice, taken);
  float sum = 1e-20f;
  for (std::size_t i = 0; i < args.topk; ++i) {
    const int expert = take_best(choice, taken, args.experts);
    const float probability = probabilities[static_cast<std::size_t>(expert)];
    sum += probability;
    if (threadIdx.x != 0) continue;
    args.indices[row * args.topk + i] = expert;
    args.weights[row * args.topk + i] = probability;
  }
  if (threadIdx.x != 0) return;
  for (std::size_t i = 0; i < args.topk; ++i) {
    float& weight = args.weights[row * args.topk + i];
    weight = (args.normalize ? weight / sum : weight) * args.scaling_factor;
  }
}

__global__ void group_by_expert_kernel(GroupByExpertArgs args) {
  __shared__ SharedArray<int, kExpertsMax + 1> begin;
  const std::size_t num_slots = args.num_rows == nullptr
                                    ? args.num_slots
                                    : static_cast<std::size_t>(*args.num_rows) * args.topk;
  for (std::size_t slot = num_slots + threadIdx.x; slot < args.num_slots; slot += blockDim.x) {
    args.slot_rows[slot] = -1;
    args.source_rows[slot] = -1;
  }
  for (std::size_t e = threadIdx.x; e < args.num_experts; e += blockDim.x) {
    int count = 0;
    for (std::size_t slot = 0; slot < num_slots; ++slot) {
      count += args.experts[slot] == static_cast<int>(e) ? 1 : 0;
    }
    begin[e + 1] = count;
  }
  if (threadIdx.x == 0) begin[0] = 0;
  __syncthreads();
  if (threadIdx.x == 0) {
    for (std::size_t e = 0; e < args.num_experts; ++e) begin[e + 1] = begin[e + 1] + begin[e];
  }
  __syncthreads();
  for (std::size_t e = threadIdx.x; e <= args.num_experts; e += blockDim.x) {
    int next = begin[e];
    args.expert_begin[e] = next;
    if (e == args.num_experts) continue;
    for (std::size_t slot = 0; slot < num_slots; ++slot) {
      if (args.experts[slot] != static_cast<int>(e)) continue;
      args.slot_rows[slot] = next;
      args.source_rows[next] = static_cast<std::int32_t>(slot / args.topk);
      ++next;
    }
  }
}

void launch_router(const RouterArgs& args) {
  if (args.rows > 0) launch(router_kernel, rows_grid(args.rows), kRouterThreads, args);
}
void launch_group_by_expert(const GroupByExpertArgs& args) {
  launch(group_by_expert_kernel, rows_grid(1), 256, args);
}

}  // namespace
}  // namespace ponder::kernels
