#include "kernels/bench/product_probe.h"

#include "kernels/bench/memory.h"
#include "kernels/dispatch.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace ponder::kernels::bench {
namespace {

constexpr std::size_t kBufferBytes = std::size_t{512} << 10;
constexpr int kRounds = 32;  // through the buffer
constexpr std::size_t kSumsBytes = 64 * 64;
constexpr std::size_t kSteps = 64;  // of x, which then begins again

#if defined(__x86_64__)
// x is the beginning of the buffer: its values do not matter, and it stays in the first level.
constexpr int kBlockRows = 12;
constexpr int kBlockVectors = 2;

#define PONDER_AVX512 __attribute__((target("avx512f,avx512bw,avx512vnni,avx512bf16")))

struct Float512 {
  static constexpr double kOperations = 32;
  PONDER_AVX512 static __m512i add(__m512i sum, __m512i w, __m512i x) {
    return _mm512_castps_si512(
        _mm512_fmadd_ps(_mm512_castsi512_ps(w), _mm512_castsi512_ps(x), _mm512_castsi512_ps(sum)));
  }
};
struct Bf16Pairs512 {
  static constexpr double kOperations = 64;
  PONDER_AVX512 static __m512i add(__m512i sum, __m512i w, __m512i x) {
    return _mm512_castps_si512(
        _mm512_dpbf16_ps(_mm512_castsi512_ps(sum), (__m512bh)w, (__m512bh)x));
  }
};
struct Int8Quads512 {
  static constexpr double kOperations = 128;
  PONDER_AVX512 static __m512i add(__m512i sum, __m512i w, __m512i x) {
    return _mm512_dpbusd_epi32(sum, w, x);
  }
};

template <class Instruction>
PONDER_AVX512 void multiply_512(const std::byte* weights, std::byte* sums) noexcept {
  constexpr std::size_t kStepBytes = kBlockVectors * 64;
  const auto* x = reinterpret_cast<const int*>(weights);
  __m512i block[kBlockRows][kBlockVectors] = {};
  for (int round = 0; round < kRounds; ++round) {
    for (std::size_t at = 0; at < kBufferBytes; at += kSteps * kStepBytes) {
      for (std::size_t step = 0; step < kSteps; ++step) {
        const std::byte* w = weights + at + step * kStepBytes;
        const __m512i first = _mm512_loadu_si512(w);
        const __m512i second = _mm512_loadu_si512(w + 64);
        for (int i = 0; i < kBlockRows; ++i) {
          const __m512i word = _mm512_set1_epi32(x[static_cast<std::size_t>(i) * kSteps + step]);
          block[i][0] = Instruction::add(block[i][0], first, word);
          block[i][1] = Instruction::add(block[i][1], second, word);
        }
      }
    }
  }
  for (int i = 0; i < kBlockRows; ++i) {
    for (int j = 0; j < kBlockVectors; ++j) {
      _mm512_storeu_si512(sums + std::ptrdiff_t{64} * (i * kBlockVectors + j), block[i][j]);
    }
  }
}

__attribute__((target("avx2,fma"))) void multiply_256(const std::byte* weights,
                                                      std::byte* sums) noexcept {
  constexpr int kRows = 6;
  const auto* x = reinterpret_cast<const float*>(weights);
  __m256 block[kRows][2] = {};
  for (int round = 0; round < kRounds; ++round) {
    for (std::size_t at = 0; at < kBufferBytes; at += kSteps * 64) {
      for (std::size_t step = 0; step < kSteps; ++step) {
        const auto* w = reinterpret_cast<const float*>(weights + at + step * 64);
        const __m256 first = _mm256_loadu_ps(w);
        const __m256 second = _mm256_loadu_ps(w + 8);
        for (int i = 0; i < kRows; ++i) {
          const __m256 word = _mm256_set1_ps(x[static_cast<std::size_t>(i) * kSteps + step]);
          block[i][0] = _mm256_fmadd_ps(first, word, block[i][0]);
          block[i][1] = _mm256_fmadd_ps(second, word, block[i][1]);
        }
      }
    }
  }
  for (int i = 0; i < kRows; ++i) {
    for (int j = 0; j < 2; ++j) {
      _mm256_storeu_ps(reinterpret_cast<float*>(sums) + std::ptrdiff_t{8} * (i * 2 + j),
                       block[i][j]);
    }
  }
}

// Two tiles of weights from the buffer meet two of x.
template <bool kIsInt8>
__attribute__((target("amx-tile,amx-int8,amx-bf16"))) void multiply_tiles(
    const std::byte* weights, std::byte* sums) noexcept {
  struct alignas(64) {
    unsigned char palette = 1;
    unsigned char reserved[15] = {};
    unsigned short row_bytes[16] = {64, 64, 64, 64, 64, 64, 64, 64};
    unsigned char rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};
  } const config;
  constexpr std::size_t kTileBytes = 1024;
  _tile_loadconfig(&config);
  for (int round = 0; round < kRounds; ++round) {
    for (std::size_t at = 0; at < kBufferBytes; at += 2 * kTileBytes) {
      _tile_loadd(4, weights + at % (8 * kTileBytes), 64);
      _tile_loadd(5, weights + at % (8 * kTileBytes) + kTileBytes, 64);
      _tile_loadd(6, weights + at, 64);
      _tile_loadd(7, weights + at + kTileBytes, 64);
      if constexpr (kIsInt8) {
        _tile_dpbssd(0, 4, 6);
        _tile_dpbssd(1, 4, 7);
        _tile_dpbssd(2, 5, 6);
        _tile_dpbssd(3, 5, 7);
      } else {
        _tile_dpbf16ps(0, 4, 6);
        _tile_dpbf16ps(1, 4, 7);
        _tile_dpbf16ps(2, 5, 6);
        _tile_dpbf16ps(3, 5, 7);
      }
    }
  }
  _tile_stored(0, sums, 64);
  _tile_release();
}

