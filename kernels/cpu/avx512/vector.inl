// The vector of the AVX-512 row, for the shared kernels in kernels/cpu/*.inl. Included once, by
// avx512.cpp; everything here has internal linkage, so no code leaks into other files.

#include <immintrin.h>

#include <cstddef>
#include <cstdint>

namespace ponder::kernels {
namespace {

constexpr std::size_t kLanes = 16;

// Register tiles: rows of x by rows of w (32 registers hold 24 sums and the operands).
constexpr int kTileRows = 6;
// With at most so many rows of x a tile takes 8 rows of w instead of 4.
constexpr int kTileRowsWide = 2;
// Rows of x that meet packed weights at once: 4 rows of w, or 2 if there are more than the second.
constexpr int kPackedTileRows = 5;
constexpr int kPackedTileRowsWide = 5;
// Heads whose logits attention computes at once, against 4 cache rows.
constexpr int kLogitHeads = 4;
// Groups of kLanes keys that the indexer keeps in registers at once.
constexpr int kKeyGroups = 4;
// Vectors of a latent row that attention sums at once.
constexpr int kLatentVectors = 4;

struct Vec {
  __m512 v;
};

inline __mmask16 first_lanes(std::size_t count) {
  return static_cast<__mmask16>((1u << count) - 1u);
}

inline Vec zero() { return {_mm512_setzero_ps()}; }
inline Vec broadcast(float value) { return {_mm512_set1_ps(value)}; }
inline Vec load(const float* p) { return {_mm512_loadu_ps(p)}; }
// The lanes from `count` on are zero, and their memory is not touched. count < kLanes.
inline Vec load_some(const float* p, std::size_t count) {
  return {_mm512_maskz_loadu_ps(first_lanes(count), p)};
}
// The same with `fill` in the other lanes.
inline Vec load_some(const float* p, std::size_t count, Vec fill) {
  return {_mm512_mask_loadu_ps(fill.v, first_lanes(count), p)};
}
inline void store(float* p, Vec a) { _mm512_storeu_ps(p, a.v); }
inline void store_some(float* p, Vec a, std::size_t count) {
  _mm512_mask_storeu_ps(p, first_lanes(count), a.v);
}

inline Vec widen_bf16(__m256i bits) {
  return {_mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(bits), 16))};
}
inline Vec load(const std::uint16_t* p) {
  return widen_bf16(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
}
inline Vec load_some(const std::uint16_t* p, std::size_t count) {
  return widen_bf16(_mm256_maskz_loadu_epi16(first_lanes(count), p));
}

// The lower and the upper bf16 of every lane.
inline Vec widen_low(Vec pairs) {
  return {_mm512_castsi512_ps(_mm512_slli_epi32(_mm512_castps_si512(pairs.v), 16))};
}
inline Vec widen_high(Vec pairs) {
  const auto mask = _mm512_set1_epi32(static_cast<int>(0xffff0000u));
  return {_mm512_castsi512_ps(_mm512_and_si512(_mm512_castps_si512(pairs.v), mask))};
}

// E4M3 goes through half precision, whose exponent is wider: the half with the same bits is the
// value / 256, subnormals included. The caller multiplies by 256 (kFp8Factor) with the scale.
// Widening copies the sign into the bits above; one of the copies is masked out.
constexpr float kFp8Factor = 256.0f;
inline __m512i fp8_to_half(__m256i codes) {
  const __m512i moved = _mm512_slli_epi16(_mm512_cvtepi8_epi16(codes), 7);
  const __m256i magnitude = _mm256_and_si256(codes, _mm256_set1_epi8(0x7f));
  const __mmask32 nan = _mm256_cmpeq_epi8_mask(magnitude, _mm256_set1_epi8(0x7f));
  const __m512i half = _mm512_and_si512(moved, _mm512_set1_epi16(static_cast<short>(0xbfff)));
  return _mm512_mask_blend_epi16(nan, half, _mm512_set1_epi16(0x7e00));
}
inline Vec load(const std::uint8_t* p) {
  const __m128i codes = _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
  const __m512i half = fp8_to_half(_mm256_castsi128_si256(codes));
  return {_mm512_cvtph_ps(_mm512_castsi512_si256(half))};
}
inline Vec load_some(const std::uint8_t* p, std::size_t count) {
  const __m128i codes = _mm_maskz_loadu_epi8(first_lanes(count), p);
  const __m512i half = fp8_to_half(_mm256_castsi128_si256(codes));
  return {_mm512_cvtph_ps(_mm512_castsi512_si256(half))};
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
  const __m512i half = fp8_to_half(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
  return {{_mm512_cvtph_ps(_mm512_castsi512_si256(half))},
          {_mm512_cvtph_ps(_mm512_extracti64x4_epi64(half, 1))}};
}

inline Vec add(Vec a, Vec b) { return {_mm512_add_ps(a.v, b.v)}; }
inline Vec sub(Vec a, Vec b) { return {_mm512_sub_ps(a.v, b.v)}; }
inline Vec mul(Vec a, Vec b) { return {_mm512_mul_ps(a.v, b.v)}; }
inline Vec div(Vec a, Vec b) { return {_mm512_div_ps(a.v, b.v)}; }
inline Vec sqrt(Vec a) { return {_mm512_sqrt_ps(a.v)}; }
// a * b + c, one rounding.
inline Vec fma(Vec a, Vec b, Vec c) { return {_mm512_fmadd_ps(a.v, b.v, c.v)}; }
// a * b - c, one rounding.
inline Vec fms(Vec a, Vec b, Vec c) { return {_mm512_fmsub_ps(a.v, b.v, c.v)}; }
// Where either is NaN, the result is b.
inline Vec max(Vec a, Vec b) { return {_mm512_max_ps(a.v, b.v)}; }
inline Vec min(Vec a, Vec b) { return {_mm512_min_ps(a.v, b.v)}; }
inline Vec round_to_integer(Vec a) {
  return {_mm512_roundscale_ps(a.v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC)};
}
// a * 2^n for integral n, where a and the result are normal numbers.
inline Vec scale_by_power(Vec a, Vec n) {
  const __m512i exponent = _mm512_slli_epi32(_mm512_cvtps_epi32(n.v), 23);
  return {_mm512_castsi512_ps(_mm512_add_epi32(_mm512_castps_si512(a.v), exponent))};
}
// a, but `value` where x < limit (false for a NaN).
inline Vec replace_below(Vec a, Vec x, Vec limit, Vec value) {
  return {_mm512_mask_mov_ps(a.v, _mm512_cmp_ps_mask(x.v, limit.v, _CMP_LT_OQ), value.v)};
}
// a, but `value` where x > limit (false for a NaN).
inline Vec replace_above(Vec a, Vec x, Vec limit, Vec value) {
  return {_mm512_mask_mov_ps(a.v, _mm512_cmp_ps_mask(x.v, limit.v, _CMP_GT_OQ), value.v)};
}
inline bool any_equal(Vec a, Vec b) { return _mm512_cmp_ps_mask(a.v, b.v, _CMP_EQ_OQ) != 0; }

inline void store_bf16(std::uint16_t* p, Vec a) {
  const __m512i bits = _mm512_castps_si512(a.v);
  const __m512i odd = _mm512_and_si512(_mm512_srli_epi32(bits, 16), _mm512_set1_epi32(1));
  const __m512i rounded = _mm512_add_epi32(bits, _mm512_add_epi32(odd, _mm512_set1_epi32(0x7fff)));
  const __mmask16 nan = _mm512_cmp_ps_mask(a.v, a.v, _CMP_UNORD_Q);
  const __m512i quiet = _mm512_or_si512(bits, _mm512_set1_epi32(0x400000));
  const __m512i high = _mm512_srli_epi32(_mm512_mask_mov_epi32(rounded, nan, quiet), 16);
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), _mm512_cvtepi32_epi16(high));
}

