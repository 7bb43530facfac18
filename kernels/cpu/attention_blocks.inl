// The shapes and the memory of kernels/cpu/attention_bf16.inl, which says what they are for.

namespace ponder::kernels {
namespace {

constexpr std::size_t kBlockSlots = 128;
constexpr std::size_t kSlotPairs = kBlockSlots / 2;
constexpr std::size_t kSlotStep = 32;        // slots are padded to whole tiles of pairs
constexpr std::size_t kPrefetchRows = 8;     // rows ahead of the one that is copied
constexpr std::size_t kHeadsMin = 8;         // of fewer, most lanes would be empty
constexpr std::size_t kHeadsTogether = 128;  // of several rows
static_assert(kLanes == 16 && kLanes == kAttentionHeadBlock);

constexpr std::size_t round_up(std::size_t value, std::size_t multiple) {
  return (value + multiple - 1) / multiple * multiple;
}

// Sizes, padded to whole vectors and tiles.
struct BlockShape {
  std::size_t dim;                                              // of a row; a multiple of 32
  std::size_t heads;                                            // a multiple of 16
  std::size_t rank;                                             // a multiple of 16
  std::size_t query_panel() const { return dim / 2 * kLanes; }  // words
  std::size_t value_panel() const { return (kSlotPairs + 1) * kLanes; }   // words
  std::size_t logit_panel() const { return (kBlockSlots + 1) * kLanes; }  // floats
  BlockShape of_rows(std::size_t rows) const { return {dim, heads * rows, rank}; }
};

inline BlockShape shape_of(const AttentionArgs& args) {
  return {round_up(args.kv_lora_rank + args.qk_rope_head_dim, 32), round_up(args.heads, kLanes),
          round_up(args.kv_lora_rank, kLanes)};
}

// Rows that share a block; a power of two that divides kBlockSlots.
inline std::size_t rows_together(const BlockShape& shape) {
  std::size_t rows = 1;
  while (2 * rows * shape.heads <= kHeadsTogether) rows *= 2;
  return rows;
}
static_assert(kHeadsTogether / kLanes <= kAttentionRowsTogetherMax);

// What the block kernel works in; the sizes are in bytes and multiples of 64.
struct BlockMemory {
  bf16* rows;              // [slot][dim]
  std::uint32_t* values;   // [rank / 16][slot pair][16]
  float* logits;           // [heads / 16][slot][16]
  std::uint32_t* weights;  // [head][slot pair]
  float* out;              // [head][rank]
  float* max;              // [head]
  float* sum;              // [head]
  float* factors;          // [head] of the sums so far
};

inline std::size_t lay_out(const BlockShape& shape, char* at, BlockMemory* memory) {
  std::size_t used = 0;
  const auto take = [&](std::size_t bytes) {
    char* piece = at + used;
    used += round_up(bytes, 64);
    return static_cast<void*>(piece);
  };
  memory->rows = static_cast<bf16*>(take(kBlockSlots * shape.dim * sizeof(bf16)));
  memory->values = static_cast<std::uint32_t*>(take(shape.rank / kLanes * shape.value_panel() * 4));
  memory->logits = static_cast<float*>(take(shape.heads / kLanes * shape.logit_panel() * 4));
  memory->weights = static_cast<std::uint32_t*>(take(shape.heads * kSlotPairs * 4));
  memory->out = static_cast<float*>(take(shape.heads * shape.rank * 4));
  memory->max = static_cast<float*>(take(shape.heads * 4));
  memory->sum = static_cast<float*>(take(shape.heads * 4));
  memory->factors = static_cast<float*>(take(shape.heads * 4));
  return used;
}

inline bool fits_blocks(const AttentionArgs& args) {
  return args.cache_dtype != DType::f32 && args.heads >= kHeadsMin;
}

}  // namespace
}  // namespace ponder::kernels
