// Scores of the lightning indexer, over float and over int8 keys.

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>

#include "kernels/numeric.h"
#include "kernels/reference/scalar.h"

namespace ponder::kernels::scalar {
namespace {

float key_at(const IndexScoresArgs& args, std::size_t key, std::size_t dim) noexcept {
  const void* page = static_cast<const char*>(args.pages[key / kPageSize]) + args.block_offset;
  const std::size_t i = key % kPageSize * args.key_stride + dim;
  if (args.key_dtype == DType::f32) return static_cast<const float*>(page)[i];
  if (args.key_dtype == DType::fp8_e4m3) {
    const auto* codes = static_cast<const fp8_e4m3*>(page);
    float scale = 0.0f;
    std::memcpy(&scale, codes + kPageSize * args.key_stride + key % kPageSize * sizeof scale,
                sizeof scale);
    return fp8_e4m3_to_f32(codes[i]) * scale;
  }
  return kernels::bf16_to_f32(static_cast<const bf16*>(page)[i]);
}

float score(const IndexScoresArgs& args, std::size_t row, std::size_t key) noexcept {
  double sum = 0.0;
  for (std::size_t h = 0; h < args.heads; ++h) {
    const float* q = args.q + row * args.q_row_stride + h * args.q_head_stride;
    double dot = 0.0;
    for (std::size_t i = 0; i < args.dim; ++i) {
      dot += static_cast<double>(q[i]) * key_at(args, key, i);
    }
    const double relu = dot < 0.0 ? 0.0 : dot;  // a NaN passes
    sum += relu * args.head_weights[row * args.head_weights_stride + h];
  }
  return static_cast<float>(sum);
}

// The page layout of kernels/sparse_attention_args.h.
std::size_t code_offset(std::size_t token, std::size_t d, std::size_t dim) noexcept {
  const std::size_t block = token / kIndexBlockKeys * kIndexBlockKeys * dim;
  return block + 64 * (d / 4) + 4 * (token % kIndexBlockKeys) + d % 4;
}

float score_i8(const IndexScoresI8Args& args, std::size_t row, std::size_t key) noexcept {
  const auto* page =
      static_cast<const std::int8_t*>(args.pages[key / kPageSize]) + args.block_offset;
  const std::size_t token = key % kPageSize;
  float sum = 0.0f;
  for (std::size_t h = 0; h < args.heads; ++h) {
    const std::int8_t* q = args.q + (row * args.heads + h) * args.dim;
    std::int32_t dot = 0;
    for (std::size_t d = 0; d < args.dim; ++d) dot += q[d] * page[code_offset(token, d, args.dim)];
    const float weight = args.head_weights[row * args.heads + h];
    sum = std::fma(static_cast<float>(std::max(dot, 0)), weight, sum);
  }
  float scale = 0.0f;
  std::memcpy(&scale, page + kPageSize * args.dim + token * sizeof scale, sizeof scale);
  return sum * scale;
}

// The butterflies of the Walsh-Hadamard transform, unnormalised. Fixed order: strides ascending.
void hadamard(float* x, std::size_t dim) noexcept {
  for (std::size_t stride = 1; stride < dim; stride *= 2) {
    for (std::size_t i = 0; i < dim; ++i) {
      if ((i & stride) != 0) continue;
      const float low = x[i];
      const float high = x[i + stride];
      x[i] = low + high;
      x[i + stride] = low - high;
    }
  }
}

}  // namespace

void index_scores(const IndexScoresArgs& args, std::size_t row_begin, std::size_t row_end,
                  std::size_t key_begin, std::size_t key_end) noexcept {
  for (std::size_t row = row_begin; row < row_end; ++row) {
    const std::size_t end = std::min(key_end, static_cast<std::size_t>(args.num_keys[row]));
    for (std::size_t key = key_begin; key < end; ++key) {
      args.scores[row * args.scores_stride + key] = score(args, row, key);
    }
  }
}

void index_quantize(const IndexQuantizeArgs& args, std::size_t row_begin,
                    std::size_t row_end) noexcept {
  const float norm = 1.0f / std::sqrt(static_cast<float>(args.dim));
  for (std::size_t row = row_begin; row < row_end; ++row) {
    float x[kIndexHeadDimMax];
    std::copy_n(args.x + row * args.x_stride, args.dim, x);
    hadamard(x, args.dim);
    float largest = 0.0f;
    bool is_finite = true;
    for (std::size_t d = 0; d < args.dim; ++d) {
      x[d] *= norm;
      largest = std::max(largest, std::fabs(x[d]));
      is_finite = is_finite && std::isfinite(x[d]);
    }
    const bool is_zero = !is_finite || largest < kIndexAbsmaxMin;
    const float to_code = is_zero ? 0.0f : kIndexCodeMax / largest;
    std::int8_t* codes = args.codes + row * args.dim;
    for (std::size_t d = 0; d < args.dim; ++d) {
      codes[d] = static_cast<std::int8_t>(is_zero ? 0.0f : std::nearbyint(x[d] * to_code));
    }
    args.scales[row] = !is_finite ? std::numeric_limits<float>::quiet_NaN()
                       : is_zero  ? 0.0f
                                  : largest / kIndexCodeMax;
  }
}

void index_scores_i8(const IndexScoresI8Args& args, std::size_t row_begin, std::size_t row_end,
                     std::size_t key_begin, std::size_t key_end) noexcept {
  for (std::size_t row = row_begin; row < row_end; ++row) {
    const std::size_t end = std::min(key_end, static_cast<std::size_t>(args.num_keys[row]));
    for (std::size_t key = key_begin; key < end; ++key) {
      args.scores[row * args.scores_stride + key] = score_i8(args, row, key);
    }
  }
}

}  // namespace ponder::kernels::scalar
