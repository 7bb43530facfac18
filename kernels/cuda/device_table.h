#pragma once

// What a device with memory of its own offers: memory, copies, and the operations of the forward
// pass. The CUDA backend is one such table, from a library that is loaded at run time; the emulated
// device, which runs the same kernels on the CPU for tests, is another.
//
// Conventions. Those of kernels/kernel_table.h, but every pointer in the arguments of an operation
// points into device memory. Operations are launched, in order, on one stream, and not waited for.
// An error sticks: it is what wait() and download() return from then on, and the device is of no
// use any more. Codes are 0 for success and otherwise the backend's own; error_text explains them.
//
// Invariant (deterministic mode): as in kernel_table.h, the bits of an output element depend on the
// inputs of that element alone, not on the rows or sequences it is computed together with.
//
// Thread: none; one caller at a time. Plain data only: this header is what both sides compile.

#include <cstddef>
#include <cstdint>

#include "kernels/kernel_table.h"

namespace ponder::kernels {

/// Grows with every change below, and when a kernel's results change in their bits. A library of
/// another version is not used, nor are cache pages that another version has left on disk.
inline constexpr std::uint32_t kDeviceTableVersion = 7;

/// The one code that all backends share: what allocate() returns when memory will not do. It does
/// not stick.
inline constexpr int kDeviceOutOfMemory = 2;

struct DeviceInfo {
  char name[96];
  int compute_capability;  // 90 is 9.0
  int num_processors;
  std::uint64_t memory_bytes;
  std::uint64_t memory_bytes_free;
};

/// One [n, k] matrix, its bytes as MatmulArgs has them.
struct DeviceMatrix {
  const void* data;
  const float* scales;          // fp8: [ceil(n/128), ceil(k/128)]
  const bf16* group_scales;     // int8, int4
  std::uint32_t scales_stride;  // fp8
  std::uint16_t group;          // int8, int4
  DType dtype;
  bool is_packed;  // int8, int4
};

/// y[b] = x[b] @ w[b]^T for every b of a batch: one matrix, the heads, or the experts. fp8 weights
/// are code * scale in fp32; int8 and int4 give the bits of MatmulArgs.
struct DeviceMatmulArgs {
  float* y;  // [m, n] of the first of the batch
  std::size_t y_stride;
  std::size_t y_batch_stride = 0;  // elements from one of the batch to the next; 0 with group_begin
  const float* x;                  // [m, k] of the first of the batch
  std::size_t x_stride;
  /// [m_total]: in the place of row r stands row x_rows[r] of x; nullptr: r itself. -1 only in rows
  /// that are in no group.
  const std::int32_t* x_rows = nullptr;
  std::size_t x_batch_stride = 0;
  const DeviceMatrix* w;  // [batch]
  DType w_dtype;          // of all of them
  std::size_t batch;      // <= 65535
  /// [batch + 1]: b has rows [begin[b], begin[b+1]); nullptr: all m.
  const std::int32_t* group_begin = nullptr;
  std::size_t m;        // of each; with group_begin the most that one can have
  std::size_t m_total;  // rows of y, and of x without x_rows: m, or of all groups
  std::size_t n;
  std::size_t k;
  // int8, int4: [m_total, k] and [m_total, k / kActivationGroup], overwritten, or with x_is_coded
  // what a product of the same rows has left there. Not for x_batch_stride > 0: heads are
  // multiplied in floating point.
  std::int8_t* x_codes = nullptr;
  float* x_scales = nullptr;
  bool x_is_coded = false;
};

/// y[r] = row indices[r] of the table as fp32, or zeros for -1.
struct GatherRowsArgs {
  float* y;  // [rows, dim]
  std::size_t y_stride;
  const void* table;  // [*, dim] dense, f32 or bf16
  DType dtype;
  const std::int32_t* indices;  // [rows]
  std::size_t rows;
  std::size_t dim;
};

/// Sorts the chosen experts' rows by expert, stably. Only the first *num_rows rows count: slots and
/// places beyond them get -1.
struct GroupByExpertArgs {
  const std::int32_t* experts;  // [num_slots]
  std::size_t num_slots;        // rows * topk
  std::size_t topk;
  std::size_t num_experts;                 // <= kExpertsMax
  std::int32_t* expert_begin;              // [num_experts + 1], written
  std::int32_t* slot_rows;                 // [num_slots], written: the place of each slot
  std::int32_t* source_rows;               // [num_slots], written: the row at each place
  const std::int32_t* num_rows = nullptr;  // [1]; nullptr: all
};

/// The pages of all sequences, and one layer's block in each.
struct DevicePages {
  std::byte* pages;
  std::size_t page_bytes;
  std::size_t block_offset;  // of the layer's block
  std::size_t row_stride;    // elements; fp8_e4m3 latents: bytes
  DType dtype;               // of its rows; int8: index keys of mode I8
};

/// What rotates a row's heads: the angles of its position.
struct DeviceRope {
  const float* cos;  // [rows, dim / 2]
  const float* sin;
  std::size_t dim;  // even; 0: nothing is rotated
};

/// hidden += (output + sum over slot i, ascending, of expert_weights[r,i] *
/// expert_output[expert_rows[r,i]]), where row -1 adds nothing; then
/// y = weight * hidden / sqrt(mean(hidden^2) + eps).
struct ResidualNormArgs {
  float* hidden;                    // [rows, dim]
  const float* output;              // [rows, dim]; beside experts nullptr: zeros
  const float* expert_output;       // [*, dim]; row 0 may be read for -1
  const std::int32_t* expert_rows;  // [rows, slots]
  const float* expert_weights;      // [rows, slots]
  std::size_t slots;                // 0: no experts
  float* y;                         // [rows, dim], written
  const float* weight;              // [dim]
  std::size_t rows;
  std::size_t dim;
  float eps;
};

/// y = silu(gate) * up, silu(z) = z / (1 + exp(-z)), or the codes of y for a product with int8 or
/// int4 weights.
struct DeviceSiluArgs {
  float* y;                      // [n], may be gate or up; nullptr: only codes are wanted
  const float* gate;             // [n]
  const float* up;               // [n]
  std::size_t n;                 // with codes a multiple of kActivationGroup
  std::int8_t* codes = nullptr;  // [n], written: DeviceMatmulArgs::x_codes
  float* scales = nullptr;       // [n / kActivationGroup], written
};

/// What the first projections of a row come to. Slot s is row s % kPageSize of page s / kPageSize;
/// of a row with slot -1 nothing is written to the cache.
struct QueryLatents {
  float* latents;     // [rows, dim]: y = norm * x / sqrt(mean(x^2) + eps), in place; or nullptr
  const float* norm;  // [dim]
  std::size_t dim;
};
/// [norm of the latent | RoPE of the rest], rounded as the cache stores it.
struct KvLatents {
  const float* latents;  // [rows, rank + rope.dim]; or nullptr
  const float* norm;     // [rank]
  std::size_t rank;      // kv_lora_rank
  DevicePages cache;     // f32, bf16 or fp8_e4m3
  Fp8LatentLayout fp8;
  RopeLayout layout;
};
/// norm * (x - mean) / sqrt(variance + eps) + bias; RoPE of the first elements; then of int8 what
/// IndexQuantizeArgs has, of fp8_e4m3 k <- bf16(H bf16(k) / sqrt(dim)) and its codes.
struct NewIndexKeys {
  const float* keys;  // [rows, dim]; nullptr: there are none
  const float* norm;  // [dim]
  const float* bias;  // [dim]
  float eps;
  std::size_t dim;    // <= kIndexHeadDimMax; of int8 and fp8_e4m3 a power of two
  DevicePages cache;  // f32, bf16, int8 or fp8_e4m3
  RopeLayout layout;
};
struct LatentsArgs {
  QueryLatents queries;
  KvLatents kv;
  NewIndexKeys index;
  const std::int32_t* slots;  // [rows]
  DeviceRope rope;
  std::size_t rows;
  float eps;  // of both latents
};

/// RoPE of the first elements, then rotated and rounded like the keys. int8 queries become codes
/// and scales, and weights = weights * weight_factor * scale; fp8_e4m3 queries what their codes
/// stand for; others stay as they are; and weights = weights * weight_factor.
struct IndexQueries {
  float* q;            // [rows, heads, dim], overwritten but of int8; nullptr: there are none
  std::int8_t* codes;  // int8: the same shape, written
  float* weights;      // [rows, heads]
  float weight_factor;
  std::size_t heads;
  std::size_t dim;  // as NewIndexKeys has it
  DType key_dtype;
  RopeLayout layout;
};
/// RoPE of the attention's queries in place, and what index queries become.
struct QueriesArgs {
  float* q_rope;  // [rows, heads, rope.dim] with these strides
  std::size_t q_row_stride;
  std::size_t q_head_stride;
  std::size_t heads;
  RopeLayout layout;
  IndexQueries index;
  DeviceRope rope;
  std::size_t rows;
};

/// A sequence's positions: position p is token p % kPageSize of page block_table[p / kPageSize].
struct DeviceSequences {
  const std::int32_t* block_tables;  // [sequences, block_table_stride]
  std::size_t block_table_stride;
  const std::int32_t* row_sequences;  // [rows]
};

/// The scores of IndexScoresArgs or, over int8 keys, of IndexScoresI8Args.
struct DeviceIndexScoresArgs {
  float* scores;  // [rows, scores_stride]
  std::size_t scores_stride;
  DevicePages cache;
  DeviceSequences sequences;
  const float* q;              // [rows, heads, dim]
  const std::int8_t* q_codes;  // int8: the same shape
  const float* head_weights;   // [rows, heads]
  const std::int32_t* num_keys;
  std::size_t num_keys_max;  // of all rows
  std::size_t keys_min;      // rows with so many keys or fewer are left out
  std::size_t rows;
  std::size_t heads;
  std::size_t dim;
};

/// How a selection is shared between blocks: a row's scores in pieces of this many keys, at most so
/// many rows at a time, and only where the rows are so long. The bits are the same either way.
inline constexpr std::size_t kSelectPieceKeys = 4096;
inline constexpr std::size_t kSelectSplitRowsMax = 64;
inline constexpr std::size_t kSelectSplitKeysMin = 4 * kSelectPieceKeys;

constexpr std::size_t select_pieces(std::size_t scores_stride) {
  return (scores_stride + kSelectPieceKeys - 1) / kSelectPieceKeys;
}
/// 32-bit words of SelectArgs::workspace for so many rows, or more, of scores of this stride: each
/// piece has 2048 counts of 16 bits and a tally of 4 words, each row a state of 4 words.
constexpr std::size_t select_workspace_words(std::size_t rows, std::size_t scores_stride) {
  if (scores_stride < kSelectSplitKeysMin) return 0;
  const std::size_t split = rows < kSelectSplitRowsMax ? rows : kSelectSplitRowsMax;
  return split * (select_pieces(scores_stride) * (1024 + 4) + 4);
}

/// The exact best k of a row's keys [first_key, num_keys), as TopkArgs has it, and the slots where
/// they lie. A row with at most k keys selects all from first_key on, and its scores are not read;
/// of any other num_keys is at most scores_stride.
struct SelectArgs {
  const float* scores;  // [rows, scores_stride]
  std::size_t scores_stride;
  DeviceSequences sequences;
  const std::int32_t* num_keys;  // [rows]
  std::size_t first_key;         // at most k
  std::size_t k;                 // at least 1
  std::int32_t* positions;       // [rows, k], written, ascending; -1 from num_selected on
  std::int32_t* slots;           // [rows, k], written: the same as slots; may be nullptr
  std::int32_t* num_selected;    // [rows], written
  std::int32_t* num_nan;         // [rows], added to: NaN among the scores read; may be nullptr
  std::size_t rows;
  /// Overwritten: select_workspace_words(rows, scores_stride). nullptr: a row is one block's.
  std::uint32_t* workspace = nullptr;
};

/// How the token after a row of logits is sampled.
struct LogitsRowInfo {
  float temperature;  // 0: no total is wanted
  std::int32_t mask;  // -1: everything is allowed
};

/// What a token that a request has already takes off its logit: a positive logit is divided by
/// `repetition`, any other multiplied by it; then frequency and presence are subtracted, each with
/// its own rounding, as engine/penalties.h does on the host.
struct LogitPenalty {
  std::int32_t row;
  std::int32_t id;
  float repetition;
  float frequency;
  float presence;
};

/// The best k of each row of logits, of equal ones the lowest ids, and the sum of all weights
/// exp((logit - largest) / temperature), of parts of so many logits each: what engine/sampler.h
/// needs to choose. NaN and -inf weigh nothing.
inline constexpr std::size_t kLogitsPart = 4096;
constexpr std::size_t logits_parts(std::size_t vocab) {
  return (vocab + kLogitsPart - 1) / kLogitsPart;
}
struct BestLogitsArgs {
  float* logits;  // [rows, vocab]; penalties are taken off, and -inf written where the row's mask
                  // has no bit
  std::size_t rows;
  std::size_t vocab;
  std::size_t k;                   // 1 to vocab
  const LogitsRowInfo* rows_info;  // [rows]
  const std::uint32_t* masks;      // [*, mask_words]: id i is bit i % 32 of word i / 32
  std::size_t mask_words;
  const LogitPenalty* penalties;  // [num_penalties], a row's id at most once
  std::size_t num_penalties;
  std::int32_t* ids;  // [rows, k], written, ascending; with k = 1 it is -1 for NaN or -inf
  float* best;        // [rows, k], written: their logits
  double* totals;     // [rows, logits_parts(vocab)], written, not for k = 1 or temperature 0
  // Scratch.
  float* part_maxima;          // [rows, logits_parts(vocab)]
  std::int32_t* num_logits;    // [rows]
  std::int32_t* num_selected;  // [rows]
  std::uint32_t* workspace;    // select_workspace_words(rows, vocab)
};

/// slots of positions that were chosen elsewhere.
struct TranslateArgs {
  DeviceSequences sequences;
  const std::int32_t* positions;     // [rows, k]
  const std::int32_t* num_selected;  // [rows]
  std::int32_t* slots;               // [rows, k], written; -1 from num_selected on
  std::size_t k;
  std::size_t rows;
};

/// Attention as AttentionArgs has it, over slots. A row's slots are cut into parts of
/// kDevicePartSlots, whatever the batch, and the parts are combined in order.
inline constexpr std::size_t kDevicePartSlots = 256;
struct DeviceAttentionArgs {
  const float* q_nope;  // [rows, heads, kv_lora_rank] with these strides
  std::size_t q_nope_row_stride;
  std::size_t q_nope_head_stride;
  const float* q_rope;  // [rows, heads, qk_rope_head_dim]
  std::size_t q_rope_row_stride;
  std::size_t q_rope_head_stride;
  float* out;  // [rows, heads, kv_lora_rank] dense
  DevicePages cache;
  Fp8LatentLayout fp8;
  const std::int32_t* slots;      // [rows, slots_stride]
  const std::int32_t* num_slots;  // [rows]
  std::size_t slots_stride;
  std::size_t rows;
  std::size_t heads;
  std::size_t kv_lora_rank;
  std::size_t qk_rope_head_dim;
  float softmax_scale;
  // Of at most rows_together rows at a time: [rows_together, parts_max, heads] of kv_lora_rank + 2.
  float* parts;
  std::size_t rows_together;
  std::size_t parts_max;  // ceil(most slots of a row / kDevicePartSlots)
};

/// The latents of pages as fp32, as they are cached: page i becomes keys [64 i, 64 (i + 1)).
struct ReadLatentsArgs {
  DevicePages cache;  // f32, bf16 or fp8_e4m3
  Fp8LatentLayout fp8;
  const std::int32_t* pages;      // [pages_read]
  const std::int32_t* page_keys;  // [pages_read] how many of a page's rows there are
  float* latents;  // [64 pages_read, kv_lora_rank + qk_rope_head_dim], written; zeros beyond those
  std::size_t pages_read;
  std::size_t kv_lora_rank;
  std::size_t qk_rope_head_dim;
};

/// Attention over the keys and values of each head, for the rows of a prompt that see all positions
/// up to their own (kernels/cuda/attention_expanded.cuh). Keys lie in pages; a sequence's follow
/// each other, from position 0 on.
inline constexpr std::size_t kExpandedRows = 64;          // of a tile
inline constexpr std::size_t kExpandedColumns = 32;       // of a stage
inline constexpr std::size_t kExpandedStageWords = 2048;  // 64 keys in two bf16 for each number
inline constexpr std::size_t kExpandedColumnsMax = 256;   // of a head's keys, and of its values

/// Rows of one sequence at neighbouring positions.
struct ExpandedTile {
  std::int32_t first_row;
  std::int32_t num_rows;    // 1 to kExpandedRows
  std::int32_t first_page;  // of its sequence's keys
  std::int32_t num_keys;    // that the first row sees; each row after it sees one more
};

constexpr std::size_t expanded_stages(std::size_t columns) {
  return (columns + kExpandedColumns - 1) / kExpandedColumns;
}
/// 32-bit words of ExpandedAttentionArgs::workspace for each head and page of keys.
constexpr std::size_t expanded_workspace_words(std::size_t key_columns, std::size_t value_columns) {
  return (expanded_stages(key_columns) + expanded_stages(value_columns)) * kExpandedStageWords;
}
/// Whether there is a kernel for heads of this shape.
constexpr bool fits_expanded(std::size_t kv_lora_rank, std::size_t qk_nope_head_dim,
                             std::size_t qk_rope_head_dim, std::size_t v_head_dim) {
  return kv_lora_rank % 4 == 0 && (qk_nope_head_dim | qk_rope_head_dim | v_head_dim) % 8 == 0 &&
         qk_nope_head_dim + qk_rope_head_dim <= kExpandedColumnsMax &&
         v_head_dim <= kExpandedColumnsMax;
}

struct ExpandedAttentionArgs {
  const float* q;  // [rows, heads, qk_nope_head_dim + qk_rope_head_dim] with these strides
  std::size_t q_row_stride;
  std::size_t q_head_stride;
  float* out;  // [rows, heads, v_head_dim] with these strides; the tiles' rows are written
  std::size_t out_row_stride;
  std::size_t out_head_stride;
  const float* keys;     // [heads, 64 pages, qk_nope_head_dim]: what each head makes of latents
  const float* values;   // [heads, 64 pages, v_head_dim]
  const float* latents;  // [64 pages, kv_lora_rank + qk_rope_head_dim], for the last columns
  const ExpandedTile* tiles;
  std::size_t num_tiles;
  std::size_t pages;
  std::size_t heads;  // <= 65535
  std::size_t kv_lora_rank;
  std::size_t qk_nope_head_dim;
  std::size_t qk_rope_head_dim;
  std::size_t v_head_dim;
  float softmax_scale;
  std::uint32_t* workspace;  // overwritten: heads * pages * expanded_workspace_words()
};

/// Products of registers alone, on every processor at once: what a kernel made of tensor-core
/// instructions could reach. Each block has kProbeWarps warps, and each warp multiplies `rounds`
/// times kProbeTiles tiles of 16 x 8 x 16 (bf16) or 16 x 8 x 32 (int8).
inline constexpr std::size_t kProbeWarps = 8;
inline constexpr std::size_t kProbeTiles = 8;
struct ProbeProductsArgs {
  float* sums;  // [blocks * kProbeWarps * 32], written
  std::size_t blocks;
  std::size_t rounds;
  DType dtype;  // bf16 or int8
};

/// Points in time on the stream that may be noted at once.
inline constexpr std::size_t kDeviceEventsMax = 512;

struct DeviceTable {
  std::uint32_t version;  // kDeviceTableVersion
  const char* name;       // of the arithmetic: results of equal names have equal bits

