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

constexpr std::size_t kPackedAheadBytes = 4096;  // as kStreamAheadBytes
static_assert(kSection == kPackedSection && kPackedColumns % kLanes == 0);

// Adds the products of `count` columns, which lie as bf16 in rows `stride` apart.
template <int MR>
inline __attribute__((always_inline)) void multiply_raw(const bf16* rows, std::size_t stride,
                                                        std::size_t count,
                                                        const float* const (&x)[MR],
                                                        Vec (&sums)[MR][kPackedRows]) {
  const bf16* w[kPackedRows];
  for (std::size_t j = 0; j < kPackedRows; ++j) w[j] = rows + j * stride;
  const Vec unscaled[kPackedRows] = {};
  std::size_t k = 0;
  for (; k + kLanes <= count; k += kLanes) {
    multiply_step<bf16, MR, kPackedRows, true>(x, w, unscaled, k, kLanes, sums);
  }
  if (k < count) multiply_step<bf16, MR, kPackedRows, false>(x, w, unscaled, k, count - k, sums);
}

// The pair's and the row's numbers are constants, so that the sums stay in registers.
template <int MR, std::size_t J>
inline __attribute__((always_inline)) void multiply_row(const PairOfRows& pair,
                                                        const float* const (&x)[MR],
                                                        Vec (&sums)[MR][kPackedRows]) {
  each_vector<J % 2>(pair, [&](std::size_t column, Vec weights) __attribute__((always_inline)) {
#pragma GCC unroll 8
    for (int i = 0; i < MR; ++i) sums[i][J] = fma(load(x[i] + column), weights, sums[i][J]);
  });
}

template <int MR>
inline __attribute__((always_inline)) void multiply_block(const std::uint8_t* block,
                                                          UpperBytes table,
                                                          const float* const (&x)[MR],
                                                          Vec (&sums)[MR][kPackedRows]) {
  const PairOfRows first = load_pair_of_rows(block, table);
  multiply_row<MR, 0>(first, x, sums);
  multiply_row<MR, 1>(first, x, sums);
  const PairOfRows second = load_pair_of_rows(block + kPackedPairBytes, table);
  multiply_row<MR, 2>(second, x, sums);
  multiply_row<MR, 3>(second, x, sums);
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
  const float* x[MR];
  Vec sums[MR][kPackedRows];
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
      multiply_raw<MR>(reinterpret_cast<const bf16*>(at), kPackedColumns, kPackedColumns, x, sums);
    } else {
      multiply_block<MR>(at, upper_bytes(window), x, sums);
    }
    at += block_bytes(window);
    for (int i = 0; i < MR; ++i) x[i] += kPackedColumns;
  }
  if (part.columns_left > 0) {
    const auto* rows = reinterpret_cast<const bf16*>(at);
    multiply_raw<MR>(rows, part.columns_left, part.columns_left, x, sums);
  }