constexpr double kVectors = static_cast<double>(kBufferBytes) / 64 * kRounds;
constexpr double kTiles = static_cast<double>(kBufferBytes) / 1024 * kRounds;
#endif

}  // namespace

const char* product_name(Product product) {
  constexpr const char* kNames[] = {"fp32", "bf16", "int8", "amx bf16", "amx int8"};
  return kNames[static_cast<std::size_t>(product)];
}

bool ProductProbe::is_runnable(Product product) {
  const CpuFeatures features = cpu_features();
  switch (product) {
    case Product::f32:
      return features.avx2;
    case Product::bf16:
      return features.avx512_bf16;
    case Product::int8:
      return features.avx512_vnni;
    case Product::tile_bf16:
    case Product::tile_int8:
      return features.amx;
  }
  return false;
}

ProductProbe::ProductProbe(Product product, unsigned threads) : loop_(nullptr) {
  for (unsigned i = 0; i < threads; ++i) {
    weights_.push_back(allocate_codes(kBufferBytes));
    sums_.push_back(allocate(kSumsBytes));
  }
#if defined(__x86_64__)
  switch (product) {
    case Product::f32:
      loop_ = cpu_features().avx512 ? multiply_512<Float512> : multiply_256;
      // A vector of weights counts for as many floats either way.
      operations_per_thread_ =
          kVectors * Float512::kOperations * (cpu_features().avx512 ? kBlockRows : 6);
      return;
    case Product::bf16:
      loop_ = multiply_512<Bf16Pairs512>;
      operations_per_thread_ = kVectors * Bf16Pairs512::kOperations * kBlockRows;
      return;
    case Product::int8:
      loop_ = multiply_512<Int8Quads512>;
      operations_per_thread_ = kVectors * Int8Quads512::kOperations * kBlockRows;
      return;
    case Product::tile_bf16:
      loop_ = multiply_tiles<false>;
      operations_per_thread_ = kTiles * 2 * 2 * 16 * 16 * 32;
      return;
    case Product::tile_int8:
      loop_ = multiply_tiles<true>;
      operations_per_thread_ = kTiles * 2 * 2 * 16 * 16 * 64;
      return;
  }
#endif
}

double ProductProbe::operations() const {
  return operations_per_thread_ * static_cast<double>(weights_.size());
}

void ProductProbe::run(ThreadPool& pool) const {
  pool.parallel_for(weights_.size(), 1, [this](std::size_t thread, std::size_t) {
    loop_(weights_[thread], sums_[thread]);
  });
}

}  // namespace ponder::kernels::bench
