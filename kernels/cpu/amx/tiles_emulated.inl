// Tiles in plain code, after the pseudocode of Intel's instruction set reference: what the kernels
// in this folder do with tiles can be tested where there are none.

#include <cstddef>
#include <cstdint>

namespace ponder::kernels {
namespace {

// bf16 to fp32; TDPBF16PS takes denormal inputs for zeros.
inline float widen_normal(std::uint16_t value) {
  const std::uint32_t bits = (value & 0x7f80u) == 0 ? (value & 0x8000u) << 16 : value << 16;
  float result;
  __builtin_memcpy(&result, &bits, sizeof result);
  return result;
}

class Tiles {
 public:
  // Products take this many bytes of the inner dimension at once: 64 or 32.
  explicit Tiles(std::size_t inner_bytes = 64) : inner_bytes_(inner_bytes) {}

  template <int T>
  void zero() {
    for (std::uint32_t& word : words_[T]) word = 0;
  }
  template <int T>
  void load(const void* p, std::size_t stride) {
    const std::size_t rows = T >= 6 ? inner_bytes_ / 4 : 16;
    const std::size_t bytes = T == 4 || T == 5 ? inner_bytes_ : 64;
    for (std::size_t row = 0; row < rows; ++row) {
      __builtin_memcpy(words_[T] + row * 16, static_cast<const char*>(p) + row * stride, bytes);
    }
  }
  template <int T>
  void store(void* p, std::size_t stride) {
    for (std::size_t row = 0; row < 16; ++row) {
      __builtin_memcpy(static_cast<char*>(p) + row * stride, words_[T] + row * 16, 64);
    }
  }

  template <int A, int B>
  void dot_int8() {
    const auto* left = reinterpret_cast<const std::int8_t*>(words_[4 + A]);
    const auto* right = reinterpret_cast<const std::int8_t*>(words_[6 + B]);
    for (std::size_t m = 0; m < 16; ++m) {
      for (std::size_t n = 0; n < 16; ++n) {
        std::uint32_t& sum = words_[2 * A + B][m * 16 + n];
        for (std::size_t k = 0; k < inner_bytes_; ++k) {
          const int product = left[m * 64 + k] * right[k / 4 * 64 + n * 4 + k % 4];
          sum += static_cast<std::uint32_t>(product);
        }
      }
    }
  }
  // The even and the odd products of a sum are two chains, added at the end.
  template <int A, int B>
  void dot_bf16() {
    const auto* left = reinterpret_cast<const char*>(words_[4 + A]);
    const auto* right = reinterpret_cast<const char*>(words_[6 + B]);
    const auto at = [](const char* tile, std::size_t index) {
      std::uint16_t value;
      __builtin_memcpy(&value, tile + 2 * index, sizeof value);
      return widen_normal(value);
    };
    for (std::size_t m = 0; m < 16; ++m) {
      for (std::size_t n = 0; n < 16; ++n) {
        float chains[2] = {};
        for (std::size_t k = 0; k < inner_bytes_ / 2; ++k) {
          chains[k % 2] = __builtin_fmaf(at(left, m * 32 + k),
                                         at(right, k / 2 * 32 + n * 2 + k % 2), chains[k % 2]);
        }
        float sum;
        __builtin_memcpy(&sum, &words_[2 * A + B][m * 16 + n], sizeof sum);
        sum += chains[0] + chains[1];
        __builtin_memcpy(&words_[2 * A + B][m * 16 + n], &sum, sizeof sum);
      }
    }
  }

 private:
  std::size_t inner_bytes_;
  std::uint32_t words_[8][16 * 16];
};

}  // namespace
}  // namespace ponder::kernels
