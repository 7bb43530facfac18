// Inputs that are rounded once for all columns: products have the bits of those that round for
// themselves, and nothing is written beside the memory that was asked for.

#include "kernels/prepared_inputs.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <memory>
#include <string_view>

#include "kernels/ops.h"
#include "tests/kernels/cases.h"
#include "tests/kernels/compare.h"
#include "tests/kernels/emulated.h"

namespace ponder::kernels {
namespace {

struct Format {
  DType dtype;
  std::size_t group;  // 0: no codes
  bool is_packed = false;
};
constexpr Format kFormats[] = {
    {DType::int8, 128},       {DType::int4, 32}, {DType::int8, 64, true}, {DType::int8, 128, true},
    {DType::int4, 128, true}, {DType::bf16, 0},  {DType::fp8_e4m3, 0}};

/// Weights of any bytes, but finite: a byte is never the upper one of a large bf16, nor a NaN.
struct Case {
  Case(const Format& format, std::size_t rows, std::size_t columns, std::size_t inputs,
       std::mt19937_64& rng)
      : m(rows), n(columns), k(inputs), x(random_floats(m * k, rng)), y(m * n, kNan) {
    std::uniform_int_distribution<int> byte(0, 0x3f);
    weights.resize((n + 15) / 16 * 16 * k * 2);
    for (std::uint8_t& value : weights) value = static_cast<std::uint8_t>(byte(rng));
    scales = random_floats((n / 128 + 1) * (k / 128 + 1), rng);
    group_scales = to_bf16(random_floats((n + 15) / 16 * 16 * (k / 32 + 1), rng));
    args = {.y = y.data(),
            .y_stride = n,
            .x = x.data(),
            .x_stride = k,
            .w = weights.data(),
            .w_stride = k,
            .w_scales = scales.data(),
            .w_scales_stride = k / 128 + 1,
            .w_dtype = format.dtype,
            .m = m,
            .n = n,
            .k = k,
            .w_group_scales = group_scales.data(),
            .w_group = format.group,
            .w_is_packed = format.is_packed,
            .may_round_x = true};
  }
  std::size_t m;
  std::size_t n;
  std::size_t k;
  std::vector<float> x;
  std::vector<float> y;
  std::vector<std::uint8_t> weights;
  std::vector<float> scales;
  std::vector<bf16> group_scales;
  MatmulArgs args{};
};

/// `bytes` aligned to 64, of a pattern, and the pattern behind them.
class GuardedMemory {
 public:
  explicit GuardedMemory(std::size_t bytes)
      : bytes_(bytes),
        data_(static_cast<std::uint8_t*>(std::aligned_alloc(64, (bytes + 127) / 64 * 64))) {
    std::fill_n(data_.get(), bytes + 64, kPattern);
  }
  std::uint8_t* data() { return data_.get(); }
  bool is_intact() const {
    return std::all_of(data_.get() + bytes_, data_.get() + bytes_ + 64,
                       [](std::uint8_t byte) { return byte == kPattern; });
  }