// Two vectors of (a0 b0 a1 b1 ..) become one of a and one of b, and back.
inline Pair deinterleave(Vec a, Vec b) {
  const __m512i even = _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
  const __m512i odd = _mm512_add_epi32(even, _mm512_set1_epi32(1));
  return {{_mm512_permutex2var_ps(a.v, even, b.v)}, {_mm512_permutex2var_ps(a.v, odd, b.v)}};
}
inline Pair interleave(Vec even, Vec odd) {
  const __m512i low = _mm512_setr_epi32(0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
  const __m512i high = _mm512_add_epi32(low, _mm512_set1_epi32(8));
  return {{_mm512_permutex2var_ps(even.v, low, odd.v)},
          {_mm512_permutex2var_ps(even.v, high, odd.v)}};
}

inline __m256 fold(Vec a) {
  return _mm256_add_ps(_mm512_castps512_ps256(a.v), _mm512_extractf32x8_ps(a.v, 1));
}

// The sums of four vectors. Each sum is the same tree of additions, whatever its place.
inline __m128 sum4(Vec a, Vec b, Vec c, Vec d) {
  const __m256 ab = _mm256_hadd_ps(fold(a), fold(b));
  const __m256 cd = _mm256_hadd_ps(fold(c), fold(d));
  const __m256 abcd = _mm256_hadd_ps(ab, cd);
  return _mm_add_ps(_mm256_castps256_ps128(abcd), _mm256_extractf128_ps(abcd, 1));
}

// The largest lane; where some are NaN, either NaN or the largest of some others.
inline float max_lane(Vec a) {
  const __m256 eight = _mm256_max_ps(_mm512_castps512_ps256(a.v), _mm512_extractf32x8_ps(a.v, 1));
  const __m128 four = _mm_max_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
  const __m128 two = _mm_max_ps(four, _mm_movehl_ps(four, four));
  return _mm_cvtss_f32(_mm_max_ss(two, _mm_movehdup_ps(two)));
}

// Rows become columns: lane i of out[j] is lane j of rows[i].
inline void transpose(Vec (&rows)[kLanes]) {
  __m512 t[16];
  for (int i = 0; i < 8; ++i) {
    t[2 * i] = _mm512_unpacklo_ps(rows[2 * i].v, rows[2 * i + 1].v);
    t[2 * i + 1] = _mm512_unpackhi_ps(rows[2 * i].v, rows[2 * i + 1].v);
  }
  __m512 u[16];
  for (int i = 0; i < 4; ++i) {
    for (int half = 0; half < 2; ++half) {
      const __m512d a = _mm512_castps_pd(t[4 * i + half]);
      const __m512d b = _mm512_castps_pd(t[4 * i + 2 + half]);
      u[4 * i + 2 * half] = _mm512_castpd_ps(_mm512_unpacklo_pd(a, b));
      u[4 * i + 2 * half + 1] = _mm512_castpd_ps(_mm512_unpackhi_pd(a, b));
    }
  }
  for (int j = 0; j < 4; ++j) {
    const __m512 low_a = _mm512_shuffle_f32x4(u[j], u[4 + j], 0x88);
    const __m512 high_a = _mm512_shuffle_f32x4(u[j], u[4 + j], 0xdd);
    const __m512 low_b = _mm512_shuffle_f32x4(u[8 + j], u[12 + j], 0x88);
    const __m512 high_b = _mm512_shuffle_f32x4(u[8 + j], u[12 + j], 0xdd);
    rows[j].v = _mm512_shuffle_f32x4(low_a, low_b, 0x88);
    rows[8 + j].v = _mm512_shuffle_f32x4(low_a, low_b, 0xdd);
    rows[4 + j].v = _mm512_shuffle_f32x4(high_a, high_b, 0x88);
    rows[12 + j].v = _mm512_shuffle_f32x4(high_a, high_b, 0xdd);
  }
}

}  // namespace
}  // namespace ponder::kernels
