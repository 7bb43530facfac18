#include "engine/index_fp8.h"

#include <array>
#include <cmath>
#include <cstdint>
#include <cstring>

#include "base/assert.h"
#include "engine/cache.h"
#include "engine/numeric_formats.h"

namespace ponder::engine {
namespace {

float rounded_to_bf16(float value) { return bf16_to_float(float_to_bf16(value)); }

}  // namespace

void rotate_index_row(float* x, std::size_t dim) noexcept {
  for (std::size_t i = 0; i < dim; ++i) x[i] = rounded_to_bf16(x[i]);
  for (std::size_t stride = 1; stride < dim; stride *= 2) {
    for (std::size_t i = 0; i < dim; ++i) {
      if ((i & stride) != 0) continue;
      const float low = x[i];
      const float high = x[i + stride];
      x[i] = low + high;
      x[i + stride] = low - high;
    }
  }
  const float norm = 1.0F / std::sqrt(static_cast<float>(dim));
  for (std::size_t i = 0; i < dim; ++i) x[i] = rounded_to_bf16(x[i] * norm);
}

void round_index_query(float* x, std::size_t dim) noexcept {
  std::array<std::byte, kernels::kIndexHeadDimMax> codes;
  PONDER_ASSERT(dim <= codes.size());
  const float scale = quantize_e4m3(codes.data(), x, dim);
  for (std::size_t i = 0; i < dim; ++i) {
    x[i] = e4m3_to_float(std::to_integer<std::uint8_t>(codes[i])) * scale;
  }
}

void write_fp8_index_key(std::byte* page, std::size_t token, const float* key,
                         std::size_t dim) noexcept {
  const float scale = quantize_e4m3(page + token * dim, key, dim);
  std::memcpy(page + kPageTokens * dim + token * sizeof scale, &scale, sizeof scale);
}

}  // namespace ponder::engine
