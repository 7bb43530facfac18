// Which products with weights go through tiles.

namespace ponder::kernels {
namespace {

void matmul(const MatmulArgs& args, std::size_t m_begin, std::size_t m_end, std::size_t n_begin,
            std::size_t n_end) noexcept {
  // Integers give the same bits either way; in bf16 one row must take the way of many.
  if (is_in_pairs(args)) return multiply_in_pairs(args, m_begin, m_end, n_begin, n_end);
  const bool is_coded = args.w_dtype == DType::int8 || args.w_dtype == DType::int4;
  if (is_coded && args.w_is_packed && m_end - m_begin > kStreamedRowsMax) {
    return multiply_codes(args, {m_begin, m_end, n_begin, n_end});
  }
  next_best_table().matmul(args, m_begin, m_end, n_begin, n_end);
}

}  // namespace
}  // namespace ponder::kernels
