#pragma once

#include <cstdint>
#include <vector>

#include "kernels/dispatch.h"

namespace ponder::kernels {

/// What the scalar row selects of keys [first, n).
inline std::vector<std::int32_t> reference_selection(const std::vector<float>& scores,
                                                     std::size_t first, std::size_t n,
                                                     std::size_t k, std::size_t& num_nan) {
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

}  // namespace ponder::kernels
