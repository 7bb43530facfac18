// Blocks of packed BF16 weights (kernels/packed_bf16_layout.h) in vectors of 16 floats: the upper
// bytes of 64 weights come out of one table lookup, two unpackings interleave them with the lower
// bytes, and four shifts or masks make floats of them.

namespace ponder::kernels {
namespace {

// The upper byte of each nibble.
struct UpperBytes {
  __m512i v;
};

inline UpperBytes upper_bytes(std::uint8_t window) {
  const __m128i nibbles =
      _mm_setr_epi8(0, 1, 2, 3, 4, 5, 6, 7, -128, -127, -126, -125, -124, -123, -122, -121);
  const __mmask16 moved = (window & kPackedZeros) != 0 ? 0xfefe : 0xffff;
  const __m128i first = _mm_set1_epi8(static_cast<char>(window & ~kPackedZeros));
  return {_mm512_broadcast_i32x4(_mm_mask_add_epi8(nibbles, moved, nibbles, first))};
}

// The weights of a pair of rows: widen() gives 16 of a row, in the order of their columns.
struct PairOfRows {
  __m512i upper[2];
  const std::uint8_t* lower;
};

inline PairOfRows load_pair_of_rows(const std::uint8_t* pair, UpperBytes table) {
  const __m512i nibbles = _mm512_load_si512(pair);
  const __m512i mask = _mm512_set1_epi8(15);
  return {{_mm512_shuffle_epi8(table.v, _mm512_and_si512(nibbles, mask)),
           _mm512_shuffle_epi8(table.v, _mm512_and_si512(_mm512_srli_epi16(nibbles, 4), mask))},
          pair + kPackedColumns};
}

// Calls f(column, weights) for each vector of a row, in order.
template <int ROW, class F>
inline __attribute__((always_inline)) void each_vector(const PairOfRows& pair, F f) {
  const __m512i lower = _mm512_load_si512(pair.lower + ROW * kPackedColumns);
  const Vec first = {_mm512_castsi512_ps(_mm512_unpacklo_epi8(lower, pair.upper[ROW]))};
  f(0 * kLanes, widen_low(first));
  f(1 * kLanes, widen_high(first));
  const Vec second = {_mm512_castsi512_ps(_mm512_unpackhi_epi8(lower, pair.upper[ROW]))};
  f(2 * kLanes, widen_low(second));
  f(3 * kLanes, widen_high(second));
}

// Writes the 64 weights of a row.
template <int ROW>
inline void store_row(const PairOfRows& pair, bf16* to) {
  const __m512i lower = _mm512_load_si512(pair.lower + ROW * kPackedColumns);
  // The lower words of all lanes, then the upper ones.
  const __m512i lane =
      _mm512_setr_epi32(0x20000, 0x60004, 0xa0008, 0xe000c, 0x120010, 0x160014, 0x1a0018, 0x1e001c,
                        0x30001, 0x70005, 0xb0009, 0xf000d, 0x130011, 0x170015, 0x1b0019, 0x1f001d);
  const __m512i first = _mm512_unpacklo_epi8(lower, pair.upper[ROW]);
  const __m512i second = _mm512_unpackhi_epi8(lower, pair.upper[ROW]);
  _mm512_storeu_si512(to, _mm512_permutexvar_epi16(lane, first));
  _mm512_storeu_si512(to + 2 * kLanes, _mm512_permutexvar_epi16(lane, second));
}

}  // namespace
}  // namespace ponder::kernels
