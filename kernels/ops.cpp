#include "kernels/ops.h"

#include <algorithm>

#include "kernels/packed_bf16_layout.h"

namespace ponder::kernels {
namespace {

// A chunk should take some microseconds: far longer than handing it out, far shorter than a step.
constexpr std::size_t kElementsPerChunk = 8192;

// Rows that one matmul chunk covers: their part of x stays in the second-level cache.
constexpr std::size_t kMatmulRows = kPreparedRows;
constexpr std::size_t kMatmulColumnsMultiple = 8;
constexpr std::size_t kMatmulProductsPerChunk = 2 * 1024 * 1024;
// A chunk reads its rows of x from end to end, from beyond the second-level cache where they are
// long. Worth it for as many columns as leave each thread some chunks.
constexpr std::size_t kMatmulProductsPerChunkMax = 16 * 1024 * 1024;
// With few rows the weights are streamed, and the other core's bandwidth is worth having early.
constexpr std::size_t kMatmulFewRows = 4;
constexpr std::size_t kMatmulProductsPerChunkFewRows = 64 * 1024;
// An integer matmul reads its rows' codes again for each chunk; this many columns make that cheap.
constexpr std::size_t kCodeColumnsMultiple = 2 * kScaleRows;
constexpr std::size_t kCodeColumns = 256;
constexpr std::size_t kCodeColumnsMax = 512;
// The same of products in bf16; more would not stay in the second-level cache.
constexpr std::size_t kRoundedColumns = 128;
constexpr std::size_t kRoundedColumnsFewRows = 32;
constexpr std::size_t kChunksPerThread = 4;
constexpr std::size_t kRowChunksTogether = 4;
constexpr std::size_t kCodeColumnsFewRows = 128;

// Less than this is not worth handing to another thread.
constexpr std::size_t kMatmulProductsPerHandOut = 32 * 1024;

constexpr std::size_t kIndexRows = 8;
constexpr std::size_t kIndexKeys = 1024;

constexpr std::size_t divide_up(std::size_t a, std::size_t b) { return (a + b - 1) / b; }

template <class Args>
void by_rows(const Executor& executor, const Args& args, std::size_t elements_per_row,
             void (*fn)(const Args&, std::size_t, std::size_t) noexcept) noexcept {
  const std::size_t grain =
      std::max<std::size_t>(1, kElementsPerChunk / std::max<std::size_t>(1, elements_per_row));
  executor.pool->parallel_for(args.rows, grain,
                              [&](std::size_t begin, std::size_t end) { fn(args, begin, end); });
}

template <class Args>
void by_rows_and_keys(const Executor& executor, const Args& args,
                      void (*fn)(const Args&, std::size_t, std::size_t, std::size_t,
                                 std::size_t) noexcept) noexcept {
  std::size_t keys = 0;
  for (std::size_t row = 0; row < args.rows; ++row) {
    keys = std::max(keys, static_cast<std::size_t>(args.num_keys[row]));
  }
  const std::size_t key_chunks = divide_up(keys, kIndexKeys);
  const std::size_t num_chunks = divide_up(args.rows, kIndexRows) * key_chunks;
  executor.pool->parallel_for(num_chunks, 1, [&](std::size_t chunk, std::size_t) {
    const std::size_t row = chunk / key_chunks * kIndexRows;
    const std::size_t key = chunk % key_chunks * kIndexKeys;
    fn(args, row, std::min(args.rows, row + kIndexRows), key, std::min(keys, key + kIndexKeys));
  });
}

// How one matmul is cut into chunks; any cut gives the same bits.
struct MatmulGrid {
  MatmulGrid(const MatmulArgs& args, std::size_t threads) noexcept
      : rows(std::max<std::size_t>(1, std::min(args.m, kMatmulRows))),
        row_chunks(divide_up(args.m, rows)) {
    const std::size_t shared = args.n * row_chunks / (kChunksPerThread * threads);
    const std::size_t products_per_column = rows * std::max<std::size_t>(1, args.k);
    const std::size_t wanted =
        rows <= kMatmulFewRows ? kMatmulProductsPerChunkFewRows / products_per_column
                               : std::clamp(shared, kMatmulProductsPerChunk / products_per_column,
                                            kMatmulProductsPerChunkMax / products_per_column);
    const bool is_in_bands = args.w_dtype == DType::bf16 && args.w_is_packed;
    const std::size_t multiple = is_in_bands ? kPackedBandRows : kMatmulColumnsMultiple;
    columns = std::max<std::size_t>(1, divide_up(wanted, multiple)) * multiple;
    if (args.w_dtype == DType::int8 || args.w_dtype == DType::int4) {
      const std::size_t enough = rows <= kMatmulFewRows
                                     ? kCodeColumnsFewRows
                                     : std::clamp(shared, kCodeColumns, kCodeColumnsMax);
      columns = divide_up(std::max(columns, enough), kCodeColumnsMultiple) * kCodeColumnsMultiple;
      row_chunks_together = kRowChunksTogether;
    } else if (args.may_round_x) {
      const bool is_few = rows <= kMatmulFewRows;
      columns = std::max(columns, is_few ? kRoundedColumnsFewRows : kRoundedColumns);
      row_chunks_together = kRowChunksTogether;
    }
    num_chunks = row_chunks * divide_up(args.n, columns);
  }
  std::size_t column_chunks() const noexcept {
    return num_chunks / std::max<std::size_t>(1, row_chunks);
  }
  std::size_t rows;
  std::size_t row_chunks;
  std::size_t row_chunks_together = 1;  // narrow chunks read little of the weights, and all of x
  std::size_t columns;
  std::size_t num_chunks;
};

// Some chunks of rows with the same columns follow each other, for as many columns as there are:
// the weights are then still in some cache, and so is x.
void run_matmul_chunk(const KernelTable& table, const MatmulArgs& args, const MatmulGrid& grid,
                      std::size_t chunk) noexcept {
  const std::size_t together = grid.row_chunks_together;
  const std::size_t column_chunks = grid.column_chunks();
  const std::size_t first = chunk / (together * column_chunks) * together;
  const std::size_t rest = chunk % (together * column_chunks);
  const std::size_t row_chunks = std::min(together, grid.row_chunks - first);
  const std::size_t m = (first + rest % row_chunks) * grid.rows;
  const std::size_t n = rest / row_chunks * grid.columns;
  table.matmul(args, m, std::min(args.m, m + grid.rows), n, std::min(args.n, n + grid.columns));
}

}  // namespace

void matmul(const Executor& executor, const MatmulArgs* jobs, std::size_t num_jobs) noexcept {
  const std::size_t threads = executor.pool->num_threads();
  std::size_t num_chunks = 0;
  std::size_t products = 0;
  for (std::size_t i = 0; i < num_jobs; ++i) {
    num_chunks += MatmulGrid(jobs[i], threads).num_chunks;
    products += jobs[i].m * jobs[i].n * jobs[i].k;
  }
  // Many tiny jobs, such as heads, are handed out several at a time.
  const std::size_t products_per_chunk = products / std::max<std::size_t>(1, num_chunks) + 1;
  const std::size_t grain =
      std::max<std::size_t>(1, kMatmulProductsPerHandOut / products_per_chunk);
  if (executor.prepared != nullptr) {
    executor.prepared->prepare(
        *executor.table, *executor.pool, jobs, num_jobs,
        [&](const MatmulArgs& job) { return MatmulGrid(job, threads).column_chunks(); });
  }
  executor.pool->parallel_for(num_chunks, grain, [&](std::size_t begin, std::size_t end) {
    std::size_t job = 0;
    std::size_t job_begin = 0;  // the job's first chunk
    for (std::size_t chunk = begin; chunk < end; ++chunk) {
      MatmulGrid grid(jobs[job], threads);
      while (chunk - job_begin >= grid.num_chunks) {
        job_begin += grid.num_chunks;
        grid = MatmulGrid(jobs[++job], threads);
      }
      MatmulArgs args = jobs[job];
      if (executor.prepared != nullptr) args.prepared_x = executor.prepared->of(job);
      run_matmul_chunk(*executor.table, args, grid, chunk - job_begin);
    }
  });
}

void matmul(const Executor& executor, const MatmulArgs& args) noexcept {
  matmul(executor, &args, 1);
}

void rms_norm(const Executor& executor, const RmsNormArgs& args) noexcept {
  by_rows(executor, args, args.dim, executor.table->rms_norm);
}

void layer_norm(const Executor& executor, const LayerNormArgs& args) noexcept {
  by_rows(executor, args, args.dim, executor.table->layer_norm);
}

void rope(const Executor& executor, const RopeArgs& args) noexcept {
  by_rows(executor, args, args.heads * args.dim, executor.table->rope);
}

void silu_mul(const Executor& executor, const SiluMulArgs& args) noexcept {
  by_rows(executor, args, args.dim, executor.table->silu_mul);
}

void weighted_sum(const Executor& executor, const WeightedSumArgs& args) noexcept {
  by_rows(executor, args, args.slots * args.dim, executor.table->weighted_sum);
}

void softmax(const Executor& executor, const SoftmaxArgs& args) noexcept {
  by_rows(executor, args, args.dim, executor.table->softmax);
}

void router(const Executor& executor, const RouterArgs& args) noexcept {
  by_rows(executor, args, args.experts * args.topk, executor.table->router);
}

void index_quantize(const Executor& executor, const IndexQuantizeArgs& args) noexcept {
  by_rows(executor, args, args.dim, executor.table->index_quantize);
}

void index_scores(const Executor& executor, const IndexScoresArgs& args) noexcept {
  by_rows_and_keys(executor, args, executor.table->index_scores);
}

void index_scores(const Executor& executor, const IndexScoresI8Args& args) noexcept {
  by_rows_and_keys(executor, args, executor.table->index_scores_i8);
}

void topk(const Executor& executor, const TopkArgs* jobs, TopkResult* results,
          std::size_t num_jobs) noexcept {
  executor.pool->parallel_for(num_jobs, 1, [&](std::size_t job, std::size_t) {
    results[job] = executor.table->topk(jobs[job]);
  });
}

}  // namespace ponder::kernels
