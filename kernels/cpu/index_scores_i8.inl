// Scores of index keys in mode I8.
//
//   acc = fma(float(max(<q[h], k>, 0)), w[h], acc) over h, ascending;  score = acc * scale
//
// A vector of codes holds 4 dimensions of kLanes keys, as the page has them, and meets 4 dimensions
// of a query in all lanes: nothing is summed across lanes, and the dots are exact. Registers hold
// kCodeHeads heads times kCodeGroups vectors of keys. 2 * heads * dim operations and dim + 4 bytes
// per key and row.
//
// Bits: integers are exact, and the rest is written out as single roundings in the order above.

namespace ponder::kernels {
namespace {

constexpr std::size_t kUnitKeys = static_cast<std::size_t>(kCodeGroups) * kLanes;
static_assert(kPageSize % kUnitKeys == 0 && kIndexBlockKeys % kLanes == 0);

// Adds the weighted, rectified dots of H heads to the scores of the unit of keys at `codes`.
template <int H>
void score_code_heads(const std::int8_t* q, const std::int32_t* start, const float* weights,
                      std::size_t dim, const std::int8_t* codes, Vec (&scores)[kCodeGroups]) {
  IntVec dots[H][kCodeGroups];
  for (int h = 0; h < H; ++h) {
    for (int g = 0; g < kCodeGroups; ++g) dots[h][g] = broadcast_int(start[h]);
  }
  for (std::size_t d = 0; d < dim; d += 4) {
    IntVec keys[kCodeGroups];
    for (int g = 0; g < kCodeGroups; ++g) {
      const std::size_t token = static_cast<std::size_t>(g) * kLanes;
      keys[g] = load_codes(codes + token / kIndexBlockKeys * kIndexBlockKeys * dim +
                           kIndexBlockKeys * d + 4 * (token % kIndexBlockKeys));
    }
    for (int h = 0; h < H; ++h) {
      const IntVec query = broadcast_codes(q + static_cast<std::size_t>(h) * dim + d);
      for (int g = 0; g < kCodeGroups; ++g) dots[h][g] = add_dot4(dots[h][g], query, keys[g]);
    }
  }
  for (int h = 0; h < H; ++h) {
    const Vec weight = broadcast(weights[h]);
    for (int g = 0; g < kCodeGroups; ++g) scores[g] = fma(relu(dots[h][g]), weight, scores[g]);
  }
}

struct CodeRow {
  const std::int8_t* q;
  const float* weights;
  std::size_t heads;
  std::size_t dim;
  std::int32_t start[kIndexHeadsMax];  // where the sums of a head begin
};

// Scores `count` keys of the unit whose codes and scales are given.
void score_unit(const CodeRow& row, const std::int8_t* codes, const float* scales, float* out,
                std::size_t count) {
  Vec scores[kCodeGroups];
  for (int g = 0; g < kCodeGroups; ++g) scores[g] = zero();
  std::size_t h = 0;
  for (; h + kCodeHeads <= row.heads; h += kCodeHeads) {
    score_code_heads<kCodeHeads>(row.q + h * row.dim, row.start + h, row.weights + h, row.dim,
                                 codes, scores);
  }
  for (; h < row.heads; ++h) {
    score_code_heads<1>(row.q + h * row.dim, row.start + h, row.weights + h, row.dim, codes,
                        scores);
  }
  for (std::size_t g = 0; g < kCodeGroups && g * kLanes < count; ++g) {
    const Vec score = mul(scores[g], load(scales + g * kLanes));
    if (count - g * kLanes >= kLanes) {
      store(out + g * kLanes, score);
    } else {
      store_some(out + g * kLanes, score, count - g * kLanes);
    }
  }
}

inline const std::int8_t* index_block(const IndexScoresI8Args& args, std::size_t key) {
  return static_cast<const std::int8_t*>(args.pages[key / kPageSize]) + args.block_offset;
}

void score_code_row(const IndexScoresI8Args& args, std::size_t row, std::size_t key_begin,
                    std::size_t key_end) {
  CodeRow code_row;
  code_row.q = args.q + row * args.heads * args.dim;
  code_row.weights = args.head_weights + row * args.heads;
  code_row.heads = args.heads;
  code_row.dim = args.dim;
  for (std::size_t h = 0; h < args.heads; ++h) {
    code_row.start[h] = start_of_dot(code_row.q + h * args.dim, args.dim);
  }
  float* out = args.scores + row * args.scores_stride;
  alignas(64) std::int8_t prepared[kPageSize * kIndexHeadDimMax];
  for (std::size_t key = key_begin; key < key_end; key += kPageSize) {
    const auto* page = index_block(args, key);
    const auto* scales = reinterpret_cast<const float*>(page + kPageSize * args.dim);
    const std::size_t left = key_end - key < kPageSize ? key_end - key : kPageSize;
    const bool is_last = key + kPageSize >= key_end;
    const void* next = is_last ? page : index_block(args, key + kPageSize);
    const std::int8_t* codes = prepare_page(page, next, kPageSize * args.dim, prepared);
    for (std::size_t i = 0; i < left; i += kUnitKeys) {
      score_unit(code_row, codes + i * args.dim, scales + i, out + key + i, left - i);
    }
  }
}

void index_scores_i8(const IndexScoresI8Args& args, std::size_t row_begin, std::size_t row_end,
                     std::size_t key_begin, std::size_t key_end) noexcept {
  for (std::size_t row = row_begin; row < row_end; ++row) {
    const auto num_keys = static_cast<std::size_t>(args.num_keys[row]);
    score_code_row(args, row, key_begin, num_keys < key_end ? num_keys : key_end);
  }
}

}  // namespace
}  // namespace ponder::kernels
