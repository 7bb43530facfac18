// What all products with int8 and int4 weights share: their range, and sums on their way to y.

namespace ponder::kernels {
namespace {

struct MatmulRange {
  std::size_t m_begin;
  std::size_t m_end;
  std::size_t n_begin;
  std::size_t n_end;
};

constexpr std::size_t kBlockWordBytes = kScaleRows * 4;  // of packed weights

inline std::size_t codes_per_byte(const MatmulArgs& args) {
  return args.w_dtype == DType::int4 ? 2 : 1;
}

// The columns of y that a block of sums stands for, and those of them that a call writes.
template <std::size_t COLUMNS>
struct SumColumns {
  SumColumns(const MatmulArgs& args, const MatmulRange& range, std::size_t n)
      : y(args.y + n),
        stride(args.y_stride),
        begin(n < range.n_begin ? range.n_begin - n : 0),
        end(range.n_end - n < COLUMNS ? range.n_end - n : COLUMNS) {}
  bool is_whole() const { return end - begin == COLUMNS; }

  // Sums begin at zero, or at what the inputs before these have left in y.
  void load_row(std::size_t row, bool is_first, float* sums) const {
    const float* from = y + row * stride;
    for (std::size_t i = 0; i < COLUMNS; i += kLanes) {
      store(sums + i, is_first || !is_whole() ? zero() : load(from + i));
    }
    if (is_first || is_whole()) return;
    for (std::size_t i = begin; i < end; ++i) sums[i] = from[i];
  }
  void store_row(std::size_t row, const float* sums) const {
    float* to = y + row * stride;
    if (is_whole()) {
      for (std::size_t i = 0; i < COLUMNS; i += kLanes) store(to + i, load(sums + i));
    } else {
      for (std::size_t i = begin; i < end; ++i) to[i] = sums[i];
    }
  }

  float* y;
  std::size_t stride;
  std::size_t begin;
  std::size_t end;
};

}  // namespace
}  // namespace ponder::kernels
