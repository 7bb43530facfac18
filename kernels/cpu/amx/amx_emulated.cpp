// The kernels of the AMX row over emulated tiles and a vector of plain floats, for tests: compiled
// without any instruction set, and linked into tests only.

#include "kernels/cpu/amx/amx_table.h"
#include "kernels/dispatch.h"

namespace ponder::kernels {
namespace {
const KernelTable& next_best_table() { return scalar_table(); }
}  // namespace
}  // namespace ponder::kernels

// clang-format off: each file builds on those above it
#include "kernels/cpu/portable/vector.inl"
#include "kernels/cpu/exponential.inl"
#include "kernels/cpu/portable/codes.inl"
#include "kernels/cpu/activation_codes.inl"
#include "kernels/cpu/matmul_sums.inl"
#include "kernels/cpu/amx/tiles_emulated.inl"
#include "kernels/cpu/amx/tiles.inl"
#include "kernels/cpu/amx/index_scores_i8.inl"
#include "kernels/cpu/amx/matmul_codes.inl"
#include "kernels/cpu/portable/pairs.inl"
#include "kernels/cpu/bf16_rows.inl"
#include "kernels/cpu/amx/matmul_bf16_products.inl"
#include "kernels/cpu/matmul_bf16.inl"
#include "kernels/cpu/amx/matmul.inl"
#include "kernels/cpu/attention_blocks.inl"
#include "kernels/cpu/amx/products.inl"
#include "kernels/cpu/fp8_latents.inl"
#include "kernels/cpu/attention_bf16.inl"
// clang-format on

namespace ponder::kernels {

const KernelTable& amx_emulated_table() noexcept {
  static const KernelTable kTable = [] {
    KernelTable table = scalar_table();
    table.name = "amx_emulated";
    table.matmul = matmul;
    table.matmul_prepared_bytes = matmul_prepared_bytes;
    table.matmul_prepare = matmul_prepare;
    table.index_scores_i8 = index_scores_i8;
    table.attention_sizes = attention_sizes;
    table.attention_pack = attention_pack;
    table.attention_part = attention_part;
    return table;
  }();
  return kTable;
}

}  // namespace ponder::kernels
