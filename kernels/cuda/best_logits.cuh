#pragma once

// What the host needs of a row of logits to sample from it, so that the row itself stays here.
//
// Penalties come first, a thread for each: an operation is rounded as the host's is.
// A mask is applied by writing -inf where it has no bit. The sum of all weights is taken in double
// precision, from exactly the exponents that the host would take: all that differs is the order of
// the sum and the last bits of exp, and nothing here decides by it (engine/sampler.h does, with a
// margin for both). The best are index_select_split.cuh's: of equal logits the lowest ids.
//
// A row is cut in parts of kLogitsPart logits, whatever the batch, a block each. Bytes: the row
// twice for mask and sum, then what selection reads; where only the best one is wanted, once.

#include "kernels/cuda/index_select_split.cuh"

namespace ponder::kernels {
namespace {

constexpr unsigned kLogitsThreads = 256;
constexpr unsigned kLogitsWarps = kLogitsThreads / kWarp;
constexpr unsigned kLogitsPerThread = kLogitsPart / kLogitsThreads;

/// The id of a thread's j-th logit in this block's part.
__device__ __forceinline__ std::size_t logit_id(unsigned j) {
  return blockIdx.x * kLogitsPart + j * kLogitsThreads + threadIdx.x;
}

__global__ void penalize_logits_kernel(BestLogitsArgs args) {
  for (std::size_t i = global_thread(); i < args.num_penalties; i += num_global_threads()) {
    const LogitPenalty penalty = args.penalties[i];
    float& logit = args.logits[static_cast<std::size_t>(penalty.row) * args.vocab +
                               static_cast<std::size_t>(penalty.id)];
    const float scaled = logit > 0.0f ? logit / penalty.repetition : logit * penalty.repetition;
    logit = scaled - penalty.frequency - penalty.presence;
  }
}

__global__ void mask_logits_kernel(BestLogitsArgs args) {
  __shared__ SharedArray<float, kLogitsWarps> largest_of_warps;
  const std::size_t row = blockIdx.y;
  float* logits = args.logits + row * args.vocab;
  const std::int32_t mask = args.rows_info[row].mask;
  const std::uint32_t* allowed =
      mask < 0 ? nullptr : args.masks + static_cast<std::size_t>(mask) * args.mask_words;
  float largest = negative_infinity();
  PONDER_UNROLL
  for (unsigned j = 0; j < kLogitsPerThread; ++j) {
    const std::size_t id = logit_id(j);
    if (id >= args.vocab) continue;
    if (allowed == nullptr || (allowed[id / 32] >> (id % 32) & 1u) != 0) {
      largest = fmaxf(largest, logits[id]);  // a NaN never wins
    } else {
      logits[id] = negative_infinity();
    }
  }
  largest = warp_max(largest);
  if (lane() == 0) largest_of_warps[threadIdx.x / kWarp] = largest;
  __syncthreads();
  if (threadIdx.x != 0) return;
  for (unsigned warp = 1; warp < kLogitsWarps; ++warp) {
    largest = fmaxf(largest, largest_of_warps[warp]);
  }
  args.part_maxima[row * gridDim.x + blockIdx.x] = largest;
  if (blockIdx.x == 0) args.num_logits[row] = static_cast<std::int32_t>(args.vocab);
}

__device__ float largest_logit(const BestLogitsArgs& args, std::size_t row, unsigned parts) {
  float largest = negative_infinity();
  for (unsigned part = 0; part < parts; ++part) {
    largest = fmaxf(largest, args.part_maxima[row * parts + part]);
  }
  return largest;
}

__global__ void sum_weights_kernel(BestLogitsArgs args) {
  __shared__ SharedArray<double, kLogitsThreads> sums;
  constexpr double kNegligible = -40.0;  // as the host's sampler has it
  const std::size_t row = blockIdx.y;
  const float temperature = args.rows_info[row].temperature;
  if (temperature == 0.0f) return;
  const float* logits = args.logits + row * args.vocab;
  const float largest = largest_logit(args, row, gridDim.x);
  const std::size_t end = largest == negative_infinity() ? 0 : args.vocab;
  double sum = 0.0;
  for (unsigned j = 0; j < kLogitsPerThread; ++j) {
    const std::size_t id = logit_id(j);
    if (id >= end) break;
    const float logit = logits[id];
    // Infinite logits have no difference: the largest ones are alike.
    const double exponent = logit == largest ? 0.0
                                             : (static_cast<double>(logit) - largest) /
                                                   static_cast<double>(temperature);
    if (exponent > kNegligible) sum += exp(exponent);
  }
  sums[threadIdx.x] = sum;
  for (unsigned step = kLogitsThreads / 2; step > 0; step /= 2) {
    __syncthreads();
    if (threadIdx.x < step) sums[threadIdx.x] = sums[threadIdx.x] + sums[threadIdx.x + step];
  }
  if (threadIdx.x == 0) args.totals[row * gridDim.x + blockIdx.x] = sums[0];
}

/// The first of the largest logits: it lies in the first part whose maximum it is. -1 where no
/// logit can be chosen.
__global__ void find_largest_kernel(BestLogitsArgs args) {
  __shared__ SharedArray<unsigned, kLogitsWarps> first_of_warps;
  const std::size_t row = blockIdx.x;
  const auto parts = static_cast<unsigned>((args.vocab + kLogitsPart - 1) / kLogitsPart);
  const float largest = largest_logit(args, row, parts);
  unsigned part = 0;
  while (part + 1 < parts && args.part_maxima[row * parts + part] != largest) ++part;
  unsigned first = ~0u;
  for (unsigned j = kLogitsPerThread; j-- > 0;) {
    const std::size_t id = part * kLogitsPart + j * kLogitsThreads + threadIdx.x;
    if (id < args.vocab && args.logits[row * args.vocab + id] == largest) {
      first = static_cast<unsigned>(id);
    }
  }
  for (unsigned mask = kWarp / 2; mask > 0; mask /= 2) {
    const unsigned other = __shfl_xor_sync(kAllLanes, first, mask);
    first = other < first ? other : first;
  }
  if (lane() == 0) first_of_warps[threadIdx.x / kWarp] = first;
  __syncthreads();
  if (threadIdx.x != 0) return;
  for (unsigned warp = 1; warp < kLogitsWarps; ++warp) {
    const unsigned other = first_of_warps[warp];
    first = other < first ? other : first;
  }
  const bool is_any = largest != negative_infinity();
  args.ids[row] = is_any ? static_cast<std::int32_t>(first) : -1;
  args.best[row] = is_any ? args.logits[row * args.vocab + first] : largest;
}

__global__ void gather_logits_kernel(BestLogitsArgs args) {
  for (std::size_t i = global_thread(); i < args.rows * args.k; i += num_global_threads()) {
    const std::int32_t id = args.ids[i];
    const std::size_t row = i / args.k * args.vocab;
    args.best[i] = id < 0 ? negative_infinity() : args.logits[row + static_cast<std::size_t>(id)];
  }
}

void launch_best_logits(const BestLogitsArgs& args) {
  if (args.rows == 0) return;
  launch_elements(penalize_logits_kernel, args.num_penalties, args);
  dim3 grid;
  grid.x = ceil_div(args.vocab, kLogitsPart);
  grid.y = static_cast<unsigned>(args.rows);
  launch(mask_logits_kernel, grid, kLogitsThreads, args);
  if (args.k == 1) return launch(find_largest_kernel, rows_grid(args.rows), kLogitsThreads, args);
  launch(sum_weights_kernel, grid, kLogitsThreads, args);
  launch_select({.scores = args.logits,
                 .scores_stride = args.vocab,
                 .sequences = {},
                 .num_keys = args.num_logits,
                 .first_key = 0,
                 .k = args.k,
                 .positions = args.ids,
                 .slots = nullptr,
                 .num_selected = args.num_selected,
                 .num_nan = nullptr,
                 .rows = args.rows,
                 .workspace = args.workspace});
  launch_elements(gather_logits_kernel, args.rows * args.k, args);
}

}  // namespace
}  // namespace ponder::kernels
