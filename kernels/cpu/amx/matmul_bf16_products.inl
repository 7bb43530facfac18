// The products of kernels/cpu/matmul_bf16.inl in tiles: rows of w are left operands, as they lie,
// and 16 rows of x, turned so that a tile row holds one pair of each, are right ones. Two of each
// meet at once. One row of x takes the same way as many: an output's bits are those of its own
// column of a tile.

namespace ponder::kernels {
namespace {

constexpr std::size_t kColumnsInPlace = kTileRows16;  // rows of w that are multiplied at once
static_assert(kPairRows % kTileRows16 == 0 && kCopiedColumns % (2 * kTileRows16) == 0);

constexpr std::size_t kPairRowsMultiple = kTileRows16;

// Turns every 16 rows by 16 words in place, from row_begin, a multiple of 16, on. Rows after the
// last one become zeros.
void arrange_rows(const RoundedRows& r, std::size_t row_begin, std::size_t row_end, bf16* x) {
  const std::size_t end = (row_end + kTileRows16 - 1) / kTileRows16 * kTileRows16;
  for (std::size_t i = row_end * kPairSection; i < end * kPairSection; ++i) x[i] = 0;
  for (std::size_t row = row_begin; row < end; row += kTileRows16) {
    for (std::size_t step = 0; step < r.steps(); ++step) {
      bf16* block = x + row * kPairSection + step * kPairStep;
      Vec words[kLanes];
      for (std::size_t i = 0; i < kLanes; ++i) words[i] = load_words(block + i * kPairSection);
      transpose(words);
      for (std::size_t i = 0; i < kLanes; ++i) {
        store_words(reinterpret_cast<std::uint32_t*>(block + i * kPairSection), words[i]);
      }
    }
  }
}

// Sums [16 * M rows of w, 16 * N rows of x] of a section, added to y.
template <int M, int N>
void multiply_pair_tiles(Tiles& tiles, const MatmulArgs& args, const RoundedRows& r,
                         const PairWeights& w, std::size_t row, std::size_t n, std::size_t column,
                         std::size_t count) {
  alignas(64) float sums[M * kTileRows16][N * kTileRows16];
  zero_sums<M, N>(tiles);
  const std::size_t w_bytes = w.stride * sizeof(bf16);
  const std::size_t x_bytes = kPairSection * sizeof(bf16);
  add_products<TileProduct::bf16, M, N>(
      tiles, r.steps(), {w.rows + column * w.stride, w_bytes, kTileRowBytes, kTileRows16 * w_bytes},
      {r.x + row * kPairSection, x_bytes, kTileRowBytes, kTileRows16 * x_bytes});
  store_sums<M, N>(tiles, {sums, N * kTileRows16, kTileRows16 * N * kTileRows16, kTileRows16});
  const std::size_t row_end = r.rows - row < N * kTileRows16 ? r.rows - row : N * kTileRows16;
  for (std::size_t i = 0; i < row_end; ++i) {
    float* y = args.y + (r.first_row + row + i) * args.y_stride + n + column;
    for (std::size_t c = 0; c < count; ++c) y[c] = r.k_begin == 0 ? sums[c][i] : y[c] + sums[c][i];
  }
}

template <int M>
void multiply_pair_columns(Tiles& tiles, const MatmulArgs& args, const RoundedRows& r,
                           const PairWeights& w, std::size_t n, std::size_t column,
                           std::size_t count) {
  std::size_t row = 0;
  for (; row + kTileRows16 < r.rows; row += 2 * kTileRows16) {
    multiply_pair_tiles<M, 2>(tiles, args, r, w, row, n, column, count);
  }
  if (row < r.rows) multiply_pair_tiles<M, 1>(tiles, args, r, w, row, n, column, count);
}

// Reads whole tiles of w: 16 rows from the first to the last that holds a column.
void multiply_columns_in_pairs(const MatmulArgs& args, const RoundedRows& r, const PairWeights& w,
                               std::size_t n, std::size_t count) {
  Tiles tiles;
  std::size_t c = 0;
  for (; c + kTileRows16 < count; c += 2 * kTileRows16) {
    const std::size_t left = count - c < 2 * kTileRows16 ? count - c : 2 * kTileRows16;
    multiply_pair_columns<2>(tiles, args, r, w, n, c, left);
  }
  if (c < count) multiply_pair_columns<1>(tiles, args, r, w, n, c, count - c);
}

}  // namespace
}  // namespace ponder::kernels
