#pragma once

// Random inputs and the list of tables that kernel tests run over.

#include <gtest/gtest.h>

#include <cstdint>
#include <cstdlib>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include "kernels/dispatch.h"
#include "kernels/numeric.h"

namespace ponder::kernels {

inline constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
inline constexpr float kInf = std::numeric_limits<float>::infinity();

/// PONDER_TEST_SEED, or a fixed seed.
inline std::uint64_t test_seed() {
  const char* text = std::getenv("PONDER_TEST_SEED");
  return text == nullptr ? 1234 : std::strtoull(text, nullptr, 10);
}

/// Uniform in [-1, 1); the variance is 1/3.
inline std::vector<float> random_floats(std::size_t n, std::mt19937_64& rng) {
  std::uniform_real_distribution<float> uniform(-1.0f, 1.0f);
  std::vector<float> values(n);
  for (float& value : values) value = uniform(rng);
  return values;
}

/// Where the blocks of a test's pages begin: further in than their pages.
inline constexpr std::size_t kBlockOffset = 320;
/// The page whose block this is. Nobody follows the address without adding the offset.
inline const void* page_of(const void* block) {
  return reinterpret_cast<const void*>(reinterpret_cast<std::uintptr_t>(block) - kBlockOffset);
}

inline std::vector<bf16> to_bf16(const std::vector<float>& values) {
  std::vector<bf16> rounded(values.size());
  for (std::size_t i = 0; i < values.size(); ++i) rounded[i] = f32_to_bf16(values[i]);
  return rounded;
}

/// A test that runs once per table; the scalar row runs too, so that its own claims are tested.
class EveryIsa : public ::testing::TestWithParam<const KernelTable*> {
 protected:
  const KernelTable& table() const { return *GetParam(); }
  std::mt19937_64 rng{test_seed()};
};

inline std::string isa_name(const ::testing::TestParamInfo<const KernelTable*>& info) {
  return info.param->name;
}

}  // namespace ponder::kernels