 private:
  static constexpr std::uint8_t kPattern = 0xee;
  struct Free {
    void operator()(std::uint8_t* data) const { std::free(data); }
  };
  std::size_t bytes_;
  std::unique_ptr<std::uint8_t, Free> data_;
};

class PreparedRows : public EveryIsa {
 protected:
  /// Whether a row of the table multiplies rounded inputs by weights of that format.
  static bool rounds(const KernelTable& table, const Format& format) {
    const std::string_view name = table.name;
    if (name == "scalar") return false;
    return format.group != 0 || name == "avx512bf16" || name.starts_with("amx");
  }
};

TEST_P(PreparedRows, GiveTheBitsOfRowsThatAreRoundedByEachCall) {
  for (const Format& format : kFormats) {
    for (const std::size_t m : {1u, 3u, 4u, 5u, 16u, 17u, 96u, 97u, 113u, 195u}) {
      for (const std::size_t k : {128u, 2176u, 1100u}) {
        if (format.group != 0 && k % 128 != 0) continue;
        SCOPED_TRACE(::testing::Message()
                     << "dtype=" << int(format.dtype) << " group=" << format.group
                     << " packed=" << format.is_packed << " m=" << m << " k=" << k);
        Case c(format, m, 37, k, rng);
        const std::size_t bytes = table().matmul_prepared_bytes(c.args);
        ASSERT_EQ(bytes > 0, rounds(table(), format));
        if (bytes == 0) continue;
        table().matmul(c.args, 0, m, 0, c.n);
        const std::vector<float> want = c.y;
        GuardedMemory memory(bytes);
        // In pieces, the last one first.
        for (std::size_t piece = (m - 1) / 32 + 1; piece-- > 0;) {
          table().matmul_prepare(c.args, piece * 32, std::min(m, piece * 32 + 32), memory.data());
        }
        ASSERT_TRUE(memory.is_intact());
        std::fill(c.y.begin(), c.y.end(), kNan);
        c.args.prepared_x = memory.data();
        for (std::size_t row = 0; row < m; row += kPreparedRows) {
          const std::size_t end = std::min(m, row + kPreparedRows);
          table().matmul(c.args, row, end, 0, 32);
          table().matmul(c.args, row, end, 32, c.n);
        }
        ASSERT_TRUE(same_bits(c.y, want));
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Kernels, PreparedRows, ::testing::ValuesIn(tables_and_emulation()),
                         isa_name);

/// Jobs on a pool of two threads, by the plain code of tiles, which prepares every format.
class PreparedInputsTest : public ::testing::Test {
 protected:
  static constexpr Format kInt8 = {DType::int8, 128, true};
  static constexpr std::size_t kColumns = 2048;  // more than a chunk's

  ThreadPool pool{{.num_threads = 2}};
  PreparedInputs prepared;
  std::mt19937_64 rng{test_seed()};

  void run(Case& c, PreparedInputs* inputs) {
    std::fill(c.y.begin(), c.y.end(), kNan);
    matmul({&amx_emulated_table(), &pool, inputs}, c.args);
  }
  void prepare(const std::vector<MatmulArgs>& jobs, std::size_t num_chunks) {
    prepared.prepare(amx_emulated_table(), pool, jobs.data(), jobs.size(),
                     [&](const MatmulArgs&) { return num_chunks; });
  }
};

TEST_F(PreparedInputsTest, MatmulHasTheSameBitsWithThem) {
  for (const Format& format : kFormats) {
    for (const std::size_t m : {1u, 4u, 100u}) {
      Case c(format, m, kColumns / 2, 256, rng);
      run(c, nullptr);
      const std::vector<float> want = c.y;
      run(c, &prepared);
      EXPECT_TRUE(same_bits(c.y, want)) << int(format.dtype) << " " << m;
      const bool has_several_chunks = m > 1;  // of so few inputs
      if (has_several_chunks) {
        EXPECT_NE(prepared.of(0), nullptr) << int(format.dtype) << " " << m;
      }
    }
  }
}

TEST_F(PreparedInputsTest, AreSharedByJobsWithTheSameInputAndFormat) {
  const Case c(kInt8, 8, 64, 256, rng);
  std::vector<MatmulArgs> jobs(5, c.args);
  jobs[1].n = 32;
  jobs[2].w_group = 64;
  jobs[3].x += 128;
  jobs[3].k = 128;
  prepare(jobs, 1);
  EXPECT_NE(prepared.of(0), nullptr);
  EXPECT_EQ(prepared.of(0), prepared.of(1));
  EXPECT_EQ(prepared.of(0), prepared.of(4));
  // Each of these has one chunk that reads it.
  EXPECT_EQ(prepared.of(2), nullptr);
  EXPECT_EQ(prepared.of(3), nullptr);
  prepare(jobs, 2);
  EXPECT_NE(prepared.of(2), nullptr);
  EXPECT_NE(prepared.of(2), prepared.of(0));
  EXPECT_NE(prepared.of(3), nullptr);
}

TEST_F(PreparedInputsTest, LeaveOutWhatIsTooLarge) {
  const Case c(kInt8, 8, 64, 256, rng);
  std::vector<MatmulArgs> jobs(2, c.args);
  jobs[0].m = PreparedInputs::kBytesMax / jobs[0].k + 1;  // its rows do not exist and are not read
  jobs[1].x += 1;
  jobs[1].k = 128;
  prepare(jobs, 8);
  EXPECT_EQ(prepared.of(0), nullptr);
  EXPECT_NE(prepared.of(1), nullptr);
}

TEST_F(PreparedInputsTest, ForgetTheCallBefore) {
  const Case c(kInt8, 8, 64, 256, rng);
  prepare({c.args, c.args}, 8);
  EXPECT_NE(prepared.of(1), nullptr);
  prepare({c.args}, 1);
  EXPECT_EQ(prepared.of(0), nullptr);
  EXPECT_EQ(prepared.of(1), nullptr);
}

}  // namespace
}  // namespace ponder::kernels
