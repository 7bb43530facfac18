#pragma once

// The single operations that a device's kernels join, one after the other on the host: in fp32,
// with the device's order of sums, so that what it writes must have these bits.

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <vector>

#include "kernels/kernel_table.h"

namespace ponder::kernels {

/// The sum that kernels/cuda/row_sums.cuh describes: add(sum, i) puts element i into its chain.
template <class Add>
float sum_of_chains(std::size_t n, const Add& add) {
  constexpr std::size_t kChains = 128;
  constexpr std::size_t kLanes = 32;
  std::array<float, kChains> chains{};
  for (std::size_t i = 0; i < n; ++i) chains[i % kChains] = add(chains[i % kChains], i);
  float sum = 0.0F;
  for (std::size_t begin = 0; begin < kChains; begin += kLanes) {
    std::array<float, kLanes> lanes;
    std::copy_n(chains.begin() + static_cast<std::ptrdiff_t>(begin), kLanes, lanes.begin());
    for (std::size_t mask = kLanes / 2; mask > 0; mask /= 2) {
      std::array<float, kLanes> next;
      for (std::size_t lane = 0; lane < kLanes; ++lane)
        next[lane] = lanes[lane] + lanes[lane ^ mask];
      lanes = next;
    }
    sum += lanes[0];
  }
  return sum;
}

inline void rms_norm_row(float* y, const float* x, const float* weight, std::size_t dim,
                         float eps) {
  const float squares =
      sum_of_chains(dim, [&](float sum, std::size_t i) { return std::fmaf(x[i], x[i], sum); });
  const float scale = 1.0F / std::sqrt(squares / static_cast<float>(dim) + eps);
  for (std::size_t i = 0; i < dim; ++i) y[i] = x[i] * scale * weight[i];
}

inline void layer_norm_row(float* y, const float* x, const float* weight, const float* bias,
                           std::size_t dim, float eps) {
  const auto n = static_cast<float>(dim);
  const float mean = sum_of_chains(dim, [&](float sum, std::size_t i) { return sum + x[i]; }) / n;
  const float squares = sum_of_chains(
      dim, [&](float sum, std::size_t i) { return std::fmaf(x[i] - mean, x[i] - mean, sum); });
  const float scale = 1.0F / std::sqrt(squares / n + eps);
  for (std::size_t i = 0; i < dim; ++i) y[i] = std::fmaf((x[i] - mean) * scale, weight[i], bias[i]);
}

inline void rope_row(float* x, const float* cos, const float* sin, std::size_t dim,
                     RopeLayout layout) {
  for (std::size_t j = 0; j < dim / 2; ++j) {
    const bool is_interleaved = layout == RopeLayout::interleaved;
    float& first = x[is_interleaved ? 2 * j : j];
    float& second = x[is_interleaved ? 2 * j + 1 : j + dim / 2];
    const float a = first;
    const float b = second;
    first = std::fmaf(a, cos[j], -(b * sin[j]));
    second = std::fmaf(a, sin[j], b * cos[j]);
  }
}

/// y += sum of the experts' rows, in ascending slot order; row -1 adds nothing.
inline void weighted_sum_row(float* y, const std::vector<float>& x, const std::int32_t* rows,
                             const float* weights, std::size_t slots, std::size_t dim) {
  for (std::size_t slot = 0; slot < slots; ++slot) {
    if (rows[slot] < 0) continue;
    const float* from = x.data() + static_cast<std::size_t>(rows[slot]) * dim;
    for (std::size_t i = 0; i < dim; ++i) y[i] = std::fmaf(weights[slot], from[i], y[i]);
  }
}

}  // namespace ponder::kernels
