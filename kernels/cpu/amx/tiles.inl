// Products of matrices in tiles: 16 rows of 64 bytes. Four tiles of sums, two of left operands and
// two of right operands: sum (a, b) += left a x right b.
//
//   int8  left [16][64 codes], right [16][16 columns][4 codes], sums [16][16] int32, exact
//   bf16  left [16][32],       right [16][16 columns][2],       sums [16][16] fp32
//
// With an inner dimension of 32 bytes, left tiles have rows of 32 bytes and right tiles 8 rows.
// The file of instructions before this one (tiles_amx.inl, tiles_emulated.inl) defines Tiles.

namespace ponder::kernels {
namespace {

constexpr std::size_t kTileRows16 = 16;
constexpr std::size_t kTileRowBytes = 64;

// Where the tiles of an operand lie, in bytes.
struct TileOperand {
  const void* data;
  std::size_t row_stride;   // between the rows of a tile
  std::size_t step_stride;  // between the tiles along the inner dimension
  std::size_t tile_stride;  // between the two tiles at one step

  const char* at(std::size_t step, std::size_t tile) const {
    return static_cast<const char*>(data) + step * step_stride + tile * tile_stride;
  }
};

// Where the sums lie, in words of four bytes.
struct TileSums {
  void* data;
  std::size_t row_stride;
  std::size_t left_stride;   // between the sums of the two left tiles
  std::size_t right_stride;  // between the sums of the two right tiles

  char* at(std::size_t left, std::size_t right) const {
    return static_cast<char*>(data) + (left * left_stride + right * right_stride) * 4;
  }
};

template <int M, int N>
void zero_sums(Tiles& tiles) {
  tiles.zero<0>();
  if constexpr (N > 1) tiles.zero<1>();
  if constexpr (M > 1) tiles.zero<2>();
  if constexpr (M > 1 && N > 1) tiles.zero<3>();
}

template <int M, int N>
void load_sums(Tiles& tiles, const TileSums& sums) {
  const std::size_t stride = sums.row_stride * 4;
  tiles.load<0>(sums.at(0, 0), stride);
  if constexpr (N > 1) tiles.load<1>(sums.at(0, 1), stride);
  if constexpr (M > 1) tiles.load<2>(sums.at(1, 0), stride);
  if constexpr (M > 1 && N > 1) tiles.load<3>(sums.at(1, 1), stride);
}

template <int M, int N>
void store_sums(Tiles& tiles, const TileSums& sums) {
  const std::size_t stride = sums.row_stride * 4;
  tiles.store<0>(sums.at(0, 0), stride);
  if constexpr (N > 1) tiles.store<1>(sums.at(0, 1), stride);
  if constexpr (M > 1) tiles.store<2>(sums.at(1, 0), stride);
  if constexpr (M > 1 && N > 1) tiles.store<3>(sums.at(1, 1), stride);
}

enum class TileProduct { int8, bf16 };

template <TileProduct kProduct, int A, int B>
void add_product(Tiles& tiles) {
  if constexpr (kProduct == TileProduct::int8) {
    tiles.dot_int8<A, B>();
  } else {
    tiles.dot_bf16<A, B>();
  }
}

// Adds the products of M left and N right tiles over `steps` of the inner dimension.
template <TileProduct kProduct, int M, int N>
void add_products(Tiles& tiles, std::size_t steps, const TileOperand& left,
                  const TileOperand& right) {
  for (std::size_t step = 0; step < steps; ++step) {
    tiles.load<4>(left.at(step, 0), left.row_stride);
    tiles.load<6>(right.at(step, 0), right.row_stride);
    add_product<kProduct, 0, 0>(tiles);
    if constexpr (N > 1) {
      tiles.load<7>(right.at(step, 1), right.row_stride);
      add_product<kProduct, 0, 1>(tiles);
    }
    if constexpr (M > 1) {
      tiles.load<5>(left.at(step, 1), left.row_stride);
      add_product<kProduct, 1, 0>(tiles);
    }
    if constexpr (M > 1 && N > 1) add_product<kProduct, 1, 1>(tiles);
  }
}

}  // namespace
}  // namespace ponder::kernels
