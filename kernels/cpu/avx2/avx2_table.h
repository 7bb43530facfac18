#pragma once

#include "kernels/kernel_table.h"

namespace ponder::kernels {

/// Requires: cpu_features().avx2.
[[nodiscard]] const KernelTable& avx2_table() noexcept;

}  // namespace ponder::kernels
