#include "kernels/bench/probes.h"

#include <time.h>

#include <algorithm>
#include <cstdint>

#include "kernels/dispatch.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace ponder::kernels::bench {
namespace {

constexpr int kRounds = 5;  // the best one counts: the rate is a property of the machine
constexpr std::size_t kSteps = 400'000;

double seconds(clockid_t clock) {
  timespec time{};
  clock_gettime(clock, &time);
  return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_nsec) * 1e-9;
}

// The best rate of a loop that does `operations`.
template <class Loop>
double best_rate(double operations, Loop loop) {
  double best = 0.0;
  for (int round = 0; round < kRounds; ++round) {
    const double begin = thread_seconds();
    loop();
    best = std::max(best, operations / (thread_seconds() - begin));
  }
  return best;
}

#if defined(__x86_64__)
// Twelve independent sums keep two units of four cycles busy. The empty asm makes every sum an
// input and an output of each step, so that nothing is folded.
constexpr int kSums = 12;

__attribute__((target("avx2,fma"))) void fma_256() {
  __m256 sums[kSums] = {};
  const __m256 a = _mm256_set1_ps(0.5f);
  for (std::size_t step = 0; step < kSteps; ++step) {
    for (int i = 0; i < kSums; ++i) {
      sums[i] = _mm256_fmadd_ps(a, a, sums[i]);
      asm volatile("" : "+x"(sums[i]));
    }
  }
}

__attribute__((target("avx512f"))) void fma_512() {
  __m512 sums[kSums] = {};
  const __m512 a = _mm512_set1_ps(0.5f);
  for (std::size_t step = 0; step < kSteps; ++step) {
    for (int i = 0; i < kSums; ++i) {
      sums[i] = _mm512_fmadd_ps(a, a, sums[i]);
      asm volatile("" : "+v"(sums[i]));
    }
  }
}

__attribute__((target("avx512f,avx512bf16"))) void dot_bf16() {
  __m512 sums[kSums] = {};
  const __m512bh a = (__m512bh)_mm512_set1_epi32(0x3f003f00);
  for (std::size_t step = 0; step < kSteps; ++step) {
    for (int i = 0; i < kSums; ++i) {
      sums[i] = _mm512_dpbf16_ps(sums[i], a, a);
      asm volatile("" : "+v"(sums[i]));
    }
  }
}

__attribute__((target("avx512f,avx512vnni"))) void dot_int8() {
  __m512i sums[kSums] = {};
  const __m512i a = _mm512_set1_epi32(0x01010101);
  for (std::size_t step = 0; step < kSteps; ++step) {
    for (int i = 0; i < kSums; ++i) {
      sums[i] = _mm512_dpbusd_epi32(sums[i], a, a);
      asm volatile("" : "+v"(sums[i]));
    }
  }
}
#endif

// Sums of whole cache lines. Hardware does not prefetch across pages of memory.
void read_chunk(const std::byte* memory, std::size_t bytes) {
  constexpr std::size_t kAhead = 4096;
  const auto* words = reinterpret_cast<const std::uint64_t*>(memory);
  std::uint64_t sums[8] = {};
  for (std::size_t i = 0; i + 8 <= bytes / sizeof *words; i += 8) {
    __builtin_prefetch(words + i + kAhead / sizeof *words);
    for (std::size_t lane = 0; lane < 8; ++lane) sums[lane] += words[i + lane];
  }
  for (const std::uint64_t& sum : sums) asm volatile("" : : "m"(sum));
}

}  // namespace

Peaks measure_peaks() {
  Peaks peaks{};
#if defined(__x86_64__)
  const CpuFeatures features = cpu_features();
  constexpr double kInstructions = static_cast<double>(kSums) * kSteps;
  if (features.avx2) peaks.float_flops = best_rate(kInstructions * 16, fma_256);
  if (features.avx512) peaks.float_flops = best_rate(kInstructions * 32, fma_512);
  if (features.avx512_vnni) peaks.int8_ops = best_rate(kInstructions * 128, dot_int8);
  if (features.avx512_bf16) peaks.bf16_flops = best_rate(kInstructions * 64, dot_bf16);
#endif
  peaks.bf16_flops = std::max(peaks.bf16_flops, peaks.float_flops);
  return peaks;
}

double measure_read(const std::byte* memory, std::size_t bytes) {
  return best_rate(static_cast<double>(bytes), [&] { read_chunk(memory, bytes); });
}

void read_memory(ThreadPool& pool, const std::byte* memory, std::size_t bytes) {
  constexpr std::size_t kChunk = std::size_t{256} << 10;
  pool.parallel_for(bytes, kChunk, [&](std::size_t begin, std::size_t end) {
    read_chunk(memory + begin, end - begin);
  });
}

double process_seconds() { return seconds(CLOCK_PROCESS_CPUTIME_ID); }
double thread_seconds() { return seconds(CLOCK_THREAD_CPUTIME_ID); }
double wall_seconds() { return seconds(CLOCK_MONOTONIC); }

}  // namespace ponder::kernels::bench
