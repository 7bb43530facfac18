// The feed-forward part that the CPU engine and a device's experts in host memory share: the order
// of its sums, and that a row's bits are its own.

#include "engine/cpu_ffn.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <random>
#include <string_view>

#include "kernels/dispatch.h"
#include "tests/engine/support.h"

namespace ponder::engine {
namespace {

constexpr std::size_t kHidden = 70;  // no multiple of a vector
constexpr std::size_t kWidth = 24;
constexpr std::size_t kExperts = 5;
constexpr std::size_t kTopk = 3;

using Row = std::vector<float>;

class CpuFfnTest : public ::testing::TestWithParam<const kernels::KernelTable*> {
 protected:
  CpuFfnTest() {
    config_.hidden_size = kHidden;
    config_.moe_intermediate_size = kWidth;
    config_.n_routed_experts = kExperts;
    config_.num_experts_per_tok = kTopk;
    config_.n_shared_experts = 2;
    for (std::size_t i = 0; i < kExperts; ++i) experts_.push_back(random_ffn(kWidth));
    shared_ = random_ffn(2 * kWidth);
  }

  Row random_row(std::size_t n, float most = 1.0F) {
    std::uniform_real_distribution<float> value(-most, most);
    Row row(n);
    for (float& x : row) x = value(rng_);
    return row;
  }
  Linear random_matrix(std::size_t out, std::size_t in) {
    matrices_.push_back(std::make_unique<Row>(random_row(out * in, 0.3F)));
    Linear linear;
    linear.data = matrices_.back()->data();
    linear.out = out;
    linear.in = in;
    return linear;
  }
  FfnWeights random_ffn(std::size_t width) {
    FfnWeights ffn;
    ffn.gate = random_matrix(width, kHidden);
    ffn.up = random_matrix(width, kHidden);
    ffn.down = random_matrix(kHidden, width);
    return ffn;
  }

  /// What expert `slot` of each row of the last experts() came to: fma(1, x, 0) with the others'
  /// weights 0.
  Row output_of(CpuFfn& ffn, std::size_t rows, std::size_t slot) {
    Row weights(rows * kTopk, 0.0F);
    for (std::size_t row = 0; row < rows; ++row) weights[row * kTopk + slot] = 1.0F;
    Row output(rows * kHidden, 0.0F);
    ffn.add_routed(output.data(), weights.data());
    return output;
  }

