#pragma once

// The dispatch table: every piece of arithmetic that the engine needs, one row of function pointers
// per instruction set. The rows differ in speed and in rounding, never in meaning; the scalar row
// is complete and is the reference for all others.
//
// Conventions. "Row" is a token. All matrices are row-major; strides count elements, not bytes.
// No alignment is required. Every function is single-threaded, allocates nothing, reports nothing
// and does one range of an operation; kernels/ops.h splits operations over threads.
//
// Invariant (deterministic mode): the bits of an output element depend on the inputs of that
// element and on the table alone: not on the number of rows, on the range that a call covers, or
// on the number of threads.
//
// This header holds plain data only, because files compiled for one instruction set include it.

#include <cstddef>
#include <cstdint>

#include "kernels/sparse_attention_args.h"

namespace ponder::kernels {

using bf16 = std::uint16_t;     // the upper half of a float
using fp8_e4m3 = std::uint8_t;  // sign, 4 bits exponent (bias 7), 3 bits mantissa; no infinity

/// int8 and int4 are weights only (see MatmulArgs). int4: element 2i is the lower half of byte i,
/// 2i + 1 the upper half, each stored as code + 8.
enum class DType : std::uint8_t { f32, bf16, fp8_e4m3, int8, int4 };

inline constexpr std::size_t kPageSize = 64;          // tokens in a cache page
inline constexpr std::size_t kFp8BlockSize = 128;     // side of the square that shares a scale
inline constexpr std::size_t kActivationGroup = 128;  // inputs of x that share an int8 scale
inline constexpr float kSmallestActivation = 1e-30f;  // a group of smaller inputs counts as zeros
inline constexpr std::size_t kPreparedRows = 96;      // rows of x in a prepared block
inline constexpr std::size_t kPreparedRowsMultiple = 16;  // rows that are prepared together
inline constexpr std::size_t kScaleRows = 16;         // weight rows whose group scales lie together
inline constexpr std::size_t kLatentDimMax = 1024;    // kv_lora_rank + qk_rope_head_dim
inline constexpr std::size_t kIndexHeadDimMax = 256;  // index_head_dim
inline constexpr std::size_t kExpertsMax = 1024;      // n_routed_experts

/// y = x @ w^T. y must not overlap x.
///
/// f32, bf16 and fp8 weights are multiplied in fp32. With may_round_x a row that has instructions
/// for it multiplies bf16 and fp8 weights in bf16, sums in fp32: inputs of x, and fp8 weights after
/// scaling, are rounded to the nearest bf16 before. int8 and int4 weights (code * scale of the
/// row's group) are multiplied in integers: each kActivationGroup inputs of x are rounded to int8
/// with the scale max|x| / 127, products are summed exactly within a weight group, and the groups
/// are added in ascending order, y = fma(float(sum), x scale * weight scale, y). So these two give
/// the same bits in every row of the table. Not finite inputs of x make their outputs NaN.
struct MatmulArgs {
  float* y;               // [m, n], written
  std::size_t y_stride;   // >= n
  const float* x;         // [m, k]
  std::size_t x_stride;   // >= k
  const void* w;          // [n, k] of w_dtype, or packed
  std::size_t w_stride;   // >= k; unused when packed
  const float* w_scales;  // [ceil(n/128), ceil(k/128)]: fp8 only; the weight is code * scale
  std::size_t w_scales_stride;
  DType w_dtype;
  std::size_t m;
  std::size_t n;
  std::size_t k;  // int8, int4: a multiple of kActivationGroup
  // int8, int4: [ceil(n/16), k/w_group, 16], so that the scales of 16 rows are read at once.
  const bf16* w_group_scales = nullptr;
  std::size_t w_group = 0;  // inputs that share a scale: 32, 64 or 128
  // int8, int4: w is as kernels/packed_weights.h packs it; bf16: as kernels/packed_bf16_layout.h
  // says, aligned to 64 bytes, and multiplied with the same bits as if it were not packed.
  bool w_is_packed = false;
  bool may_round_x = false;  // fp8, and bf16 that is not packed: see above
  // What KernelTable::matmul_prepare made of all rows of x; a call then covers a block of
  // kPreparedRows rows, or the last ones. Without it each call prepares its rows itself.
  const void* prepared_x = nullptr;
};

/// y = weight * x / sqrt(mean(x^2) + eps). y may be x.
struct RmsNormArgs {
  float* y;  // [rows, dim]
  std::size_t y_stride;
  const float* x;  // [rows, dim]
  std::size_t x_stride;
  const float* weight;  // [dim]
  std::size_t rows;
  std::size_t dim;
  float eps;
};

/// y = weight * (x - mean) / sqrt(variance + eps) + bias. y may be x.
struct LayerNormArgs {
  float* y;  // [rows, dim]
  std::size_t y_stride;
  const float* x;  // [rows, dim]
  std::size_t x_stride;
  const float* weight;  // [dim]
  const float* bias;    // [dim]
  std::size_t rows;
  std::size_t dim;
  float eps;
};

enum class RopeLayout : std::uint8_t {
  interleaved,  // pair j is (2j, 2j + 1)
  half_split,   // pair j is (j, j + dim/2)
};

/// Rotates `dim` elements of every head in place. x points at the first rotated element.
struct RopeArgs {
  float* x;  // [rows, heads, dim]
  std::size_t row_stride;
  std::size_t head_stride;
  const float* cos;               // [positions, dim/2]
  const float* sin;               // [positions, dim/2]
  const std::int32_t* positions;  // [rows] rows of the tables; nullptr: row r uses table row r
  std::size_t rows;
  std::size_t heads;
  std::size_t dim;  // even
  RopeLayout layout;
};

/// y = silu(gate) * up, silu(z) = z / (1 + exp(-z)). y may be gate or up.
struct SiluMulArgs {
  float* y;  // [rows, dim]
  std::size_t y_stride;
  const float* gate;  // [rows, dim]
  std::size_t gate_stride;
  const float* up;  // [rows, dim]
  std::size_t up_stride;
  std::size_t rows;
  std::size_t dim;
};

/// y[r] += sum over slot i, ascending, of weights[r,i] * x[indices[r,i]]; index -1 adds nothing.
struct WeightedSumArgs {
  float* y;  // [rows, dim], read and written
  std::size_t y_stride;
  const float* x;  // [*, dim]
  std::size_t x_stride;
  const std::int32_t* indices;  // [rows, slots] rows of x
  const float* weights;         // [rows, slots]
  std::size_t rows;
  std::size_t slots;
  std::size_t dim;
};

/// x = softmax(x * scale), in place. A row of -inf only becomes NaN.
struct SoftmaxArgs {
  float* x;  // [rows, dim]
  std::size_t stride;
  std::size_t rows;
  std::size_t dim;
  float scale;
};

/// The experts of each row: p = sigmoid(logits); the best `topk` experts by p + bias in the best
/// `topk_group` groups (a group scores the sum of its two best); ties go to the lower index.
/// weight = scaling_factor * p, divided by (1e-20 + sum of the chosen p) when normalize is set.
struct RouterArgs {
  const float* logits;  // [rows, experts]
  std::size_t logits_stride;
  const float* bias;      // [experts], or nullptr
  std::int32_t* indices;  // [rows, topk], written; best first
  float* weights;         // [rows, topk], written
  std::size_t rows;
  std::size_t experts;  // <= kExpertsMax
  std::size_t groups;   // divides experts; 1: no groups
  std::size_t topk_group;
  std::size_t topk;  // <= experts in topk_group groups
  bool normalize;
  float scaling_factor;
};

/// Lightning indexer, fp32: scores[r,s] = sum over h, ascending, of w[r,h] * max(<q[r,h], k[s]>, 0)
/// Key s is row s % kPageSize of the block at pages[s / kPageSize] + block_offset bytes. A NaN
/// stays NaN; topk orders it.
struct IndexScoresArgs {
  float* scores;  // [rows, scores_stride]; [r, 0..num_keys[r]) is written
  std::size_t scores_stride;
  const float* q;  // [rows, heads, dim]
  std::size_t q_row_stride;
  std::size_t q_head_stride;
  const float* head_weights;  // [rows, heads], all constant factors included
  std::size_t head_weights_stride;
  const void* const* pages;  // block: [kPageSize, key_stride] of key_dtype; of fp8_e4m3 followed by
                             // [kPageSize] f32 scales, powers of two: a key is code * scale
  std::size_t key_stride;    // fp8_e4m3: a multiple of 4
  DType key_dtype;           // f32, bf16 or fp8_e4m3
  const std::int32_t* num_keys;  // [rows] visible keys
  std::size_t rows;
  std::size_t heads;
  std::size_t dim;  // <= kIndexHeadDimMax
  std::size_t block_offset = 0;
};

/// The exact best `k` of `n` scores: score descending, then position ascending. -0.0 equals +0.0,
/// NaN counts as -inf.
struct TopkArgs {
  const float* scores;  // [n]
  std::size_t n;
  std::size_t k;
  std::int32_t* positions;  // [min(k, n)], written, ascending
  std::uint32_t* scratch;   // [n], overwritten
};
struct TopkResult {
  std::size_t num_selected;  // min(k, n)
  std::size_t num_nan;
};

/// One query token of absorbed multi-head latent attention.
struct AttentionRow {
  const float* q_nope;        // [heads, kv_lora_rank], W_uk already absorbed
  const float* q_rope;        // [heads, qk_rope_head_dim]
  float* out;                 // [heads, kv_lora_rank], written
  const void* const* pages;   // block, block_offset bytes further: [kPageSize, cache_stride]
  const std::int32_t* slots;  // [num_slots]; slot s is row s % kPageSize of pages[s / kPageSize];
                              // nullptr: 0, 1, .. num_slots - 1 (dense causal attention)
  std::size_t num_slots;      // 0 gives zeros
};

/// out[h] = sum over slots of softmax(scale * (<q_nope[h], c> + <q_rope[h], k_rope>)) * c, where a
/// cache row is [c (kv_lora_rank) | k_rope (qk_rope_head_dim)], or what Fp8LatentLayout says.
struct AttentionArgs {
  const AttentionRow* rows;  // [num_rows]
  std::size_t num_rows;
  std::size_t heads;
  std::size_t kv_lora_rank;  // kv_lora_rank + qk_rope_head_dim <= kLatentDimMax
  std::size_t qk_rope_head_dim;
  std::size_t q_nope_stride;  // between heads
  std::size_t q_rope_stride;
  std::size_t out_stride;
  std::size_t cache_stride;  // between rows of a page; fp8_e4m3: bytes
  DType cache_dtype;         // f32, bf16 or fp8_e4m3
  float softmax_scale;
  Fp8LatentLayout fp8 = {};  // of a row of fp8_e4m3
  std::size_t block_offset = 0;
};

/// What attention over a part of a row's slots leaves. With l the base-2 logits, softmax_scale *
/// log2(e) * dot: max = max(l), sum = sum of 2^(l - max), out = sum of 2^(l - max) * c.
struct AttentionPart {
  float* out;  // [heads, kv_lora_rank] dense
  float* max;  // [heads]
  float* sum;  // [heads]
};

/// Memory that attention works in, aligned to 64 bytes.
struct AttentionSizes {
  std::size_t packed_query_bytes = 0;  // of a row
  std::size_t scratch_bytes = 0;       // of a thread
  std::size_t rows_together = 1;       // that an AttentionSpan may have; a power of two
};
inline constexpr std::size_t kAttentionHeadBlock = 16;
inline constexpr std::size_t kAttentionPartsMax = 16;  // of a row
inline constexpr std::size_t kAttentionRowsTogetherMax = 16;

/// Slots [slot_begin, slot_end) of a row, or of consecutive tokens of one sequence that attend to
/// all before them and so share the reading: rows with no list of slots, the same pages, and each
/// one slot more than the row before it. All of them have slots in the range.
struct AttentionSpan {
  std::size_t row;  // the first
  std::size_t num_rows;
  std::size_t slot_begin;
  std::size_t slot_end;  // of the last row; rows before it end where their own slots do
};

/// One row per instruction set; every pointer is set (a row may borrow a slower row's function).
/// Ranges are half open.
struct KernelTable {
  const char* name;

