// Norms, rotary embedding, activation and the other operations whose rows are independent.

#include <algorithm>
#include <cmath>
#include <limits>

#include "kernels/numeric.h"
#include "kernels/reference/scalar.h"

namespace ponder::kernels::scalar {

void rms_norm(const RmsNormArgs& args, std::size_t row_begin, std::size_t row_end) noexcept {
  for (std::size_t r = row_begin; r < row_end; ++r) {
    const float* x = args.x + r * args.x_stride;
    float* y = args.y + r * args.y_stride;
    double squares = 0.0;
    for (std::size_t i = 0; i < args.dim; ++i) squares += static_cast<double>(x[i]) * x[i];
    const double scale =
        1.0 / std::sqrt(squares / static_cast<double>(args.dim) + static_cast<double>(args.eps));
    for (std::size_t i = 0; i < args.dim; ++i) {
      y[i] = static_cast<float>(x[i] * scale * args.weight[i]);
    }
  }
}

void layer_norm(const LayerNormArgs& args, std::size_t row_begin, std::size_t row_end) noexcept {
  const auto dim = static_cast<double>(args.dim);
  for (std::size_t r = row_begin; r < row_end; ++r) {
    const float* x = args.x + r * args.x_stride;
    float* y = args.y + r * args.y_stride;
    double mean = 0.0;
    for (std::size_t i = 0; i < args.dim; ++i) mean += x[i];
    mean /= dim;
    double variance = 0.0;
    for (std::size_t i = 0; i < args.dim; ++i) variance += (x[i] - mean) * (x[i] - mean);
    const double scale = 1.0 / std::sqrt(variance / dim + static_cast<double>(args.eps));
    for (std::size_t i = 0; i < args.dim; ++i) {
      y[i] = static_cast<float>((x[i] - mean) * scale * args.weight[i] + args.bias[i]);
    }
  }
}

void rope(const RopeArgs& args, std::size_t row_begin, std::size_t row_end) noexcept {
  const std::size_t half = args.dim / 2;
  const bool interleaved = args.layout == RopeLayout::interleaved;
  for (std::size_t r = row_begin; r < row_end; ++r) {
    const std::size_t position =
        args.positions == nullptr ? r : static_cast<std::size_t>(args.positions[r]);
    const float* cos = args.cos + position * half;
    const float* sin = args.sin + position * half;
    for (std::size_t h = 0; h < args.heads; ++h) {
      float* x = args.x + r * args.row_stride + h * args.head_stride;
      for (std::size_t j = 0; j < half; ++j) {
        float& first = x[interleaved ? 2 * j : j];
        float& second = x[interleaved ? 2 * j + 1 : j + half];
        const double a = first;
        const double b = second;
        first = static_cast<float>(a * cos[j] - b * sin[j]);
        second = static_cast<float>(a * sin[j] + b * cos[j]);
      }
    }
  }
}

void silu_mul(const SiluMulArgs& args, std::size_t row_begin, std::size_t row_end) noexcept {
  for (std::size_t r = row_begin; r < row_end; ++r) {
    const float* gate = args.gate + r * args.gate_stride;
    const float* up = args.up + r * args.up_stride;
    float* y = args.y + r * args.y_stride;
    for (std::size_t i = 0; i < args.dim; ++i) {
      const double z = gate[i];
      y[i] = static_cast<float>(z / (1.0 + std::exp(-z)) * up[i]);
    }
  }
}

void weighted_sum(const WeightedSumArgs& args, std::size_t row_begin,
                  std::size_t row_end) noexcept {
  for (std::size_t r = row_begin; r < row_end; ++r) {
    const std::int32_t* indices = args.indices + r * args.slots;
    const float* weights = args.weights + r * args.slots;
    float* y = args.y + r * args.y_stride;
    for (std::size_t i = 0; i < args.dim; ++i) {
      double sum = y[i];
      for (std::size_t slot = 0; slot < args.slots; ++slot) {
        if (indices[slot] < 0) continue;
        const auto source = static_cast<std::size_t>(indices[slot]);
        sum += static_cast<double>(weights[slot]) * args.x[source * args.x_stride + i];
      }
      y[i] = static_cast<float>(sum);
    }
  }
}

void softmax(const SoftmaxArgs& args, std::size_t row_begin, std::size_t row_end) noexcept {
  for (std::size_t r = row_begin; r < row_end; ++r) {
    float* x = args.x + r * args.stride;
    double max = -std::numeric_limits<double>::infinity();
    for (std::size_t i = 0; i < args.dim; ++i) {
      max = std::max(max, static_cast<double>(x[i]) * args.scale);
    }
    double sum = 0.0;
    for (std::size_t i = 0; i < args.dim; ++i) {
      sum += std::exp(static_cast<double>(x[i]) * args.scale - max);
    }
    for (std::size_t i = 0; i < args.dim; ++i) {
      x[i] = static_cast<float>(std::exp(static_cast<double>(x[i]) * args.scale - max) / sum);
    }
  }
}

void add(float* y, const float* x, std::size_t n) noexcept {
  for (std::size_t i = 0; i < n; ++i) y[i] += x[i];
}

std::size_t argmax(const float* x, std::size_t n) noexcept {
  std::size_t best = 0;
  float best_value = -std::numeric_limits<float>::infinity();
  for (std::size_t i = 0; i < n; ++i) {
    if (x[i] > best_value) {
      best_value = x[i];
      best = i;
    }
  }
  return best;
}

void bf16_to_f32(float* y, const bf16* x, std::size_t n) noexcept {
  for (std::size_t i = 0; i < n; ++i) y[i] = kernels::bf16_to_f32(x[i]);
}

void f32_to_bf16(bf16* y, const float* x, std::size_t n) noexcept {
  for (std::size_t i = 0; i < n; ++i) y[i] = kernels::f32_to_bf16(x[i]);
}

void round_to_bf16(float* x, std::size_t n) noexcept {
  for (std::size_t i = 0; i < n; ++i) x[i] = kernels::bf16_to_f32(kernels::f32_to_bf16(x[i]));
}

}  // namespace ponder::kernels::scalar
