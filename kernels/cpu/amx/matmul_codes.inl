// y[m,n] = sum over k of x[m,k] * w[n,k] for packed int8 and int4 weights, in tiles, for more rows
// of x than kStreamedRowsMax. 16 rows of x are a left operand; 16 words of a block of packed
// weights are a right one as they lie, int4 after they were expanded. Two of each meet at once.
//
// A row of sums is a vector of 16 outputs. When a weight group is complete, its sums are scaled and
// added to the totals of 32 columns for all rows of x at hand (12 KiB), in the order of k:
//   total = fma(float(sum), x scale * weight scale, total)
//
// Integers are exact: the bits are those of every other table.

namespace ponder::kernels {
namespace {

constexpr std::size_t kStreamedRowsMax = 4;  // so few rows are left to a table without tiles
constexpr std::size_t kPairColumns = 2 * kScaleRows;
constexpr std::size_t kGroupBlockBytes = kActivationGroup * kScaleRows;  // int8: of one block
static_assert(kLanes == kScaleRows && kQuadWords == 1 && kTileRows16 == kScaleRows);

using PairSums = float[kPairColumns];

// kActivationGroup inputs of one or two blocks of w, and where they stand.
struct WeightTiles {
  const std::int8_t* codes;  // of the first block: 8 KiB tiles of right operands
  std::size_t block_stride;  // bytes to the second block's
  const bf16* scales[2];     // [128 / w_group, kScaleRows]
  std::size_t k;             // of the quantised rows
};

// Adds the finished sums of M by N tiles to the totals.
template <int M, int N>
void add_tile_sums(const QuantisedRows& q, const WeightTiles& w, std::size_t row, std::size_t group,
                   const std::int32_t (&dots)[2 * M][kTileRows16 * kLanes], PairSums* totals) {
  for (int n = 0; n < N; ++n) {
    const Vec w_scale = load(w.scales[n] + group * kScaleRows);
    for (int m = 0; m < M; ++m) {
      for (std::size_t i = 0; i < kTileRows16; ++i) {
        const std::size_t r = row + static_cast<std::size_t>(m) * kTileRows16 + i;
        const Vec scale = mul(broadcast(q.scales[q.group(r, w.k)]), w_scale);
        float* total = totals[r] + static_cast<std::size_t>(n) * kLanes;
        const Vec sum = floats_of_words(dots[2 * m + n] + i * kLanes);
        store(total, fma(sum, scale, load(total)));
      }
    }
  }
}

// 16 * M rows of x from `row` on by N blocks of w.
template <int M, int N>
void multiply_tile_rows(Tiles& tiles, std::size_t w_group, const QuantisedRows& q,
                        const WeightTiles& w, std::size_t row, PairSums* totals) {
  alignas(64) std::int32_t dots[2 * M][kTileRows16 * kLanes];
  const std::size_t inner = w_group < kTileRowBytes ? w_group : kTileRowBytes;
  const auto* x =
      reinterpret_cast<const std::int8_t*>(q.quads) + q.group(row, w.k) * kActivationGroup;
  for (std::size_t begin = 0; begin < kActivationGroup; begin += w_group) {
    zero_sums<M, N>(tiles);
    add_products<TileProduct::int8, M, N>(
        tiles, w_group / inner,
        {x + begin, kActivationGroup, inner, kTileRows16 * kActivationGroup},
        {w.codes + begin * kScaleRows, kTileRowBytes, inner * kScaleRows, w.block_stride});
    constexpr std::size_t kTileWords = kTileRows16 * kLanes;
    store_sums<M, N>(tiles, {dots, kLanes, 2 * kTileWords, kTileWords});
    add_tile_sums<M, N>(q, w, row, begin / w_group, dots, totals);
  }
}

template <int N>
void multiply_tile_columns(Tiles& tiles, std::size_t w_group, const QuantisedRows& q,
                           const WeightTiles& w, PairSums* totals) {
  std::size_t row = 0;
  for (; row + 2 * kTileRows16 <= q.rows_padded; row += 2 * kTileRows16) {
    multiply_tile_rows<2, N>(tiles, w_group, q, w, row, totals);
  }
  if (row < q.rows_padded) multiply_tile_rows<1, N>(tiles, w_group, q, w, row, totals);
}

// The bytes of one or two blocks at input k, expanded to `expanded` if they are int4.
template <int N>
WeightTiles weight_tiles(const MatmulArgs& args, std::size_t block, std::size_t k,
                         std::int8_t* expanded) {
  const std::size_t block_bytes = kScaleRows * args.k / codes_per_byte(args);
  const auto* bytes = static_cast<const std::uint8_t*>(args.w) + block * block_bytes +
                      k / codes_per_byte(args) * kScaleRows;
  WeightTiles w{reinterpret_cast<const std::int8_t*>(bytes), block_bytes, {}, 0};
  for (int n = 0; n < N; ++n) {
    const auto i = static_cast<std::size_t>(n);
    w.scales[n] = args.w_group_scales + ((block + i) * args.k + k) / args.w_group * kScaleRows;
    if (args.w_dtype != DType::int4) continue;
    for (std::size_t byte = 0; byte < kGroupBlockBytes / 2; byte += kBlockWordBytes) {
      expand_int4(bytes + i * block_bytes + byte, expanded + i * kGroupBlockBytes + 2 * byte);
    }
  }
  if (args.w_dtype == DType::int4) {
    w.codes = expanded;
    w.block_stride = kGroupBlockBytes;
  }
  return w;
}

// The quantised rows by N blocks of w, of which only the columns in the range are written.
template <int N>
void multiply_blocks(Tiles& tiles, const MatmulArgs& args, const MatmulRange& range,
                     const QuantisedRows& q, std::size_t block) {
  constexpr std::size_t kColumns = static_cast<std::size_t>(N) * kScaleRows;
  alignas(64) PairSums totals[kCodeRows];
  alignas(64) std::int8_t expanded[2 * kGroupBlockBytes];
  const SumColumns<kColumns> columns(args, range, block * kScaleRows);
  for (std::size_t row = 0; row < q.rows; ++row) {
    columns.load_row(q.first_row + row, q.k_begin == 0, totals[row]);
  }
  for (std::size_t row = q.rows; row < q.rows_padded; ++row) {
    for (std::size_t i = 0; i < kColumns; i += kLanes) store(totals[row] + i, zero());
  }
  for (std::size_t k = 0; k < q.width; k += kActivationGroup) {
    WeightTiles w = weight_tiles<N>(args, block, q.k_begin + k, expanded);
    w.k = k;
    multiply_tile_columns<N>(tiles, args.w_group, q, w, totals);
  }
  for (std::size_t row = 0; row < q.rows; ++row) {
    columns.store_row(q.first_row + row, totals[row]);
  }
}

inline std::size_t whole_tile_rows(const MatmulArgs&, std::size_t rows) {
  return (rows + kTileRows16 - 1) / kTileRows16 * kTileRows16;
}

// Prepared rows that are left to a table without tiles are not padded.
inline std::size_t padded_code_rows(const MatmulArgs& args, std::size_t rows) {
  return args.w_is_packed && rows > kStreamedRowsMax ? whole_tile_rows(args, rows) : rows;
}

void multiply_codes(const MatmulArgs& args, const MatmulRange& range) {
  Tiles tiles(args.w_group < kTileRowBytes ? args.w_group : kTileRowBytes);
  const std::size_t block_end = (range.n_end + kScaleRows - 1) / kScaleRows;
  for (std::size_t m = range.m_begin; m < range.m_end; m += kCodeRows) {
    const std::size_t rows = range.m_end - m < kCodeRows ? range.m_end - m : kCodeRows;
    each_code_section(args, m, rows, whole_tile_rows, [&](const QuantisedRows& q) {
      std::size_t block = range.n_begin / kScaleRows;
      for (; block + 2 <= block_end; block += 2) {
        multiply_blocks<2>(tiles, args, range, q, block);
      }
      if (block < block_end) multiply_blocks<1>(tiles, args, range, q, block);
    });
  }
}

}  // namespace
}  // namespace ponder::kernels
