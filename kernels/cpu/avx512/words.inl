// Words of a vector that are no floats: pairs of bf16, the first one in the lower half; integers.

namespace ponder::kernels {
namespace {

inline Vec load_words(const void* p) { return {_mm512_loadu_ps(p)}; }
inline void store_words(std::uint32_t* p, Vec a) { _mm512_storeu_ps(p, a.v); }

// bf16 to the nearest, ties to even, in the upper halves; a NaN stays a NaN.
inline __m512i round_to_upper_half(Vec a) {
  const __m512i bits = _mm512_castps_si512(a.v);
  const __m512i odd = _mm512_and_si512(_mm512_srli_epi32(bits, 16), _mm512_set1_epi32(1));
  const __m512i half = _mm512_add_epi32(odd, _mm512_set1_epi32(0x7fff));
  const __mmask16 numbers = _mm512_cmp_ps_mask(a.v, a.v, _CMP_ORD_Q);
  return _mm512_mask_add_epi32(_mm512_set1_epi32(0x7fc00000), numbers, bits, half);
}
inline Vec pack_bf16(Vec first, Vec second) {
  const __m512i low = _mm512_srli_epi32(round_to_upper_half(first), 16);
  const __m512i upper = _mm512_set1_epi32(static_cast<int>(0xffff0000u));
  const __m512i high = _mm512_and_si512(round_to_upper_half(second), upper);
  return {_mm512_castsi512_ps(_mm512_or_si512(low, high))};
}
inline Vec interleave_bf16(const std::uint16_t* first, const std::uint16_t* second) {
  const __m256i a = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(first));
  const __m256i b = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(second));
  const __m512i high = _mm512_slli_epi32(_mm512_cvtepu16_epi32(b), 16);
  return {_mm512_castsi512_ps(_mm512_or_si512(_mm512_cvtepu16_epi32(a), high))};
}
// The larger of 0 and each integer, as floats.
inline Vec relu_words(const std::int32_t* p) {
  return {_mm512_cvtepi32_ps(_mm512_max_epi32(_mm512_loadu_si512(p), _mm512_setzero_si512()))};
}
inline Vec floats_of_words(const std::int32_t* p) {
  return {_mm512_cvtepi32_ps(_mm512_loadu_si512(p))};
}
inline void copy_bytes(void* to, const void* from, std::size_t bytes) {
  const auto* source = static_cast<const char*>(from);
  auto* target = static_cast<char*>(to);
  std::size_t i = 0;
  for (; i + 64 <= bytes; i += 64) _mm512_storeu_si512(target + i, _mm512_loadu_si512(source + i));
  const __mmask64 rest = bytes == i ? 0 : ~std::uint64_t{0} >> (64 - (bytes - i));
  _mm512_mask_storeu_epi8(target + i, rest, _mm512_maskz_loadu_epi8(rest, source + i));
}

}  // namespace
}  // namespace ponder::kernels
