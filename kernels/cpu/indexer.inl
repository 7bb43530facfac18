// score[r,s] = sum over h, ascending, of w[r,h] * max(<q[r,h], k[s]>, 0)
//
// Keys lie across the lanes: a block of kKeyGroups * kLanes keys is transposed once and then serves
// all heads of all rows, without any sum across lanes. Registers hold 4 heads times the groups of
// keys; per 4 * kKeyGroups multiply-adds there are 4 + kKeyGroups loads. 2 * heads * dim flops and
// dim elements of traffic per key and row; a chunk of keys stays in the cache for its rows.
//
// Bits: one chain of multiply-adds over dim per dot, one over the heads per score.

namespace ponder::kernels {
namespace {

constexpr std::size_t kKeyBlock = static_cast<std::size_t>(kKeyGroups) * kLanes;
constexpr int kIndexHeads = 4;

struct KeyBlock {
  float values[kIndexHeadDimMax][kKeyBlock];  // [dim][key]
};

// Transposes kLanes keys from dimension d on; any dim.
template <class K>
void transpose_from(const K* const (&keys)[kLanes], std::size_t d, std::size_t dim,
                    std::size_t group, KeyBlock& block) {
  for (; d < dim; d += kLanes) {
    const std::size_t count = dim - d < kLanes ? dim - d : kLanes;
    Vec rows[kLanes];
    for (std::size_t lane = 0; lane < kLanes; ++lane) {
      rows[lane] = count == kLanes ? load(keys[lane] + d) : load_some(keys[lane] + d, count);
    }
    transpose(rows);
    for (std::size_t j = 0; j < count; ++j) store(&block.values[d + j][group * kLanes], rows[j]);
  }
}

// bf16 keys are transposed in pairs, which halves the shuffles. Returns where the pairs end.
std::size_t transpose_pairs(const bf16* const (&keys)[kLanes], std::size_t dim, std::size_t group,
                            KeyBlock& block) {
  std::size_t d = 0;
  for (; d + 2 * kLanes <= dim; d += 2 * kLanes) {
    Vec rows[kLanes];
    for (std::size_t lane = 0; lane < kLanes; ++lane) {
      rows[lane] = load(reinterpret_cast<const float*>(keys[lane] + d));
    }
    transpose(rows);
    for (std::size_t j = 0; j < kLanes; ++j) {
      store(&block.values[d + 2 * j][group * kLanes], widen_low(rows[j]));
      store(&block.values[d + 2 * j + 1][group * kLanes], widen_high(rows[j]));
    }
  }
  return d;
}

template <class K>
const K* index_block(const IndexScoresArgs& args, std::size_t key) {
  const auto* page = static_cast<const char*>(args.pages[key / kPageSize]);
  return reinterpret_cast<const K*>(page + args.block_offset);
}

// The scale of a key of E4M3 codes: a power of two, so that the order of products is of no account.
inline float key_scale(const IndexScoresArgs& args, std::size_t key) {
  float scale = 0.0f;
  __builtin_memcpy(&scale,
                   index_block<fp8_e4m3>(args, key) + kPageSize * args.key_stride +
                       key % kPageSize * sizeof scale,
                   sizeof scale);
  return scale;
}

// Lanes past the last key repeat it; nobody reads their scores.
template <class K>
void load_group(const IndexScoresArgs& args, std::size_t key, std::size_t key_last,
                std::size_t group, KeyBlock& block) {
  const K* keys[kLanes];
  for (std::size_t lane = 0; lane < kLanes; ++lane) {
    const std::size_t s = key + lane < key_last ? key + lane : key_last;
    keys[lane] = index_block<K>(args, s) + s % kPageSize * args.key_stride;
  }
  std::size_t d = 0;
  if constexpr (sizeof(K) == sizeof(bf16)) d = transpose_pairs(keys, args.dim, group, block);
  transpose_from(keys, d, args.dim, group, block);
  if constexpr (sizeof(K) == sizeof(fp8_e4m3)) {
    float scales[kLanes];
    for (std::size_t lane = 0; lane < kLanes; ++lane) {
      scales[lane] = kFp8Factor * key_scale(args, key + lane < key_last ? key + lane : key_last);
    }
    const Vec by_lane = load(scales);
    for (d = 0; d < args.dim; ++d) {
      float* values = &block.values[d][group * kLanes];
      store(values, mul(load(values), by_lane));
    }
  }
}

template <class K>
void load_keys(const IndexScoresArgs& args, std::size_t key, std::size_t key_end, KeyBlock& block) {
  for (std::size_t group = 0; group < kKeyGroups; ++group) {
    load_group<K>(args, key + group * kLanes, key_end - 1, group, block);
  }
}

// Adds the weighted, rectified dots of H heads to the scores of the block.
template <int H>
void score_heads(const IndexScoresArgs& args, std::size_t row, std::size_t head,
                 const KeyBlock& block, Vec (&scores)[kKeyGroups]) {
  const float* q = args.q + row * args.q_row_stride + head * args.q_head_stride;
  const float* weights = args.head_weights + row * args.head_weights_stride + head;
  Vec dots[H][kKeyGroups];
  for (int h = 0; h < H; ++h) {
    for (int g = 0; g < kKeyGroups; ++g) dots[h][g] = zero();
  }
  for (std::size_t d = 0; d < args.dim; ++d) {
    Vec keys[kKeyGroups];
    for (int g = 0; g < kKeyGroups; ++g) {
      keys[g] = load(&block.values[d][static_cast<std::size_t>(g) * kLanes]);
    }
    for (int h = 0; h < H; ++h) {
      const Vec value = broadcast(q[static_cast<std::size_t>(h) * args.q_head_stride + d]);
      for (int g = 0; g < kKeyGroups; ++g) dots[h][g] = fma(value, keys[g], dots[h][g]);
    }
  }
  for (int h = 0; h < H; ++h) {
    const Vec weight = broadcast(weights[h]);
    for (int g = 0; g < kKeyGroups; ++g) {
      // In this order of arguments a NaN passes.
      scores[g] = fma(max(zero(), dots[h][g]), weight, scores[g]);
    }
  }
}

void score_row(const IndexScoresArgs& args, std::size_t row, std::size_t key, std::size_t key_end,
               const KeyBlock& block) {
  Vec scores[kKeyGroups];
  for (int g = 0; g < kKeyGroups; ++g) scores[g] = zero();
  std::size_t head = 0;
  for (; head + kIndexHeads <= args.heads; head += kIndexHeads) {
    score_heads<kIndexHeads>(args, row, head, block, scores);
  }
  for (; head < args.heads; ++head) score_heads<1>(args, row, head, block, scores);
  float* out = args.scores + row * args.scores_stride;
  for (int g = 0; g < kKeyGroups && key < key_end; ++g, key += kLanes) {
    if (key + kLanes <= key_end) {
      store(out + key, scores[g]);
    } else {
      store_some(out + key, scores[g], key_end - key);
    }
  }
}

void index_scores(const IndexScoresArgs& args, std::size_t row_begin, std::size_t row_end,
                  std::size_t key_begin, std::size_t key_end) noexcept {
  std::size_t visible = 0;
  for (std::size_t row = row_begin; row < row_end; ++row) {
    const auto num_keys = static_cast<std::size_t>(args.num_keys[row]);
    visible = num_keys > visible ? num_keys : visible;
  }
  const std::size_t end = visible < key_end ? visible : key_end;
  KeyBlock block;
  for (std::size_t key = key_begin; key < end; key += kKeyBlock) {
    if (args.key_dtype == DType::f32) {
      load_keys<float>(args, key, end, block);
    } else if (args.key_dtype == DType::fp8_e4m3) {
      load_keys<fp8_e4m3>(args, key, end, block);
    } else {
      load_keys<bf16>(args, key, end, block);
    }
    for (std::size_t row = row_begin; row < row_end; ++row) {
      const auto num_keys = static_cast<std::size_t>(args.num_keys[row]);
      const std::size_t row_keys = num_keys < end ? num_keys : end;
      if (key < row_keys) score_row(args, row, key, row_keys, block);
    }
  }
}

}  // namespace
}  // namespace ponder::kernels
