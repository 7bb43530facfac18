// y[m,n] = sum over k of x[m,k] * w[n,k] for packed BF16 weights: the sums of
// kernels/cpu/matmul.inl, to the bit. Few rows of x meet the weights as they are unpacked in
// registers, a band of 16 rows of w at a time from its first byte to its last, so that a section of
// x in the first-level cache serves four tiles; for many rows sections are unpacked to memory and
// multiplied as bf16.
//
// Cost of 64 weights: a load and a half, seven to nine operations to unpack, four multiply-adds for
// each row of x (AVX-512; with AVX2 twice that).
//
// Bits: as in kernels/cpu/matmul.inl. The weights are the same, each sum is the same chain over k,
// and columns that a block lacks are not multiplied.

namespace ponder::kernels {
namespace {

// Up to so many rows of x weights are unpacked in registers, for each tile of them again.
constexpr std::size_t kPackedFewRows = 5;
constexpr std::size_t kPackedAheadBytes = 4096;  // as kStreamAheadBytes
static_assert(kSection == kPackedSection && kPackedColumns % kLanes == 0);

// Adds the products of `count` columns, which lie as bf16 in rows `stride` apart.
template <int MR, int NR>
inline __attribute__((always_inline)) void multiply_raw(const bf16* rows, std::size_t stride,
                                                        std::size_t count,
                                                        const float* const (&x)[MR],
                                                        Vec (&sums)[MR][NR]) {
  const bf16* w[NR];
  for (int j = 0; j < NR; ++j) w[j] = rows + static_cast<std::size_t>(j) * stride;
  const Vec unscaled[NR] = {};
  std::size_t k = 0;
  for (; k + kLanes <= count; k += kLanes) {
    multiply_step<bf16, MR, NR, true>(x, w, unscaled, k, kLanes, sums);
  }
  if (k < count) multiply_step<bf16, MR, NR, false>(x, w, unscaled, k, count - k, sums);
}

// J is a constant, so that the sums stay in registers.
template <int MR, int NR, int J>
inline __attribute__((always_inline)) void multiply_row(const PairOfRows& pair,
                                                        const float* const (&x)[MR],
                                                        Vec (&sums)[MR][NR]) {
  each_vector<J % 2>(pair, [&](std::size_t column, Vec weights) __attribute__((always_inline)) {
#pragma GCC unroll 8
    for (int i = 0; i < MR; ++i) sums[i][J] = fma(load(x[i] + column), weights, sums[i][J]);
  });
}

// The pairs of a block from `pairs` on, as many as there are sums for.
template <int MR, int NR>
inline __attribute__((always_inline)) void multiply_pairs_of_rows(const std::uint8_t* pairs,
                                                                  UpperBytes table,
                                                                  const float* const (&x)[MR],
                                                                  Vec (&sums)[MR][NR]) {
  const PairOfRows first = load_pair_of_rows(pairs, table);
  multiply_row<MR, NR, 0>(first, x, sums);
  multiply_row<MR, NR, 1>(first, x, sums);
  if constexpr (NR > 2) {
    const PairOfRows second = load_pair_of_rows(pairs + kPackedPairBytes, table);
    multiply_row<MR, NR, 2>(second, x, sums);
    multiply_row<MR, NR, 3>(second, x, sums);
  }
}

// The sums of rows m to m + MR of x with rows first_row to first_row + NR of a part.
template <int MR, int NR>
inline __attribute__((always_inline)) void add_part(const MatmulArgs& args, const Section& section,
                                                    const PackedPart& part, std::size_t m,
                                                    std::size_t first_row, Vec (&sums)[MR][NR]) {
  const float* x[MR];
#pragma GCC unroll 8
  for (int i = 0; i < MR; ++i) {
    x[i] = args.x + (m + static_cast<std::size_t>(i)) * args.x_stride + section.k_begin;
    for (Vec& sum : sums[i]) sum = zero();
  }
  const std::uint8_t* at = part.at;
  for (std::size_t block = 0; block < part.blocks; ++block) {
    const std::uint8_t window = part.windows[block];
    for (std::size_t line = 0; line < kPackedBlockBytes; line += 64) {
      __builtin_prefetch(at + kPackedAheadBytes + line);
    }
    if (window == kPackedRaw) {
      const bf16* rows = reinterpret_cast<const bf16*>(at) + first_row * kPackedColumns;
      multiply_raw(rows, kPackedColumns, kPackedColumns, x, sums);
    } else {
      multiply_pairs_of_rows(at + first_row / 2 * kPackedPairBytes, upper_bytes(window), x, sums);
    }
    at += block_bytes(window);
    for (int i = 0; i < MR; ++i) x[i] += kPackedColumns;
  }
  if (part.columns_left > 0) {
    const bf16* rows = reinterpret_cast<const bf16*>(at) + first_row * part.columns_left;
    multiply_raw(rows, part.columns_left, part.columns_left, x, sums);
  }
}

// Columns [n, n + 4) of y, of which those outside the range are left alone.
inline void add_columns(const MatmulRange& range, std::size_t n, bool is_first, __m128 sum,
                        float* y) {
  if (n >= range.n_begin && n + kPackedRows <= range.n_end) {
    _mm_storeu_ps(y, is_first ? sum : _mm_add_ps(_mm_loadu_ps(y), sum));
    return;
  }
  float columns[kPackedRows];
  _mm_storeu_ps(columns, sum);
  for (std::size_t j = 0; j < kPackedRows; ++j) {
    if (n + j < range.n_begin || n + j >= range.n_end) continue;
    y[j] = is_first ? columns[j] : y[j] + columns[j];
  }
}

template <int MR>
void multiply_part(const MatmulArgs& args, const MatmulRange& range, const Section& section,
                   const PackedPart& part, std::size_t m, std::size_t n) {
  __m128 totals[MR];
  if constexpr (MR <= kPackedTileRowsWide) {
    Vec sums[MR][4];
    add_part(args, section, part, m, 0, sums);
#pragma GCC unroll 8
    for (int i = 0; i < MR; ++i) {
      totals[i] = sum4(sums[i][0], sums[i][1], sums[i][2], sums[i][3]);
    }
  } else {
    Vec first[MR][2];
    add_part(args, section, part, m, 0, first);
#pragma GCC unroll 8
    for (int i = 0; i < MR; ++i) totals[i] = sum4(first[i][0], first[i][1], zero(), zero());
    Vec second[MR][2];
    add_part(args, section, part, m, 2, second);
#pragma GCC unroll 8
    for (int i = 0; i < MR; ++i) {
      const __m128 sum = sum4(second[i][0], second[i][1], zero(), zero());
      totals[i] = _mm_movelh_ps(totals[i], sum);
    }
  }
#pragma GCC unroll 8
  for (int i = 0; i < MR; ++i) {
    float* y = args.y + (m + static_cast<std::size_t>(i)) * args.y_stride + n;
    add_columns(range, n, section.is_first, totals[i], y);
  }
}

// All rows of x from m on, MR at a time and then those that are left: one instantiation per count.
template <int MR>
void multiply_part_rows(const MatmulArgs& args, const MatmulRange& range, const Section& section,
                        const PackedPart& part, std::size_t m, std::size_t n) {
  if constexpr (MR > 0) {
    for (; m + MR <= range.m_end; m += MR) multiply_part<MR>(args, range, section, part, m, n);
    multiply_part_rows<MR - 1>(args, range, section, part, m, n);
  }
}

// The weights of a part as bf16, rows `stride` apart.
void unpack_part(const PackedPart& part, std::size_t stride, bf16* unpacked) {
  const std::uint8_t* at = part.at;
  for (std::size_t block = 0; block < part.blocks; ++block, unpacked += kPackedColumns) {
    const std::uint8_t window = part.windows[block];
    for (std::size_t line = 0; line < kPackedBlockBytes; line += 64) {
      __builtin_prefetch(at + kPackedAheadBytes + line);
    }
    if (window == kPackedRaw) {
      for (std::size_t row = 0; row < kPackedRows; ++row) {
        const std::uint8_t* raw = at + row * kPackedColumns * sizeof(bf16);
        __builtin_memcpy(unpacked + row * stride, raw, kPackedColumns * sizeof(bf16));
      }
    } else {
      const UpperBytes table = upper_bytes(window);
      const PairOfRows first = load_pair_of_rows(at, table);
      const PairOfRows second = load_pair_of_rows(at + kPackedPairBytes, table);
      store_row<0>(first, unpacked);
      store_row<1>(first, unpacked + stride);
      store_row<0>(second, unpacked + 2 * stride);
      store_row<1>(second, unpacked + 3 * stride);
    }
    at += block_bytes(window);
  }
  const std::size_t bytes = part.columns_left * sizeof(bf16);
  for (std::size_t row = 0; row < kPackedRows; ++row) {
    __builtin_memcpy(unpacked + row * stride, at + row * bytes, bytes);
  }
}

inline std::size_t band_end(const MatmulArgs& args, std::size_t begin) {
  return args.n - begin < kPackedBandRows ? args.n : begin + kPackedBandRows;
}

// Few rows of x by the band that begins at row n of w.
void multiply_band(const MatmulArgs& args, const MatmulRange& range, std::size_t n) {
  const std::size_t end = band_end(args, n);
  PackedBand parts(args, n / kPackedBandRows);
  std::size_t k = 0;
  do {
    const Section section = section_at(args, k);
    parts.begin_section(k);
    for (std::size_t row = n; row < end; row += kPackedRows, parts.next_stripe()) {
      if (row >= range.n_end || row + kPackedRows <= range.n_begin) continue;
      multiply_part_rows<kPackedTileRows>(args, range, section, parts.part(), range.m_begin, row);
    }
    k = section.k_end;
  } while (k < args.k);
}

// Weights that are unpacked at once: as many as a tile of the widest section has in eight rows, so
// that they and a tile's rows of x stay in the first-level cache. All rows of x pass by them, so
// the rows of narrower sections are unpacked by more bands for each pass.
constexpr std::size_t kUnpackedRows = 8;
constexpr std::size_t kUnpackedWeights = kUnpackedRows * kSection;
constexpr std::size_t kUnpackedAlignment = kPackedAlignment / sizeof(bf16);

// How rows lie that are unpacked together.
struct UnpackedRows {
  explicit UnpackedRows(const Section& section)
      : stride((section.k_end - section.k_begin + kUnpackedAlignment - 1) / kUnpackedAlignment *
               kUnpackedAlignment) {
    const std::size_t of_a_band = kPackedBandRows * stride;
    if (of_a_band == 0 || of_a_band > kUnpackedWeights) return;
    rows = kUnpackedWeights / of_a_band * kPackedBandRows;
  }
  std::size_t stride;
  std::size_t rows = kUnpackedRows;  // else whole bands
};

// Goes through the stripes of w from one band to the next, in one section.
class PackedStripes {
 public:
  // Requires: n begins a band.
  PackedStripes(const MatmulArgs& args, std::size_t k, std::size_t n)
      : args_(args), k_(k), row_(n), band_(args, n / kPackedBandRows) {}
  // Unpacks the part of the next four rows.
  void unpack_next(std::size_t stride, bf16* unpacked) {
    if (row_ % kPackedBandRows == 0) {
      const std::size_t rows = band_end(args_, row_) - row_;
      band_ = PackedBand(args_, row_ / kPackedBandRows);
      band_.seek(k_, (rows + kPackedRows - 1) / kPackedRows);
    }
    unpack_part(band_.part(), stride, unpacked);
    band_.next_stripe();
    row_ += kPackedRows;
  }

