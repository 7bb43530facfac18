// The order in which expanded int4 weights hold their inputs: of every eight the even ones, then
// the odd ones, because a byte holds one of each.

namespace ponder::kernels {
namespace {

// Brings 16 codes of x into that order.
inline void order_for_int4(std::int8_t* codes) {
  const __m128i order = _mm_setr_epi8(0, 2, 4, 6, 1, 3, 5, 7, 8, 10, 12, 14, 9, 11, 13, 15);
  auto* p = reinterpret_cast<__m128i*>(codes);
  _mm_storeu_si128(p, _mm_shuffle_epi8(_mm_loadu_si128(p), order));
}

}  // namespace
}  // namespace ponder::kernels
