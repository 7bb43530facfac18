#pragma once

// The functions of the scalar row. Other rows borrow the ones that vectors would not make faster.

#include <cstddef>

#include "kernels/kernel_table.h"

namespace ponder::kernels::scalar {

/// 0: products take x as it lies.
std::size_t matmul_prepared_bytes(const MatmulArgs& args) noexcept;
void matmul_prepare(const MatmulArgs& args, std::size_t m_begin, std::size_t m_end,
                    void* to) noexcept;
void matmul(const MatmulArgs& args, std::size_t m_begin, std::size_t m_end, std::size_t n_begin,
            std::size_t n_end) noexcept;
void rms_norm(const RmsNormArgs& args, std::size_t row_begin, std::size_t row_end) noexcept;
void layer_norm(const LayerNormArgs& args, std::size_t row_begin, std::size_t row_end) noexcept;
void rope(const RopeArgs& args, std::size_t row_begin, std::size_t row_end) noexcept;
void silu_mul(const SiluMulArgs& args, std::size_t row_begin, std::size_t row_end) noexcept;
void weighted_sum(const WeightedSumArgs& args, std::size_t row_begin, std::size_t row_end) noexcept;
void softmax(const SoftmaxArgs& args, std::size_t row_begin, std::size_t row_end) noexcept;
void router(const RouterArgs& args, std::size_t row_begin, std::size_t row_end) noexcept;
void index_scores(const IndexScoresArgs& args, std::size_t row_begin, std::size_t row_end,
                  std::size_t key_begin, std::size_t key_end) noexcept;
TopkResult topk(const TopkArgs& args) noexcept;
void index_quantize(const IndexQuantizeArgs& args, std::size_t row_begin,
                    std::size_t row_end) noexcept;
void index_scores_i8(const IndexScoresI8Args& args, std::size_t row_begin, std::size_t row_end,
                     std::size_t key_begin, std::size_t key_end) noexcept;
void topk_push(TopkCandidates& candidates, const float* scores, std::size_t n,
               std::int32_t first_position) noexcept;
void topk_shrink(TopkCandidates& candidates) noexcept;
AttentionSizes attention_sizes(const AttentionArgs& args) noexcept;
void attention_pack(const AttentionArgs& args, std::size_t row, std::size_t head_begin,
                    std::size_t head_end, void* packed_query) noexcept;
void attention_part(const AttentionArgs& args, const AttentionSpan& span,
                    const void* packed_queries, const AttentionPart* parts,
                    std::size_t parts_stride, void* scratch) noexcept;
void attention_combine(const AttentionArgs& args, std::size_t row, const AttentionPart* parts,
                       std::size_t num_parts, std::size_t head_begin,
                       std::size_t head_end) noexcept;
void add(float* y, const float* x, std::size_t n) noexcept;
std::size_t argmax(const float* x, std::size_t n) noexcept;
void bf16_to_f32(float* y, const bf16* x, std::size_t n) noexcept;
void f32_to_bf16(bf16* y, const float* x, std::size_t n) noexcept;
void round_to_bf16(float* x, std::size_t n) noexcept;

}  // namespace ponder::kernels::scalar
