// Attention over a part of the slots of a bf16 or FP8 cache, as two products of matrices for all
// heads:
//
//   block of kBlockSlots cache rows:
//     gather   rows [slot, dim], and their first `rank` columns again as values, pairs of slots;
//              FP8 is decoded to bf16 here, which holds it exactly
//     logits   [slot, head] = rows . query         multiply_query: lanes are heads
//     softmax  down the columns, 16 heads at once; weights [head, slot] in bf16
//     out      [head, rank] = factor * out + weights . values   multiply_values: lanes are columns
//
// Both products take pairs of bf16, of dimensions and of slots, so that one packing serves the dot
// products of AVX-512 and the tiles of AMX. Query and values lie in panels of 16 columns (a panel
// row is a vector and a tile row), which also keeps a panel's lines in different sets of the cache.
// A block at 128 x (512 + 64) takes 0.5 MiB beside 0.25 MiB of output: they stay in a core's cache.
// Tokens that attend to all before them share a block's rows as if they were more heads of one, up
// to so many heads. 2 * heads * (2 * rank + rope) flops and one cache row of traffic per slot.
//
// Numbers: queries (scaled by softmax_scale * log2(e)) and weights are rounded to bf16, sums are
// fp32. Bits: blocks start with the part; a head's sums do not see the other heads.

