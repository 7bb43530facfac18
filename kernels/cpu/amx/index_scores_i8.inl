// Scores of index keys in mode I8 in tiles: heads are the rows of the left operand, 16 keys the
// columns of the right one, straight from the page. A row of sums is a vector of 16 keys under one
// head, so nothing is summed across lanes, and heads are added in ascending order:
//   acc = fma(float(max(<q[h], k>, 0)), w[h], acc);  score = acc * scale
//
// Two blocks of 16 heads meet two blocks of 16 keys at once. Integers are exact: the bits are those
// of every other table.

namespace ponder::kernels {
namespace {

static_assert(kLanes == kIndexBlockKeys);

// 32 heads, or the last 16, of a row's query, and how many of them exist.
struct HeadTiles {
  const std::int8_t* codes;  // [32, dim] or [16, dim]
  const float* weights;
  std::size_t count;
};

// Adds the heads' part of the scores of two blocks of keys.
template <int M>
void score_head_tiles(Tiles& tiles, const HeadTiles& heads, const std::int8_t* codes,
                      std::size_t dim, Vec (&scores)[2]) {
  alignas(64) std::int32_t dots[2 * M][kTileRows16 * kLanes];  // [head tile, key block]
  zero_sums<M, 2>(tiles);
  add_products<TileProduct::int8, M, 2>(
      tiles, dim / kTileRowBytes, {heads.codes, dim, kTileRowBytes, kTileRows16 * dim},
      {codes, kTileRowBytes, kTileRows16 * kTileRowBytes, kIndexBlockKeys * dim});
  constexpr std::size_t kTileWords = kTileRows16 * kLanes;
  store_sums<M, 2>(tiles, {dots, kLanes, 2 * kTileWords, kTileWords});
  for (std::size_t h = 0; h < heads.count; ++h) {
    const Vec weight = broadcast(heads.weights[h]);
    const std::size_t tile = h / kTileRows16 * 2;
    const std::size_t at = h % kTileRows16 * kLanes;
    scores[0] = fma(relu_words(dots[tile] + at), weight, scores[0]);
    scores[1] = fma(relu_words(dots[tile + 1] + at), weight, scores[1]);
  }
}

// The heads after the last whole 16 are padded with zeros.
struct QueryTiles {
  const std::int8_t* q;
  const float* weights;
  std::size_t heads;
  std::size_t dim;
  std::int8_t last[kTileRows16 * kIndexHeadDimMax];

  void start(const IndexScoresI8Args& args, std::size_t row) {
    q = args.q + row * args.heads * args.dim;
    weights = args.head_weights + row * args.heads;
    heads = args.heads;
    dim = args.dim;
    const std::size_t whole = heads / kTileRows16 * kTileRows16;
    const std::size_t rest = (heads - whole) * dim;
    for (std::size_t i = 0; i < rest; ++i) last[i] = q[whole * dim + i];
    for (std::size_t i = rest; i < kTileRows16 * dim; ++i) last[i] = 0;
  }
};

void score_two_blocks(Tiles& tiles, const QueryTiles& query, const std::int8_t* codes,
                      Vec (&scores)[2]) {
  const std::size_t dim = query.dim;
  std::size_t h = 0;
  for (; h + 2 * kTileRows16 <= query.heads; h += 2 * kTileRows16) {
    score_head_tiles<2>(tiles, {query.q + h * dim, query.weights + h, 2 * kTileRows16}, codes, dim,
                        scores);
  }
  if (h + kTileRows16 <= query.heads) {
    score_head_tiles<1>(tiles, {query.q + h * dim, query.weights + h, kTileRows16}, codes, dim,
                        scores);
    h += kTileRows16;
  }
  if (h < query.heads) {
    score_head_tiles<1>(tiles, {query.last, query.weights + h, query.heads - h}, codes, dim,
                        scores);
  }
}

void score_tile_row(const IndexScoresI8Args& args, std::size_t row, std::size_t key_begin,
                    std::size_t key_end) {
  QueryTiles query;
  query.start(args, row);
  Tiles tiles;
  float* out = args.scores + row * args.scores_stride;
  for (std::size_t key = key_begin; key < key_end; key += 2 * kIndexBlockKeys) {
    const auto* page =
        static_cast<const std::int8_t*>(args.pages[key / kPageSize]) + args.block_offset;
    const std::size_t token = key % kPageSize;
    const auto* scales = reinterpret_cast<const float*>(page + kPageSize * args.dim) + token;
    Vec scores[2] = {zero(), zero()};
    score_two_blocks(tiles, query, page + token * args.dim, scores);
    for (std::size_t i = 0; i < 2 && key + i * kLanes < key_end; ++i) {
      const std::size_t left = key_end - key - i * kLanes;
      const Vec score = mul(scores[i], load(scales + i * kLanes));
      if (left >= kLanes) {
        store(out + key + i * kLanes, score);
      } else {
        store_some(out + key + i * kLanes, score, left);
      }
    }
  }
}

void index_scores_i8(const IndexScoresI8Args& args, std::size_t row_begin, std::size_t row_end,
                     std::size_t key_begin, std::size_t key_end) noexcept {
  if (args.dim % kTileRowBytes != 0) {
    return next_best_table().index_scores_i8(args, row_begin, row_end, key_begin, key_end);
  }
  for (std::size_t row = row_begin; row < row_end; ++row) {
    const auto num_keys = static_cast<std::size_t>(args.num_keys[row]);
    score_tile_row(args, row, key_begin, num_keys < key_end ? num_keys : key_end);
  }
}

}  // namespace
}  // namespace ponder::kernels
