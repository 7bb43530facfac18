// y[m,n] = sum over k of x[m,k] * w[n,k] for bf16 and fp8 weights, in bf16: rows of x are rounded,
// and columns multiplied section by section of k. Rows of w are read as they lie where they can be.
// The file of products before this one defines kPairRowsMultiple, arrange_rows and
// multiply_columns_in_pairs.
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

inline std::size_t padded_pair_rows(std::size_t rows) {
  return (rows + kPairRowsMultiple - 1) / kPairRowsMultiple * kPairRowsMultiple;
}

// The section of rows [m, m + rows) that begins at k; without a pointer.
inline RoundedRows pair_section(const MatmulArgs& args, std::size_t m, std::size_t rows,
                                std::size_t k) {
  return {m, rows, k, args.k - k > kPairSection ? k + kPairSection : args.k, nullptr};
}

// Prepared rows: for each block of kPairRows rows of x its sections, one after the other.
inline std::size_t pair_section_bytes(std::size_t rows) {
  return padded_pair_rows(rows) * kPairSection * sizeof(bf16);
}

inline std::size_t pair_block_bytes(const MatmulArgs& args, std::size_t rows) {
  return (args.k + kPairSection - 1) / kPairSection * pair_section_bytes(rows);
}

inline std::size_t pair_bytes(const MatmulArgs& args) {
  return args.m / kPairRows * pair_block_bytes(args, kPairRows) +
         pair_block_bytes(args, args.m % kPairRows);
}

// Where the section at k of the block that begins at row m lies.
inline bf16* prepared_pairs(const MatmulArgs& args, std::size_t m, std::size_t k, void* prepared) {
  const std::size_t rows = args.m - m < kPairRows ? args.m - m : kPairRows;
  const std::size_t at = m / kPairRows * pair_block_bytes(args, kPairRows) +
                         k / kPairSection * pair_section_bytes(rows);
  return reinterpret_cast<bf16*>(static_cast<char*>(prepared) + at);
}

void prepare_pairs(const MatmulArgs& args, std::size_t m_begin, std::size_t m_end, void* to) {
  while (m_begin < m_end) {
    const std::size_t block = m_begin / kPairRows * kPairRows;
    const std::size_t rows = args.m - block < kPairRows ? args.m - block : kPairRows;
    const std::size_t end = block + rows < m_end ? block + rows : m_end;
    for (std::size_t k = 0; k < args.k; k += kPairSection) {
      const RoundedRows r = pair_section(args, block, rows, k);
      bf16* x = prepared_pairs(args, block, k, to);
      round_rows(args, r, m_begin - block, end - block, x);
      arrange_rows(r, m_begin - block, end - block, x);
    }
    m_begin = end;
  }
}

void multiply_in_pairs(const MatmulArgs& args, std::size_t m_begin, std::size_t m_end,
                       std::size_t n_begin, std::size_t n_end) {
  alignas(64) bf16 x[kPairRows * kPairSection];
  for (std::size_t m = m_begin; m < m_end; m += kPairRows) {
    const std::size_t rows = m_end - m < kPairRows ? m_end - m : kPairRows;
    for (std::size_t k = 0; k < args.k; k += kPairSection) {
      RoundedRows r = pair_section(args, m, rows, k);
      if (args.prepared_x != nullptr) {
        r.x = prepared_pairs(args, m, k, const_cast<void*>(args.prepared_x));
      } else {
        round_rows(args, r, 0, rows, x);
        arrange_rows(r, 0, rows, x);
        r.x = x;
      }
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
