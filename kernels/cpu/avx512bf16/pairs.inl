// Pairs of bf16 by instructions of their own.

namespace ponder::kernels {
namespace {

// Rounds two vectors of consecutive values to nearest even. `to` is aligned to 64 bytes.
inline void store_pairs(bf16* to, Vec first, Vec second) {
  _mm512_store_si512(to, (__m512i)_mm512_cvtne2ps_pbh(second.v, first.v));
}

}  // namespace
}  // namespace ponder::kernels
