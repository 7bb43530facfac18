// Vectors of int8 and int4 codes for kernels/cpu/matmul_codes.inl, with AVX-512BW.

namespace ponder::kernels {
namespace {

// Rows of x that a tile of weights is multiplied by at once.
constexpr int kQuadRows = 8;

// kLanes words of four codes each, or kLanes sums.
struct Codes {
  __m512i v;
};

inline Codes load_codes(const std::uint8_t* p) { return {_mm512_loadu_si512(p)}; }
inline Vec as_vec(Codes a) { return {_mm512_castsi512_ps(a.v)}; }
inline Codes as_codes(Vec a) { return {_mm512_castps_si512(a.v)}; }
inline Codes broadcast_word(std::int32_t value) { return {_mm512_set1_epi32(value)}; }
inline Codes add_words(Codes a, Codes b) { return {_mm512_add_epi32(a.v, b.v)}; }
inline Vec to_floats(Codes a) { return {_mm512_cvtepi32_ps(a.v)}; }

inline Codes plus_128(Codes a) {
  return {_mm512_xor_si512(a.v, _mm512_set1_epi8(static_cast<char>(0x80)))};
}
inline Codes lower_halves(Codes a) { return {_mm512_and_si512(a.v, _mm512_set1_epi8(15))}; }
inline Codes upper_halves(Codes a) { return lower_halves({_mm512_srli_epi16(a.v, 4)}); }

// Signed codes of 64 bytes of int4 weights: the lower halves, then the upper ones.
inline void expand_int4(const std::uint8_t* bytes, std::int8_t* codes) {
  const Codes pairs = load_codes(bytes);
  const __m512i offset = _mm512_set1_epi8(8);
  _mm512_storeu_si512(codes, _mm512_sub_epi8(lower_halves(pairs).v, offset));
  _mm512_storeu_si512(codes + 64, _mm512_sub_epi8(upper_halves(pairs).v, offset));
}

// The first and the second byte of each half word, as half words.
inline Codes even_bytes(Codes a) { return {_mm512_and_si512(a.v, _mm512_set1_epi16(0xff))}; }
inline Codes odd_bytes(Codes a) { return {_mm512_srli_epi16(a.v, 8)}; }
// The sum of two products of signed half words in each word.
inline Codes multiply_halves(Codes a, Codes b) { return {_mm512_madd_epi16(a.v, b.v)}; }

// Rounds to nearest even. Requires: the values fit.
inline void store_rounded(std::int8_t* p, Vec a) {
  _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm512_cvtepi32_epi8(_mm512_cvtps_epi32(a.v)));
}

}  // namespace
}  // namespace ponder::kernels
