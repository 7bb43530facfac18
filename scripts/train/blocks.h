// 64 x 64 blocks of bfloat16 products and the layout of packed batches, shared by the kernels.
#pragma once

#include <immintrin.h>

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <cstring>
#include <thread>
#include <vector>

namespace ponder_train {

constexpr int kBlock = 64;             // queries, keys and head width of one block
constexpr int kArea = kBlock * kBlock;
constexpr float kLog2E = 1.44269504088896340736f;
constexpr float kMasked = -1e30f;

using Bf16 = uint16_t;

struct alignas(64) Tile { Bf16 at[kArea]; };       // 64 x 64, row-major
struct alignas(64) Pairs { uint32_t at[kArea / 2]; };  // 32 pairs x 64 lanes, two bf16 each
struct alignas(64) Acc { float at[kArea]; };

inline float widen(Bf16 x) {
  const uint32_t bits = static_cast<uint32_t>(x) << 16;
  float out;
  std::memcpy(&out, &bits, 4);
  return out;
}

inline Bf16 narrow(float x) {
  uint32_t bits;
  std::memcpy(&bits, &x, 4);
  return static_cast<Bf16>((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16);
}

inline __m512i join(__m512 low, __m512 high) {  // lanes (low, high) as pairs of bf16
  const __m512i l = _mm512_cvtepu16_epi32((__m256i)_mm512_cvtneps_pbh(low));
  const __m512i h = _mm512_cvtepu16_epi32((__m256i)_mm512_cvtneps_pbh(high));
  return _mm512_or_si512(l, _mm512_slli_epi32(h, 16));
}

// 2^x for x <= about 100; everything far below underflows to zero.
inline __m512 exp2_lanes(__m512 x) {
  x = _mm512_max_ps(x, _mm512_set1_ps(-200.f));
  const __m512 n = _mm512_roundscale_ps(x, 0);
  const __m512 f = _mm512_sub_ps(x, n);
  __m512 p = _mm512_set1_ps(1.3333558e-3f);
  p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(9.6181291e-3f));
  p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(5.5504109e-2f));
  p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(2.4022651e-1f));
  p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(6.9314718e-1f));
  p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(1.f));
  return _mm512_scalef_ps(p, n);
}

// c[64 x 64] (+)= a[64 x 64] * b, b as 32 pairs of rows x 64 lanes.
inline void product(float* c, const Bf16* a, const uint32_t* b, bool accumulate) {
  for (int row = 0; row < kBlock; row += 4) {
    __m512 acc[4][4];
    for (int r = 0; r < 4; ++r)
      for (int l = 0; l < 4; ++l)
        acc[r][l] = accumulate ? _mm512_load_ps(c + (row + r) * kBlock + l * 16)
                               : _mm512_setzero_ps();
    const uint32_t* rows = reinterpret_cast<const uint32_t*>(a + row * kBlock);
    for (int p = 0; p < kBlock / 2; ++p) {
      __m512bh lanes[4];
      for (int l = 0; l < 4; ++l)
        lanes[l] = (__m512bh)_mm512_load_si512(b + p * kBlock + l * 16);
      for (int r = 0; r < 4; ++r) {
        const __m512bh pair =
            (__m512bh)_mm512_set1_epi32(static_cast<int>(rows[r * (kBlock / 2) + p]));
        for (int l = 0; l < 4; ++l) acc[r][l] = _mm512_dpbf16_ps(acc[r][l], pair, lanes[l]);
      }
    }
    for (int r = 0; r < 4; ++r)
      for (int l = 0; l < 4; ++l)
        _mm512_store_ps(c + (row + r) * kBlock + l * 16, acc[r][l]);
  }
}

// Copies `rows` rows of 64 values, `stride` apart, and fills the rest with zeros.
inline void load_tile(Tile& out, const Bf16* from, int64_t stride, int rows) {
  for (int r = 0; r < kBlock; ++r) {
    if (r < rows) std::memcpy(out.at + r * kBlock, from + r * stride, kBlock * sizeof(Bf16));
    else std::memset(out.at + r * kBlock, 0, kBlock * sizeof(Bf16));
  }
}

