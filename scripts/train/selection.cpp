// The selection of the lightning indexer for packed batches. Called through ctypes; the contract is
// in attention.py.
#include <utility>

#include "blocks.h"

namespace {

using namespace ponder_train;

// scores [keys x queries] += weight of the query * max(dot, 0)
void add_relu(Acc& scores, const Acc& dots, const float* weights) {
  for (int r = 0; r < kBlock; ++r)
    for (int c = 0; c < kBlock; ++c)
      scores.at[r * kBlock + c] += weights[c] * std::max(dots.at[r * kBlock + c], 0.f);
}

// Index scores of 64 queries, row-major [64][keys].
void index_scores(const Keys& keys, const Bf16* q, const Bf16* k, const float* w, int heads, int i,
                  std::vector<float>& out) {
  const int total = keys.prefix + keys.length;
  const int64_t first = keys.begin_row + i * kBlock;
  std::vector<Pairs> queries(heads);
  std::vector<float> weights(heads * kBlock, 0.f);
  Tile tile;
  for (int h = 0; h < heads; ++h) {
    load_tile(tile, q + (first * heads + h) * kBlock, heads * kBlock, keys.rows_of(i));
    pack_columns(queries[h], tile);
    for (int r = 0; r < keys.rows_of(i); ++r)
      weights[h * kBlock + r] = w[(first + r) * heads + h];
  }
  out.resize(static_cast<size_t>(kBlock) * total);
  Acc scores, dots;
  for (int j = 0; j <= keys.last_key_block(i); ++j) {
    load_tile(tile, k + keys.row(j) * kBlock, kBlock, keys.size(j));
    std::memset(scores.at, 0, sizeof(scores.at));
    for (int h = 0; h < heads; ++h) {
      product(dots.at, tile.at, queries[h].at, false);
      add_relu(scores, dots, weights.data() + h * kBlock);
    }
    for (int c = 0; c < kBlock; ++c)
      for (int r = 0; r < keys.size(j); ++r)
        out[static_cast<size_t>(c) * total + keys.position(j) + r] = scores.at[r * kBlock + c];
  }
}

}  // namespace

extern "C" {

// The selection of the lightning indexer: a query may see the `topk` keys with the best scores
// sum_h w[h] * max(<q[h], k>, 0) among those before it and itself; ties go to the lower position.
// q is [rows, heads, 64], k [rows, 64], w [rows, heads]; `mask` comes zeroed.
void index_select(const Bf16* q, const Bf16* k, const float* w, const int32_t* starts,
                  const int64_t* mask_at, uint64_t* mask, int sequences, int heads, int topk,
                  int threads) {
  const Batch batch{starts, mask_at, nullptr, sequences, heads, 1.f};
  std::vector<std::pair<int, int>> units;
  for (int s = sequences - 1; s >= 0; --s)
    for (int i = 0; i < Keys(batch, s).words; ++i) units.emplace_back(s, i);
  for_units(static_cast<int>(units.size()), threads, [&](int u) {
    const auto [s, i] = units[u];
    const Keys keys(batch, s);
    std::vector<float> scores;
    index_scores(keys, q, k, w, heads, i, scores);
    const int total = keys.prefix + keys.length;
    std::vector<int> order(total);
    for (int r = 0; r < keys.rows_of(i); ++r) {
      const float* row = scores.data() + static_cast<size_t>(r) * total;
      const int seen = keys.prefix + i * kBlock + r + 1;
      for (int c = 0; c < seen; ++c) order[c] = c;
      if (seen > topk)
        std::nth_element(order.begin(), order.begin() + topk, order.begin() + seen,
                         [&](int x, int y) { return row[x] != row[y] ? row[x] > row[y] : x < y; });
      for (int n = 0; n < std::min(seen, topk); ++n)
        mask[mask_at[s] + static_cast<int64_t>(order[n]) * keys.words + i] |= 1ull << r;
    }
  });
}

}  // extern "C"
