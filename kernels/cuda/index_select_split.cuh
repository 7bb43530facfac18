#pragma once

// Exact selection by several blocks for a row, for few rows of many keys: the bits of
// index_select.cuh, to the last tie and the count of NaN.
//
// A row's scores are cut in pieces of kSelectPieceKeys, a block each. The order image of the k-th
// largest score is found in digits of 11, 11 and 10 bits. For each digit the pieces count their
// keys by its values (in shared memory, then as 16-bit numbers in the workspace), and a block for
// each row adds the pieces' counts up and walks down from the highest value. The same counts say
// how many keys above the threshold, and how many equal to it, each piece has: their prefix sums
// are where the piece's own begin. At last the pieces write what they keep, in ascending order.
//
// Where the bin of the k-th score is used up to its last key, the digits below it decide nothing:
// the blocks of the passes that follow leave at once. So it mostly is after 22 bits.
//
// Seven launches whose grids follow from rows and stride alone. Atomics count in shared memory and
// nothing else. Bytes: the scores 2 to 4 times, of which all but the first come from the cache, and
// per digit 4 KiB of counts for a piece's 16 KiB of scores, written once and read twice at most.

#include "kernels/cuda/index_select.cuh"

namespace ponder::kernels {
namespace {

constexpr unsigned kPieceThreads = 256;
constexpr unsigned kPieceWarps = kPieceThreads / kWarp;
constexpr unsigned kKeysPerThread = kSelectPieceKeys / kPieceThreads;
constexpr unsigned kKeysPerWarp = kKeysPerThread * kWarp;
constexpr unsigned kFindThreads = 1024;
constexpr unsigned kFindWarps = kFindThreads / kWarp;

/// Digits of the order image, the highest first.
constexpr unsigned kDigits = 3;
constexpr unsigned kCountWords = 1024;  // of a piece: two counts each
template <unsigned kDigit>
struct Digit {
  static constexpr unsigned kBits = kDigit < 2 ? 11 : 10;
  static constexpr unsigned kShift = kDigit == 0 ? 21 : kDigit == 1 ? 10 : 0;
  static constexpr unsigned kValues = 1u << kBits;
  static constexpr unsigned kWords = kValues / 2;
};
static_assert(kSelectPieceKeys < 1u << 16 && Digit<0>::kWords == kCountWords);
static_assert(Digit<0>::kWords <= kFindThreads);

/// Of one piece. First counts, once the threshold is known those of all pieces before it.
struct PieceTally {
  unsigned num_above;  // keys above the threshold
  unsigned num_equal;
  unsigned num_nan;
  unsigned unused;
};

/// What is known of a row's threshold: all bits of its image from `shift` on.
struct ThresholdState {
  unsigned prefix;  // the image >> shift
  unsigned rank;    // of the k-th largest among the keys that share these bits: so many are kept
  unsigned shift;
  unsigned is_found;
};

struct SplitSelectArgs {
  SelectArgs select;
  unsigned pieces;  // of a row's stride
};

__device__ __forceinline__ unsigned* piece_counts(const SplitSelectArgs& args, std::size_t row,
                                                  std::size_t piece) {
  return args.select.workspace + (row * args.pieces + piece) * kCountWords;
}
__device__ __forceinline__ PieceTally* row_tallies(const SplitSelectArgs& args, std::size_t row) {
  unsigned* tallies = args.select.workspace + args.select.rows * args.pieces * kCountWords;
  return reinterpret_cast<PieceTally*>(tallies) + row * args.pieces;
}
__device__ __forceinline__ ThresholdState& row_state(const SplitSelectArgs& args, std::size_t row) {
  return reinterpret_cast<ThresholdState*>(row_tallies(args, args.select.rows))[row];
}

__device__ __forceinline__ std::size_t num_selected_of(const SelectArgs& args, std::size_t row) {
  const auto n = static_cast<std::size_t>(args.num_keys[row]);
  const std::size_t visible = n > args.first_key ? n - args.first_key : 0;
  return visible < args.k ? visible : args.k;
}

/// Whether the row selects all that it sees.
__device__ __forceinline__ bool selects_all(const SelectArgs& args, std::size_t row) {
  return static_cast<std::size_t>(args.num_keys[row]) <= args.k;
}

/// Whether this digit of the row's threshold must be found.
template <unsigned kDigit>
__device__ __forceinline__ bool is_wanted(const SplitSelectArgs& args, std::size_t row) {
  if (selects_all(args.select, row)) return false;
  return kDigit == 0 || row_state(args, row).is_found == 0;
}

/// A thread's scores, every `step`-th from `first` on, as order images. Where there is no key it is
/// 0, which is below the image of any score, and so below every threshold and not worth telling
/// apart. Returns how many are NaN.
__device__ __forceinline__ unsigned load_images(const SelectArgs& args, std::size_t row,
                                                std::size_t first, unsigned step,
                                                unsigned (&images)[kKeysPerThread]) {
  const float* scores = args.scores + row * args.scores_stride;
  const auto n = static_cast<std::size_t>(args.num_keys[row]);
  unsigned num_nan = 0;
  PONDER_UNROLL
  for (unsigned j = 0; j < kKeysPerThread; ++j) {
    const std::size_t i = first + j * step;
    images[j] = 0;
    if (i < args.first_key || i >= n) continue;
    const float score = scores[i];
    images[j] = order_image(score);
    num_nan += is_nan(score) ? 1u : 0u;
  }
  return num_nan;
}

template <unsigned kDigit>
__global__ void __launch_bounds__(kPieceThreads) count_digits_kernel(SplitSelectArgs args) {
  __shared__ SharedArray<unsigned, Digit<kDigit>::kValues> counts;
  __shared__ SharedArray<unsigned, kPieceWarps> nan_counts;
  constexpr unsigned kShift = Digit<kDigit>::kShift;
  const std::size_t row = blockIdx.y;
  const std::size_t begin = blockIdx.x * kSelectPieceKeys;
  if (begin >= static_cast<std::size_t>(args.select.num_keys[row])) return;
  if (!is_wanted<kDigit>(args, row)) return;
  const unsigned prefix = kDigit == 0 ? 0u : row_state(args, row).prefix;
  for (unsigned i = threadIdx.x; i < Digit<kDigit>::kValues; i += kPieceThreads) counts[i] = 0;
  unsigned images[kKeysPerThread];
  const unsigned num_nan =
      load_images(args.select, row, begin + threadIdx.x, kPieceThreads, images);
  __syncthreads();
  PONDER_UNROLL
  for (unsigned j = 0; j < kKeysPerThread; ++j) {
    const unsigned digits = images[j] >> kShift;
    const bool is_shared = kDigit == 0 || digits >> Digit<kDigit>::kBits == prefix;
    if (is_shared) counts.add_atomically(digits % Digit<kDigit>::kValues, 1u);
  }
  if (kDigit == 0) {
    const unsigned of_warp = warp_sum(num_nan);
    if (lane() == 0) nan_counts[threadIdx.x / kWarp] = of_warp;
  }
  __syncthreads();
  unsigned* to = piece_counts(args, row, blockIdx.x);
  for (unsigned i = threadIdx.x; i < Digit<kDigit>::kWords; i += kPieceThreads) {
    to[i] = counts[2 * i] | counts[2 * i + 1] << 16;
  }
  if (kDigit == 0 && threadIdx.x == 0) {
    unsigned sum = 0;
    for (unsigned warp = 0; warp < kPieceWarps; ++warp) sum += nan_counts[warp];
    row_tallies(args, row)[blockIdx.x].num_nan = sum;
  }
}

using FindScratch = SharedArray<unsigned, kFindWarps>;

/// A value of the digit, how many keys with it are kept, and how many have it.
struct FoundDigit {
  unsigned value;
  unsigned rank;
  unsigned count;
};

/// Each thread adds up the counts of two values, the highest first.
template <unsigned kDigit>
__device__ FoundDigit find_digit(const SplitSelectArgs& args, std::size_t row, std::size_t pieces,
                                 unsigned rank, FindScratch& scratch) {
  __shared__ SharedArray<unsigned, 3> found;
  unsigned high = 0;
  unsigned low = 0;
  const unsigned word = Digit<kDigit>::kWords - 1 - threadIdx.x;
  if (threadIdx.x < Digit<kDigit>::kWords) {
    PONDER_UNROLL_8
    for (std::size_t piece = 0; piece < pieces; ++piece) {
      const unsigned counts = piece_counts(args, row, piece)[word];
      high += counts >> 16;
      low += counts & 0xffffu;
    }
  }
  unsigned total = 0;
  const unsigned above = sum_before(high + low, scratch, total);
  const bool is_high = above < rank && rank <= above + high;
  const bool is_low = above + high < rank && rank <= above + high + low;
  if (is_high || is_low) {
    found[0] = 2 * word + (is_high ? 1u : 0u);
    found[1] = rank - above - (is_high ? 0u : high);
    found[2] = is_high ? high : low;
  }
  __syncthreads();
  return {found[0], found[1], found[2]};
}

/// A warp for each piece: its keys above the value, and those equal to it.
template <unsigned kDigit>
__device__ void tally_pieces(const SplitSelectArgs& args, std::size_t row, std::size_t pieces,
                             unsigned value) {
  for (std::size_t piece = threadIdx.x / kWarp; piece < pieces; piece += kFindWarps) {
    const unsigned* counts = piece_counts(args, row, piece);
    unsigned above = 0;
    unsigned equal = 0;
    for (unsigned word = value / 2 + lane(); word < Digit<kDigit>::kWords; word += kWarp) {
      const unsigned high = counts[word] >> 16;
      const unsigned low = counts[word] & 0xffffu;
      if (2 * word > value) above += low;
      if (2 * word == value) equal += low;
      if (2 * word + 1 > value) above += high;
      if (2 * word + 1 == value) equal += high;
    }
    above = warp_sum(above);
    equal = warp_sum(equal);
    if (lane() != 0) continue;
    PieceTally& tally = row_tallies(args, row)[piece];
    tally.num_above = (kDigit == 0 ? 0u : tally.num_above) + above;
    tally.num_equal = equal;
  }
}

/// From counts to those of all pieces before.
__device__ void sum_tallies(PieceTally* tallies, std::size_t pieces, FindScratch& scratch) {
  unsigned num_above = 0;
  unsigned num_equal = 0;
  for (std::size_t begin = 0; begin < pieces; begin += kFindThreads) {
    const std::size_t piece = begin + threadIdx.x;
    const bool is_inside = piece < pieces;
    unsigned total = 0;
    const unsigned above = sum_before(is_inside ? tallies[piece].num_above : 0u, scratch, total);
    if (is_inside) tallies[piece].num_above = num_above + above;
    num_above += total;
    const unsigned equal = sum_before(is_inside ? tallies[piece].num_equal : 0u, scratch, total);
    if (is_inside) tallies[piece].num_equal = num_equal + equal;
    num_equal += total;
  }
}

__device__ void add_nan_counts(const SplitSelectArgs& args, std::size_t row, std::size_t pieces,
                               FindScratch& scratch) {
  if (args.select.num_nan == nullptr) return;
  unsigned own = 0;
  for (std::size_t piece = threadIdx.x; piece < pieces; piece += kFindThreads) {
    own += row_tallies(args, row)[piece].num_nan;
  }
  unsigned total = 0;
  sum_before(own, scratch, total);
  if (threadIdx.x == 0) args.select.num_nan[row] += static_cast<std::int32_t>(total);
}

template <unsigned kDigit>
__global__ void __launch_bounds__(kFindThreads) find_digit_kernel(SplitSelectArgs args) {
  __shared__ FindScratch scratch;
  const std::size_t row = blockIdx.x;
  if (!is_wanted<kDigit>(args, row)) return;
  const auto num_keys = static_cast<std::size_t>(args.select.num_keys[row]);
  const std::size_t pieces = (num_keys + kSelectPieceKeys - 1) / kSelectPieceKeys;
  ThresholdState before{};
  if (kDigit > 0) before = row_state(args, row);
  const unsigned rank =
      kDigit == 0 ? static_cast<unsigned>(num_selected_of(args.select, row)) : before.rank;
  const FoundDigit found = find_digit<kDigit>(args, row, pieces, rank, scratch);
  tally_pieces<kDigit>(args, row, pieces, found.value);
  if (kDigit == 0) add_nan_counts(args, row, pieces, scratch);
  __syncthreads();
  const bool is_found = kDigit + 1 == kDigits || found.count == found.rank;
  if (is_found) sum_tallies(row_tallies(args, row), pieces, scratch);
  if (threadIdx.x != 0) return;
  row_state(args, row) = {before.prefix << Digit<kDigit>::kBits | found.value, found.rank,
                          Digit<kDigit>::kShift, is_found ? 1u : 0u};
}

/// A warp keeps a run of keys that follow one another, so its votes are in their order.
__device__ void write_piece(const SplitSelectArgs& args, const SelectionRow& to) {
  __shared__ SharedArray<unsigned, kPieceWarps> above_counts;
  __shared__ SharedArray<unsigned, kPieceWarps> equal_counts;
  const ThresholdState threshold = row_state(args, to.row);
  const PieceTally before = row_tallies(args, to.row)[blockIdx.x];
  const unsigned warp = threadIdx.x / kWarp;
  const std::size_t first = blockIdx.x * kSelectPieceKeys + warp * kKeysPerWarp + lane();
  unsigned images[kKeysPerThread];
  load_images(args.select, to.row, first, kWarp, images);
  unsigned above = 0;  // of the warp
  unsigned equal = 0;
  PONDER_UNROLL
  for (unsigned j = 0; j < kKeysPerThread; ++j) {
    const unsigned bits = images[j] >> threshold.shift;
    above += static_cast<unsigned>(__popc(__ballot_sync(kAllLanes, bits > threshold.prefix)));
    equal += static_cast<unsigned>(__popc(__ballot_sync(kAllLanes, bits == threshold.prefix)));
  }
  if (lane() == 0) {
    above_counts[warp] = above;
    equal_counts[warp] = equal;
  }
  __syncthreads();
  above = before.num_above;  // from here on: of all keys before
  equal = before.num_equal;
  for (unsigned other = 0; other < warp; ++other) {
    above += above_counts[other];
    equal += equal_counts[other];
  }
  const unsigned lanes_below = (1u << lane()) - 1u;
  PONDER_UNROLL
  for (unsigned j = 0; j < kKeysPerThread; ++j) {
    const unsigned bits = images[j] >> threshold.shift;
    const unsigned above_votes = __ballot_sync(kAllLanes, bits > threshold.prefix);
    const unsigned equal_votes = __ballot_sync(kAllLanes, bits == threshold.prefix);
    const unsigned own_above = above + static_cast<unsigned>(__popc(above_votes & lanes_below));
    const unsigned own_equal = equal + static_cast<unsigned>(__popc(equal_votes & lanes_below));
    const bool is_kept_tie = bits == threshold.prefix && own_equal < threshold.rank;
    if (bits > threshold.prefix || is_kept_tie) {
      const unsigned ties = own_equal < threshold.rank ? own_equal : threshold.rank;
      put(args.select, to, own_above + ties, first + j * kWarp);
    }
    above += static_cast<unsigned>(__popc(above_votes));
    equal += static_cast<unsigned>(__popc(equal_votes));
  }
}

__global__ void __launch_bounds__(kPieceThreads) write_selection_kernel(SplitSelectArgs args) {
  const SelectionRow to = selection_row(args.select, blockIdx.y);
  const auto n = static_cast<std::size_t>(args.select.num_keys[to.row]);
  const std::size_t num_selected = num_selected_of(args.select, to.row);
  const std::size_t step = static_cast<std::size_t>(gridDim.x) * kPieceThreads;
  for (std::size_t i = num_selected + global_thread(); i < args.select.k; i += step) {
    put_nothing(to, i);
  }
  if (global_thread() == 0) {
    args.select.num_selected[to.row] = static_cast<std::int32_t>(num_selected);
  }
  if (selects_all(args.select, to.row)) {
    for (std::size_t i = global_thread(); i < num_selected; i += step) {
      put(args.select, to, i, args.select.first_key + i);
    }
  } else if (blockIdx.x * kSelectPieceKeys < n) {
    write_piece(args, to);
  }
}

template <unsigned kDigit>
void launch_digit(const SplitSelectArgs& args, dim3 pieces_grid) {
  launch(count_digits_kernel<kDigit>, pieces_grid, kPieceThreads, args);
  launch(find_digit_kernel<kDigit>, rows_grid(args.select.rows), kFindThreads, args);
}

void launch_select(const SelectArgs& args) {
  const bool is_split = args.workspace != nullptr && args.rows <= kSelectSplitRowsMax &&
                        args.scores_stride >= kSelectSplitKeysMin;
  if (!is_split || args.rows == 0) return launch_whole_select(args);
  const SplitSelectArgs split{args, static_cast<unsigned>(select_pieces(args.scores_stride))};
  dim3 grid;
  grid.x = split.pieces;
  grid.y = static_cast<unsigned>(args.rows);
  launch_digit<0>(split, grid);
  launch_digit<1>(split, grid);
  launch_digit<2>(split, grid);
  launch(write_selection_kernel, grid, kPieceThreads, split);
}

}  // namespace
}  // namespace ponder::kernels