 private:
  const MatmulArgs& args_;
  std::size_t k_;
  std::size_t row_;
  PackedBand band_;
};

// Many rows of x by a section of w.
void multiply_section_unpacked(const MatmulArgs& args, const MatmulRange& range,
                               const Section& section) {
  alignas(64) bf16 unpacked[kUnpackedWeights];
  const UnpackedRows together(section);
  const std::size_t begin = range.n_begin / kPackedBandRows * kPackedBandRows;
  PackedStripes stripes(args, section.k_begin, begin);
  for (std::size_t n = begin; n < range.n_end; n += together.rows) {
    const std::size_t end = range.n_end - n < together.rows ? range.n_end : n + together.rows;
    for (std::size_t row = n; row < end; row += kPackedRows) {
      stripes.unpack_next(together.stride, unpacked + (row - n) * together.stride);
    }
    const std::size_t first = n < range.n_begin ? range.n_begin : n;
    if (first >= end) continue;
    MatmulArgs part = args;
    part.y = args.y + first;
    part.x = args.x + section.k_begin;
    part.w = unpacked + (first - n) * together.stride;
    part.w_stride = together.stride;
    multiply_section<bf16>(part, {range.m_begin, range.m_end, 0, end - first},
                           {0, section.k_end - section.k_begin, section.is_first});
  }
}

void multiply_packed(const MatmulArgs& args, const MatmulRange& range) {
  if (range.m_end - range.m_begin <= kPackedFewRows) {
    const std::size_t begin = range.n_begin / kPackedBandRows * kPackedBandRows;
    for (std::size_t n = begin; n < range.n_end; n += kPackedBandRows) {
      multiply_band(args, range, n);
    }
    return;
  }
  std::size_t k = 0;
  do {
    const Section section = section_at(args, k);
    multiply_section_unpacked(args, range, section);
    k = section.k_end;
  } while (k < args.k);
}

}  // namespace
}  // namespace ponder::kernels
