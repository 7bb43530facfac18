// y[m,n] = sum over k of x[m,k] * w[n,k] for bf16 and fp8 weights, in bf16: rows of x are rounded,
// and columns multiplied section by section of k. Rows of w are read as they lie where they can be.
// The file of products before this one defines arrange_rows and multiply_columns_in_pairs.
//
// Bits: the sections of an output are added in order, and within one the products see no other
// output.

namespace ponder::kernels {
namespace {

void multiply_section_in_pairs(const MatmulArgs& args, const RoundedRows& r, std::size_t n_begin,
                               std::size_t n_end) {
  const bool is_whole = (r.k_end - r.k_begin) % kPairStep == 0;
  alignas(64) bf16 copy[kCopiedColumns * kPairSection];
  for (std::size_t n = n_begin; n < n_end;) {
    const std::size_t left = n_end - n;
    if (args.w_dtype == DType::bf16 && is_whole && left >= kColumnsInPlace) {
      const auto* rows = static_cast<const bf16*>(args.w) + n * args.w_stride + r.k_begin;
      const std::size_t count = left / kColumnsInPlace * kColumnsInPlace;
      multiply_columns_in_pairs(args, r, {rows, args.w_stride}, n, count);
      n += count;
    } else {
      const std::size_t count = left < kCopiedColumns ? left : kCopiedColumns;
      const std::size_t tiles = (count + kColumnsInPlace - 1) / kColumnsInPlace;
      copy_weights(args, r, n, count, tiles * kColumnsInPlace, copy);
      multiply_columns_in_pairs(args, r, {copy, kPairSection}, n, count);
      n += count;
    }
  }
}

void multiply_in_pairs(const MatmulArgs& args, std::size_t m_begin, std::size_t m_end,
                       std::size_t n_begin, std::size_t n_end) {
  RoundedRows r;
  for (r.first_row = m_begin; r.first_row < m_end; r.first_row += kPairRows) {
    r.rows = m_end - r.first_row < kPairRows ? m_end - r.first_row : kPairRows;
    for (r.k_begin = 0; r.k_begin < args.k; r.k_begin = r.k_end) {
      r.k_end = args.k - r.k_begin > kPairSection ? r.k_begin + kPairSection : args.k;
      round_rows(args, r);
      arrange_rows(r);
      multiply_section_in_pairs(args, r, n_begin, n_end);
    }
  }
}

inline bool is_in_pairs(const MatmulArgs& args) {
  const bool is_narrow = args.w_dtype == DType::bf16 || args.w_dtype == DType::fp8_e4m3;
  return args.may_round_x && is_narrow && !args.w_is_packed && args.k > 0;
}

}  // namespace
}  // namespace ponder::kernels
