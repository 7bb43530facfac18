// Causal attention with a shared prefix for training on CPUs with AVX512_BF16.
//
// Rows are packed: sequence 0 is the prefix, every later sequence attends to the prefix and,
// causally, to itself. All products are blocks held as [keys x queries], so that a vector lane is a
// query: row maxima, sums and masks need no horizontal work. Called through ctypes; the contract is
// in attention.py.
#include <cmath>

#include "blocks.h"

namespace {

using namespace ponder_train;

struct Softmax {
  alignas(64) float top[kBlock];
  alignas(64) float sum[kBlock];
};

// scores [keys x queries] -> probabilities as pairs of keys; rescales `out` where the top rose.
void online_softmax(Acc& scores, Pairs& probs, Acc& out, Softmax& run, const uint64_t* visible,
                    float scale2) {
  const __m512 scale = _mm512_set1_ps(scale2);
  for (int l = 0; l < 4; ++l) {
    __m512 top = _mm512_load_ps(run.top + l * 16);
    const __m512 before = top;
    for (int r = 0; r < kBlock; ++r) {
      float* at = scores.at + r * kBlock + l * 16;
      const __mmask16 on = static_cast<__mmask16>(visible[r] >> (l * 16));
      const __m512 s = _mm512_mask_mul_ps(_mm512_set1_ps(-3e38f), on, _mm512_load_ps(at), scale);
      _mm512_store_ps(at, s);
      top = _mm512_max_ps(top, s);
    }
    const __m512 shrink = exp2_lanes(_mm512_sub_ps(before, top));
    __m512 sum = _mm512_mul_ps(_mm512_load_ps(run.sum + l * 16), shrink);
    for (int r = 0; r < kBlock; r += 2) {
      const float* at = scores.at + r * kBlock + l * 16;
      const __m512 p0 = exp2_lanes(_mm512_sub_ps(_mm512_load_ps(at), top));
      const __m512 p1 = exp2_lanes(_mm512_sub_ps(_mm512_load_ps(at + kBlock), top));
      sum = _mm512_add_ps(sum, _mm512_add_ps(p0, p1));
      _mm512_store_si512(probs.at + (r / 2) * kBlock + l * 16, join(p0, p1));
    }
    _mm512_store_ps(run.top + l * 16, top);
    _mm512_store_ps(run.sum + l * 16, sum);
    if (_mm512_cmp_ps_mask(before, top, _CMP_LT_OQ) == 0) continue;
    for (int d = 0; d < kBlock; ++d) {
      float* at = out.at + d * kBlock + l * 16;
      _mm512_store_ps(at, _mm512_mul_ps(_mm512_load_ps(at), shrink));
    }
  }
}

void forward_head(const Batch& batch, const Bf16* q, const Bf16* k, const Bf16* v, Bf16* out,
                  float* lse, int sequence, int head) {
  const Keys keys(batch, sequence);
  const int64_t stride = batch.stride();
  std::vector<Tile> ks(keys.count), vt(keys.count);
  Tile tile;
  for (int j = 0; j < keys.count; ++j) {
    const int64_t at = keys.row(j) * stride + head * kBlock;
    load_tile(ks[j], k + at, stride, keys.size(j));
    load_tile(tile, v + at, stride, keys.size(j));
    transpose(vt[j], tile);
  }
  Pairs queries, probs;
  Acc scores, acc;
  Softmax run;
  uint64_t visible[kBlock];
  for (int i = 0; i < blocks(keys.length); ++i) {
    const int64_t row = keys.begin_row + i * kBlock;
    const int64_t at = row * stride + head * kBlock;
    load_tile(tile, q + at, stride, keys.rows_of(i));
    pack_columns(queries, tile);
    std::memset(acc.at, 0, sizeof(acc.at));
    std::fill_n(run.top, kBlock, kMasked);
    std::fill_n(run.sum, kBlock, 0.f);
    for (int j = 0; j <= keys.last_key_block(i); ++j) {
      for (int r = 0; r < kBlock; ++r) visible[r] = keys.visible(j, r, i);
      product(scores.at, ks[j].at, queries.at, false);
      online_softmax(scores, probs, acc, run, visible, batch.scale * kLog2E);
      product(acc.at, vt[j].at, probs.at, true);
    }
    for (int r = 0; r < keys.rows_of(i); ++r) {
      const float inverse = 1.f / run.sum[r];
      for (int d = 0; d < kBlock; ++d)
        out[at + r * stride + d] = narrow(acc.at[d * kBlock + r] * inverse);
      lse[(row + r) * batch.heads + head] = run.top[r] / kLog2E + std::log(run.sum[r]);
    }
  }
}

struct QueryBlock {  // what the backward pass needs of 64 queries
  Pairs q_columns, q_rows, g_columns, g_rows;
  Acc dq;            // [d x queries]
  alignas(64) float lse2[kBlock], delta[kBlock];
};

// From scores and dP (both [keys x queries]) to P, dS as tiles and dS as pairs of keys.
void backward_softmax(const Acc& scores, const Acc& dprob, const QueryBlock& qb,
                      const uint64_t* visible, float scale, Tile& p, Tile& ds, Pairs& ds_pairs) {
  const __m512 scale2 = _mm512_set1_ps(scale * kLog2E);
  const __m512 factor = _mm512_set1_ps(scale);
  for (int l = 0; l < 4; ++l) {
    const __m512 lse2 = _mm512_load_ps(qb.lse2 + l * 16);
    const __m512 delta = _mm512_load_ps(qb.delta + l * 16);
    for (int r = 0; r < kBlock; r += 2) {
      __m512 d[2];
      for (int e = 0; e < 2; ++e) {
        const int at = (r + e) * kBlock + l * 16;
        const __mmask16 on = static_cast<__mmask16>(visible[r + e] >> (l * 16));
        const __m512 x = _mm512_fmsub_ps(_mm512_load_ps(scores.at + at), scale2, lse2);
        const __m512 prob = _mm512_maskz_mov_ps(on, exp2_lanes(x));
        const __m512 slope = _mm512_sub_ps(_mm512_load_ps(dprob.at + at), delta);
        d[e] = _mm512_mul_ps(_mm512_mul_ps(prob, slope), factor);
        _mm256_store_si256(reinterpret_cast<__m256i*>(p.at + at),
                           (__m256i)_mm512_cvtneps_pbh(prob));
        _mm256_store_si256(reinterpret_cast<__m256i*>(ds.at + at),
                           (__m256i)_mm512_cvtneps_pbh(d[e]));
      }
      _mm512_store_si512(ds_pairs.at + (r / 2) * kBlock + l * 16, join(d[0], d[1]));
    }
  }
}

void load_query_block(QueryBlock& qb, const Batch& batch, const Bf16* q, const Bf16* out,
                      const Bf16* grad, const float* lse, int rows) {
  const int64_t stride = batch.stride();
  Tile tile;
  load_tile(tile, q, stride, rows);
  pack_columns(qb.q_columns, tile);
  pack_rows(qb.q_rows, tile);
  load_tile(tile, grad, stride, rows);
  pack_columns(qb.g_columns, tile);
  pack_rows(qb.g_rows, tile);
  std::memset(qb.dq.at, 0, sizeof(qb.dq.at));
  for (int r = 0; r < kBlock; ++r) {
    float sum = 0;
    if (r < rows)
      for (int d = 0; d < kBlock; ++d)
        sum += widen(out[r * stride + d]) * widen(grad[r * stride + d]);
    qb.delta[r] = sum;
    qb.lse2[r] = r < rows ? lse[r * batch.heads] * kLog2E : 0.f;
  }
}

struct Tensors {
  const Bf16 *q, *k, *v, *out, *grad;  // [rows, heads, 64]
  const float* lse;                    // [rows, heads]
  Bf16* dq;                            // [rows, heads, 64]
  float *dk, *dv;                      // what a sequence adds to its own keys
  float *dk_prefix, *dv_prefix;        // [sequences - 1, prefix, heads, 64]: to those of the prefix
};

void backward_head(const Batch& batch, const Tensors& t, int sequence, int head) {
  const Keys keys(batch, sequence);
  const int64_t stride = batch.stride();
  const int query_blocks = blocks(keys.length);
  std::vector<QueryBlock> qs(query_blocks);
  for (int i = 0; i < query_blocks; ++i) {
    const int64_t row = keys.begin_row + i * kBlock, at = row * stride + head * kBlock;
    load_query_block(qs[i], batch, t.q + at, t.out + at, t.grad + at,
                     t.lse + row * batch.heads + head, keys.rows_of(i));
  }
  Tile kt, kc, vtile, p, ds;
  Pairs ds_pairs;
  Acc scores, dprob, dk, dv;
  uint64_t visible[kBlock];
  for (int j = 0; j < keys.count; ++j) {
    const int64_t at = keys.row(j) * stride + head * kBlock;
    load_tile(kt, t.k + at, stride, keys.size(j));
    load_tile(vtile, t.v + at, stride, keys.size(j));
    transpose(kc, kt);
    std::memset(dk.at, 0, sizeof(dk.at));
    std::memset(dv.at, 0, sizeof(dv.at));
    for (int i = keys.first_query_block(j); i < query_blocks; ++i) {
      for (int r = 0; r < kBlock; ++r) visible[r] = keys.visible(j, r, i);
      product(scores.at, kt.at, qs[i].q_columns.at, false);
      product(dprob.at, vtile.at, qs[i].g_columns.at, false);
      backward_softmax(scores, dprob, qs[i], visible, batch.scale, p, ds, ds_pairs);
      product(dv.at, p.at, qs[i].g_rows.at, true);
      product(dk.at, ds.at, qs[i].q_rows.at, true);
      product(qs[i].dq.at, kc.at, ds_pairs.at, true);
    }
    const bool shared = keys.in_prefix(j);
    const int64_t to =
        shared ? at + (sequence - 1) * static_cast<int64_t>(keys.prefix) * stride : at;
    for (int r = 0; r < keys.size(j); ++r) {
      std::memcpy((shared ? t.dk_prefix : t.dk) + to + r * stride, dk.at + r * kBlock, 256);
      std::memcpy((shared ? t.dv_prefix : t.dv) + to + r * stride, dv.at + r * kBlock, 256);
    }
  }
  for (int i = 0; i < query_blocks; ++i) {
    const int64_t at = (keys.begin_row + i * kBlock) * stride + head * kBlock;
    for (int r = 0; r < keys.rows_of(i); ++r)
      for (int d = 0; d < kBlock; ++d)
        t.dq[at + r * stride + d] = narrow(qs[i].dq.at[d * kBlock + r]);
  }
}

}  // namespace

extern "C" {

void attention_forward(const Bf16* q, const Bf16* k, const Bf16* v, const int32_t* starts,
                       const int64_t* mask_at, const uint64_t* mask, Bf16* out, float* lse,
                       int sequences, int heads, float scale, int threads) {
  const Batch batch{starts, mask_at, mask, sequences, heads, scale};
  for_units(sequences * heads, threads, [&](int u) {
    forward_head(batch, q, k, v, out, lse, u / heads, u % heads);
  });
}

void attention_backward(const Bf16* q, const Bf16* k, const Bf16* v, const int32_t* starts,
                        const int64_t* mask_at, const uint64_t* mask, const Bf16* out,
                        const float* lse, const Bf16* grad, Bf16* dq, float* dk, float* dv,
                        float* dk_prefix, float* dv_prefix, int sequences, int heads, float scale,
                        int threads) {
  const Batch batch{starts, mask_at, mask, sequences, heads, scale};
  const Tensors t{q, k, v, out, grad, lse, dq, dk, dv, dk_prefix, dv_prefix};
  for_units(sequences * heads, threads,
            [&](int u) { backward_head(batch, t, u / heads, u % heads); });
}

}  // extern "C"
