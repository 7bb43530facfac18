// The two products of kernels/cpu/attention_bf16.inl with dot products of bf16 pairs. Registers
// hold 8 slots x 2 vectors of heads or 16 x 1, and 4 heads x 4 vectors of columns; the other operand
// of each product is a broadcast pair.

namespace ponder::kernels {
namespace {

inline __m512bh as_pairs(__m512i words) { return (__m512bh)words; }
inline __m512bh load_pairs(const std::uint32_t* p) { return as_pairs(_mm512_load_si512(p)); }
inline __m512bh broadcast_pair(const void* p) {
  int bits;
  __builtin_memcpy(&bits, p, sizeof bits);
  return as_pairs(_mm512_set1_epi32(bits));
}

template <int S, int H>
void query_tile(std::size_t dim, const bf16* rows, const std::uint32_t* query,
                std::size_t query_panel, float* logits, std::size_t logit_panel) {
  __m512 sums[S][H];
  for (int s = 0; s < S; ++s) {
    for (int h = 0; h < H; ++h) sums[s][h] = _mm512_setzero_ps();
  }
  for (std::size_t d = 0; d < dim; d += 2) {
    __m512bh heads[H];
    for (int h = 0; h < H; ++h) {
      heads[h] = load_pairs(query + static_cast<std::size_t>(h) * query_panel + d / 2 * kLanes);
    }
    for (int s = 0; s < S; ++s) {
      const __m512bh pair = broadcast_pair(rows + static_cast<std::size_t>(s) * dim + d);
      for (int h = 0; h < H; ++h) sums[s][h] = _mm512_dpbf16_ps(sums[s][h], heads[h], pair);
    }
  }
  for (int s = 0; s < S; ++s) {
    for (int h = 0; h < H; ++h) {
      float* to = logits + static_cast<std::size_t>(h) * logit_panel;
      _mm512_store_ps(to + static_cast<std::size_t>(s) * kLanes, sums[s][h]);
    }
  }
}

template <int H>
void query_panels(const BlockShape& shape, std::size_t slots, const bf16* rows,
                  const std::uint32_t* query, float* logits) {
  constexpr int kSlots = 16 / H;
  static_assert(kSlotStep % kSlots == 0);
  for (std::size_t s = 0; s < slots; s += kSlots) {
    query_tile<kSlots, H>(shape.dim, rows + s * shape.dim, query, shape.query_panel(),
                          logits + s * kLanes, shape.logit_panel());
  }
}

void multiply_query(const BlockShape& shape, std::size_t slots, const bf16* rows,
                    const std::uint32_t* query, float* logits) {
  const std::size_t panels = shape.heads / kLanes;
  std::size_t p = 0;
  for (; p + 2 <= panels; p += 2) {
    query_panels<2>(shape, slots, rows, query + p * shape.query_panel(),
                    logits + p * shape.logit_panel());
  }
  for (; p < panels; ++p) {
    query_panels<1>(shape, slots, rows, query + p * shape.query_panel(),
                    logits + p * shape.logit_panel());
  }
}

template <int H, int R>
void value_tile(const BlockShape& shape, std::size_t pairs, const std::uint32_t* weights,
                const std::uint32_t* values, const float* factors, float* out) {
  __m512 sums[H][R];
  for (int h = 0; h < H; ++h) {
    const __m512 factor = _mm512_set1_ps(factors[h]);
    for (int r = 0; r < R; ++r) {
      const float* at = out + static_cast<std::size_t>(h) * shape.rank;
      sums[h][r] =
          _mm512_mul_ps(_mm512_loadu_ps(at + static_cast<std::size_t>(r) * kLanes), factor);
    }
  }
  for (std::size_t j = 0; j < pairs; ++j) {
    __m512bh columns[R];
    for (int r = 0; r < R; ++r) {
      columns[r] =
          load_pairs(values + static_cast<std::size_t>(r) * shape.value_panel() + j * kLanes);
    }
    for (int h = 0; h < H; ++h) {
      const __m512bh weight =
          broadcast_pair(weights + static_cast<std::size_t>(h) * kSlotPairs + j);
      for (int r = 0; r < R; ++r) sums[h][r] = _mm512_dpbf16_ps(sums[h][r], columns[r], weight);
    }
  }
  for (int h = 0; h < H; ++h) {
    for (int r = 0; r < R; ++r) {
      float* at = out + static_cast<std::size_t>(h) * shape.rank;
      _mm512_storeu_ps(at + static_cast<std::size_t>(r) * kLanes, sums[h][r]);
    }
  }
}

template <int R>
void value_panels(const BlockShape& shape, std::size_t heads, std::size_t pairs,
                  const BlockMemory& memory, std::size_t panel) {
  constexpr int kHeads = 4;
  const std::uint32_t* values = memory.values + panel * shape.value_panel();
  float* out = memory.out + panel * kLanes;
  std::size_t h = 0;
  for (; h + kHeads <= heads; h += kHeads) {
    value_tile<kHeads, R>(shape, pairs, memory.weights + h * kSlotPairs, values, memory.factors + h,
                          out + h * shape.rank);
  }
  for (; h < heads; ++h) {
    value_tile<1, R>(shape, pairs, memory.weights + h * kSlotPairs, values, memory.factors + h,
                     out + h * shape.rank);
  }
}

void multiply_values(const BlockShape& shape, std::size_t heads, std::size_t slots,
                     const BlockMemory& memory) {
  const std::size_t panels = shape.rank / kLanes;
  std::size_t p = 0;
  for (; p + 4 <= panels; p += 4) value_panels<4>(shape, heads, slots / 2, memory, p);
  for (; p < panels; ++p) value_panels<1>(shape, heads, slots / 2, memory, p);
}

}  // namespace
}  // namespace ponder::kernels