  void (*matmul)(const MatmulArgs& args, std::size_t m_begin, std::size_t m_end,
                 std::size_t n_begin, std::size_t n_end) noexcept;
  /// Bytes that matmul_prepare makes of x: inputs rounded to int8 or bf16, in the order in which
  /// products read them. 0 where products with these weights take x as it lies.
  std::size_t (*matmul_prepared_bytes)(const MatmulArgs& args) noexcept;
  /// Prepares rows [m_begin, m_end), for all columns at once; changes no bit of a product. Both are
  /// multiples of kPreparedRowsMultiple, or the end is m. `to` is aligned to 64 bytes. Requires:
  /// matmul_prepared_bytes > 0.
  void (*matmul_prepare)(const MatmulArgs& args, std::size_t m_begin, std::size_t m_end,
                         void* to) noexcept;
  void (*rms_norm)(const RmsNormArgs& args, std::size_t row_begin, std::size_t row_end) noexcept;
  void (*layer_norm)(const LayerNormArgs& args, std::size_t row_begin,
                     std::size_t row_end) noexcept;
  void (*rope)(const RopeArgs& args, std::size_t row_begin, std::size_t row_end) noexcept;
  void (*silu_mul)(const SiluMulArgs& args, std::size_t row_begin, std::size_t row_end) noexcept;
  void (*weighted_sum)(const WeightedSumArgs& args, std::size_t row_begin,
                       std::size_t row_end) noexcept;
  void (*softmax)(const SoftmaxArgs& args, std::size_t row_begin, std::size_t row_end) noexcept;
  void (*router)(const RouterArgs& args, std::size_t row_begin, std::size_t row_end) noexcept;
  /// Scores keys [key_begin, key_end) for rows [row_begin, row_end), each row up to its num_keys.
  void (*index_scores)(const IndexScoresArgs& args, std::size_t row_begin, std::size_t row_end,
                       std::size_t key_begin, std::size_t key_end) noexcept;
  TopkResult (*topk)(const TopkArgs& args) noexcept;
  void (*index_quantize)(const IndexQuantizeArgs& args, std::size_t row_begin,
                         std::size_t row_end) noexcept;
  /// The same ranges as index_scores; key_begin is a multiple of kPageSize.
  void (*index_scores_i8)(const IndexScoresI8Args& args, std::size_t row_begin, std::size_t row_end,
                          std::size_t key_begin, std::size_t key_end) noexcept;
  /// Offers scores[i] of position first_position + i to the candidates.
  void (*topk_push)(TopkCandidates& candidates, const float* scores, std::size_t n,
                    std::int32_t first_position) noexcept;
  /// Keeps the best k and raises the threshold to the worst of them. Nothing while size < k.
  void (*topk_shrink)(TopkCandidates& candidates) noexcept;
  // Attention of one row: pack its query once, attend to some parts of its slots, combine them.
  // kernels/attention.h runs them.
  AttentionSizes (*attention_sizes)(const AttentionArgs& args) noexcept;
  /// head_begin is a multiple of kAttentionHeadBlock, and so is head_end unless it is the last.
  void (*attention_pack)(const AttentionArgs& args, std::size_t row, std::size_t head_begin,
                         std::size_t head_end, void* packed_query) noexcept;
  /// All heads over a span. packed_queries: [num_rows] of the span; parts: that of its row r is
  /// parts[r * parts_stride]. A row's bits do not depend on what it is together with.
  void (*attention_part)(const AttentionArgs& args, const AttentionSpan& span,
                         const void* packed_queries, const AttentionPart* parts,
                         std::size_t parts_stride, void* scratch) noexcept;
  /// Writes the row's output from its parts, in their order. No parts give zeros.
  void (*attention_combine)(const AttentionArgs& args, std::size_t row, const AttentionPart* parts,
                            std::size_t num_parts, std::size_t head_begin,
                            std::size_t head_end) noexcept;

  void (*add)(float* y, const float* x, std::size_t n) noexcept;  // y += x
  /// Index of the largest value, the lowest among equals; NaN never wins; 0 for n == 0.
  std::size_t (*argmax)(const float* x, std::size_t n) noexcept;
  void (*bf16_to_f32)(float* y, const bf16* x, std::size_t n) noexcept;
  /// Rounds to nearest even; a NaN stays a (quiet) NaN.
  void (*f32_to_bf16)(bf16* y, const float* x, std::size_t n) noexcept;
  /// x = float(bf16(x)), in place.
  void (*round_to_bf16)(float* x, std::size_t n) noexcept;
};

}  // namespace ponder::kernels
