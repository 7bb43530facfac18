// Scores and selection on a device: int8 keys give the bits of the CPU, and equal scores give equal
// selections to the last tie.

#include "kernels/index_select.h"
#include "tests/kernels/device/device_pages.h"

namespace ponder::kernels {
namespace {

constexpr std::size_t kOffset = 64;

class DeviceSelect : public DeviceTest {};

/// Rows of two sequences: each has others beside it, or many follow one another in a sequence.
struct Rows {
  std::vector<std::int32_t> sequences = {0, 1, 0, 1, 0};
  std::vector<std::int32_t> num_keys = {300, 1, 64, 129, 0};

  static Rows many() {
    Rows rows;
    for (int i = 0; i < 66; ++i) {
      rows.sequences.push_back(i < 40 ? 0 : 1);
      rows.num_keys.push_back(i < 40 ? 261 + i : 64 + i);
    }
    return rows;
  }
};

/// Fills the pages of both sequences with keys of this type, in the host's copy.
void fill_keys(PagedSequences& pages, DType dtype, std::size_t stride, std::size_t dim,
               std::mt19937_64& rng) {
  for (std::size_t page = 0; page < pages.num_pages(); ++page) {
    for (std::size_t token = 0; token < kPageSize; ++token) {
      const auto key = random_floats(dim, rng);
      std::byte* block = pages.block(page);
      if (dtype == DType::int8) {
        std::vector<std::int8_t> codes(dim);
        for (auto& code : codes)
          code = static_cast<std::int8_t>(static_cast<int>(rng() % 255) - 127);
        write_index_key(block, token, codes.data(), key[0], dim);
      } else if (dtype == DType::fp8_e4m3) {
        for (std::size_t d = 0; d < dim; ++d) {
          block[token * dim + d] = static_cast<std::byte>(rng() % 0x7f);
        }
        const float scale = 0x1p-6F;
        std::memcpy(block + kPageSize * dim + token * 4, &scale, 4);
      } else if (dtype == DType::f32) {
        std::memcpy(block + token * stride * 4, key.data(), dim * 4);
      } else {
        scalar_table().f32_to_bf16(reinterpret_cast<bf16*>(block) + token * stride, key.data(),
                                   dim);
      }
    }
  }
}

TEST_F(DeviceSelect, ScoresOverInt8KeysHaveTheBitsOfTheCpu) {
  struct Case {
    std::size_t heads, dim;
    Rows rows;
  };
  for (const auto& [heads, dim, rows] :
       {Case{1, 4, {}}, Case{4, 128, {}}, Case{19, 64, {}}, Case{64, 256, {}}, Case{9, 32, {}},
        Case{5, 128, Rows::many()}}) {
    PagedSequences pages(device(), kOffset + index_page_bytes(dim), kOffset, {300, 129}, rng);
    fill_keys(pages, DType::int8, dim, dim, rng);
    pages.upload(device());
    const std::size_t n = rows.num_keys.size();
    std::vector<std::int8_t> q(n * heads * dim);
    for (auto& code : q) code = static_cast<std::int8_t>(static_cast<int>(rng() % 255) - 127);
    const auto weights = random_floats(n * heads, rng);
    const DeviceArray<std::int8_t> device_q(device(), q);
    const DeviceArray<float> device_weights(device(), weights);
    const DeviceArray<std::int32_t> sequences(device(), rows.sequences);
    const DeviceArray<std::int32_t> num_keys(device(), rows.num_keys);
    const DeviceArray<float> scores(device(), n * 320);
    device().index_scores({.scores = scores.data(),
                           .scores_stride = 320,
                           .cache = pages.pages(DType::int8, dim),
                           .sequences = pages.sequences(sequences),
                           .q = nullptr,
                           .q_codes = device_q.data(),
                           .head_weights = device_weights.data(),
                           .num_keys = num_keys.data(),
                           .num_keys_max = 300,
                           .keys_min = 1,
                           .rows = n,
                           .heads = heads,
                           .dim = dim});
    auto want = std::vector<float>(n * 320);
    std::memset(want.data(), 0xFF, want.size() * 4);
    for (std::size_t r = 0; r < n; ++r) {
      if (rows.num_keys[r] <= 1) continue;
      const auto blocks = pages.blocks(static_cast<std::size_t>(rows.sequences[r]));
      scalar_table().index_scores_i8(
          {want.data() + r * 320, 320, q.data() + r * heads * dim, weights.data() + r * heads,
           blocks.data(), rows.num_keys.data() + r, 1, heads, dim},
          0, 1, 0, 320);
    }
    EXPECT_TRUE(same_bits(scores.download(), want)) << heads << " " << dim;
  }
}

/// Scores of random queries over random keys, on the device and by the scalar row.
struct FloatingCase {
  DType dtype;
  std::size_t heads;
  std::size_t dim;
  bool is_rounded = false;  // the queries are what bf16 can hold
  Rows rows = {};
};

class DeviceFloatingScores : public DeviceSelect {
 protected:
  void expect_agreement(const FloatingCase& c) {
    const std::size_t stride = c.dtype == DType::fp8_e4m3 ? c.dim : c.dim + 4;
    PagedSequences pages(device(), kOffset + 64 * (c.dim + 4) * 4, kOffset, {300, 129}, rng);
    fill_keys(pages, c.dtype, stride, c.dim, rng);
    pages.upload(device());
    const std::size_t n = c.rows.num_keys.size();
    auto q = random_floats(n * c.heads * c.dim, rng);
    if (c.is_rounded) scalar_table().round_to_bf16(q.data(), q.size());
    q[2 * c.heads * c.dim + 5] = kNan;
    const auto weights = random_floats(n * c.heads, rng);
    const DeviceArray<float> device_q(device(), q);
    const DeviceArray<float> device_weights(device(), weights);
    const DeviceArray<std::int32_t> sequences(device(), c.rows.sequences);
    const DeviceArray<std::int32_t> num_keys(device(), c.rows.num_keys);
    const DeviceArray<float> scores(device(), n * 300);
    device().index_scores({.scores = scores.data(),
                           .scores_stride = 300,
                           .cache = pages.pages(c.dtype, stride),
                           .sequences = pages.sequences(sequences),
                           .q = device_q.data(),
                           .q_codes = nullptr,
                           .head_weights = device_weights.data(),
                           .num_keys = num_keys.data(),
                           .num_keys_max = 300,
                           .keys_min = 0,
                           .rows = n,
                           .heads = c.heads,
                           .dim = c.dim});
    auto want = std::vector<float>(n * 300);
    std::memset(want.data(), 0xFF, want.size() * 4);
    for (std::size_t r = 0; r < n; ++r) {
      const auto blocks = pages.blocks(static_cast<std::size_t>(c.rows.sequences[r]));
      scalar_table().index_scores(
          {want.data() + r * 300, 300, q.data() + r * c.heads * c.dim, c.heads * c.dim, c.dim,
           weights.data() + r * c.heads, c.heads, blocks.data(), stride, c.dtype,
           c.rows.num_keys.data() + r, 1, c.heads, c.dim},
          0, 1, 0, 300);
    }
    // Of an fp8 key the largest value is 7, of the others 1: a chain of dim terms, then of heads.
    const double largest = c.dtype == DType::fp8_e4m3 ? 7.0 : 1.0;
    const auto terms = static_cast<double>(c.heads * c.dim);
    const double error = terms * largest * static_cast<double>(c.dim) * kUnitRoundoff;
    EXPECT_TRUE(all_close(scores.download(), want, {.abs = error}))
        << static_cast<int>(c.dtype) << " " << c.heads << " " << c.dim;
  }
};

TEST_F(DeviceFloatingScores, AgreeInEveryTypeAndWidth) {
  for (const DType dtype : {DType::f32, DType::bf16, DType::fp8_e4m3}) {
    for (const std::size_t dim : {32U, 48U, 64U, 128U}) expect_agreement({dtype, 18, dim});
    expect_agreement({dtype, 5, 64, true});
  }
}

TEST_F(DeviceFloatingScores, AgreeForRowsThatShareThePagesOfASequence) {
  for (const DType dtype : {DType::bf16, DType::fp8_e4m3}) {
    expect_agreement({dtype, 3, 32, true, Rows::many()});
  }
}

/// What the scalar row selects of keys [first, n).
std::vector<std::int32_t> reference_selection(const std::vector<float>& scores, std::size_t first,
                                              std::size_t n, std::size_t k, std::size_t& num_nan) {
  std::vector<std::int32_t> positions(k, -1);
  std::vector<std::uint32_t> scratch(n);
  const std::size_t visible = n > first ? n - first : 0;
  const TopkResult result =
      scalar_table().topk({scores.data() + first, visible, k, positions.data(), scratch.data()});
  for (std::size_t i = 0; i < result.num_selected; ++i) {
    positions[i] += static_cast<std::int32_t>(first);
  }
  num_nan = result.num_nan;
  return positions;
}

TEST_F(DeviceSelect, SelectionsAreThoseOfTheCpuToTheLastTie) {
  for (const std::size_t first_key : {0U, 1U}) {
    for (const std::size_t k : {1U, 64U, 250U}) {
      const std::vector<std::int32_t> num_keys = {1,   2,   64,  65,   66,  250, 251,
                                                  256, 257, 700, 1000, 999, 513, 0};
      const std::size_t rows = num_keys.size();
      PagedSequences pages(device(), 64, 0, {1000, 1000}, rng);
      std::vector<std::int32_t> sequences;
      for (std::size_t r = 0; r < rows; ++r) sequences.push_back(static_cast<int>(r % 2));
      // Few different values, both zeros, infinities and NaN: ties everywhere.
      const float values[] = {0.0F, -0.0F, 1.0F, -1.0F, 0.5F, kInf, -kInf, kNan, 1e-40F};
      std::vector<float> scores(rows * 1000);
      for (float& score : scores) score = values[rng() % std::size(values)];
      for (std::size_t i = 9000; i < 10000; ++i) scores[i] = 0.0F;
      const DeviceArray<float> device_scores(device(), scores);
      const DeviceArray<std::int32_t> device_sequences(device(), sequences);
      const DeviceArray<std::int32_t> device_num_keys(device(), num_keys);
      const DeviceArray<std::int32_t> positions(device(), rows * k);
      const DeviceArray<std::int32_t> slots(device(), rows * k);
      const DeviceArray<std::int32_t> again(device(), rows * k);
      const DeviceArray<std::int32_t> num_selected(device(), rows);
      const DeviceArray<std::int32_t> num_nan(device(), std::vector<std::int32_t>(rows, 5));
      device().select({device_scores.data(), 1000, pages.sequences(device_sequences),
                       device_num_keys.data(), first_key, k, positions.data(), slots.data(),
                       num_selected.data(), num_nan.data(), rows});
      device().translate({pages.sequences(device_sequences), positions.data(), num_selected.data(),
                          again.data(), k, rows});
      const auto got = positions.download();
      const auto got_slots = slots.download();
      const auto got_nan = num_nan.download();
      for (std::size_t r = 0; r < rows; ++r) {
        const auto n = static_cast<std::size_t>(num_keys[r]);
        std::size_t want_nan = 0;
        const std::vector<float> own(scores.begin() + static_cast<std::ptrdiff_t>(r * 1000),
                                     scores.begin() + static_cast<std::ptrdiff_t>(r * 1000 + 1000));
        const auto want = reference_selection(own, first_key, n, k, want_nan);
        const auto at = got.begin() + static_cast<std::ptrdiff_t>(r * k);
        ASSERT_EQ(std::vector(at, at + static_cast<std::ptrdiff_t>(k)), want)
            << "row " << r << " of " << n << ", k " << k << ", from " << first_key;
        EXPECT_EQ(static_cast<std::size_t>(got_nan[r]), 5 + (n <= k ? 0 : want_nan)) << r;
        for (std::size_t i = 0; i < k; ++i) {
          const auto s = static_cast<std::size_t>(sequences[r]);
          const std::int32_t slot =
              want[i] < 0 ? -1 : pages.slot(s, static_cast<std::size_t>(want[i]));
          ASSERT_EQ(got_slots[r * k + i], slot);
        }
      }
      EXPECT_EQ(again.download(), got_slots);
    }
  }
}

}  // namespace
}  // namespace ponder::kernels
