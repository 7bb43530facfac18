// Blocks of packed BF16 weights (kernels/packed_bf16_layout.h) in vectors of 8 floats: as with
// AVX-512, half of a row's bytes at a time.

namespace ponder::kernels {
namespace {

// The upper byte of each nibble.
struct UpperBytes {
  __m256i v;
};

inline UpperBytes upper_bytes(std::uint8_t window) {
  const __m128i nibbles =
      _mm_setr_epi8(0, 1, 2, 3, 4, 5, 6, 7, -128, -127, -126, -125, -124, -123, -122, -121);
  const __m128i first = _mm_set1_epi8(static_cast<char>(window & ~kPackedZeros));
  // Code 0 stays 0 where it means that.
  const __m128i moved = (window & kPackedZeros) != 0 ? _mm_set1_epi64x(~0xffLL) : _mm_set1_epi8(-1);
  return {_mm256_broadcastsi128_si256(_mm_add_epi8(nibbles, _mm_and_si128(first, moved)))};
}

// A pair of rows: each_vector() gives 8 weights of a row, in the order of their columns. Registers
// are few, so that each row reads the nibbles again.
struct PairOfRows {
  const std::uint8_t* bytes;
  __m256i table;
};

inline PairOfRows load_pair_of_rows(const std::uint8_t* pair, UpperBytes table) {
  return {pair, table.v};
}

inline __m256i load_bytes(const std::uint8_t* p) {
  return _mm256_load_si256(reinterpret_cast<const __m256i*>(p));
}

template <int ROW>
inline __m256i load_upper_bytes(const PairOfRows& pair, std::size_t half) {
  __m256i nibbles = load_bytes(pair.bytes + half * 32);
  if constexpr (ROW == 1) nibbles = _mm256_srli_epi16(nibbles, 4);
  return _mm256_shuffle_epi8(pair.table, _mm256_and_si256(nibbles, _mm256_set1_epi8(15)));
}

// Calls f(column, weights) for each vector of a row, in order.
template <int ROW, class F>
inline __attribute__((always_inline)) void each_vector(const PairOfRows& pair, F f) {
  const std::uint8_t* at = pair.bytes + (1 + ROW) * kPackedColumns;
  const __m256i upper[2] = {load_upper_bytes<ROW>(pair, 0), load_upper_bytes<ROW>(pair, 1)};
  const __m256i lower[2] = {load_bytes(at), load_bytes(at + 32)};
  Vec words[2] = {{_mm256_castsi256_ps(_mm256_unpacklo_epi8(lower[0], upper[0]))},
                  {_mm256_castsi256_ps(_mm256_unpacklo_epi8(lower[1], upper[1]))}};
  f(0 * kLanes, widen_low(words[0]));
  f(1 * kLanes, widen_low(words[1]));
  f(2 * kLanes, widen_high(words[0]));
  f(3 * kLanes, widen_high(words[1]));
  words[0] = {_mm256_castsi256_ps(_mm256_unpackhi_epi8(lower[0], upper[0]))};
  words[1] = {_mm256_castsi256_ps(_mm256_unpackhi_epi8(lower[1], upper[1]))};
  f(4 * kLanes, widen_low(words[0]));
  f(5 * kLanes, widen_low(words[1]));
  f(6 * kLanes, widen_high(words[0]));
  f(7 * kLanes, widen_high(words[1]));
}

// The lower words of all lanes of both halves, then the upper ones.
inline void store_words(__m256i first_half, __m256i second_half, bf16* to) {
  const __m256i mask = _mm256_set1_epi32(0xffff);
  const __m256i lower =
      _mm256_packus_epi32(_mm256_and_si256(first_half, mask), _mm256_and_si256(second_half, mask));
  const __m256i upper =
      _mm256_packus_epi32(_mm256_srli_epi32(first_half, 16), _mm256_srli_epi32(second_half, 16));
  auto* words = reinterpret_cast<__m256i*>(to);
  _mm256_storeu_si256(words, _mm256_permute4x64_epi64(lower, 0xd8));
  _mm256_storeu_si256(words + 1, _mm256_permute4x64_epi64(upper, 0xd8));
}

// Writes the 64 weights of a row.
template <int ROW>
inline void store_row(const PairOfRows& pair, bf16* to) {
  const std::uint8_t* at = pair.bytes + (1 + ROW) * kPackedColumns;
  const __m256i upper[2] = {load_upper_bytes<ROW>(pair, 0), load_upper_bytes<ROW>(pair, 1)};
  const __m256i lower[2] = {load_bytes(at), load_bytes(at + 32)};
  store_words(_mm256_unpacklo_epi8(lower[0], upper[0]), _mm256_unpacklo_epi8(lower[1], upper[1]),
              to);
  store_words(_mm256_unpackhi_epi8(lower[0], upper[0]), _mm256_unpackhi_epi8(lower[1], upper[1]),
              to + 4 * kLanes);
}

}  // namespace
}  // namespace ponder::kernels
