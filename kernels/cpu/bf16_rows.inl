// Rows of x and of w in bf16, as products in bf16 read them: sections of k, ended with zeros up to
// a whole step of 32 inputs.

namespace ponder::kernels {
namespace {

constexpr std::size_t kPairSection = 1024;
constexpr std::size_t kPairStep = 32;             // inputs of a vector of pairs
constexpr std::size_t kPairRows = kPreparedRows;  // of x, rounded at once
constexpr std::size_t kCopiedColumns = 32;  // rows of w that are copied at once, where they are
static_assert(kPairSection % kFp8BlockSize == 0 && kFp8BlockSize % kPairStep == 0);
static_assert(kPairStep == 2 * kLanes);

struct RoundedRows {
  std::size_t first_row;
  std::size_t rows;
  std::size_t k_begin;
  std::size_t k_end;
  const bf16* x;  // rows kPairSection apart

  std::size_t steps() const { return (k_end - k_begin + kPairStep - 1) / kPairStep; }
};

// A step of floats, the first `count` of which exist.
inline Pair load_step(const float* p, std::size_t count) {
  if (count >= kPairStep) return {load(p), load(p + kLanes)};
  float rest[kPairStep] = {};
  for (std::size_t i = 0; i < count; ++i) rest[i] = p[i];
  return {load(rest), load(rest + kLanes)};
}

inline Pair load_step(const fp8_e4m3* p, std::size_t count) {
  if (count >= kPairStep) return load_pair(p);
  fp8_e4m3 rest[kPairStep] = {};
  for (std::size_t i = 0; i < count; ++i) rest[i] = p[i];
  return load_pair(rest);
}

// Rows [row_begin, row_end) of a section, to the same rows of `x`.
void round_rows(const MatmulArgs& args, const RoundedRows& r, std::size_t row_begin,
                std::size_t row_end, bf16* x) {
  for (std::size_t row = row_begin; row < row_end; ++row) {
    const float* from = args.x + (r.first_row + row) * args.x_stride;
    bf16* to = x + row * kPairSection;
    for (std::size_t k = r.k_begin; k < r.k_end; k += kPairStep, to += kPairStep) {
      const Pair step = load_step(from + k, r.k_end - k);
      store_pairs(to, step.first, step.second);
    }
  }
}

// Rows of w: where they lie, or a copy.
struct PairWeights {
  const bf16* rows;
  std::size_t stride;
};

inline void copy_bf16_row(const bf16* row, std::size_t count, bf16* to) {
  const std::size_t whole = (count + kPairStep - 1) / kPairStep * kPairStep;
  for (std::size_t i = 0; i < count; ++i) to[i] = row[i];
  for (std::size_t i = count; i < whole; ++i) to[i] = 0;
}

constexpr std::size_t kRowsAhead = 4;  // about the time that memory takes to answer

inline void decode_fp8_row(const MatmulArgs& args, std::size_t n, const RoundedRows& r, bf16* to) {
  const auto* row = static_cast<const fp8_e4m3*>(args.w) + n * args.w_stride;
  const float* scales = args.w_scales + n / kFp8BlockSize * args.w_scales_stride;
  for (std::size_t k = r.k_begin; k < r.k_end; k += kPairStep, to += kPairStep) {
    const Vec scale = broadcast(scales[k / kFp8BlockSize] * kFp8Factor);
    // A section of a row is too short for the processor to foresee the next row's.
    __builtin_prefetch(row + kRowsAhead * args.w_stride + k);
    const Pair step = load_step(row + k, r.k_end - k);
    store_pairs(to, mul(step.first, scale), mul(step.second, scale));
  }
}

// Rows [n, n + count) of w as bf16, kPairSection apart, and zeros up to row `padded`.
void copy_weights(const MatmulArgs& args, const RoundedRows& r, std::size_t n, std::size_t count,
                  std::size_t padded, bf16* to) {
  for (std::size_t i = count * kPairSection; i < padded * kPairSection; ++i) to[i] = 0;
  for (std::size_t i = 0; i < count; ++i, to += kPairSection) {
    if (args.w_dtype == DType::fp8_e4m3) {
      decode_fp8_row(args, n + i, r, to);
    } else {
      const auto* row = static_cast<const bf16*>(args.w) + (n + i) * args.w_stride;
      copy_bf16_row(row + r.k_begin, r.k_end - r.k_begin, to);
    }
  }
}

}  // namespace
}  // namespace ponder::kernels
