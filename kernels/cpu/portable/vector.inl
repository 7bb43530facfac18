// A vector of 16 floats in plain code, for kernels that are tested where their instructions do not
// exist. It has what kernels/cpu/attention_bf16.inl and kernels/cpu/amx need.

#include <cstddef>
#include <cstdint>

namespace ponder::kernels {
namespace {

constexpr std::size_t kLanes = 16;

struct Vec {
  float v[kLanes];
};
struct Pair {
  Vec first;
  Vec second;
};

template <class F>
inline Vec each_lane(F f) {
  Vec result;
  for (std::size_t i = 0; i < kLanes; ++i) result.v[i] = f(i);
  return result;
}

inline std::uint32_t bits_of(float value) {
  std::uint32_t bits;
  __builtin_memcpy(&bits, &value, sizeof bits);
  return bits;
}
inline float from_bits(std::uint32_t bits) {
  float value;
  __builtin_memcpy(&value, &bits, sizeof value);
  return value;
}

inline Vec zero() { return {}; }
inline Vec broadcast(float value) {
  return each_lane([&](std::size_t) { return value; });
}
inline Vec load(const float* p) {
  return each_lane([&](std::size_t i) { return p[i]; });
}
inline Vec load(const std::uint16_t* p) {  // bf16
  return each_lane([&](std::size_t i) { return from_bits(std::uint32_t{p[i]} << 16); });
}
inline void store_some(float* p, Vec a, std::size_t count) {
  for (std::size_t i = 0; i < count; ++i) p[i] = a.v[i];
}
inline void store(float* p, Vec a) { store_some(p, a, kLanes); }

// E4M3; the value is what load() gives times kFp8Factor.
constexpr float kFp8Factor = 1.0f;
inline float fp8_value(std::uint8_t code) {
  const int exponent = code >> 3 & 15;
  const int mantissa = code & 7;
  if ((code & 0x7f) == 0x7f) return __builtin_nanf("");
  const float magnitude = exponent == 0
                              ? __builtin_ldexpf(static_cast<float>(mantissa), -9)
                              : __builtin_ldexpf(static_cast<float>(8 + mantissa), exponent - 10);
  return (code & 0x80) != 0 ? -magnitude : magnitude;
}
inline Vec load_some(const std::uint8_t* p, std::size_t count) {
  return each_lane([&](std::size_t i) { return i < count ? fp8_value(p[i]) : 0.0f; });
}
inline Vec load(const std::uint8_t* p) { return load_some(p, kLanes); }
inline Pair load_pair(const std::uint8_t* p) { return {load(p), load(p + kLanes)}; }

inline Vec add(Vec a, Vec b) {
  return each_lane([&](std::size_t i) { return a.v[i] + b.v[i]; });
}
inline Vec sub(Vec a, Vec b) {
  return each_lane([&](std::size_t i) { return a.v[i] - b.v[i]; });
}
inline Vec mul(Vec a, Vec b) {
  return each_lane([&](std::size_t i) { return a.v[i] * b.v[i]; });
}
inline Vec fma(Vec a, Vec b, Vec c) {
  return each_lane([&](std::size_t i) { return __builtin_fmaf(a.v[i], b.v[i], c.v[i]); });
}
// Where either is NaN, the result is b.
inline Vec max(Vec a, Vec b) {
  return each_lane([&](std::size_t i) { return a.v[i] > b.v[i] ? a.v[i] : b.v[i]; });
}
inline Vec min(Vec a, Vec b) {
  return each_lane([&](std::size_t i) { return a.v[i] < b.v[i] ? a.v[i] : b.v[i]; });
}
inline Vec round_to_integer(Vec a) {
  return each_lane([&](std::size_t i) { return __builtin_nearbyintf(a.v[i]); });
}
// a * 2^n for integral n, where a and the result are normal numbers.
inline Vec scale_by_power(Vec a, Vec n) {
  return each_lane([&](std::size_t i) {
    const bool is_number = n.v[i] == n.v[i];
    return is_number ? __builtin_ldexpf(a.v[i], static_cast<int>(n.v[i])) : a.v[i];
  });
}
inline Vec replace_below(Vec a, Vec x, Vec limit, Vec value) {
  return each_lane([&](std::size_t i) { return x.v[i] < limit.v[i] ? value.v[i] : a.v[i]; });
}
inline Vec replace_above(Vec a, Vec x, Vec limit, Vec value) {
  return each_lane([&](std::size_t i) { return x.v[i] > limit.v[i] ? value.v[i] : a.v[i]; });
}

// Two vectors of (a0 b0 a1 b1 ..) become one of a and one of b.
inline Pair deinterleave(Vec a, Vec b) {
  const auto at = [&](std::size_t i) { return i < kLanes ? a.v[i] : b.v[i - kLanes]; };
  return {each_lane([&](std::size_t i) { return at(2 * i); }),
          each_lane([&](std::size_t i) { return at(2 * i + 1); })};
}
// By memory: a pair of bf16 may look like a signalling NaN, which a float register need not keep.
inline void transpose(Vec (&rows)[kLanes]) {
  Vec columns[kLanes];
  for (std::size_t i = 0; i < kLanes; ++i) {
    for (std::size_t j = 0; j < kLanes; ++j) {
      __builtin_memcpy(&columns[j].v[i], &rows[i].v[j], sizeof(float));
    }
  }
  __builtin_memcpy(rows, columns, sizeof columns);
}

inline Vec load_words(const void* p) {
  Vec words;
  __builtin_memcpy(words.v, p, sizeof words.v);
  return words;
}
inline void store_words(std::uint32_t* p, const Vec& a) { __builtin_memcpy(p, a.v, sizeof a.v); }
inline std::uint32_t round_to_upper_half(float value) {
  const std::uint32_t bits = bits_of(value);
  if (value != value) return 0x7fc00000u;
  return bits + ((bits >> 16) & 1u) + 0x7fffu;
}
inline void store_bf16(std::uint16_t* p, Vec a) {
  for (std::size_t i = 0; i < kLanes; ++i) {
    p[i] = static_cast<std::uint16_t>(round_to_upper_half(a.v[i]) >> 16);
  }
}
inline Vec pack_bf16(Vec first, Vec second) {
  return each_lane([&](std::size_t i) {
    return from_bits(round_to_upper_half(first.v[i]) >> 16 |
                     (round_to_upper_half(second.v[i]) & 0xffff0000u));
  });
}
inline Vec interleave_bf16(const std::uint16_t* first, const std::uint16_t* second) {
  return each_lane([&](std::size_t i) {
    return from_bits(first[i] | static_cast<std::uint32_t>(second[i]) << 16);
  });
}
inline Vec relu_words(const std::int32_t* p) {
  return each_lane([&](std::size_t i) { return static_cast<float>(p[i] > 0 ? p[i] : 0); });
}
inline Vec floats_of_words(const std::int32_t* p) {
  return each_lane([&](std::size_t i) { return static_cast<float>(p[i]); });
}
inline void copy_bytes(void* to, const void* from, std::size_t bytes) {
  __builtin_memcpy(to, from, bytes);
}

}  // namespace
}  // namespace ponder::kernels
