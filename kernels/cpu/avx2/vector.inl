// The vector of the AVX2 row, for the shared kernels in kernels/cpu/*.inl. Included once, by
// avx2.cpp; everything here has internal linkage, so no code leaks into other files.

#include <immintrin.h>

#include <cstddef>
#include <cstdint>

namespace ponder::kernels {
namespace {

constexpr std::size_t kLanes = 8;

// Register tiles: rows of x by rows of w (16 registers hold 12 sums and the operands).
constexpr int kTileRows = 3;
// With at most so many rows of x a tile takes 8 rows of w instead of 4.
constexpr int kTileRowsWide = 1;
// Rows of x that meet packed weights at once: 4 rows of w, or 2 if there are more than the second.
constexpr int kPackedTileRows = 4;
constexpr int kPackedTileRowsWide = 1;
// Heads whose logits attention computes at once, against 4 cache rows.
constexpr int kLogitHeads = 2;
// Groups of kLanes keys that the indexer keeps in registers at once.
constexpr int kKeyGroups = 2;
// Vectors of a latent row that attention sums at once.
constexpr int kLatentVectors = 2;

struct Vec {
  __m256 v;
};

inline __m256i first_lanes(std::size_t count) {
  const __m256i lane = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
  return _mm256_cmpgt_epi32(_mm256_set1_epi32(static_cast<int>(count)), lane);
}

inline Vec zero() { return {_mm256_setzero_ps()}; }
inline Vec broadcast(float value) { return {_mm256_set1_ps(value)}; }
inline Vec load(const float* p) { return {_mm256_loadu_ps(p)}; }
// The lanes from `count` on are zero, and their memory is not touched. count < kLanes.
inline Vec load_some(const float* p, std::size_t count) {
  return {_mm256_maskload_ps(p, first_lanes(count))};
}
// The same with `fill` in the other lanes.
inline Vec load_some(const float* p, std::size_t count, Vec fill) {
  const __m256i mask = first_lanes(count);
  return {_mm256_blendv_ps(fill.v, _mm256_maskload_ps(p, mask), _mm256_castsi256_ps(mask))};
}
inline void store(float* p, Vec a) { _mm256_storeu_ps(p, a.v); }
inline void store_some(float* p, Vec a, std::size_t count) {
  _mm256_maskstore_ps(p, first_lanes(count), a.v);
}

inline Vec widen_bf16(__m128i bits) {
  return {_mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(bits), 16))};
}
inline Vec load(const std::uint16_t* p) {
  return widen_bf16(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
}
inline Vec load_some(const std::uint16_t* p, std::size_t count) {
  std::uint16_t lanes[kLanes] = {};
  for (std::size_t i = 0; i < count; ++i) lanes[i] = p[i];
  return load(lanes);
}

// The lower and the upper bf16 of every lane.
inline Vec widen_low(Vec pairs) {
  return {_mm256_castsi256_ps(_mm256_slli_epi32(_mm256_castps_si256(pairs.v), 16))};
}
inline Vec widen_high(Vec pairs) {
  const auto mask = _mm256_set1_epi32(static_cast<int>(0xffff0000u));
  return {_mm256_castsi256_ps(_mm256_and_si256(_mm256_castps_si256(pairs.v), mask))};
}

// E4M3 goes through half precision, whose exponent is wider: the half with the same bits is the
// value / 256, subnormals included. The caller multiplies by 256 (kFp8Factor) with the scale.
// Widening copies the sign into the bits above; one of the copies is masked out.
constexpr float kFp8Factor = 256.0f;
inline __m256i fp8_to_half(__m128i codes) {
  const __m256i moved = _mm256_slli_epi16(_mm256_cvtepi8_epi16(codes), 7);
  const __m128i magnitude = _mm_and_si128(codes, _mm_set1_epi8(0x7f));
  const __m128i nan = _mm_cmpeq_epi8(magnitude, _mm_set1_epi8(0x7f));
  const __m256i half = _mm256_and_si256(moved, _mm256_set1_epi16(static_cast<short>(0xbfff)));
  return _mm256_blendv_epi8(half, _mm256_set1_epi16(0x7e00), _mm256_cvtepi8_epi16(nan));
}
inline Vec load(const std::uint8_t* p) {
  const __m128i codes = _mm_loadl_epi64(reinterpret_cast<const __m128i*>(p));
  return {_mm256_cvtph_ps(_mm256_castsi256_si128(fp8_to_half(codes)))};
}
inline Vec load_some(const std::uint8_t* p, std::size_t count) {
  std::uint8_t lanes[kLanes] = {};
  for (std::size_t i = 0; i < count; ++i) lanes[i] = p[i];
  return load(lanes);
}

// Two vectors from consecutive elements.
struct Pair {
  Vec first;
  Vec second;
};
template <class T>
inline Pair load_pair(const T* p) {
  return {load(p), load(p + kLanes)};
}
inline Pair load_pair(const std::uint8_t* p) {
  const __m256i half = fp8_to_half(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
  return {{_mm256_cvtph_ps(_mm256_castsi256_si128(half))},
          {_mm256_cvtph_ps(_mm256_extracti128_si256(half, 1))}};
}

inline Vec add(Vec a, Vec b) { return {_mm256_add_ps(a.v, b.v)}; }
inline Vec sub(Vec a, Vec b) { return {_mm256_sub_ps(a.v, b.v)}; }
inline Vec mul(Vec a, Vec b) { return {_mm256_mul_ps(a.v, b.v)}; }
inline Vec div(Vec a, Vec b) { return {_mm256_div_ps(a.v, b.v)}; }
inline Vec sqrt(Vec a) { return {_mm256_sqrt_ps(a.v)}; }
// a * b + c, one rounding.
inline Vec fma(Vec a, Vec b, Vec c) { return {_mm256_fmadd_ps(a.v, b.v, c.v)}; }
// a * b - c, one rounding.
inline Vec fms(Vec a, Vec b, Vec c) { return {_mm256_fmsub_ps(a.v, b.v, c.v)}; }
// Where either is NaN, the result is b.
inline Vec max(Vec a, Vec b) { return {_mm256_max_ps(a.v, b.v)}; }
inline Vec min(Vec a, Vec b) { return {_mm256_min_ps(a.v, b.v)}; }
inline Vec round_to_integer(Vec a) {
  return {_mm256_round_ps(a.v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC)};
}
// a * 2^n for integral n, where a and the result are normal numbers.
inline Vec scale_by_power(Vec a, Vec n) {
  const __m256i exponent = _mm256_slli_epi32(_mm256_cvtps_epi32(n.v), 23);
  return {_mm256_castsi256_ps(_mm256_add_epi32(_mm256_castps_si256(a.v), exponent))};
}
// a, but `value` where x < limit (false for a NaN).
inline Vec replace_below(Vec a, Vec x, Vec limit, Vec value) {
  return {_mm256_blendv_ps(a.v, value.v, _mm256_cmp_ps(x.v, limit.v, _CMP_LT_OQ))};
}
// a, but `value` where x > limit (false for a NaN).
inline Vec replace_above(Vec a, Vec x, Vec limit, Vec value) {
  return {_mm256_blendv_ps(a.v, value.v, _mm256_cmp_ps(x.v, limit.v, _CMP_GT_OQ))};
}
inline bool any_equal(Vec a, Vec b) {
  return _mm256_movemask_ps(_mm256_cmp_ps(a.v, b.v, _CMP_EQ_OQ)) != 0;
}

inline void store_bf16(std::uint16_t* p, Vec a) {
  const __m256i bits = _mm256_castps_si256(a.v);
  const __m256i odd = _mm256_and_si256(_mm256_srli_epi32(bits, 16), _mm256_set1_epi32(1));
  const __m256i rounded = _mm256_add_epi32(bits, _mm256_add_epi32(odd, _mm256_set1_epi32(0x7fff)));
  const __m256i nan = _mm256_castps_si256(_mm256_cmp_ps(a.v, a.v, _CMP_UNORD_Q));
  const __m256i quiet = _mm256_or_si256(bits, _mm256_set1_epi32(0x400000));
  const __m256i high = _mm256_srli_epi32(_mm256_blendv_epi8(rounded, quiet, nan), 16);
  const __m256i packed = _mm256_permute4x64_epi64(_mm256_packus_epi32(high, high), 0x08);
  _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm256_castsi256_si128(packed));
}

// Two vectors of (a0 b0 a1 b1 ..) become one of a and one of b, and back.
inline Pair deinterleave(Vec a, Vec b) {
  const __m256 low = _mm256_permute2f128_ps(a.v, b.v, 0x20);
  const __m256 high = _mm256_permute2f128_ps(a.v, b.v, 0x31);
  return {{_mm256_shuffle_ps(low, high, 0x88)}, {_mm256_shuffle_ps(low, high, 0xdd)}};
}
inline Pair interleave(Vec even, Vec odd) {
  const __m256 low = _mm256_unpacklo_ps(even.v, odd.v);
  const __m256 high = _mm256_unpackhi_ps(even.v, odd.v);
  return {{_mm256_permute2f128_ps(low, high, 0x20)}, {_mm256_permute2f128_ps(low, high, 0x31)}};
}

// The sums of four vectors. Each sum is the same tree of additions, whatever its place.
inline __m128 sum4(Vec a, Vec b, Vec c, Vec d) {
  const __m256 abcd = _mm256_hadd_ps(_mm256_hadd_ps(a.v, b.v), _mm256_hadd_ps(c.v, d.v));
  return _mm_add_ps(_mm256_castps256_ps128(abcd), _mm256_extractf128_ps(abcd, 1));
}

// The largest lane; where some are NaN, either NaN or the largest of some others.
inline float max_lane(Vec a) {
  const __m128 four = _mm_max_ps(_mm256_castps256_ps128(a.v), _mm256_extractf128_ps(a.v, 1));
  const __m128 two = _mm_max_ps(four, _mm_movehl_ps(four, four));
  return _mm_cvtss_f32(_mm_max_ss(two, _mm_movehdup_ps(two)));
}

// Rows become columns: lane i of out[j] is lane j of rows[i].
inline void transpose(Vec (&rows)[kLanes]) {
  __m256 t[8];
  for (int i = 0; i < 4; ++i) {
    t[2 * i] = _mm256_unpacklo_ps(rows[2 * i].v, rows[2 * i + 1].v);
    t[2 * i + 1] = _mm256_unpackhi_ps(rows[2 * i].v, rows[2 * i + 1].v);
  }
  __m256 u[8];
  for (int i = 0; i < 2; ++i) {
    for (int half = 0; half < 2; ++half) {
      const __m256d a = _mm256_castps_pd(t[4 * i + half]);
      const __m256d b = _mm256_castps_pd(t[4 * i + 2 + half]);
      u[4 * i + 2 * half] = _mm256_castpd_ps(_mm256_unpacklo_pd(a, b));
      u[4 * i + 2 * half + 1] = _mm256_castpd_ps(_mm256_unpackhi_pd(a, b));
    }
  }
  for (int j = 0; j < 4; ++j) {
    rows[j].v = _mm256_permute2f128_ps(u[j], u[4 + j], 0x20);
    rows[4 + j].v = _mm256_permute2f128_ps(u[j], u[4 + j], 0x31);
  }
}

}  // namespace
}  // namespace ponder::kernels
