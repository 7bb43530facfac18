// The products of kernels/cpu/matmul_bf16.inl in dot products of bf16 pairs.
//
// As in kernels/cpu/matmul.inl, a tile is rows of x by rows of w, one vector of sums each with the
// lanes along k: 10 loads for the 24 products of 6 x 4, each of twice the arithmetic of fp32.
//
// Bits: every sum is one chain over a section in steps of 32, folded by sum4.

namespace ponder::kernels {
namespace {

constexpr std::size_t kColumnsInPlace = 1;  // rows of w that are multiplied at once, as they lie
constexpr int kPairTileRows = 6;
constexpr int kPairTileRowsWide = 2;  // with so few rows of x a tile takes 8 rows of w

constexpr std::size_t kPairRowsMultiple = 1;
inline void arrange_rows(const RoundedRows&, std::size_t, std::size_t, bf16*) {}

// y = sums, or y += sums for the later sections.
template <int NR>
inline void store_sums(const __m512 (&sums)[NR], bool is_first, float* y) {
  if constexpr (NR == 1) {
    const float sum = _mm_cvtss_f32(sum4({sums[0]}, zero(), zero(), zero()));
    *y = is_first ? sum : *y + sum;
  } else {
    for (int j = 0; j < NR; j += 4) {
      __m128 sum = sum4({sums[j]}, {sums[j + 1]}, {sums[j + 2]}, {sums[j + 3]});
      if (!is_first) sum = _mm_add_ps(_mm_loadu_ps(y + j), sum);
      _mm_storeu_ps(y + j, sum);
    }
  }
}

template <int MR, int NR>
void multiply_pairs(const MatmulArgs& args, const RoundedRows& r, const PairWeights& w,
                    std::size_t row, std::size_t n, std::size_t column) {
  __m512 sums[MR][NR];
  for (int i = 0; i < MR; ++i) {
    for (int j = 0; j < NR; ++j) sums[i][j] = _mm512_setzero_ps();
  }
  const bf16* x = r.x + row * kPairSection;
  const bf16* weights = w.rows + column * w.stride;
  const std::size_t end = r.steps() * kPairStep;
  for (std::size_t k = 0; k < end; k += kPairStep) {
    __m512bh pairs[MR];
    for (int i = 0; i < MR; ++i) {
      const bf16* at = x + static_cast<std::size_t>(i) * kPairSection + k;
      pairs[i] = (__m512bh)_mm512_load_si512(at);
    }
    for (int j = 0; j < NR; ++j) {
      const bf16* at = weights + static_cast<std::size_t>(j) * w.stride + k;
      const auto row_pairs = (__m512bh)_mm512_loadu_si512(at);
      for (int i = 0; i < MR; ++i) sums[i][j] = _mm512_dpbf16_ps(sums[i][j], row_pairs, pairs[i]);
    }
  }
  for (int i = 0; i < MR; ++i) {
    const std::size_t m = r.first_row + row + static_cast<std::size_t>(i);
    store_sums<NR>(sums[i], r.k_begin == 0, args.y + m * args.y_stride + n);
  }
}

// Columns [n, n + count) of y, which the first rows of w stand for.
template <int MR>
void multiply_pair_rows(const MatmulArgs& args, const RoundedRows& r, const PairWeights& w,
                        std::size_t row, std::size_t n, std::size_t count) {
  std::size_t c = 0;
  if constexpr (MR <= kPairTileRowsWide) {
    for (; c + 8 <= count; c += 8) multiply_pairs<MR, 8>(args, r, w, row, n + c, c);
  }
  for (; c + 4 <= count; c += 4) multiply_pairs<MR, 4>(args, r, w, row, n + c, c);
  for (; c < count; ++c) multiply_pairs<MR, 1>(args, r, w, row, n + c, c);
}

// The last rows, fewer than a full tile: one instantiation per count.
template <int MR>
void multiply_last_pair_rows(const MatmulArgs& args, const RoundedRows& r, const PairWeights& w,
                             std::size_t row, std::size_t n, std::size_t count) {
  if constexpr (MR > 0) {
    if (r.rows - row == MR) {
      multiply_pair_rows<MR>(args, r, w, row, n, count);
    } else {
      multiply_last_pair_rows<MR - 1>(args, r, w, row, n, count);
    }
  }
}

void multiply_columns_in_pairs(const MatmulArgs& args, const RoundedRows& r, const PairWeights& w,
                               std::size_t n, std::size_t count) {
  std::size_t row = 0;
  for (; row + kPairTileRows <= r.rows; row += kPairTileRows) {
    multiply_pair_rows<kPairTileRows>(args, r, w, row, n, count);
  }
  multiply_last_pair_rows<kPairTileRows - 1>(args, r, w, row, n, count);
}

}  // namespace
}  // namespace ponder::kernels