  std::mt19937_64 rng_{testing::test_seed()};
  ModelConfig config_;
  std::vector<std::unique_ptr<Row>> matrices_;
  std::vector<FfnWeights> experts_;
  FfnWeights shared_;
  kernels::ThreadPool pool_{{.num_threads = 2, .pin = false}};
  const kernels::Executor executor_{GetParam(), &pool_};
};

TEST_P(CpuFfnTest, RoutedOutputsAreAddedToTheSharedOnesInAscendingSlotOrder) {
  constexpr std::size_t kRows = 4;
  CpuFfn ffn(config_, executor_);
  const Row x = random_row(kRows * kHidden);
  const std::vector<std::int32_t> chosen = {4, 0, 2, 1, 2, 3, 3, 2, 1, 0, 4, 1};
  const Row weights = random_row(kRows * kTopk, 2.0F);
  Row got(kRows * kHidden);
  ffn.experts(experts_, {.x = x.data(), .experts = chosen.data(), .rows = kRows}, &shared_,
              got.data());
  Row want = got;
  const bool is_scalar = std::string_view(GetParam()->name) == "scalar";  // sums in double
  std::vector<Row> outputs;
  for (std::size_t slot = 0; slot < kTopk; ++slot) outputs.push_back(output_of(ffn, kRows, slot));
  for (std::size_t i = 0; i < want.size(); ++i) {
    double sum = want[i];
    for (std::size_t slot = 0; slot < kTopk; ++slot) {
      const float weight = weights[i / kHidden * kTopk + slot];
      sum = is_scalar ? sum + double{weight} * outputs[slot][i]
                      : std::fma(weight, outputs[slot][i], static_cast<float>(sum));
    }
    want[i] = static_cast<float>(sum);
  }
  ffn.add_routed(got.data(), weights.data());
  EXPECT_EQ(got, want);
}

TEST_P(CpuFfnTest, SharedExpertsComputedElsewhereChangeNoBitOfTheRoutedOnes) {
  constexpr std::size_t kRows = 3;
  const Row x = random_row(kRows * kHidden);
  const std::vector<std::int32_t> chosen = {4, 0, 2, 1, 2, 3, 3, 2, 1};
  const RoutedRows rows{.x = x.data(), .experts = chosen.data(), .rows = kRows};
  CpuFfn both(config_, executor_);
  Row shared_output(kRows * kHidden);
  both.experts(experts_, rows, &shared_, shared_output.data());
  CpuFfn apart(config_, executor_);
  apart.experts(experts_, rows);
  for (std::size_t slot = 0; slot < kTopk; ++slot) {
    EXPECT_EQ(output_of(both, kRows, slot), output_of(apart, kRows, slot)) << slot;
  }
  Row dense(kRows * kHidden);
  apart.dense(shared_, dense.data(), x.data(), kRows);
  EXPECT_EQ(dense, shared_output);
}

TEST_P(CpuFfnTest, ARowsBitsAreItsOwnWhoeverElseChoosesItsExperts) {
  constexpr std::size_t kRows = 37;
  CpuFfn ffn(config_, executor_);
  const Row x = random_row(kRows * kHidden);
  std::vector<std::int32_t> chosen;
  for (std::size_t row = 0; row < kRows; ++row) {
    for (std::size_t slot = 0; slot < kTopk; ++slot) {
      chosen.push_back(static_cast<std::int32_t>((row + slot * (1 + row % 2)) % kExperts));
    }
  }
  const auto outputs = [&](std::size_t first, std::size_t n) {
    ffn.experts(
        experts_,
        {.x = x.data() + first * kHidden, .experts = chosen.data() + first * kTopk, .rows = n});
    Row all;
    for (std::size_t slot = 0; slot < kTopk; ++slot) {
      const Row of_slot = output_of(ffn, n, slot);
      all.insert(all.end(), of_slot.begin(), of_slot.begin() + kHidden);  // of its first row
    }
    return all;
  };
  for (const std::size_t row : {std::size_t{0}, std::size_t{11}, kRows - 1}) {
    EXPECT_EQ(outputs(row, 1), outputs(row, kRows - row)) << row;
  }
}

TEST_P(CpuFfnTest, ARowThatIsNotFiniteHarmsNoOther) {
  constexpr std::size_t kRows = 3;
  CpuFfn ffn(config_, executor_);
  Row x = random_row(kRows * kHidden);
  const std::vector<std::int32_t> chosen = {0, 1, 2, 0, 1, 2, 0, 1, 2};
  const RoutedRows rows{.x = x.data(), .experts = chosen.data(), .rows = kRows};
  ffn.experts(experts_, rows);
  const Row want = output_of(ffn, kRows, 0);
  x[kHidden + 5] = std::nanf("");
  ffn.experts(experts_, rows);
  const Row got = output_of(ffn, kRows, 0);
  for (const std::size_t row : {0U, 2U}) {
    EXPECT_EQ(Row(got.begin() + row * kHidden, got.begin() + (row + 1) * kHidden),
              Row(want.begin() + row * kHidden, want.begin() + (row + 1) * kHidden));
  }
  EXPECT_TRUE(std::isnan(got[kHidden]));
}

INSTANTIATE_TEST_SUITE_P(EveryIsa, CpuFfnTest, ::testing::ValuesIn(kernels::runnable_tables()),
                         [](const auto& info) { return std::string(info.param->name); });

}  // namespace
}  // namespace ponder::engine
