// y[m,n] = sum over k of x[m,k] * w[n,k] for int8 and int4 weights, in integers, many rows of x.
//
// A tile is two vectors of rows of w by 128 inputs. It is expanded once, to vectors whose lane i
// holds four codes of row i, and multiplied by all rows of x at hand (at most kCodeRows), eight at
// a time: every pair of vectors meets the same four codes of x in all lanes, so sums need no
// horizontal step. Packed weights lie in that order (kernels/packed_weights.h); others are turned
// in registers. Codes are made unsigned (int8 + 128, int4 + 8), as the instructions want one side
// to be; what that adds to a sum, the offset times the sum of x, is taken off where the sum begins.
//
// Loads for 16 dot products: 8 of x, 2 of w, all from the first-level cache: the tile takes 8 KiB,
// its rows of x 12 KiB, its sums 12 KiB.
//
// Bits: sums within a group are exact, and groups are added one after the other. So neither the
// tiling nor the instruction set shows.

namespace ponder::kernels {
namespace {

constexpr std::size_t kQuads = kActivationGroup / 4;  // vectors of a row of tiles
constexpr std::size_t kTileVectors = 2;
constexpr std::size_t kTileColumns = kTileVectors * kLanes;
// So many rows at once are more than processors foresee.
constexpr std::size_t kPrefetchBytes = 512;

// kLanes rows of w, all below args.n or repeating the last one.
struct WeightRows {
  const std::uint8_t* packed;        // their lanes of the block's first word; or nullptr, and
  const std::uint8_t* rows[kLanes];  // each one
  const bf16* scales;                // of these lanes, in the first group
};

inline WeightRows weight_rows(const MatmulArgs& args, std::size_t n) {
  const auto* w = static_cast<const std::uint8_t*>(args.w);
  const std::size_t last_block = (args.n - 1) / kScaleRows;
  const std::size_t block = n / kScaleRows < last_block ? n / kScaleRows : last_block;
  const std::size_t lane = n % kScaleRows;
  WeightRows result{};
  result.scales = args.w_group_scales + block * (args.k / args.w_group) * kScaleRows + lane;
  if (args.w_is_packed) {
    result.packed = w + block * kScaleRows * (args.k / codes_per_byte(args)) + lane * 4;
    return result;
  }
  for (std::size_t i = 0; i < kLanes; ++i) {
    const std::size_t row = n + i < args.n ? n + i : args.n - 1;
    result.rows[i] = w + row * args.w_stride / codes_per_byte(args);
  }
  return result;
}

// The next kLanes words of every row, turned: lane i of turned[j] is word j of row i.
inline void load_turned(const WeightRows& w, std::size_t byte, Codes (&turned)[kLanes]) {
  Vec rows[kLanes];
  for (std::size_t i = 0; i < kLanes; ++i) {
    const std::uint8_t* p = w.rows[i] + byte;
    _mm_prefetch(reinterpret_cast<const char*>(p) + kPrefetchBytes, _MM_HINT_T0);
    rows[i] = as_vec(load_codes(p));
  }
  transpose(rows);
  for (std::size_t i = 0; i < kLanes; ++i) turned[i] = as_codes(rows[i]);
}

// Words [byte / 4, byte / 4 + kLanes) of all rows.
inline void load_words(const WeightRows& w, std::size_t byte, Codes (&words)[kLanes]) {
  if (w.packed == nullptr) return load_turned(w, byte, words);
  for (std::size_t i = 0; i < kLanes; ++i) {
    words[i] = load_codes(w.packed + (byte / 4 + i) * kBlockWordBytes);
  }
}

// A tile and where it stands.
struct Tile {
  alignas(64) Codes codes[kQuads][kTileVectors];  // unsigned
  std::size_t k;                                  // of the quantised rows
  const bf16* w_scales[kTileVectors];             // [128 / w_group, kScaleRows]
  const std::uint8_t* next[kTileVectors];         // of packed weights: where the next tile begins
  std::size_t lines_at_once;                      // of it, to be asked for at once
};

// Inputs [k, k + 128) of the rows, as column `vector` of the tile.
inline void expand_rows(const MatmulArgs& args, const WeightRows& w, std::size_t k,
                        std::size_t vector, Tile& tile) {
  Codes words[kLanes];
  if (args.w_dtype == DType::int8) {
    for (std::size_t i = 0; i < kQuads; i += kLanes) {
      load_words(w, k + 4 * i, words);
      for (std::size_t j = 0; j < kLanes; ++j) tile.codes[i + j][vector] = plus_128(words[j]);
    }
    return;
  }
  for (std::size_t i = 0; i < kQuads; i += 2 * kLanes) {
    load_words(w, k / 2 + 2 * i, words);
    for (std::size_t j = 0; j < kLanes; ++j) {
      tile.codes[i + 2 * j][vector] = lower_halves(words[j]);
      tile.codes[i + 2 * j + 1][vector] = upper_halves(words[j]);
    }
  }
}

using TileSums = float[kTileColumns];

// The integer sums of one group, whose quads begin at `begin`: dots[i][v] = x[row + i] . tile.
template <std::size_t GROUP, int MR>
inline __attribute__((always_inline)) void multiply_group(const QuantisedRows& q, const Tile& tile,
                                                          std::size_t row, std::size_t begin,
                                                          Codes (&dots)[MR][kTileVectors]) {
  const std::int32_t* x[MR];
  for (int i = 0; i < MR; ++i) {
    const std::size_t first = q.group(row + static_cast<std::size_t>(i), tile.k) * kQuads + begin;
    const Codes offset = broadcast_word(q.offsets[first / (GROUP / 4)]);
    for (std::size_t v = 0; v < kTileVectors; ++v) dots[i][v] = offset;
    x[i] = q.quads + first * kQuadWords;
  }
#pragma GCC unroll 8
  for (std::size_t quad = 0; quad < GROUP / 4; ++quad) {
    for (int i = 0; i < MR; ++i) {
      const Quad four = load_quad(x[i] + quad * kQuadWords);
      for (std::size_t v = 0; v < kTileVectors; ++v) {
        dots[i][v] = add_products(dots[i][v], tile.codes[begin + quad][v], four);
      }
    }
  }
}

// totals[i][v] += dots[i][v], scaled.
template <int MR>
inline __attribute__((always_inline)) void add_group(const QuantisedRows& q, const Tile& tile,
                                                     std::size_t row, std::size_t group,
                                                     const Codes (&dots)[MR][kTileVectors],
                                                     Vec (&totals)[MR][kTileVectors]) {
  for (std::size_t v = 0; v < kTileVectors; ++v) {
    const Vec w_scale = load(tile.w_scales[v] + group * kScaleRows);
    for (int i = 0; i < MR; ++i) {
      const float x_scale = q.scales[q.group(row + static_cast<std::size_t>(i), tile.k)];
      const Vec scale = mul(broadcast(x_scale), w_scale);
      totals[i][v] = fma(to_floats(dots[i][v]), scale, totals[i][v]);
    }
  }
}

// sums[row + i] += x[row + i] . tile for MR rows of x.
template <std::size_t GROUP, int MR>
void multiply_tile(const QuantisedRows& q, const Tile& tile, std::size_t row, TileSums* sums) {
  Vec totals[MR][kTileVectors];
  const auto load_totals = [&] {
    for (int i = 0; i < MR; ++i) {
      for (std::size_t v = 0; v < kTileVectors; ++v) {
        totals[i][v] = load(sums[row + static_cast<std::size_t>(i)] + v * kLanes);
      }
    }
  };
  if constexpr (GROUP < kActivationGroup) load_totals();
  for (std::size_t begin = 0; begin < kQuads; begin += GROUP / 4) {
    Codes dots[MR][kTileVectors];
    multiply_group<GROUP, MR>(q, tile, row, begin, dots);
    if constexpr (GROUP == kActivationGroup) load_totals();  // no registers to hold them before
    add_group<MR>(q, tile, row, begin / (GROUP / 4), dots, totals);
  }
  for (int i = 0; i < MR; ++i) {
    for (std::size_t v = 0; v < kTileVectors; ++v) {
      store(sums[row + static_cast<std::size_t>(i)] + v * kLanes, totals[i][v]);
    }
  }
}

// Asks for the next lines of the next tile, so that requests for memory are spread over the
// products of this one.
inline void prefetch_next(Tile& tile) {
  for (std::size_t i = 0; i < tile.lines_at_once; ++i) {
    for (const std::uint8_t*& next : tile.next) {
      _mm_prefetch(reinterpret_cast<const char*>(next), _MM_HINT_T0);
      next += kBlockWordBytes;
    }
  }
}

template <std::size_t GROUP, int MR>
std::size_t multiply_rows_by_tile(const QuantisedRows& q, Tile& tile, std::size_t row,
                                  TileSums* sums) {
  for (; row + MR <= q.rows; row += MR) {
    prefetch_next(tile);
    multiply_tile<GROUP, MR>(q, tile, row, sums);
  }
  return row;
}

template <std::size_t GROUP>
void multiply_by_tile(const QuantisedRows& q, Tile& tile, TileSums* sums) {
  // Sums of short groups and their totals share the registers.
  constexpr int kRows = GROUP == kActivationGroup ? kQuadRows : kQuadRows * 3 / 4;
  std::size_t row = multiply_rows_by_tile<GROUP, kRows>(q, tile, 0, sums);
  row = multiply_rows_by_tile<GROUP, 4>(q, tile, row, sums);
  row = multiply_rows_by_tile<GROUP, 2>(q, tile, row, sums);
  multiply_rows_by_tile<GROUP, 1>(q, tile, row, sums);
}

// The quantised rows by kTileColumns rows of w from n on, of which only those in the range are
// written.
void multiply_columns(const MatmulArgs& args, const MatmulRange& range, const QuantisedRows& q,
                      std::size_t n) {
  alignas(64) TileSums sums[kCodeRows];
  const SumColumns<kTileColumns> columns(args, range, n);
  for (std::size_t row = 0; row < q.rows; ++row) {
    columns.load_row(q.first_row + row, q.k_begin == 0, sums[row]);
  }
  WeightRows w[kTileVectors];
  for (std::size_t v = 0; v < kTileVectors; ++v) w[v] = weight_rows(args, n + v * kLanes);
  Tile tile;
  const std::size_t lines = kQuads / codes_per_byte(args);
  const std::size_t parts = (q.rows + kQuadRows - 1) / kQuadRows;
  tile.lines_at_once = args.w_is_packed ? (lines + parts - 1) / parts : 0;
  for (tile.k = 0; tile.k < q.width; tile.k += kActivationGroup) {
    const std::size_t k = q.k_begin + tile.k;
    for (std::size_t v = 0; v < kTileVectors; ++v) {
      expand_rows(args, w[v], k, v, tile);
      tile.w_scales[v] = w[v].scales + k / args.w_group * kScaleRows;
      if (args.w_is_packed) {
        tile.next[v] = w[v].packed + (k + kActivationGroup) / codes_per_byte(args) * kScaleRows;
      }
    }
    if (args.w_group == 128) {
      multiply_by_tile<128>(q, tile, sums);
    } else if (args.w_group == 64) {
      multiply_by_tile<64>(q, tile, sums);
    } else {
      multiply_by_tile<32>(q, tile, sums);
    }
  }
  for (std::size_t row = 0; row < q.rows; ++row) columns.store_row(q.first_row + row, sums[row]);
}

}  // namespace
}  // namespace ponder::kernels