namespace ponder::kernels {
namespace {

AttentionSizes attention_sizes(const AttentionArgs& args) noexcept {
  if (!fits_blocks(args)) return {};
  const BlockShape shape = shape_of(args);
  const std::size_t rows = rows_together(shape);
  BlockMemory memory;
  char base;
  return {.packed_query_bytes = shape.heads * shape.dim * sizeof(bf16),
          .scratch_bytes = lay_out(shape.of_rows(rows), &base, &memory),
          .rows_together = rows};
}

// query[head, d] in fp32, scaled; zeros past the last.
void scale_query(const AttentionArgs& args, const AttentionRow& row, std::size_t head,
                 std::size_t dim, float* out) {
  const float scale = args.softmax_scale * 1.44269504f;  // log2(e)
  const float* q_nope = row.q_nope + head * args.q_nope_stride;
  const float* q_rope = row.q_rope + head * args.q_rope_stride;
  std::size_t d = 0;
  for (; d < args.kv_lora_rank; ++d) out[d] = q_nope[d] * scale;
  for (; d < args.kv_lora_rank + args.qk_rope_head_dim; ++d) {
    out[d] = q_rope[d - args.kv_lora_rank] * scale;
  }
  for (; d < dim; ++d) out[d] = 0.0f;
}

void attention_pack(const AttentionArgs& args, std::size_t row, std::size_t head_begin,
                    std::size_t head_end, void* packed_query) noexcept {
  if (!fits_blocks(args)) return;
  const BlockShape shape = shape_of(args);
  auto* words = static_cast<std::uint32_t*>(packed_query);
  float scaled[kLanes][kLatentDimMax + 32];
  for (std::size_t head = head_begin; head < head_end; head += kLanes) {
    for (std::size_t h = 0; h < kLanes; ++h) {
      if (head + h < head_end) {
        scale_query(args, args.rows[row], head + h, shape.dim, scaled[h]);
      } else {
        for (std::size_t d = 0; d < shape.dim; ++d) scaled[h][d] = 0.0f;
      }
    }
    std::uint32_t* panel = words + head / kLanes * shape.query_panel();
    for (std::size_t d = 0; d < shape.dim; d += 2 * kLanes) {
      Vec pairs[kLanes];
      for (std::size_t h = 0; h < kLanes; ++h) {
        const Pair even_odd = deinterleave(load(scaled[h] + d), load(scaled[h] + d + kLanes));
        pairs[h] = pack_bf16(even_odd.first, even_odd.second);
      }
      transpose(pairs);
      for (std::size_t i = 0; i < kLanes; ++i) store_words(panel + (d / 2 + i) * kLanes, pairs[i]);
    }
  }
}

inline const char* block_row(const AttentionArgs& args, const AttentionRow& row, std::size_t i) {
  const std::size_t slot = row.slots == nullptr ? i : static_cast<std::size_t>(row.slots[i]);
  return static_cast<const char*>(row.pages[slot / kPageSize]) + args.block_offset +
         slot % kPageSize * args.cache_stride * (args.cache_dtype == DType::bf16 ? 2 : 1);
}

// One cache row as bf16.
inline void copy_row(const AttentionArgs& args, const char* from, bf16* to) {
  if (args.cache_dtype == DType::bf16) {
    copy_bytes(to, from, (args.kv_lora_rank + args.qk_rope_head_dim) * sizeof(bf16));
    return;
  }
  decode_fp8_latents(args, from, [=](std::size_t i, Vec values) { store_bf16(to + i, values); });
  copy_bytes(to + args.kv_lora_rank, from + args.fp8.rope_at,
             args.qk_rope_head_dim * sizeof(bf16));
}

// Copies cache rows [begin, begin + count) and pairs their values; pads with zeros to `padded`.
void gather_block(const AttentionArgs& args, const AttentionRow& row, std::size_t begin,
                  std::size_t count, std::size_t end, std::size_t padded, const BlockShape& shape,
                  const BlockMemory& memory) {
  const std::size_t dim = args.kv_lora_rank + args.qk_rope_head_dim;
  const std::size_t bytes = args.cache_dtype == DType::bf16 ? dim * sizeof(bf16) : args.fp8.bytes;
  for (std::size_t s = 0; s < padded; s += 2) {
    for (std::size_t i = s; i < s + 2; ++i) {
      bf16* to = memory.rows + i * shape.dim;
      const std::size_t ahead = begin + i + kPrefetchRows;
      if (ahead < end) {
        const char* next = block_row(args, row, ahead);
        for (std::size_t b = 0; b < bytes; b += 64) __builtin_prefetch(next + b);
      }
      const std::size_t known = i < count ? dim : 0;
      if (known != 0) copy_row(args, block_row(args, row, begin + i), to);
      for (std::size_t d = known; d < shape.dim; ++d) to[d] = 0;
    }
    const bf16* first = memory.rows + s * shape.dim;
    std::uint32_t* to = memory.values + s / 2 * kLanes;
    for (std::size_t r = 0; r < shape.rank; r += kLanes, to += shape.value_panel()) {
      store_words(to, interleave_bf16(first + r, first + shape.dim + r));
    }
  }
}

// Turns a panel of logits into weights for 16 heads, and says what their sums so far are worth.
void soften_panel(std::size_t count, std::size_t padded, float* logits, std::uint32_t* weights,
                  float* max_so_far, float* sum_so_far, float* factors) {
  for (std::size_t s = count; s < padded; ++s)
    store(logits + s * kLanes, broadcast(-__builtin_inff()));
  const Vec before = load(max_so_far);
  Vec top = before;
  for (std::size_t s = 0; s < count; ++s) top = max(load(logits + s * kLanes), top);
  const Vec has_risen = replace_below(zero(), before, top, broadcast(1.0f));
  const Vec factor = replace_above(broadcast(1.0f), has_risen, zero(), exp2(sub(before, top)));
  Vec sum = zero();
  for (std::size_t pair = 0; pair < padded / 2; pair += kLanes) {
    Vec packed[kLanes];
    for (std::size_t i = 0; i < kLanes; ++i) {
      const float* at = logits + 2 * (pair + i) * kLanes;
      const Vec even = exp2(sub(load(at), top));
      const Vec odd = exp2(sub(load(at + kLanes), top));
      sum = add(sum, add(even, odd));
      packed[i] = pack_bf16(even, odd);
    }
    transpose(packed);
    for (std::size_t h = 0; h < kLanes; ++h)
      store_words(weights + h * kSlotPairs + pair, packed[h]);
  }
  store(factors, factor);
  store(max_so_far, top);
  store(sum_so_far, fma(load(sum_so_far), factor, sum));
}

void finish_part(const AttentionArgs& args, const BlockShape& shape, const BlockMemory& memory,
                 const AttentionPart& part) {
  const std::size_t rank = args.kv_lora_rank;
  for (std::size_t h = 0; h < args.heads; ++h) {
    part.max[h] = memory.max[h];
    part.sum[h] = memory.sum[h];
    if (memory.out == part.out) continue;
    copy_bytes(part.out + h * rank, memory.out + h * shape.rank, rank * sizeof(float));
  }
}

// Takes a slot out of the values: what one row must not see, those before it must not either.
void forget_value(const BlockShape& shape, const BlockMemory& memory, std::size_t slot) {
  const std::uint32_t other_half = slot % 2 == 0 ? 0xffff0000u : 0x0000ffffu;
  std::uint32_t* words = memory.values + slot / 2 * kLanes;
  for (std::size_t r = 0; r < shape.rank; r += kLanes, words += shape.value_panel()) {
    for (std::size_t i = 0; i < kLanes; ++i) words[i] &= other_half;
  }
}

// The memory of one of the rows that share cache rows and values, with nothing attended to yet.
BlockMemory start_row(const AttentionArgs& args, const BlockShape& shape, const BlockMemory& shared,
                      std::size_t r, const AttentionPart& part) {
  const std::size_t head = r * shape.heads;
  BlockMemory memory = shared;
  memory.logits += head / kLanes * shape.logit_panel();
  memory.weights += head * kSlotPairs;
  const bool is_dense = shape.heads == args.heads && shape.rank == args.kv_lora_rank;
  memory.out = is_dense ? part.out : shared.out + head * shape.rank;
  memory.max += head;
  memory.sum += head;
  memory.factors += head;
  for (std::size_t i = 0; i < shape.heads * shape.rank; i += kLanes) store(memory.out + i, zero());
  for (std::size_t h = 0; h < shape.heads; h += kLanes) {
    store(memory.max + h, broadcast(-__builtin_inff()));
    store(memory.sum + h, zero());
  }
  return memory;
}

// The second half of a block, for a row that sees the first `count` of its slots.
void attend_block(const AttentionArgs& args, const BlockShape& shape, std::size_t count,
                  const BlockMemory& memory) {
  const std::size_t padded = round_up(count, kSlotStep);
  for (std::size_t h = 0; h < shape.heads; h += kLanes) {
    soften_panel(count, padded, memory.logits + h / kLanes * shape.logit_panel(),
                 memory.weights + h * kSlotPairs, memory.max + h, memory.sum + h,
                 memory.factors + h);
  }
  multiply_values(shape, args.heads, padded, memory);
}

// Requires: fits_blocks(args).
void attend_blocks(const AttentionArgs& args, const AttentionSpan& span,
                   const std::uint32_t* queries, const AttentionPart* parts,
                   std::size_t parts_stride, void* scratch) {
  const BlockShape shape = shape_of(args);
  const BlockShape all_rows = shape.of_rows(span.num_rows);
  const AttentionRow* span_rows = args.rows + span.row;
  BlockMemory shared;
  lay_out(all_rows, static_cast<char*>(scratch), &shared);
  BlockMemory rows[kAttentionRowsTogetherMax];
  for (std::size_t r = 0; r < span.num_rows; ++r) {
    rows[r] = start_row(args, shape, shared, r, parts[r * parts_stride]);
  }
  for (std::size_t begin = span.slot_begin; begin < span.slot_end; begin += kBlockSlots) {
    const std::size_t left = span.slot_end - begin;
    std::size_t count = left < kBlockSlots ? left : kBlockSlots;
    const std::size_t padded = round_up(count, kSlotStep);
    gather_block(args, span_rows[span.num_rows - 1], begin, count, span.slot_end, padded, shape,
                 shared);
    multiply_query(all_rows, padded, shared.rows, queries, shared.logits);
    for (std::size_t r = span.num_rows; r-- > 0;) {
      for (; begin + count > span_rows[r].num_slots; --count) {
        forget_value(shape, shared, count - 1);
      }
      attend_block(args, shape, count, rows[r]);
    }
  }
  for (std::size_t r = 0; r < span.num_rows; ++r) {
    finish_part(args, shape, rows[r], parts[r * parts_stride]);
  }
}

void attention_part(const AttentionArgs& args, const AttentionSpan& span,
                    const void* packed_queries, const AttentionPart* parts,
                    std::size_t parts_stride, void* scratch) noexcept {
  if (fits_blocks(args)) {
    attend_blocks(args, span, static_cast<const std::uint32_t*>(packed_queries), parts,
                  parts_stride, scratch);
  } else {
    next_best_table().attention_part(args, span, packed_queries, parts, parts_stride, scratch);
  }
}

}  // namespace
}  // namespace ponder::kernels
