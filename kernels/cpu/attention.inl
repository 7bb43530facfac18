// Attention over a part of the slots, for caches of every type: out[h] = sum over s of
// 2^(l[h,s] - max) * c[s], l = scale * log2(e) * <q[h], row[s]>, row = [c | k_rope].
//
// One pass over blocks of kSlotBlock cache rows with a running maximum and sum per head (flash
// attention). A gathered row is widened once and then used by all heads of the call.
//
//   logits:  kLogitHeads heads x 4 rows in registers, lanes along the row, folded by sum4
//   values:  4 heads x kLatentVectors vectors of c in registers, one chain over the slots
//
// 2 * heads * (2 * kv_lora_rank + qk_rope_head_dim) flops and one cache row of traffic per slot.
//
// Bits: blocks start with the part and have a fixed size; a head's sums do not see the other heads.

namespace ponder::kernels {
namespace {

// 16 widened rows (38 KiB at 512 + 64) stay in the first-level cache; 32 were 7% slower on Zen 5.
constexpr std::size_t kSlotBlock = 16;
static_assert(kSlotBlock % kLanes == 0);
constexpr std::size_t kHeadsPerPass = 16;
constexpr int kValueHeads = 4;

// Rows of a power of two would all fall into the same sets of the cache.
constexpr std::size_t kRowPadding = 16;
constexpr std::size_t kWidenedStrideMax = kLatentDimMax + kRowPadding;

struct AttentionBlock {
  std::size_t num_slots;
  const float* rows[kSlotBlock];       // the last one repeated up to a multiple of 4
  float p[kHeadsPerPass][kSlotBlock];  // base-2 logits, then 2^(logit - max)
  float max[kHeadsPerPass];
  float sum[kHeadsPerPass];
  float widened[kSlotBlock * kWidenedStrideMax];
};

inline const char* cache_row(const AttentionArgs& args, const AttentionRow& row, std::size_t i,
                             std::size_t element_size) {
  const std::size_t slot = row.slots == nullptr ? i : static_cast<std::size_t>(row.slots[i]);
  return static_cast<const char*>(row.pages[slot / kPageSize]) + args.block_offset +
         slot % kPageSize * args.cache_stride * element_size;
}

void gather(const AttentionArgs& args, const AttentionRow& row, std::size_t begin,
            AttentionBlock& block) {
  const std::size_t dim = args.kv_lora_rank + args.qk_rope_head_dim;
  const std::size_t stride = dim + kRowPadding;
  for (std::size_t s = 0; s < block.num_slots; ++s) {
    if (args.cache_dtype == DType::f32) {
      const char* source = cache_row(args, row, begin + s, sizeof(float));
      block.rows[s] = reinterpret_cast<const float*>(source);
      continue;
    }
    float* widened = block.widened + s * stride;
    block.rows[s] = widened;
    if (args.cache_dtype == DType::bf16) {
      const char* source = cache_row(args, row, begin + s, sizeof(bf16));
      bf16_to_f32(widened, reinterpret_cast<const bf16*>(source), dim);
    } else {
      const char* source = cache_row(args, row, begin + s, sizeof(fp8_e4m3));
      decode_fp8_latents(args, source, [=](std::size_t i, Vec values) { store(widened + i, values); });
      bf16_to_f32(widened + args.kv_lora_rank,
                  reinterpret_cast<const bf16*>(source + args.fp8.rope_at), args.qk_rope_head_dim);
    }
  }
  const float* last = block.rows[block.num_slots - 1];
  const std::size_t padded = (block.num_slots + 3) / 4 * 4;
  for (std::size_t s = block.num_slots; s < padded; ++s) block.rows[s] = last;
}

// sums[h][s] += <q[h], rows[s]> over [0, dim)
template <int H>
inline void add_dots(const float* q, std::size_t q_stride, const float* const* rows,
                     std::size_t row_offset, std::size_t dim, Vec (&sums)[H][4]) {
  std::size_t i = 0;
  for (; i + kLanes <= dim; i += kLanes) {
    Vec values[4];
    for (int s = 0; s < 4; ++s) values[s] = load(rows[s] + row_offset + i);
    for (int h = 0; h < H; ++h) {
      const Vec query = load(q + static_cast<std::size_t>(h) * q_stride + i);
      for (int s = 0; s < 4; ++s) sums[h][s] = fma(query, values[s], sums[h][s]);
    }
  }
  const std::size_t rest = dim - i;
  if (rest == 0) return;
  for (int h = 0; h < H; ++h) {
    const Vec query = load_some(q + static_cast<std::size_t>(h) * q_stride + i, rest);
    for (int s = 0; s < 4; ++s) {
      sums[h][s] = fma(query, load_some(rows[s] + row_offset + i, rest), sums[h][s]);
    }
  }
}

template <int H>
void compute_logits(const AttentionArgs& args, const AttentionRow& row, std::size_t head,
                    std::size_t pass_head, AttentionBlock& block) {
  const __m128 scale = _mm_set1_ps(args.softmax_scale * 1.44269504f);  // log2(e)
  const float* q_nope = row.q_nope + head * args.q_nope_stride;
  const float* q_rope = row.q_rope + head * args.q_rope_stride;
  for (std::size_t s = 0; s < block.num_slots; s += 4) {
    Vec sums[H][4];
    for (int h = 0; h < H; ++h) {
      for (int j = 0; j < 4; ++j) sums[h][j] = zero();
    }
    add_dots<H>(q_nope, args.q_nope_stride, block.rows + s, 0, args.kv_lora_rank, sums);
    add_dots<H>(q_rope, args.q_rope_stride, block.rows + s, args.kv_lora_rank,
                args.qk_rope_head_dim, sums);
    for (int h = 0; h < H; ++h) {
      const __m128 dots = sum4(sums[h][0], sums[h][1], sums[h][2], sums[h][3]);
      _mm_storeu_ps(&block.p[pass_head + static_cast<std::size_t>(h)][s], _mm_mul_ps(dots, scale));
    }
  }
}

inline float exp2_one(float x) {
  float lanes[kLanes];
  store(lanes, exp2(broadcast(x)));
  return lanes[0];
}

// Turns a head's logits into weights and returns what its earlier sums must be multiplied by.
float update_softmax(AttentionBlock& block, std::size_t pass_head) {
  float* p = block.p[pass_head];
  for (std::size_t s = block.num_slots; s < kSlotBlock; ++s) p[s] = -__builtin_inff();
  Vec best = broadcast(block.max[pass_head]);
  for (std::size_t s = 0; s < kSlotBlock; s += kLanes) best = max(load(p + s), best);
  const float top = max_lane(best);
  Vec sum = zero();
  for (std::size_t s = 0; s < kSlotBlock; s += kLanes) {
    const Vec e = exp2(sub(load(p + s), broadcast(top)));
    store(p + s, e);
    sum = add(e, sum);
  }
  const float factor = top == block.max[pass_head] ? 1.0f : exp2_one(block.max[pass_head] - top);
  block.max[pass_head] = top;
  block.sum[pass_head] = block.sum[pass_head] * factor + sum_lanes(sum);
  return factor;
}

// `count` lanes at p, or all of them.
template <bool kWhole>
inline Vec load_part(const float* p, std::size_t count) {
  if constexpr (kWhole) {
    return load(p);
  } else {
    return load_some(p, count);
  }
}

// out[h, i .. i + R * kLanes) = factors[h] * itself + sum over slots of p[h,s] * rows[s][i ..).
// R is 1 unless whole vectors are meant.
template <int H, int R, bool kWhole>
void add_values(const AttentionBlock& block, const float* factors, std::size_t pass_head,
                float* out, std::size_t out_stride, std::size_t i, std::size_t count) {
  Vec sums[H][R];
  for (int h = 0; h < H; ++h) {
    const float* p = out + static_cast<std::size_t>(h) * out_stride + i;
    const Vec factor = broadcast(factors[pass_head + static_cast<std::size_t>(h)]);
    for (int r = 0; r < R; ++r) {
      sums[h][r] = mul(load_part<kWhole>(p + static_cast<std::size_t>(r) * kLanes, count), factor);
    }
  }
  for (std::size_t s = 0; s < block.num_slots; ++s) {
    const float* row = block.rows[s] + i;
    Vec values[R];
    for (int r = 0; r < R; ++r) {
      values[r] = load_part<kWhole>(row + static_cast<std::size_t>(r) * kLanes, count);
    }
    for (int h = 0; h < H; ++h) {
      const Vec weight = broadcast(block.p[pass_head + static_cast<std::size_t>(h)][s]);
      for (int r = 0; r < R; ++r) sums[h][r] = fma(weight, values[r], sums[h][r]);
    }
  }
  for (int h = 0; h < H; ++h) {
    float* p = out + static_cast<std::size_t>(h) * out_stride + i;
    for (int r = 0; r < R; ++r) {
      if constexpr (kWhole) {
        store(p + static_cast<std::size_t>(r) * kLanes, sums[h][r]);
      } else {
        store_some(p, sums[h][r], count);
      }
    }
  }
}

template <int H>
void accumulate(const AttentionArgs& args, const AttentionBlock& block, const float* factors,
                std::size_t pass_head, float* out) {
  constexpr std::size_t kTile = static_cast<std::size_t>(kLatentVectors) * kLanes;
  const std::size_t dim = args.kv_lora_rank;
  const std::size_t stride = args.kv_lora_rank;
  std::size_t i = 0;
  for (; i + kTile <= dim; i += kTile) {
    add_values<H, kLatentVectors, true>(block, factors, pass_head, out, stride, i, kLanes);
  }
  for (; i + kLanes <= dim; i += kLanes) {
    add_values<H, 1, true>(block, factors, pass_head, out, stride, i, kLanes);
  }
  if (i < dim) add_values<H, 1, false>(block, factors, pass_head, out, stride, i, dim - i);
}

void attend_block(const AttentionArgs& args, const AttentionRow& row, std::size_t head_begin,
                  std::size_t num_heads, float* out, AttentionBlock& block) {
  std::size_t h = 0;
  for (; h + kLogitHeads <= num_heads; h += kLogitHeads) {
    compute_logits<kLogitHeads>(args, row, head_begin + h, h, block);
  }
  for (; h < num_heads; ++h) compute_logits<1>(args, row, head_begin + h, h, block);
  float factors[kHeadsPerPass];
  for (h = 0; h < num_heads; ++h) factors[h] = update_softmax(block, h);
  const std::size_t stride = args.kv_lora_rank;
  for (h = 0; h + kValueHeads <= num_heads; h += kValueHeads) {
    accumulate<kValueHeads>(args, block, factors, h, out + h * stride);
  }
  for (; h < num_heads; ++h) accumulate<1>(args, block, factors, h, out + h * stride);
}

void attend_heads(const AttentionArgs& args, const AttentionRow& row, std::size_t slot_begin,
                  std::size_t slot_end, std::size_t head_begin, std::size_t num_heads,
                  const AttentionPart& part) {
  AttentionBlock block;
  float* out = part.out + head_begin * args.kv_lora_rank;
  for (std::size_t i = 0; i < num_heads * args.kv_lora_rank; ++i) out[i] = 0.0f;
  for (std::size_t h = 0; h < num_heads; ++h) {
    block.max[h] = -__builtin_inff();
    block.sum[h] = 0.0f;
  }
  for (std::size_t begin = slot_begin; begin < slot_end; begin += kSlotBlock) {
    const std::size_t left = slot_end - begin;
    block.num_slots = left < kSlotBlock ? left : kSlotBlock;
    gather(args, row, begin, block);
    attend_block(args, row, head_begin, num_heads, out, block);
  }
  for (std::size_t h = 0; h < num_heads; ++h) {
    part.max[head_begin + h] = block.max[h];
    part.sum[head_begin + h] = block.sum[h];
  }
}

void attention_part(const AttentionArgs& args, const AttentionSpan& span, const void*,
                    const AttentionPart* parts, std::size_t, void*) noexcept {
  for (std::size_t head = 0; head < args.heads; head += kHeadsPerPass) {
    const std::size_t left = args.heads - head;
    attend_heads(args, args.rows[span.row], span.slot_begin, span.slot_end, head,
                 left < kHeadsPerPass ? left : kHeadsPerPass, *parts);
  }
}

}  // namespace
}  // namespace ponder::kernels
