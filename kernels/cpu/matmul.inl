// y[m,n] = sum over k of x[m,k] * w[n,k]
//
// A tile is up to kTileRows rows of x by 4 or 8 rows of w. Its sums live in registers, one vector
// each, with the lanes along k: both operands are read as they lie in memory, so a checkpoint can
// be used where it is mapped. Loads per multiply-add: 10/24 (6 x 4), and for one row of x the
// weights are streamed once.
//
// Bits: every sum is one chain of multiply-adds over k in steps of kLanes, folded by sum4, in
// sections of kSection that are added in order. None of that depends on the tile.

namespace ponder::kernels {
namespace {

// 6 rows of x in fp32 (24 KiB) stay in the first-level cache while the rows of w pass by.
constexpr std::size_t kSection = 1024;
static_assert(kSection % kFp8BlockSize == 0 && kFp8BlockSize % kLanes == 0);

template <class W>
inline const W* weight_row(const MatmulArgs& args, std::size_t n) {
  return static_cast<const W*>(args.w) + n * args.w_stride;
}

// What a stretch of a weight row is multiplied by; one for unscaled types.
inline Vec weight_scale(const MatmulArgs& args, std::size_t n, std::size_t k) {
  const float* row = args.w_scales + n / kFp8BlockSize * args.w_scales_stride;
  return broadcast(row[k / kFp8BlockSize] * kFp8Factor);
}

template <class W>
constexpr bool kIsScaled = sizeof(W) == 1;

// With more rows of x than these other tiles have brought the weights into some cache.
constexpr int kRowsFromMemory = 4;

// Asks for what the next tile will read at k. The processor foresees little of it: a section of a
// weight row ends before it has seen where the row leads.
template <class W, int NR>
inline __attribute__((always_inline)) void prefetch_next(const W* const (&w)[NR],
                                                         std::size_t w_stride, std::size_t k) {
  for (int j = 0; j < NR; ++j) __builtin_prefetch(w[j] + NR * w_stride + k);
}

// Adds the products of [k, k + 2 * kLanes) to all sums of the tile, in the order of k.
template <class W, int MR, int NR>
inline __attribute__((always_inline)) void multiply_pair(const float* const (&x)[MR],
                                                         const W* const (&w)[NR],
                                                         const Vec (&scales)[NR], std::size_t k,
                                                         Vec (&sums)[MR][NR]) {
  for (int j = 0; j < NR; ++j) {
    Pair weights = load_pair(w[j] + k);
    if constexpr (kIsScaled<W>) {
      weights = {mul(weights.first, scales[j]), mul(weights.second, scales[j])};
    }
    for (int i = 0; i < MR; ++i) sums[i][j] = fma(load(x[i] + k), weights.first, sums[i][j]);
    for (int i = 0; i < MR; ++i) {
      sums[i][j] = fma(load(x[i] + k + kLanes), weights.second, sums[i][j]);
    }
  }
}

// The same for [k, k + kLanes), or the first `count` of them.
template <class W, int MR, int NR, bool kWhole>
inline __attribute__((always_inline)) void multiply_step(const float* const (&x)[MR],
                                                         const W* const (&w)[NR],
                                                         const Vec (&scales)[NR], std::size_t k,
                                                         std::size_t count, Vec (&sums)[MR][NR]) {
  Vec xs[MR];
  for (int i = 0; i < MR; ++i) {
    if constexpr (kWhole) {
      xs[i] = load(x[i] + k);
    } else {
      xs[i] = load_some(x[i] + k, count);
    }
  }
  for (int j = 0; j < NR; ++j) {
    Vec weights;
    if constexpr (kWhole) {
      weights = load(w[j] + k);
    } else {
      weights = load_some(w[j] + k, count);
    }
    if constexpr (kIsScaled<W>) weights = mul(weights, scales[j]);
    for (int i = 0; i < MR; ++i) sums[i][j] = fma(xs[i], weights, sums[i][j]);
  }
}

// y = sums, or y += sums for the later sections.
template <int MR, int NR>
inline __attribute__((always_inline)) void store_tile(const MatmulArgs& args, std::size_t m,
                                                      std::size_t n, bool is_first,
                                                      const Vec (&sums)[MR][NR]) {
  for (int i = 0; i < MR; ++i) {
    float* y = args.y + (m + static_cast<std::size_t>(i)) * args.y_stride + n;
    if constexpr (NR == 1) {
      const float sum = _mm_cvtss_f32(sum4(sums[i][0], zero(), zero(), zero()));
      *y = is_first ? sum : *y + sum;
    } else {
      for (int j = 0; j < NR; j += 4) {
        __m128 sum = sum4(sums[i][j], sums[i][j + 1], sums[i][j + 2], sums[i][j + 3]);
        if (!is_first) sum = _mm_add_ps(_mm_loadu_ps(y + j), sum);
        _mm_storeu_ps(y + j, sum);
      }
    }
  }
}

// The part of k that a tile adds up in one go.
struct Section {
  std::size_t k_begin;
  std::size_t k_end;
  bool is_first;  // y is written, not added to
};

inline Section section_at(const MatmulArgs& args, std::size_t k) {
  return {k, args.k - k > kSection ? k + kSection : args.k, k == 0};
}

template <class W, int MR, int NR>
void multiply_tile(const MatmulArgs& args, std::size_t m, std::size_t n, const Section& section) {
  std::size_t k = section.k_begin;
  const float* x[MR];
  const W* w[NR];
  Vec scales[NR];
  Vec sums[MR][NR];
  for (int i = 0; i < MR; ++i) x[i] = args.x + (m + static_cast<std::size_t>(i)) * args.x_stride;
  for (int j = 0; j < NR; ++j) w[j] = weight_row<W>(args, n + static_cast<std::size_t>(j));
  for (int i = 0; i < MR; ++i) {
    for (int j = 0; j < NR; ++j) sums[i][j] = zero();
  }
  while (k < section.k_end) {
    std::size_t end = section.k_end;
    if constexpr (kIsScaled<W>) {
      if (end - k > kFp8BlockSize) end = k + kFp8BlockSize;
      for (int j = 0; j < NR; ++j) {
        scales[j] = weight_scale(args, n + static_cast<std::size_t>(j), k);
      }
    }
    if constexpr (kIsScaled<W>) {
      for (; k + 2 * kLanes <= end; k += 2 * kLanes) {
        prefetch_next(w, args.w_stride, k);
        multiply_pair<W, MR, NR>(x, w, scales, k, sums);
      }
    }
    for (; k + kLanes <= end; k += kLanes) {
      if constexpr (MR <= kRowsFromMemory) prefetch_next(w, args.w_stride, k);
      multiply_step<W, MR, NR, true>(x, w, scales, k, kLanes, sums);
    }
    if (k < end) {
      multiply_step<W, MR, NR, false>(x, w, scales, k, end - k, sums);
      k = end;
    }
  }
  store_tile<MR, NR>(args, m, n, section.is_first, sums);
}

template <class W, int MR>
void multiply_rows(const MatmulArgs& args, std::size_t m, const MatmulRange& range,
                   const Section& section) {
  std::size_t n = range.n_begin;
  if constexpr (MR <= kTileRowsWide) {
    for (; n + 8 <= range.n_end; n += 8) multiply_tile<W, MR, 8>(args, m, n, section);
  }
  for (; n + 4 <= range.n_end; n += 4) multiply_tile<W, MR, 4>(args, m, n, section);
  for (; n < range.n_end; ++n) multiply_tile<W, MR, 1>(args, m, n, section);
}

// The last rows, fewer than a full tile: one instantiation per count.
template <class W, int MR>
void multiply_last_rows(const MatmulArgs& args, std::size_t m, const MatmulRange& range,
                        const Section& section) {
  if constexpr (MR > 0) {
    if (range.m_end - m == MR) {
      multiply_rows<W, MR>(args, m, range, section);
    } else {
      multiply_last_rows<W, MR - 1>(args, m, range, section);
    }
  }
}

template <class W>
void multiply_section(const MatmulArgs& args, const MatmulRange& range, const Section& section) {
  std::size_t m = range.m_begin;
  for (; m + kTileRows <= range.m_end; m += kTileRows) {
    multiply_rows<W, kTileRows>(args, m, range, section);
  }
  multiply_last_rows<W, kTileRows - 1>(args, m, range, section);
}

template <class W>
void multiply(const MatmulArgs& args, const MatmulRange& range) {
  std::size_t k = 0;
  do {
    const Section section = section_at(args, k);
    multiply_section<W>(args, range, section);
    k = section.k_end;
  } while (k < args.k);
}

// Rows of w that are decoded at once when several tiles of x will use them.
constexpr std::size_t kDecodedRows = 32;
constexpr std::size_t kDecodedRowsAhead = 4;  // about the time that memory takes to answer

// The weights of rows [n, n_end), as the tiles would decode them, kSection apart.
void decode_fp8(const MatmulArgs& args, std::size_t n, std::size_t n_end, const Section& section,
                float* decoded) {
  for (; n < n_end; ++n, decoded += kSection) {
    const fp8_e4m3* row = weight_row<fp8_e4m3>(args, n);
    float* to = decoded;
    std::size_t k = section.k_begin;
    while (k < section.k_end) {
      const Vec scale = weight_scale(args, n, k);
      const std::size_t end = section.k_end - k > kFp8BlockSize ? k + kFp8BlockSize : section.k_end;
      for (; k + 2 * kLanes <= end; k += 2 * kLanes, to += 2 * kLanes) {
        __builtin_prefetch(row + kDecodedRowsAhead * args.w_stride + k);
        const Pair weights = load_pair(row + k);
        store(to, mul(weights.first, scale));
        store(to + kLanes, mul(weights.second, scale));
      }
      for (; k < end; k += kLanes, to += kLanes) {
        const std::size_t count = end - k;
        const Vec weights = count < kLanes ? load_some(row + k, count) : load(row + k);
        store(to, mul(weights, scale));
      }
    }
  }
}

// fp8 by way of fp32: the same bits as multiply<fp8_e4m3>.
void multiply_decoded(const MatmulArgs& args, const MatmulRange& range) {
  float decoded[kDecodedRows * kSection];
  std::size_t k = 0;
  do {
    const Section section = section_at(args, k);
    for (std::size_t n = range.n_begin; n < range.n_end; n += kDecodedRows) {
      const std::size_t left = range.n_end - n;
      const std::size_t rows = left < kDecodedRows ? left : kDecodedRows;
      decode_fp8(args, n, n + rows, section, decoded);
      MatmulArgs part = args;
      part.y = args.y + n;
      part.x = args.x + section.k_begin;
      part.w = decoded;
      part.w_stride = kSection;
      multiply_section<float>(part, {range.m_begin, range.m_end, 0, rows},
                              {0, section.k_end - section.k_begin, section.is_first});
    }
    k = section.k_end;
  } while (k < args.k);
}

}  // namespace
}  // namespace ponder::kernels
