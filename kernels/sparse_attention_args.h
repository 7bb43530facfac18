#pragma once

// Arguments of the kernels that make sparse attention fast: int8 index keys, FP8 latents, streaming
// selection and attention in splits. Part of kernels/kernel_table.h, whose conventions hold here;
// plain data only, because files compiled for one instruction set include it.

#include <cstddef>
#include <cstdint>

namespace ponder::kernels {

// A page of index keys in mode I8, for 64 tokens of `dim` codes:
//   blocks of 16 tokens, [4][dim / 4][16][4] codes: (token t, dimension d) of a block lies at
//   64 * (d / 4) + 4 * t + d % 4, which is an AMX tile and a VNNI operand as it stands;
//   then the scales, [64] f32. A key is code * scale.
inline constexpr std::size_t kIndexBlockKeys = 16;
inline constexpr int kIndexCodeMax = 127;           // never -128, so that pair sums fit 16 bits
inline constexpr float kIndexAbsmaxMin = 1e-30f;    // a smaller row is taken for zeros
inline constexpr std::size_t kIndexHeadsMax = 256;  // index_n_heads

// A latent row in FP8: [kv_lora_rank] E4M3 codes; at scales_at one f32 scale for every
// kFp8LatentGroup of them; at rope_at [qk_rope_head_dim] bf16. c = code * scale. Scales are powers
// of two, so that bf16 holds every c exactly. DeepSeek-V3.2: 512 + 16 + 128 = 656 bytes.
inline constexpr std::size_t kFp8LatentGroup = 128;
struct Fp8LatentLayout {
  std::size_t scales_at;  // bytes from the start of the row
  std::size_t rope_at;
  std::size_t bytes;  // of the row
};

/// Turns rows by the normalised Hadamard matrix and rounds them to int8 with one scale per row,
/// absmax / 127. Queries and keys go through this one function, so that their dot is that of the
/// unrotated rows. All tables give equal bits. A row with a NaN or an infinity gets zeros and a NaN
/// scale: its scores are NaN.
struct IndexQuantizeArgs {
  const float* x;  // [rows, dim]
  std::size_t x_stride;
  std::int8_t* codes;  // [rows, dim] dense, written; within +-kIndexCodeMax
  float* scales;       // [rows], written
  std::size_t rows;
  std::size_t dim;  // a power of two, 4 .. kIndexHeadDimMax
};

/// Lightning indexer over int8 keys. With c[h] = <q[r,h], k[s]>, exact in int32:
///   acc = fma(float(max(c[h], 0)), w[r,h], acc) over h, ascending;  scores[r,s] = acc * scale[s]
/// All tables give equal bits.
struct IndexScoresI8Args {
  float* scores;  // [rows, scores_stride]; [r, 0..num_keys[r]) is written
  std::size_t scores_stride;
  const std::int8_t* q;          // [rows, heads, dim] codes, dense
  const float* head_weights;     // [rows, heads], dense; the query's scale included
  const void* const* pages;      // block, block_offset bytes further, in the layout above
  const std::int32_t* num_keys;  // [rows] visible keys
  std::size_t rows;
  std::size_t heads;  // <= kIndexHeadsMax
  std::size_t dim;    // a power of two, 4 .. kIndexHeadDimMax
  std::size_t block_offset = 0;
};

/// The best `k` scores seen so far, in the order of TopkArgs, while scores arrive in pieces of any
/// order. Scores are kept as integers of the same order ("images").
struct TopkCandidates {
  std::uint32_t* images;    // [capacity]
  std::int32_t* positions;  // [capacity]
  std::uint32_t* scratch;   // [capacity], overwritten by topk_shrink
  std::size_t capacity;     // > k + kTopkSlack
  std::size_t k;            // > 0
  std::size_t size = 0;
  // At least k scores rank at or above this pair. What ranks below it is not even looked at.
  std::uint32_t threshold_image = 0;
  std::int32_t threshold_position = INT32_MAX;
  std::size_t num_nan = 0;
};
inline constexpr std::size_t kTopkSlack = 64;  // candidates that one step of topk_push may add

}  // namespace ponder::kernels
