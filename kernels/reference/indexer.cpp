// Scores of the lightning indexer and the exact selection of the best keys.

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>

#include "kernels/numeric.h"
#include "kernels/reference/scalar.h"

namespace ponder::kernels::scalar {
namespace {

float key_at(const IndexScoresArgs& args, std::size_t key, std::size_t dim) noexcept {
  const void* page = args.pages[key / kPageSize];
  const std::size_t i = key % kPageSize * args.key_stride + dim;
  if (args.key_dtype == DType::f32) return static_cast<const float*>(page)[i];
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

constexpr std::uint32_t kImageOfMinusInfinity = 0x007fffff;

// Maps floats to integers of the same order: -inf (and NaN) lowest, both zeros equal.
std::uint32_t order_image(float value) noexcept {
  if (std::isnan(value)) return kImageOfMinusInfinity;
  const auto bits = std::bit_cast<std::uint32_t>(value == 0.0f ? 0.0f : value);
  return (bits >> 31) != 0 ? ~bits : bits | 0x80000000u;
}

constexpr unsigned kDigitBits = 11;
constexpr std::size_t kDigits = std::size_t{1} << kDigitBits;

// Finds the `rank`-th largest image (from 1) digit by digit, highest digit first; overwrites
// images. `rank` becomes the rank among equals: how many values equal to the result are needed.
std::uint32_t nth_largest(std::uint32_t* images, std::size_t n, std::size_t& rank) noexcept {
  std::uint32_t result = 0;
  for (const unsigned shift : {2 * kDigitBits, kDigitBits, 0u}) {
    std::uint32_t counts[kDigits] = {};
    const std::uint32_t mask = kDigits - 1;
    for (std::size_t i = 0; i < n; ++i) ++counts[(images[i] >> shift) & mask];
    std::uint32_t digit = mask;
    while (counts[digit] < rank) rank -= counts[digit--];
    result |= digit << shift;
    std::size_t kept = 0;
    for (std::size_t i = 0; i < n; ++i) {
      if (((images[i] >> shift) & mask) == digit) images[kept++] = images[i];
    }
    n = kept;
  }
  return result;
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

TopkResult topk(const TopkArgs& args) noexcept {
  std::size_t num_nan = 0;
  for (std::size_t i = 0; i < args.n; ++i) {
    num_nan += std::isnan(args.scores[i]) ? 1 : 0;
    args.scratch[i] = order_image(args.scores[i]);
  }
  std::size_t equals_needed = std::min(args.k, args.n);
  TopkResult result{equals_needed, num_nan};
  if (result.num_selected == 0) return result;
  const std::uint32_t threshold = nth_largest(args.scratch, args.n, equals_needed);
  std::size_t num_selected = 0;
  for (std::size_t i = 0; num_selected < result.num_selected; ++i) {
    const std::uint32_t image = order_image(args.scores[i]);
    if (image < threshold) continue;
    if (image == threshold) {
      if (equals_needed == 0) continue;
      --equals_needed;
    }
    args.positions[num_selected++] = static_cast<std::int32_t>(i);
  }
  return result;
}

}  // namespace ponder::kernels::scalar
