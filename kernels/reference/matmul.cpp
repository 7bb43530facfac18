// y[m,n] = sum over k of x[m,k] * w[n,k], each sum in double; int8 and int4 weights as MatmulArgs
// states it, to the bit.

#include <algorithm>
#include <cmath>
#include <cstring>

#include "kernels/numeric.h"
#include "kernels/packed_bf16.h"
#include "kernels/reference/scalar.h"

namespace ponder::kernels::scalar {
namespace {

float weight_at(const MatmulArgs& args, std::size_t n, std::size_t k) noexcept {
  const std::size_t i = n * args.w_stride + k;
  if (args.w_dtype == DType::f32) return static_cast<const float*>(args.w)[i];
  if (args.w_dtype == DType::bf16) {
    return kernels::bf16_to_f32(static_cast<const bf16*>(args.w)[i]);
  }
  const std::size_t scale = n / kFp8BlockSize * args.w_scales_stride + k / kFp8BlockSize;
  return fp8_e4m3_to_f32(static_cast<const fp8_e4m3*>(args.w)[i]) * args.w_scales[scale];
}

// Where byte `i` of a row of codes lies.
std::size_t code_byte(const MatmulArgs& args, std::size_t n, std::size_t i) noexcept {
  const std::size_t codes_per_byte = args.w_dtype == DType::int4 ? 2 : 1;
  if (!args.w_is_packed) return n * args.w_stride / codes_per_byte + i;
  const std::size_t block = n / kScaleRows * kScaleRows * args.k / codes_per_byte;
  return block + (i / 4 * kScaleRows + n % kScaleRows) * 4 + i % 4;
}

// The code of a quantised weight.
int code_at(const MatmulArgs& args, std::size_t n, std::size_t k) noexcept {
  if (args.w_dtype == DType::int8) {
    return static_cast<const std::int8_t*>(args.w)[code_byte(args, n, k)];
  }
  const int pair = static_cast<const std::uint8_t*>(args.w)[code_byte(args, n, k / 2)];
  return (k % 2 == 0 ? pair & 15 : pair >> 4) - 8;
}

float group_scale_at(const MatmulArgs& args, std::size_t n, std::size_t k) noexcept {
  const std::size_t groups = args.k / args.w_group;
  const std::size_t block = n / kScaleRows * groups + k / args.w_group;
  return kernels::bf16_to_f32(args.w_group_scales[block * kScaleRows + n % kScaleRows]);
}

// kActivationGroup inputs as int8, and their scale.
struct ActivationGroup {
  explicit ActivationGroup(const float* x) noexcept {
    float largest = 0.0f;
    bool is_finite = true;
    for (std::size_t i = 0; i < kActivationGroup; ++i) {
      largest = std::max(largest, std::fabs(x[i]));
      is_finite = is_finite && std::isfinite(x[i]);
    }
    if (!is_finite) scale = NAN;
    if (!is_finite || largest < kSmallestActivation) return;
    scale = largest / 127.0f;
    const float factor = 127.0f / largest;
    for (std::size_t i = 0; i < kActivationGroup; ++i) {
      codes[i] = static_cast<int>(std::nearbyint(x[i] * factor));
    }
  }
  int codes[kActivationGroup] = {};
  float scale = 0.0f;
};

void matmul_in_integers(const MatmulArgs& args, std::size_t m_begin, std::size_t m_end,
                        std::size_t n_begin, std::size_t n_end) noexcept {
  for (std::size_t m = m_begin; m < m_end; ++m) {
    float* y = args.y + m * args.y_stride;
    std::fill(y + n_begin, y + n_end, 0.0f);
    for (std::size_t begin = 0; begin < args.k; begin += kActivationGroup) {
      const ActivationGroup x(args.x + m * args.x_stride + begin);
      for (std::size_t n = n_begin; n < n_end; ++n) {
        for (std::size_t k = 0; k < kActivationGroup; k += args.w_group) {
          int sum = 0;
          for (std::size_t i = k; i < k + args.w_group; ++i) {
            sum += x.codes[i] * code_at(args, n, begin + i);
          }
          const float scale = x.scale * group_scale_at(args, n, begin + k);
          y[n] = std::fma(static_cast<float>(sum), scale, y[n]);
        }
      }
    }
  }
}

// Adds the products of a stripe's part of a section, in the order of k.
void add_packed_part(const std::uint8_t* windows, const std::uint8_t*& at, const float* x,
                     std::size_t columns, double (&sums)[kPackedRows]) noexcept {
  for (std::size_t begin = 0; begin < columns; begin += kPackedColumns) {
    const std::size_t count = std::min(kPackedColumns, columns - begin);
    bf16 weights[kPackedRows * kPackedColumns];
    at += unpack_bf16(at, count < kPackedColumns ? kPackedRaw : *windows++, count, weights);
    for (std::size_t row = 0; row < kPackedRows; ++row) {
      for (std::size_t i = 0; i < count; ++i) {
        const float weight = kernels::bf16_to_f32(weights[row * count + i]);
        sums[row] += static_cast<double>(x[begin + i]) * static_cast<double>(weight);
      }
    }
  }
}

// Row m by the columns of a band, all of which are added up and those in the range written.
void matmul_packed_band(const MatmulArgs& args, std::size_t m, std::size_t band,
                        std::size_t n_begin, std::size_t n_end) noexcept {
  const PackedBf16Shape shape(args.n, args.k);
  const auto* matrix = static_cast<const std::uint8_t*>(args.w);
  const std::uint8_t* windows = matrix + shape.windows_at + band * shape.band_windows;
  std::uint64_t offset = 0;
  std::memcpy(&offset, matrix + band * sizeof offset, sizeof offset);
  const std::uint8_t* at = matrix + offset;
  const std::size_t begin = band * kPackedBandRows;
  const std::size_t end = std::min(args.n, begin + kPackedBandRows);
  double sums[kPackedBandRows / kPackedRows][kPackedRows] = {};
  for (std::size_t k = 0; k < args.k; k += kPackedSection) {
    const std::size_t columns = std::min(kPackedSection, args.k - k);
    for (std::size_t n = begin; n < end; n += kPackedRows) {
      const float* x = args.x + m * args.x_stride + k;
      add_packed_part(windows, at, x, columns, sums[(n - begin) / kPackedRows]);
      windows += columns / kPackedColumns;
    }
  }
  for (std::size_t n = std::max(begin, n_begin); n < std::min(end, n_end); ++n) {
    const double sum = sums[(n - begin) / kPackedRows][n % kPackedRows];
    args.y[m * args.y_stride + n] = static_cast<float>(sum);
  }
}

}  // namespace

std::size_t matmul_prepared_bytes(const MatmulArgs&) noexcept { return 0; }

void matmul_prepare(const MatmulArgs&, std::size_t, std::size_t, void*) noexcept {}

void matmul(const MatmulArgs& args, std::size_t m_begin, std::size_t m_end, std::size_t n_begin,
            std::size_t n_end) noexcept {
  if (args.w_dtype == DType::int8 || args.w_dtype == DType::int4) {
    return matmul_in_integers(args, m_begin, m_end, n_begin, n_end);
  }
  if (args.w_dtype == DType::bf16 && args.w_is_packed) {
    for (std::size_t band = n_begin / kPackedBandRows; band * kPackedBandRows < n_end; ++band) {
      for (std::size_t m = m_begin; m < m_end; ++m) {
        matmul_packed_band(args, m, band, n_begin, n_end);
      }
    }
    return;
  }
  for (std::size_t n = n_begin; n < n_end; ++n) {
    for (std::size_t m = m_begin; m < m_end; ++m) {
      const float* x = args.x + m * args.x_stride;
      double sum = 0.0;
      for (std::size_t k = 0; k < args.k; ++k) {
        sum += static_cast<double>(x[k]) * static_cast<double>(weight_at(args, n, k));
      }
      args.y[m * args.y_stride + n] = static_cast<float>(sum);
    }
  }
}

}  // namespace ponder::kernels::scalar
