// y[m,n] = sum over k of x[m,k] * w[n,k], each sum in double.

#include "kernels/numeric.h"
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

}  // namespace

void matmul(const MatmulArgs& args, std::size_t m_begin, std::size_t m_end, std::size_t n_begin,
            std::size_t n_end) noexcept {
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
