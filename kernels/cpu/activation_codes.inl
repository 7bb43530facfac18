// x as products with int8 and int4 weights take it: int8 codes, a scale for each kActivationGroup
// inputs of a row, and where the sums of each weight group begin.

namespace ponder::kernels {
namespace {

constexpr std::size_t kCodeRows = kPreparedRows;     // rows of x that are quantised at once
constexpr std::size_t kCodesMax = kCodeRows * 2048;  // inputs of x that are multiplied at once
constexpr std::size_t kSmallestGroup = 32;
constexpr std::size_t kGroupWords = kActivationGroup / 4 * kQuadWords;

// Rows of x as int8 with the scales of their groups. What a quad's words hold, load_quad knows.
// The same group of all rows lies together: rows at a distance that is a power of two would compete
// for the same few lines of the first-level cache.
struct QuantisedRows {
  std::size_t first_row;
  std::size_t rows;
  std::size_t rows_padded;  // at least rows
  std::size_t k_begin;
  std::size_t width;            // inputs of each row, a multiple of kActivationGroup
  const std::int32_t* quads;    // [groups, rows_padded, kGroupWords]
  const float* scales;          // [groups, rows_padded]
  const std::int32_t* offsets;  // the same, 128 / w_group each

  // Where the group of a row's input k is, counted in groups.
  std::size_t group(std::size_t row, std::size_t k) const {
    return k / kActivationGroup * rows_padded + row;
  }
};

// Where quantised rows are written.
struct CodeMemory {
  std::int32_t* quads;
  float* scales;
  std::int32_t* offsets;
};

// Room for kCodesMax inputs.
struct CodeBuffer {
  alignas(64) std::int32_t quads[kCodesMax / kActivationGroup * kGroupWords];
  float scales[kCodesMax / kActivationGroup];
  std::int32_t offsets[kCodesMax / kSmallestGroup];
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

// Rows [row_begin, row_end) of q; its pointers are not used.
void quantise_rows(const MatmulArgs& args, const QuantisedRows& q, std::size_t row_begin,
                   std::size_t row_end, const CodeMemory& to) {
  const bool is_int4 = args.w_dtype == DType::int4;
  alignas(16) std::int8_t codes[kActivationGroup];
  for (std::size_t row = row_begin; row < row_end; ++row) {
    const float* x = args.x + (q.first_row + row) * args.x_stride + q.k_begin;
    for (std::size_t k = 0; k < q.width; k += kActivationGroup) {
      const std::size_t group = q.group(row, k);
      to.scales[group] = quantise_group(x + k, codes);
      store_offsets(codes, is_int4 ? 8 : 128, args.w_group,
                    to.offsets + group * (kActivationGroup / args.w_group));
      std::int32_t* quads = to.quads + group * kGroupWords;
      for (std::size_t i = 0; i < kActivationGroup; i += 16) {
        if (is_int4) order_for_int4(codes + i);
        store_quads(codes + i, quads + i / 4 * kQuadWords);
      }
    }
  }
}

// Makes the rows after the last one zeros.
void quantise_padding(const QuantisedRows& q, const CodeMemory& to) {
  for (std::size_t k = 0; k < q.width; k += kActivationGroup) {
    for (std::size_t row = q.rows; row < q.rows_padded; ++row) {
      const std::size_t group = q.group(row, k);
      to.scales[group] = 0.0f;
      for (std::size_t i = 0; i < kGroupWords; ++i) to.quads[group * kGroupWords + i] = 0;
    }
  }
}

// Prepared codes: for each block of kCodeRows rows of x the quads of all inputs, their scales,
// their offsets. padded_rows gives a block's rows_padded for its rows.
using PaddedRows = std::size_t (*)(const MatmulArgs& args, std::size_t rows);

inline std::size_t code_block_bytes(const MatmulArgs& args, std::size_t rows_padded) {
  const std::size_t bytes_of_group = kGroupWords * sizeof(std::int32_t) + sizeof(float) +
                                     kActivationGroup / args.w_group * sizeof(std::int32_t);
  const std::size_t bytes = args.k / kActivationGroup * rows_padded * bytes_of_group;
  return (bytes + 63) / 64 * 64;
}

inline std::size_t code_bytes(const MatmulArgs& args, PaddedRows padded_rows) {
  const std::size_t rest = args.m % kCodeRows;
  const std::size_t blocks = args.m / kCodeRows * code_block_bytes(args, kCodeRows);
  return rest == 0 ? blocks : blocks + code_block_bytes(args, padded_rows(args, rest));
}

// The block that begins at row m, all inputs of it; without pointers.
inline QuantisedRows code_block(const MatmulArgs& args, std::size_t m, PaddedRows padded_rows) {
  const std::size_t rows = args.m - m < kCodeRows ? args.m - m : kCodeRows;
  return {m, rows, padded_rows(args, rows), 0, args.k, nullptr, nullptr, nullptr};
}

inline CodeMemory code_block_memory(const MatmulArgs& args, const QuantisedRows& block,
                                    void* prepared) {
  const std::size_t groups = args.k / kActivationGroup * block.rows_padded;
  const std::size_t at = block.first_row / kCodeRows * code_block_bytes(args, kCodeRows);
  auto* quads = reinterpret_cast<std::int32_t*>(static_cast<char*>(prepared) + at);
  auto* scales = reinterpret_cast<float*>(quads + groups * kGroupWords);
  return {quads, scales, reinterpret_cast<std::int32_t*>(scales + groups)};
}

inline void prepare_codes(const MatmulArgs& args, std::size_t m_begin, std::size_t m_end,
                          PaddedRows padded_rows, void* to) {
  while (m_begin < m_end) {
    const QuantisedRows block = code_block(args, m_begin / kCodeRows * kCodeRows, padded_rows);
    const std::size_t block_end = block.first_row + block.rows;
    const std::size_t end = block_end < m_end ? block_end : m_end;
    const CodeMemory memory = code_block_memory(args, block, to);
    quantise_rows(args, block, m_begin - block.first_row, end - block.first_row, memory);
    if (end == block_end) quantise_padding(block, memory);
    m_begin = end;
  }
}

// Calls visit(q) for the sections of the rows [m, m + rows), in the order of k: parts of the
// prepared block, or quantised here.
template <class Visit>
inline void each_code_section(const MatmulArgs& args, std::size_t m, std::size_t rows,
                              PaddedRows padded_rows, Visit visit) {
  CodeBuffer buffer;
  QuantisedRows q{m, rows,         padded_rows(args, rows), 0,
                  0, buffer.quads, buffer.scales,           buffer.offsets};
  CodeMemory memory{buffer.quads, buffer.scales, buffer.offsets};
  if (args.prepared_x != nullptr) {
    memory = code_block_memory(args, q, const_cast<void*>(args.prepared_x));
  }
  const std::size_t width_max = kCodesMax / q.rows_padded / kActivationGroup * kActivationGroup;
  for (; q.k_begin < args.k; q.k_begin += q.width) {
    q.width = args.k - q.k_begin < width_max ? args.k - q.k_begin : width_max;
    if (args.prepared_x != nullptr) {
      const std::size_t group = q.group(0, q.k_begin);
      q.quads = memory.quads + group * kGroupWords;
      q.scales = memory.scales + group;
      q.offsets = memory.offsets + group * (kActivationGroup / args.w_group);
    } else {
      quantise_rows(args, q, 0, rows, memory);
      quantise_padding(q, memory);
    }
    visit(q);
  }
}

}  // namespace
}  // namespace ponder::kernels
