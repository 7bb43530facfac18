// Products with weights of every format: which of the files before this one multiplies them.

namespace ponder::kernels {
namespace {

void matmul(const MatmulArgs& args, std::size_t m_begin, std::size_t m_end, std::size_t n_begin,
            std::size_t n_end) noexcept {
  const MatmulRange range{m_begin, m_end, n_begin, n_end};
  if (has_codes(args)) {
    multiply_codes(args, range);
  } else if (args.w_dtype == DType::f32) {
    multiply<float>(args, range);
  } else if (args.w_dtype == DType::bf16 && args.w_is_packed) {
    multiply_packed(args, range);
  } else if (args.w_dtype == DType::bf16) {
    multiply<bf16>(args, range);
  } else if (m_end - m_begin > kTileRows) {
    multiply_decoded(args, range);
  } else {
    multiply<fp8_e4m3>(args, range);
  }
}

}  // namespace
}  // namespace ponder::kernels