inline void transpose(Tile& out, const Tile& in) {
  for (int r = 0; r < kBlock; ++r)
    for (int c = 0; c < kBlock; ++c) out.at[c * kBlock + r] = in.at[r * kBlock + c];
}

// Lanes are the tile's rows, pairs run along its columns.
inline void pack_columns(Pairs& out, const Tile& in) {
  const uint32_t* rows = reinterpret_cast<const uint32_t*>(in.at);
  for (int r = 0; r < kBlock; ++r)
    for (int p = 0; p < kBlock / 2; ++p) out.at[p * kBlock + r] = rows[r * (kBlock / 2) + p];
}

// Lanes are the tile's columns, pairs run along its rows.
inline void pack_rows(Pairs& out, const Tile& in) {
  for (int p = 0; p < kBlock / 2; ++p)
    for (int c = 0; c < kBlock; ++c)
      out.at[p * kBlock + c] = static_cast<uint32_t>(in.at[2 * p * kBlock + c]) |
                               static_cast<uint32_t>(in.at[(2 * p + 1) * kBlock + c]) << 16;
}

inline int blocks(int n) { return (n + kBlock - 1) / kBlock; }

// One packed batch: sequence i owns rows [starts[i], starts[i + 1]); sequence 0 is the prefix.
struct Batch {
  const int32_t* starts;
  const int64_t* mask_at;  // first mask word of each sequence
  const uint64_t* mask;    // bits of visible queries, [keys][blocks(length)] per sequence, or null
  int sequences, heads;
  float scale;

  int prefix() const { return starts[1]; }
  int64_t stride() const { return static_cast<int64_t>(heads) * kBlock; }
};

// The keys that one sequence sees, in blocks: those of the prefix first, then its own.
struct Keys {
  int prefix, prefix_blocks, begin_row, length, count, words;
  const uint64_t* mask;

  Keys(const Batch& batch, int sequence)
      : prefix(sequence == 0 ? 0 : batch.prefix()),
        prefix_blocks(blocks(prefix)),
        begin_row(batch.starts[sequence]),
        length(batch.starts[sequence + 1] - begin_row),
        count(prefix_blocks + blocks(length)),
        words(blocks(length)),
        mask(batch.mask == nullptr ? nullptr : batch.mask + batch.mask_at[sequence]) {}

  bool in_prefix(int j) const { return j < prefix_blocks; }
  int begin(int j) const { return (in_prefix(j) ? j : j - prefix_blocks) * kBlock; }
  int size(int j) const { return std::min(kBlock, (in_prefix(j) ? prefix : length) - begin(j)); }
  int64_t row(int j) const { return begin(j) + (in_prefix(j) ? 0 : begin_row); }
  int position(int j) const { return begin(j) + (in_prefix(j) ? 0 : prefix); }
  int rows_of(int query_block) const { return std::min(kBlock, length - query_block * kBlock); }
  int first_query_block(int j) const { return in_prefix(j) ? 0 : j - prefix_blocks; }
  int last_key_block(int query_block) const { return prefix_blocks + query_block; }
  uint64_t visible(int j, int r, int query_block) const {
    if (r >= size(j)) return 0;
    const uint64_t bits = j == last_key_block(query_block) ? ~0ull << r : ~0ull;
    if (mask == nullptr) return bits;
    return bits & mask[static_cast<int64_t>(position(j) + r) * words + query_block];
  }
};

// Runs work(unit) on `threads` threads; units are handed out one by one.
template <class Work>
void for_units(int units, int threads, const Work& work) {
  std::atomic<int> next{0};
  const auto loop = [&] {
    for (int u = next++; u < units; u = next++) work(u);
  };
  std::vector<std::thread> pool;
  for (int t = 1; t < threads; ++t) pool.emplace_back(loop);
  loop();
  for (auto& t : pool) t.join();
}

}  // namespace ponder_train
