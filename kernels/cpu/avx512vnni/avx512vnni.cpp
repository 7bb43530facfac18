// The AVX-512 row with integer products in one instruction. Compiled with -mavx512vnni on top of
// AVX-512; nothing but the table leaves this file.

#include "kernels/cpu/avx512/avx512_table.h"
#include "kernels/cpu/avx512vnni/avx512vnni_table.h"
#include "kernels/reference/scalar.h"

// clang-format off: each file builds on those above it
#include "kernels/cpu/avx512/vector.inl"
#include "kernels/cpu/avx512/codes.inl"
#include "kernels/cpu/avx512vnni/products.inl"
#include "kernels/cpu/int4_order.inl"
#include "kernels/cpu/activation_codes.inl"
#include "kernels/cpu/matmul_sums.inl"
#include "kernels/cpu/matmul_codes.inl"
#include "kernels/cpu/matmul_codes_streamed.inl"
#include "kernels/cpu/avx512/key_codes.inl"
#include "kernels/cpu/avx512vnni/dot4.inl"
#include "kernels/cpu/index_scores_i8.inl"
// clang-format on

namespace ponder::kernels {
namespace {

void matmul(const MatmulArgs& args, std::size_t m_begin, std::size_t m_end, std::size_t n_begin,
            std::size_t n_end) noexcept {
  if (has_codes(args)) {
    multiply_codes(args, {m_begin, m_end, n_begin, n_end});
  } else {
    avx512_table().matmul(args, m_begin, m_end, n_begin, n_end);
  }
}

}  // namespace

const KernelTable& avx512vnni_table() noexcept {
  static const KernelTable kTable = [] {
    KernelTable table = avx512_table();
    table.name = "avx512vnni";
    table.matmul = matmul;
    table.matmul_prepared_bytes = matmul_prepared_bytes;
    table.matmul_prepare = matmul_prepare;
    table.index_scores_i8 = index_scores_i8;
    return table;
  }();
  return kTable;
}

}  // namespace ponder::kernels
