// int8 and int4 codes in plain code, for kernels that are tested where their instructions do not
// exist. It has what kernels/cpu/activation_codes.inl and kernels/cpu/amx need.

namespace ponder::kernels {
namespace {

// Words that hold four codes of x.
constexpr std::size_t kQuadWords = 1;

// Takes 16 codes of x to 4 words.
inline void store_quads(const std::int8_t* codes, std::int32_t* quads) {
  __builtin_memcpy(quads, codes, 16);
}

// Rounds to nearest even. Requires: the values fit.
inline void store_rounded(std::int8_t* p, const Vec& a) {
  for (std::size_t i = 0; i < kLanes; ++i) {
    p[i] = static_cast<std::int8_t>(__builtin_nearbyintf(a.v[i]));
  }
}

// Brings 16 codes of x into the order of expanded int4 weights: of every eight the even ones, then
// the odd ones.
inline void order_for_int4(std::int8_t* codes) {
  std::int8_t ordered[16];
  for (std::size_t i = 0; i < 16; ++i) {
    const std::size_t half = i % 8 / 4;
    ordered[i] = codes[i / 8 * 8 + 2 * (i % 4) + half];
  }
  __builtin_memcpy(codes, ordered, sizeof ordered);
}

// Signed codes of 64 bytes of int4 weights: the lower halves, then the upper ones.
inline void expand_int4(const std::uint8_t* bytes, std::int8_t* codes) {
  for (std::size_t i = 0; i < 64; ++i) {
    codes[i] = static_cast<std::int8_t>((bytes[i] & 15) - 8);
    codes[64 + i] = static_cast<std::int8_t>((bytes[i] >> 4) - 8);
  }
}

}  // namespace
}  // namespace ponder::kernels