#pragma GCC unroll 8
  for (int i = 0; i < MR; ++i) {
    add_columns(range, n, section.is_first, sum4(sums[i][0], sums[i][1], sums[i][2], sums[i][3]),
                args.y + (m + static_cast<std::size_t>(i)) * args.y_stride + n);
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

// The weights of a part, kSection apart.
void unpack_part(const PackedPart& part, float* unpacked) {
  const std::uint8_t* at = part.at;
  std::size_t k = 0;
  for (std::size_t block = 0; block < part.blocks; ++block, k += kPackedColumns) {
    const std::uint8_t window = part.windows[block];
    const auto* raw = reinterpret_cast<const bf16*>(at);
    for (std::size_t pair = 0; pair < kPackedRows / 2; ++pair) {
      float* first = unpacked + 2 * pair * kSection + k;
      float* second = first + kSection;
      if (window == kPackedRaw) {
        for (std::size_t i = 0; i < kPackedColumns; i += kLanes) {
          store(first + i, load(raw + 2 * pair * kPackedColumns + i));
          store(second + i, load(raw + (2 * pair + 1) * kPackedColumns + i));
        }
        continue;
      }
      const PairOfRows rows = load_pair_of_rows(at + pair * kPackedPairBytes, upper_bytes(window));
      each_vector<0>(rows,
                     [&](std::size_t column, Vec weights) { store(first + column, weights); });
      each_vector<1>(rows,
                     [&](std::size_t column, Vec weights) { store(second + column, weights); });
    }
    at += block_bytes(window);
  }
  for (std::size_t j = 0; j < kPackedRows; ++j) {
    const bf16* rest = reinterpret_cast<const bf16*>(at) + j * part.columns_left;
    float* to = unpacked + j * kSection + k;
    for (std::size_t i = 0; i < part.columns_left; i += kLanes) {
      const std::size_t left = part.columns_left - i;
      store(to + i, left < kLanes ? load_some(rest + i, left) : load(rest + i));
    }
  }
}

// The same products by way of memory, for more rows of x than it takes to unpack in registers once.
void multiply_part_unpacked(const MatmulArgs& args, const MatmulRange& range,
                            const Section& section, const PackedPart& part, std::size_t n) {
  alignas(64) float unpacked[kPackedRows * kSection];
  unpack_part(part, unpacked);
  const std::size_t begin = n < range.n_begin ? range.n_begin : n;
  const std::size_t end = n + kPackedRows < range.n_end ? n + kPackedRows : range.n_end;
  MatmulArgs rows = args;
  rows.y = args.y + begin;
  rows.x = args.x + section.k_begin;
  rows.w = unpacked + (begin - n) * kSection;
  rows.w_stride = kSection;
  multiply_section<float>(rows, {range.m_begin, range.m_end, 0, end - begin},
                          {0, section.k_end - section.k_begin, section.is_first});
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
      if (range.m_end - range.m_begin > kPackedDirectRows) {
        multiply_part_unpacked(args, range, section, parts.part(), row);
      } else {
        multiply_part_rows<kPackedTileRows>(args, range, section, parts.part(), range.m_begin, row);
      }
    }
    k = section.k_end;
  } while (k < args.k);
}

// Many rows of x by a section of the band that begins at row n of w.
void multiply_band_unpacked(const MatmulArgs& args, const MatmulRange& range,
                            const Section& section, std::size_t n) {
  const std::size_t end = band_end(args, n);
  alignas(64) float unpacked[kPackedBandRows * kSection];
  PackedBand parts(args, n / kPackedBandRows);
  parts.seek(section.k_begin, (end - n + kPackedRows - 1) / kPackedRows);
  for (std::size_t row = n; row < end; row += kPackedRows, parts.next_stripe()) {
    unpack_part(parts.part(), unpacked + (row - n) * kSection);
  }
  const std::size_t first = n < range.n_begin ? range.n_begin : n;
  MatmulArgs part = args;
  part.y = args.y + first;
  part.x = args.x + section.k_begin;
  part.w = unpacked + (first - n) * kSection;
  part.w_stride = kSection;
  const std::size_t columns = (end < range.n_end ? end : range.n_end) - first;
  multiply_section<float>(part, {range.m_begin, range.m_end, 0, columns},
                          {0, section.k_end - section.k_begin, section.is_first});
}

void multiply_packed(const MatmulArgs& args, const MatmulRange& range) {
  const std::size_t begin = range.n_begin / kPackedBandRows * kPackedBandRows;
  if (range.m_end - range.m_begin <= kPackedFewRows) {
    for (std::size_t n = begin; n < range.n_end; n += kPackedBandRows) {
      multiply_band(args, range, n);
    }
    return;
  }
  std::size_t k = 0;
  do {
    const Section section = section_at(args, k);
    for (std::size_t n = begin; n < range.n_end; n += kPackedBandRows) {
      multiply_band_unpacked(args, range, section, n);
    }
    k = section.k_end;
  } while (k < args.k);
}

}  // namespace
}  // namespace ponder::kernels
