// Which products with weights go through tiles.

namespace ponder::kernels {
namespace {

inline bool has_codes(const MatmulArgs& args) {
  return args.w_dtype == DType::int8 || args.w_dtype == DType::int4;
}

std::size_t matmul_prepared_bytes(const MatmulArgs& args) noexcept {
  if (is_in_pairs(args)) return pair_bytes(args);
  return has_codes(args) ? code_bytes(args, padded_code_rows) : 0;
}

void matmul_prepare(const MatmulArgs& args, std::size_t m_begin, std::size_t m_end,
                    void* to) noexcept {
  if (is_in_pairs(args)) return prepare_pairs(args, m_begin, m_end, to);
  prepare_codes(args, m_begin, m_end, padded_code_rows, to);
}

void matmul(const MatmulArgs& args, std::size_t m_begin, std::size_t m_end, std::size_t n_begin,
            std::size_t n_end) noexcept {
  // Integers give the same bits either way; in bf16 one row must take the way of many.
  if (is_in_pairs(args)) return multiply_in_pairs(args, m_begin, m_end, n_begin, n_end);
  if (has_codes(args) && args.w_is_packed && m_end - m_begin > kStreamedRowsMax) {
    return multiply_codes(args, {m_begin, m_end, n_begin, n_end});
  }
  next_best_table().matmul(args, m_begin, m_end, n_begin, n_end);
}

}  // namespace
}  // namespace ponder::kernels
