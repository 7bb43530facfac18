// The same for packed weights and few rows of x, where reading the weights is the cost: a block of
// 16 rows of w is read from its first byte to its last, and every vector is multiplied as it comes.
//
// Cost of 64 bytes of int4: a load, three logical operations, two dot products for each row of x.

namespace ponder::kernels {
namespace {

constexpr std::size_t kStreamedRowsMax = 4;
constexpr std::size_t kBlockVectors = kScaleRows / kLanes;
// Hardware prefetching ends with a page of memory; this much is under way at any time.
constexpr std::size_t kStreamAheadBytes = 4096;

inline void prefetch_stream(const std::uint8_t* p) {
  _mm_prefetch(reinterpret_cast<const char*>(p) + kStreamAheadBytes, _MM_HINT_T0);
}

// The integer sums of one group: dots[i][v] += x[i] . codes, which advance.
template <bool IS_INT4, std::size_t GROUP, int MR>
inline __attribute__((always_inline)) void stream_group(const std::uint8_t*& codes,
                                                        const std::int32_t* const (&x)[MR],
                                                        Codes (&dots)[MR][kBlockVectors]) {
  constexpr std::size_t kQuadsAtOnce = IS_INT4 ? 2 : 1;
  for (std::size_t quad = 0; quad < GROUP / 4; quad += kQuadsAtOnce, codes += kBlockWordBytes) {
    prefetch_stream(codes);
    for (std::size_t v = 0; v < kBlockVectors; ++v) {
      const Codes words = load_codes(codes + v * kLanes * 4);
      const Codes first = IS_INT4 ? lower_halves(words) : plus_128(words);
      for (int i = 0; i < MR; ++i) {
        dots[i][v] = add_products(dots[i][v], first, load_quad(x[i] + quad * kQuadWords));
        if constexpr (IS_INT4) {
          const Quad four = load_quad(x[i] + (quad + 1) * kQuadWords);
          dots[i][v] = add_products(dots[i][v], upper_halves(words), four);
        }
      }
    }
  }
}

template <bool IS_INT4, std::size_t GROUP, int MR>
void stream_block(const QuantisedRows& q, const std::uint8_t* codes, const bf16* w_scales,
                  float (*sums)[kScaleRows]) {
  Vec totals[MR][kBlockVectors];
  for (int i = 0; i < MR; ++i) {
    for (std::size_t v = 0; v < kBlockVectors; ++v) totals[i][v] = load(sums[i] + v * kLanes);
  }
  for (std::size_t k = 0; k < q.width; k += GROUP, w_scales += kScaleRows) {
    Codes dots[MR][kBlockVectors];
    const std::int32_t* x[MR];
    for (int i = 0; i < MR; ++i) {
      const std::size_t first =
          q.group(static_cast<std::size_t>(i), k) * kActivationGroup + k % kActivationGroup;
      const Codes offset = broadcast_word(q.offsets[first / GROUP]);
      for (std::size_t v = 0; v < kBlockVectors; ++v) dots[i][v] = offset;
      x[i] = q.quads + first / 4 * kQuadWords;
    }
    stream_group<IS_INT4, GROUP, MR>(codes, x, dots);
    for (int i = 0; i < MR; ++i) {
      const Vec x_scale = broadcast(q.scales[q.group(static_cast<std::size_t>(i), k)]);
      for (std::size_t v = 0; v < kBlockVectors; ++v) {
        const Vec scale = mul(x_scale, load(w_scales + v * kLanes));
        totals[i][v] = fma(to_floats(dots[i][v]), scale, totals[i][v]);
      }
    }
  }
  for (int i = 0; i < MR; ++i) {
    for (std::size_t v = 0; v < kBlockVectors; ++v) store(sums[i] + v * kLanes, totals[i][v]);
  }
}

template <bool IS_INT4, std::size_t GROUP>
void stream_rows(const QuantisedRows& q, const std::uint8_t* codes, const bf16* w_scales,
                 float (*sums)[kScaleRows]) {
  if (q.rows == 1) return stream_block<IS_INT4, GROUP, 1>(q, codes, w_scales, sums);
  if (q.rows == 2) return stream_block<IS_INT4, GROUP, 2>(q, codes, w_scales, sums);
  if (q.rows == 3) return stream_block<IS_INT4, GROUP, 3>(q, codes, w_scales, sums);
  stream_block<IS_INT4, GROUP, 4>(q, codes, w_scales, sums);
}

template <bool IS_INT4>
void stream_format(const MatmulArgs& args, const QuantisedRows& q, const std::uint8_t* codes,
                   const bf16* w_scales, float (*sums)[kScaleRows]) {
  if (args.w_group == 128) return stream_rows<IS_INT4, 128>(q, codes, w_scales, sums);
  if (args.w_group == 64) return stream_rows<IS_INT4, 64>(q, codes, w_scales, sums);
  stream_rows<IS_INT4, 32>(q, codes, w_scales, sums);
}

// The quantised rows by the block of 16 rows of w at n, of which only those in the range are
// written.
void stream_columns(const MatmulArgs& args, const MatmulRange& range, const QuantisedRows& q,
                    std::size_t n) {
  alignas(64) float sums[kStreamedRowsMax][kScaleRows];
  const SumColumns<kScaleRows> columns(args, range, n);
  for (std::size_t row = 0; row < q.rows; ++row) {
    columns.load_row(q.first_row + row, q.k_begin == 0, sums[row]);
  }
  const WeightRows w = weight_rows(args, n);
  const std::uint8_t* codes = w.packed + q.k_begin / codes_per_byte(args) * kScaleRows;
  const bf16* w_scales = w.scales + q.k_begin / args.w_group * kScaleRows;
  if (args.w_dtype == DType::int4) {
    stream_format<true>(args, q, codes, w_scales, sums);
  } else {
    stream_format<false>(args, q, codes, w_scales, sums);
  }
  for (std::size_t row = 0; row < q.rows; ++row) columns.store_row(q.first_row + row, sums[row]);
}

inline std::size_t padded_code_rows(const MatmulArgs&, std::size_t rows) { return rows; }

void multiply_codes(const MatmulArgs& args, const MatmulRange& range) {
  const bool is_streamed = args.w_is_packed && range.m_end - range.m_begin <= kStreamedRowsMax;
  const std::size_t columns = is_streamed ? kScaleRows : kTileColumns;
  for (std::size_t m = range.m_begin; m < range.m_end; m += kCodeRows) {
    const std::size_t rows = range.m_end - m < kCodeRows ? range.m_end - m : kCodeRows;
    each_code_section(args, m, rows, padded_code_rows, [&](const QuantisedRows& q) {
      for (std::size_t n = range.n_begin / columns * columns; n < range.n_end; n += columns) {
        if (is_streamed) {
          stream_columns(args, range, q, n);
        } else {
          multiply_columns(args, range, q, n);
        }
      }
    });
  }
}

inline bool has_codes(const MatmulArgs& args) {
  return args.w_dtype == DType::int8 || args.w_dtype == DType::int4;
}

std::size_t matmul_prepared_bytes(const MatmulArgs& args) noexcept {
  return has_codes(args) ? code_bytes(args, padded_code_rows) : 0;
}

void matmul_prepare(const MatmulArgs& args, std::size_t m_begin, std::size_t m_end,
                    void* to) noexcept {
  prepare_codes(args, m_begin, m_end, padded_code_rows, to);
}

}  // namespace
}  // namespace ponder::kernels
