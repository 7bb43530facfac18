// The exact best k of n scores: quickselect on order-preserving integers, 16 at a time.
//
// Each round counts the candidates above and at a pivot and keeps the side that holds the k-th
// largest, so that about 4 n values are read in all. A last pass over the scores writes the
// positions in ascending order, equal scores from the lowest position on.

namespace ponder::kernels {
namespace {

constexpr std::uint32_t kImageOfMinusInfinity = 0x007fffff;

struct Images {
  __m512i values;
  __mmask16 nan;
};

// Maps scores to unsigned integers of the same order: -inf (and NaN) lowest, both zeros equal.
inline Images order_images(Vec scores) {
  const __mmask16 zero_mask = _mm512_cmp_ps_mask(scores.v, _mm512_setzero_ps(), _CMP_EQ_OQ);
  const __mmask16 nan = _mm512_cmp_ps_mask(scores.v, scores.v, _CMP_UNORD_Q);
  const __m512i all = _mm512_castps_si512(scores.v);
  const __m512i bits = _mm512_mask_mov_epi32(all, zero_mask, _mm512_setzero_si512());
  const __m512i sign = _mm512_srai_epi32(bits, 31);
  const __m512i top = _mm512_set1_epi32(static_cast<int>(0x80000000u));
  const __m512i images = _mm512_xor_si512(bits, _mm512_or_si512(sign, top));
  return {_mm512_mask_mov_epi32(images, nan, _mm512_set1_epi32(kImageOfMinusInfinity)), nan};
}

// The lanes of the block at i that exist.
inline __mmask16 lanes_at(std::size_t i, std::size_t n) {
  return n - i < kLanes ? first_lanes(n - i) : static_cast<__mmask16>(0xffff);
}

inline std::size_t count_bits(__mmask16 mask) {
  return static_cast<std::size_t>(__builtin_popcount(mask));
}

struct Counts {
  std::size_t above;
  std::size_t equal;
};

Counts count_against(const std::uint32_t* images, std::size_t n, std::uint32_t pivot) {
  const __m512i pivots = _mm512_set1_epi32(static_cast<int>(pivot));
  Counts counts{};
  for (std::size_t i = 0; i < n; i += kLanes) {
    const __mmask16 lanes = lanes_at(i, n);
    const __m512i values = _mm512_maskz_loadu_epi32(lanes, images + i);
    counts.above += count_bits(_mm512_mask_cmpgt_epu32_mask(lanes, values, pivots));
    counts.equal += count_bits(_mm512_mask_cmpeq_epi32_mask(lanes, values, pivots));
  }
  return counts;
}

// Moves the values above (or below) the pivot to the front and returns their number.
std::size_t keep_side(std::uint32_t* images, std::size_t n, std::uint32_t pivot, bool is_above) {
  const __m512i pivots = _mm512_set1_epi32(static_cast<int>(pivot));
  std::size_t kept = 0;
  for (std::size_t i = 0; i < n; i += kLanes) {
    const __mmask16 lanes = lanes_at(i, n);
    const __m512i values = _mm512_maskz_loadu_epi32(lanes, images + i);
    const __mmask16 keep = is_above ? _mm512_mask_cmpgt_epu32_mask(lanes, values, pivots)
                                    : _mm512_mask_cmplt_epu32_mask(lanes, values, pivots);
    const std::size_t count = count_bits(keep);
    _mm512_mask_storeu_epi32(images + kept, first_lanes(count),
                             _mm512_maskz_compress_epi32(keep, values));
    kept += count;
  }
  return kept;
}

inline std::uint32_t median(std::uint32_t a, std::uint32_t b, std::uint32_t c) {
  const std::uint32_t low = a < b ? a : b;
  const std::uint32_t high = a < b ? b : a;
  return c < low ? low : c > high ? high : c;
}

struct Threshold {
  std::uint32_t image;
  std::size_t equals_needed;  // how many values equal to it belong to the best
};

// The rank-th largest of n images (from 1); overwrites them.
Threshold find_threshold(std::uint32_t* images, std::size_t n, std::size_t rank) {
  std::uint32_t low = 0;
  std::uint32_t high = ~0u;
  for (bool halve_range = false;; halve_range = !halve_range) {
    // Medians adapt to the data; halving the range of values bounds the number of rounds.
    const std::uint32_t pivot =
        halve_range ? low + (high - low) / 2 : median(images[0], images[n / 2], images[n - 1]);
    const Counts counts = count_against(images, n, pivot);
    if (rank <= counts.above) {
      n = keep_side(images, n, pivot, true);
      low = pivot + 1;
    } else if (rank <= counts.above + counts.equal) {
      return {pivot, rank - counts.above};
    } else {
      rank -= counts.above + counts.equal;
      n = keep_side(images, n, pivot, false);
      high = pivot - 1;
    }
  }
}

inline __mmask16 lowest_bits(__mmask16 mask, std::size_t count) {
  unsigned rest = mask;
  for (std::size_t i = 0; i < count; ++i) rest &= rest - 1;
  return static_cast<__mmask16>(mask & ~rest);
}

void write_positions(const TopkArgs& args, Threshold threshold) {
  const __m512i pivots = _mm512_set1_epi32(static_cast<int>(threshold.image));
  const __m512i lane = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
  std::int32_t* out = args.positions;
  for (std::size_t i = 0; i < args.n; i += kLanes) {
    const __mmask16 lanes = lanes_at(i, args.n);
    const Vec scores = {_mm512_maskz_loadu_ps(lanes, args.scores + i)};
    const __m512i images = order_images(scores).values;
    const __mmask16 above = _mm512_mask_cmpgt_epu32_mask(lanes, images, pivots);
    __mmask16 equal = _mm512_mask_cmpeq_epi32_mask(lanes, images, pivots);
    if (count_bits(equal) > threshold.equals_needed) {
      equal = lowest_bits(equal, threshold.equals_needed);
    }
    threshold.equals_needed -= count_bits(equal);
    const auto chosen = static_cast<__mmask16>(above | equal);
    const std::size_t count = count_bits(chosen);
    const __m512i positions = _mm512_add_epi32(lane, _mm512_set1_epi32(static_cast<int>(i)));
    _mm512_mask_storeu_epi32(out, first_lanes(count),
                             _mm512_maskz_compress_epi32(chosen, positions));
    out += count;
  }
}

TopkResult topk(const TopkArgs& args) noexcept {
  TopkResult result{args.k < args.n ? args.k : args.n, 0};
  for (std::size_t i = 0; i < args.n; i += kLanes) {
    const __mmask16 lanes = lanes_at(i, args.n);
    const Images images = order_images({_mm512_maskz_loadu_ps(lanes, args.scores + i)});
    _mm512_mask_storeu_epi32(args.scratch + i, lanes, images.values);
    result.num_nan += count_bits(images.nan);
  }
  if (result.num_selected == 0) return result;
  write_positions(args, find_threshold(args.scratch, args.n, result.num_selected));
  return result;
}

}  // namespace
}  // namespace ponder::kernels
