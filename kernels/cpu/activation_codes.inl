// x as products with int8 and int4 weights take it: int8 codes, a scale for each kActivationGroup
// inputs of a row, and where the sums of each weight group begin.

namespace ponder::kernels {
namespace {

constexpr std::size_t kCodeRows = 96;                // rows of x that are quantised at once
constexpr std::size_t kCodesMax = kCodeRows * 2048;  // inputs of x that are quantised at once
constexpr std::size_t kSmallestGroup = 32;

// Rows of x as int8 with the scales of their groups. What a quad's words hold, load_quad knows.
// The same group of all rows lies together: rows at a distance that is a power of two would compete
// for the same few lines of the first-level cache.
struct QuantisedRows {
  std::size_t first_row;
  std::size_t rows;
  std::size_t rows_padded;  // at least rows; those past them stay as they were
  std::size_t k_begin;
  std::size_t width;  // inputs of each row, a multiple of kActivationGroup
  alignas(64) std::int32_t quads[kCodesMax / 4 * kQuadWords];  // [groups, rows_padded, 32, words]
  float scales[kCodesMax / kActivationGroup];                  // [groups, rows_padded]
  std::int32_t offsets[kCodesMax / kSmallestGroup];            // the same, 128 / w_group each

  // Where the group of a row's input k is, counted in groups.
  std::size_t group(std::size_t row, std::size_t k) const {
    return k / kActivationGroup * rows_padded + row;
  }
};

inline std::uint32_t magnitude_bits(float value) {
  return static_cast<std::uint32_t>(__builtin_bit_cast(std::int32_t, value)) & 0x7fffffffu;
}

// The bits of the largest magnitude; NaN counts above infinity.
inline std::uint32_t largest_magnitude(const float* x) {
  std::uint32_t largest = 0;
  for (std::size_t i = 0; i < kActivationGroup; ++i) {
    const std::uint32_t bits = magnitude_bits(x[i]);
    largest = bits > largest ? bits : largest;
  }
  return largest;
}

// Rounds a group of x; the codes are zero where it is all but zero or not finite.
inline float quantise_group(const float* x, std::int8_t* codes) {
  const std::uint32_t bits = largest_magnitude(x);
  const bool is_finite = bits < 0x7f800000u;
  const float largest = __builtin_bit_cast(float, bits);
  if (!is_finite || largest < kSmallestActivation) {
    for (std::size_t i = 0; i < kActivationGroup; ++i) codes[i] = 0;
    return is_finite ? 0.0f : __builtin_nanf("");
  }
  const Vec factor = broadcast(127.0f / largest);
  for (std::size_t i = 0; i < kActivationGroup; i += kLanes) {
    store_rounded(codes + i, mul(load(x + i), factor));
  }
  return largest / 127.0f;
}

// Where the sums of a group's weight groups begin: at -offset times the sum of their codes.
inline void store_offsets(const std::int8_t* codes, std::int32_t offset, std::size_t w_group,
                          std::int32_t* offsets) {
  std::int32_t sums[kActivationGroup / kSmallestGroup] = {};
  for (std::size_t part = 0; part < kActivationGroup / kSmallestGroup; ++part) {
    for (std::size_t i = 0; i < kSmallestGroup; ++i) sums[part] += codes[part * kSmallestGroup + i];
  }
  const std::size_t parts = w_group / kSmallestGroup;
  for (std::size_t begin = 0; begin < kActivationGroup / kSmallestGroup; begin += parts) {
    std::int32_t sum = 0;
    for (std::size_t part = begin; part < begin + parts; ++part) sum += sums[part];
    offsets[begin / parts] = -offset * sum;
  }
}

void quantise_rows(const MatmulArgs& args, QuantisedRows& q) {
  const bool is_int4 = args.w_dtype == DType::int4;
  alignas(16) std::int8_t codes[kActivationGroup];
  for (std::size_t row = 0; row < q.rows; ++row) {
    const float* x = args.x + (q.first_row + row) * args.x_stride + q.k_begin;
    for (std::size_t k = 0; k < q.width; k += kActivationGroup) {
      const std::size_t group = q.group(row, k);
      q.scales[group] = quantise_group(x + k, codes);
      store_offsets(codes, is_int4 ? 8 : 128, args.w_group,
                    q.offsets + group * (kActivationGroup / args.w_group));
      std::int32_t* quads = q.quads + group * (kActivationGroup / 4) * kQuadWords;
      for (std::size_t i = 0; i < kActivationGroup; i += 16) {
        if (is_int4) order_for_int4(codes + i);
        store_quads(codes + i, quads + i / 4 * kQuadWords);
      }
    }
  }
}

}  // namespace
}  // namespace ponder::kernels
