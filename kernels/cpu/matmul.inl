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

// Adds the products of [k, k + kLanes), or of the first `count` of them, to all sums of the tile.
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

template <class W, int MR, int NR>
void multiply_tile(const MatmulArgs& args, std::size_t m, std::size_t n, std::size_t k,
                   std::size_t k_end) {
  const bool is_first = k == 0;
  const float* x[MR];
  const W* w[NR];
  Vec scales[NR];
  Vec sums[MR][NR];
  for (int i = 0; i < MR; ++i) x[i] = args.x + (m + static_cast<std::size_t>(i)) * args.x_stride;
  for (int j = 0; j < NR; ++j) w[j] = weight_row<W>(args, n + static_cast<std::size_t>(j));
  for (int i = 0; i < MR; ++i) {
    for (int j = 0; j < NR; ++j) sums[i][j] = zero();
  }
  while (k < k_end) {
    std::size_t end = k_end;
    if constexpr (kIsScaled<W>) {
      if (end - k > kFp8BlockSize) end = k + kFp8BlockSize;
      for (int j = 0; j < NR; ++j) {
        scales[j] = weight_scale(args, n + static_cast<std::size_t>(j), k);
      }
    }
    for (; k + kLanes <= end; k += kLanes) {
      multiply_step<W, MR, NR, true>(x, w, scales, k, kLanes, sums);
    }
    if (k < end) {
      multiply_step<W, MR, NR, false>(x, w, scales, k, end - k, sums);
      k = end;
    }
  }
  store_tile<MR, NR>(args, m, n, is_first, sums);
}

struct MatmulRange {
  std::size_t m_begin;
  std::size_t m_end;
  std::size_t n_begin;
  std::size_t n_end;
};

template <class W, int MR>
void multiply_rows(const MatmulArgs& args, std::size_t m, const MatmulRange& range, std::size_t k,
                   std::size_t k_end) {
  std::size_t n = range.n_begin;
  if constexpr (MR <= kTileRowsWide) {
    for (; n + 8 <= range.n_end; n += 8) multiply_tile<W, MR, 8>(args, m, n, k, k_end);
  }
  for (; n + 4 <= range.n_end; n += 4) multiply_tile<W, MR, 4>(args, m, n, k, k_end);
  for (; n < range.n_end; ++n) multiply_tile<W, MR, 1>(args, m, n, k, k_end);
}

// The last rows, fewer than a full tile: one instantiation per count.
template <class W, int MR>
void multiply_last_rows(const MatmulArgs& args, std::size_t m, const MatmulRange& range,
                        std::size_t k, std::size_t k_end) {
  if constexpr (MR > 0) {
    if (range.m_end - m == MR) {
      multiply_rows<W, MR>(args, m, range, k, k_end);
    } else {
      multiply_last_rows<W, MR - 1>(args, m, range, k, k_end);
    }
  }
}

template <class W>
void multiply(const MatmulArgs& args, const MatmulRange& range) {
  std::size_t k = 0;
  do {
    const std::size_t k_end = args.k - k > kSection ? k + kSection : args.k;
    std::size_t m = range.m_begin;
    for (; m + kTileRows <= range.m_end; m += kTileRows) {
      multiply_rows<W, kTileRows>(args, m, range, k, k_end);
    }
    multiply_last_rows<W, kTileRows - 1>(args, m, range, k, k_end);
    k = k_end;
  } while (k < args.k);
}

void matmul(const MatmulArgs& args, std::size_t m_begin, std::size_t m_end, std::size_t n_begin,
            std::size_t n_end) noexcept {
  const MatmulRange range{m_begin, m_end, n_begin, n_end};
  if (args.w_dtype == DType::f32) {
    multiply<float>(args, range);
  } else if (args.w_dtype == DType::bf16) {
    multiply<bf16>(args, range);
  } else {
    multiply<fp8_e4m3>(args, range);
  }
}

}  // namespace
}  // namespace ponder::kernels
