// What queries become on a device before they are used: the bits of single operations, and of the
// CPU's rounding.

#include "engine/index_fp8.h"
#include "tests/kernels/device/device_cases.h"
#include "tests/kernels/device/row_reference.h"

namespace ponder::kernels {
namespace {

struct QueryCase {
  std::size_t heads = 3;
  std::size_t rope_dim = 6;
  std::size_t index_heads = 5;
  std::size_t index_dim = 32;
  DType key_dtype = DType::int8;
  RopeLayout layout = RopeLayout::interleaved;
  RopeLayout index_layout = RopeLayout::half_split;
};

/// The rows of one step.
struct QueryRows {
  std::vector<float> q;
  std::vector<float> index_q;
  std::vector<float> weights;
  std::vector<std::int8_t> codes;
};

class DeviceQueries : public DeviceTest {
 protected:
  static constexpr std::size_t kRows = 5;
  static constexpr float kFactor = 0.0110485F;
  // A head's values that are not turned lie before and behind those that are.
  static constexpr std::size_t kBefore = 3;
  static std::size_t head_stride(const QueryCase& c) { return kBefore + c.rope_dim + 2; }
  static std::size_t row_stride(const QueryCase& c) { return c.heads * head_stride(c) + 1; }

  /// Index queries of many magnitudes, among them zeros, a NaN and an infinity.
  QueryRows rows_of(const QueryCase& c) {
    QueryRows rows{random_floats(kRows * row_stride(c), rng),
                   random_floats(kRows * c.index_heads * c.index_dim, rng),
                   random_floats(kRows * c.index_heads, rng),
                   std::vector<std::int8_t>(kRows * c.index_heads * c.index_dim, -1)};
    rows.q[kBefore + 1] = kNan;
    for (std::size_t r = 0; r < kRows * c.index_heads; ++r) {
      const float scale = std::ldexp(1.0F, static_cast<int>(rng() % 40) - 25);
      for (std::size_t i = 0; i < c.index_dim; ++i) rows.index_q[r * c.index_dim + i] *= scale;
    }
    std::fill_n(rows.index_q.begin(), c.index_dim, 0.0F);
    rows.index_q[2 * c.index_dim + 1] = kNan;
    rows.index_q[3 * c.index_dim] = kInf;
    std::fill_n(rows.index_q.begin() + static_cast<std::ptrdiff_t>(4 * c.index_dim), c.index_dim,
                1e-35F);
    return rows;
  }

  static void round_on_host(const QueryCase& c, QueryRows& rows, std::size_t i) {
    float* q = rows.index_q.data() + i * c.index_dim;
    rows.weights[i] *= kFactor;
    if (c.key_dtype == DType::int8) {
      float scale = 0.0F;
      scalar_table().index_quantize(
          {q, c.index_dim, rows.codes.data() + i * c.index_dim, &scale, 1, c.index_dim}, 0, 1);
      rows.weights[i] *= scale;
    } else if (c.key_dtype == DType::fp8_e4m3) {
      engine::rotate_index_row(q, c.index_dim);
      engine::round_index_query(q, c.index_dim);
    }
  }

