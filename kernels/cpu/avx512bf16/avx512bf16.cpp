// The AVX-512 row with dot products of bf16 as well as of int8. Compiled with -mavx512bf16 on top
// of AVX-512; nothing but the table leaves this file.

#include "kernels/cpu/avx512bf16/avx512bf16_table.h"
#include "kernels/cpu/avx512vnni/avx512vnni_table.h"
#include "kernels/reference/scalar.h"

namespace ponder::kernels {
namespace {
const KernelTable& next_best_table() { return avx512vnni_table(); }
}  // namespace
}  // namespace ponder::kernels

// clang-format off: each file builds on those above it
#include "kernels/cpu/avx512/vector.inl"
#include "kernels/cpu/exponential.inl"
#include "kernels/cpu/avx512/words.inl"
#include "kernels/cpu/attention_blocks.inl"
#include "kernels/cpu/avx512bf16/products.inl"
#include "kernels/cpu/fp8_latents.inl"
#include "kernels/cpu/avx512bf16/pairs.inl"
#include "kernels/cpu/bf16_rows.inl"
#include "kernels/cpu/avx512bf16/matmul_products.inl"
#include "kernels/cpu/matmul_bf16.inl"
#include "kernels/cpu/attention_bf16.inl"
// clang-format on

namespace ponder::kernels {
namespace {

std::size_t matmul_prepared_bytes(const MatmulArgs& args) noexcept {
  return is_in_pairs(args) ? pair_bytes(args) : next_best_table().matmul_prepared_bytes(args);
}

void matmul_prepare(const MatmulArgs& args, std::size_t m_begin, std::size_t m_end,
                    void* to) noexcept {
  if (is_in_pairs(args)) return prepare_pairs(args, m_begin, m_end, to);
  next_best_table().matmul_prepare(args, m_begin, m_end, to);
}

void matmul(const MatmulArgs& args, std::size_t m_begin, std::size_t m_end, std::size_t n_begin,
            std::size_t n_end) noexcept {
  if (is_in_pairs(args)) return multiply_in_pairs(args, m_begin, m_end, n_begin, n_end);
  next_best_table().matmul(args, m_begin, m_end, n_begin, n_end);
}

}  // namespace

const KernelTable& avx512bf16_table() noexcept {
  static const KernelTable kTable = [] {
    KernelTable table = avx512vnni_table();
    table.name = "avx512bf16";
    table.matmul = matmul;
    table.matmul_prepared_bytes = matmul_prepared_bytes;
    table.matmul_prepare = matmul_prepare;
    table.attention_sizes = attention_sizes;
    table.attention_pack = attention_pack;
    table.attention_part = attention_part;
    return table;
  }();
  return kTable;
}

}  // namespace ponder::kernels
