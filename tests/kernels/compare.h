#pragma once

// How tests compare arrays of floats: NaN and infinities must stand in the same places, everything
// else must lie within a tolerance that the caller derives from an error model.

#include <gtest/gtest.h>

#include <cmath>
#include <cstddef>
#include <cstring>
#include <vector>

namespace ponder::kernels {

struct Tolerance {
  double abs = 0.0;
  double rel = 0.0;
};

/// A single rounding of fp32, relative to the result.
inline constexpr double kUnitRoundoff = 1.0 / (1 << 24);

inline bool is_close(float got, float want, const Tolerance& tolerance) {
  if (std::isnan(want)) return std::isnan(got);
  if (std::isinf(want) || !std::isfinite(got)) return got == want;
  const double error = std::abs(static_cast<double>(got) - static_cast<double>(want));
  return error <= tolerance.abs + tolerance.rel * std::abs(static_cast<double>(want));
}

inline ::testing::AssertionResult all_close(const std::vector<float>& got,
                                            const std::vector<float>& want,
                                            const Tolerance& tolerance) {
  if (got.size() != want.size()) {
    return ::testing::AssertionFailure() << got.size() << " values instead of " << want.size();
  }
  double worst = 0.0;
  std::size_t failures = 0;
  std::size_t first = 0;
  for (std::size_t i = 0; i < got.size(); ++i) {
    if (!is_close(got[i], want[i], tolerance) && failures++ == 0) first = i;
    const double error = std::abs(static_cast<double>(got[i]) - static_cast<double>(want[i]));
    if (error > worst) worst = error;
  }
  if (failures == 0) return ::testing::AssertionSuccess();
  return ::testing::AssertionFailure()
         << failures << " of " << got.size() << " differ, first at [" << first
         << "]: " << got[first] << " instead of " << want[first] << "; worst error " << worst;
}

/// Equal bits, so that -0.0 differs from 0.0 and a NaN equals itself.
inline ::testing::AssertionResult same_bits(const std::vector<float>& got,
                                            const std::vector<float>& want) {
  if (got.size() != want.size()) {
    return ::testing::AssertionFailure() << got.size() << " values instead of " << want.size();
  }
  for (std::size_t i = 0; i < got.size(); ++i) {
    if (std::memcmp(&got[i], &want[i], sizeof(float)) != 0) {
      return ::testing::AssertionFailure()
             << "bits differ first at [" << i << "]: " << got[i] << " instead of " << want[i];
    }
  }
  return ::testing::AssertionSuccess();
}

}  // namespace ponder::kernels