  void check(const QueryCase& c) {
    SCOPED_TRACE(::testing::Message()
                 << c.heads << " heads, " << c.rope_dim << " turned, " << c.index_heads << " of "
                 << c.index_dim << ", keys " << static_cast<int>(c.key_dtype));
    const QueryRows rows = rows_of(c);
    const auto cos = random_floats(kRows * c.rope_dim / 2, rng);
    const auto sin = random_floats(kRows * c.rope_dim / 2, rng);
    QueryRows want = rows;
    for (std::size_t r = 0; r < kRows; ++r) {
      const float* row_cos = cos.data() + r * c.rope_dim / 2;
      const float* row_sin = sin.data() + r * c.rope_dim / 2;
      for (std::size_t h = 0; h < c.heads; ++h) {
        rope_row(want.q.data() + r * row_stride(c) + h * head_stride(c) + kBefore, row_cos, row_sin,
                 c.rope_dim, c.layout);
      }
      for (std::size_t i = r * c.index_heads; i < (r + 1) * c.index_heads; ++i) {
        rope_row(want.index_q.data() + i * c.index_dim, row_cos, row_sin, c.rope_dim,
                 c.index_layout);
        round_on_host(c, want, i);
      }
    }
    if (c.key_dtype == DType::int8) want.index_q = rows.index_q;  // is only read

    const DeviceArray<float> q(device(), rows.q), index_q(device(), rows.index_q);
    const DeviceArray<float> weights(device(), rows.weights);
    const DeviceArray<std::int8_t> codes(device(), rows.codes);
    const DeviceArray<float> cosines(device(), cos), sines(device(), sin);
    QueriesArgs args{};
    args.q_rope = q.data() + kBefore;
    args.q_row_stride = row_stride(c);
    args.q_head_stride = head_stride(c);
    args.heads = c.heads;
    args.layout = c.layout;
    if (c.index_heads > 0) {
      args.index = {index_q.data(), codes.data(), weights.data(), kFactor,
                    c.index_heads,  c.index_dim,  c.key_dtype,    c.index_layout};
    }
    args.rope = {cosines.data(), sines.data(), c.rope_dim};
    args.rows = kRows;
    device().queries(args);
    EXPECT_TRUE(all_close(q.download(), want.q, {}));
    EXPECT_TRUE(all_close(index_q.download(), want.index_q, {}));
    EXPECT_TRUE(all_close(weights.download(), want.weights, {}));
    EXPECT_EQ(codes.download(), want.codes);
  }
};

constexpr DType kKeyTypes[] = {DType::f32, DType::bf16, DType::int8, DType::fp8_e4m3};

TEST_F(DeviceQueries, HaveTheBitsOfSingleOperationsForKeysOfEveryType) {
  for (const DType key_dtype : kKeyTypes) {
    for (const std::size_t dim : {8U, 32U, 128U, 256U}) {
      check({.index_dim = dim, .key_dtype = key_dtype});
      check({.rope_dim = 8,
             .index_dim = dim,
             .key_dtype = key_dtype,
             .layout = RopeLayout::half_split,
             .index_layout = RopeLayout::interleaved});
    }
  }
  for (const DType dtype : {DType::f32, DType::bf16}) check({.index_dim = 45, .key_dtype = dtype});
  check(
      {.heads = 1, .rope_dim = 2, .index_heads = 7, .index_dim = 2, .key_dtype = DType::fp8_e4m3});
  check({.heads = 40, .rope_dim = 64, .index_heads = 1, .index_dim = 64});
}

TEST_F(DeviceQueries, OfAttentionAloneAreTurnedWhereTheyAre) {
  for (const RopeLayout layout : {RopeLayout::interleaved, RopeLayout::half_split}) {
    const QueryCase c{.layout = layout};
    const QueryRows rows = rows_of(c);
    const auto cos = random_floats(kRows * c.rope_dim / 2, rng);
    const auto sin = random_floats(kRows * c.rope_dim / 2, rng);
    std::vector<float> want = rows.q;
    scalar_table().rope({want.data() + kBefore, row_stride(c), head_stride(c), cos.data(),
                         sin.data(), nullptr, kRows, c.heads, c.rope_dim, layout},
                        0, kRows);
    const DeviceArray<float> q(device(), rows.q), cosines(device(), cos), sines(device(), sin);
    QueriesArgs args{};
    args.q_rope = q.data() + kBefore;
    args.q_row_stride = row_stride(c);
    args.q_head_stride = head_stride(c);
    args.heads = c.heads;
    args.layout = layout;
    args.rope = {cosines.data(), sines.data(), c.rope_dim};
    args.rows = kRows;
    device().queries(args);
    EXPECT_TRUE(all_close(q.download(), want, {.abs = 2e-6, .rel = 2e-6}));
  }
}

}  // namespace
}  // namespace ponder::kernels
