#pragma once

#include "kernels/kernel_table.h"

namespace ponder::kernels {

/// Requires: cpu_features().avx512.
[[nodiscard]] const KernelTable& avx512_table() noexcept;

}  // namespace ponder::kernels
