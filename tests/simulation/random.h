#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

namespace ponder::simulation {

/// Random numbers that follow from a seed, the same with every library and compiler (splitmix64).
class Random {
 public:
  explicit Random(std::uint64_t seed) : state_(seed) {}
  /// A stream of its own for each purpose, so that a draw more in one place moves no other.
  Random(std::uint64_t seed, std::string_view purpose, std::uint64_t number = 0)
      : state_(seed * 0x9E3779B97F4A7C15U + number * 0xD1B54A32D192ED03U) {
    for (const char c : purpose) {
      state_ = (state_ ^ static_cast<unsigned char>(c)) * 0x100000001B3U;
    }
  }

  std::uint64_t next() {
    std::uint64_t z = (state_ += 0x9E3779B97F4A7C15U);
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9U;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBU;
    return z ^ (z >> 31);
  }
  /// 0 to bound - 1. Requires: bound > 0.
  std::uint64_t below(std::uint64_t bound) { return next() % bound; }
  std::int64_t between(std::int64_t low, std::int64_t high) {
    return low + static_cast<std::int64_t>(below(static_cast<std::uint64_t>(high - low + 1)));
  }
  bool chance(unsigned percent) { return below(100) < percent; }
  /// Mostly short, at times as long as `longest`.
  std::chrono::milliseconds time_to(std::chrono::milliseconds longest) {
    const std::uint64_t scale = below(4);
    const std::int64_t most = longest.count() >> (3 * scale);
    return std::chrono::milliseconds(between(0, most));
  }
  template <class T>
  const T& pick(const std::vector<T>& from) {
    return from[below(from.size())];
  }

 private:
  std::uint64_t state_;
};

}  // namespace ponder::simulation