  // The device. open() chooses one; everything below needs it.
  int (*num_devices)(int* count);
  int (*describe)(int device, DeviceInfo* info);
  int (*open)(int device);
  void (*close)();
  const char* (*error_text)(int code);

  // Memory. Allocated memory is zeroed and aligned to 256 bytes.
  int (*allocate)(void** at, std::size_t bytes);
  void (*release)(void* at);
  /// `from` may be reused as soon as it returns.
  int (*upload)(void* to, const void* from, std::size_t bytes);
  /// Waits for all that was launched before.
  int (*download)(void* to, const void* from, std::size_t bytes);
  int (*copy)(void* to, const void* from, std::size_t bytes);
  int (*wait)();

  // Graphs. Operations and copies on the device between begin_capture() and end_capture() are not
  // run but kept, with their arguments, and run by each launch_graph(), in order. Nothing else may
  // be called in between. A capture that fails is no error of the device: it does not stick, leaves
  // null, and nothing was run.
  int (*begin_capture)();
  int (*end_capture)(void** graph);  // where begin_capture() returned 0
  int (*launch_graph)(void* graph);
  void (*release_graph)(void* graph);  // waits for nothing: the stream must have passed it

  // Time. An event passes when all that was launched before it is done.
  int (*record_event)(std::size_t event);  // < kDeviceEventsMax
  /// Waits for `to`. Requires: both were recorded.
  int (*event_ms)(std::size_t from, std::size_t to, float* ms);
  /// The stream, as libraries of the same vendor want it; null where there are none.
  void* (*native_stream)();

