// The AMX row: index scores, attention and products with packed weights in tiles. Compiled with
// -mamx-{tile,int8,bf16} on top of AVX-512 and VNNI; nothing but the table leaves this file.

#include "kernels/cpu/amx/amx_table.h"
#include "kernels/cpu/avx512bf16/avx512bf16_table.h"

namespace ponder::kernels {
namespace {
const KernelTable& next_best_table() { return avx512bf16_table(); }
}  // namespace
}  // namespace ponder::kernels

// clang-format off: each file builds on those above it
#include "kernels/cpu/avx512/vector.inl"
#include "kernels/cpu/exponential.inl"
#include "kernels/cpu/avx512/words.inl"
#include "kernels/cpu/avx512/codes.inl"
#include "kernels/cpu/avx512vnni/products.inl"
#include "kernels/cpu/int4_order.inl"
#include "kernels/cpu/activation_codes.inl"
#include "kernels/cpu/matmul_sums.inl"
#include "kernels/cpu/amx/tiles_amx.inl"
#include "kernels/cpu/amx/tiles.inl"
#include "kernels/cpu/amx/index_scores_i8.inl"
#include "kernels/cpu/amx/matmul_codes.inl"
#include "kernels/cpu/avx512bf16/pairs.inl"
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

const KernelTable& amx_table() noexcept {
  static const KernelTable kTable = [] {
    KernelTable table = avx512bf16_table();
    table.name = "amx";
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
