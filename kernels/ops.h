#pragma once

// The operations as the engine calls them: each is cut into chunks and run on the pool by the
// functions of one table row. Small operations stay on the calling thread.
//
// Thread: the engine's. Each call returns when its outputs are written. Chunks never change bits
// (see kernel_table.h), so neither does the number of threads.

#include <cstddef>

#include "kernels/kernel_table.h"
#include "kernels/prepared_inputs.h"
#include "kernels/thread_pool.h"

namespace ponder::kernels {

/// Where operations run. What it points at outlives it.
struct Executor {
  const KernelTable* table;
  ThreadPool* pool;
  PreparedInputs* prepared = nullptr;  // nullptr: no memory for prepared inputs of products
};

/// Runs all jobs at once, with one wait at the end: matrices that share an input, heads, experts.
/// No job may read what another one writes.
void matmul(const Executor& executor, const MatmulArgs* jobs, std::size_t num_jobs) noexcept;
void matmul(const Executor& executor, const MatmulArgs& args) noexcept;

void rms_norm(const Executor& executor, const RmsNormArgs& args) noexcept;
void layer_norm(const Executor& executor, const LayerNormArgs& args) noexcept;
void rope(const Executor& executor, const RopeArgs& args) noexcept;
void silu_mul(const Executor& executor, const SiluMulArgs& args) noexcept;
void weighted_sum(const Executor& executor, const WeightedSumArgs& args) noexcept;
void softmax(const Executor& executor, const SoftmaxArgs& args) noexcept;
void router(const Executor& executor, const RouterArgs& args) noexcept;

void index_quantize(const Executor& executor, const IndexQuantizeArgs& args) noexcept;

/// The scores as a matrix, for inspection; kernels/index_select.h selects without one.
void index_scores(const Executor& executor, const IndexScoresArgs& args) noexcept;
void index_scores(const Executor& executor, const IndexScoresI8Args& args) noexcept;

/// One selection per job.
void topk(const Executor& executor, const TopkArgs* jobs, TopkResult* results,
          std::size_t num_jobs) noexcept;

}  // namespace ponder::kernels