  // Operations.
  void (*matmul)(const DeviceMatmulArgs& args);
  void (*gather_rows)(const GatherRowsArgs& args);
  void (*rms_norm)(const RmsNormArgs& args);
  void (*residual_norm)(const ResidualNormArgs& args);
  void (*latents)(const LatentsArgs& args);
  void (*queries)(const QueriesArgs& args);
  void (*silu_mul)(const DeviceSiluArgs& args);
  void (*router)(const RouterArgs& args);
  void (*group_by_expert)(const GroupByExpertArgs& args);
  void (*index_scores)(const DeviceIndexScoresArgs& args);
  void (*select)(const SelectArgs& args);
  void (*translate)(const TranslateArgs& args);
  void (*best_logits)(const BestLogitsArgs& args);
  void (*attention)(const DeviceAttentionArgs& args);
  void (*read_latents)(const ReadLatentsArgs& args);
  /// Requires: fits_expanded(); pointers aligned to 16 bytes, strides to 4 floats.
  void (*attention_expanded)(const ExpandedAttentionArgs& args);
  void (*probe_products)(const ProbeProductsArgs& args);
};

/// The one symbol that the library exports, with C linkage.
inline constexpr const char* kDeviceTableSymbol = "ponder_device_table";
using DeviceTableFunction = const DeviceTable* (*)();

}  // namespace ponder::kernels
