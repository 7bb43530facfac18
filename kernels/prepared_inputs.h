#pragma once

// Inputs of matrix products, rounded to what the products multiply (KernelTable::matmul_prepare)
// once for all chunks of columns and for all products that share them: queries, keys and indexer,
// gate and up. Without it each chunk rounds the rows that it needs, for some hundred columns only.
//
// Ownership: an object belongs to one Executor at a time. Thread: the one that calls matmul.
// Errors: none; where there is no memory, or more than kBytesMax is wanted, the chunks of the jobs
// that are left over round for themselves, with the same bits.

#include <cstddef>
#include <cstdlib>
#include <memory>

#include "kernels/kernel_table.h"
#include "kernels/thread_pool.h"

namespace ponder::kernels {

class PreparedInputs {
 public:
  static constexpr std::size_t kBytesMax = std::size_t{64} << 20;

  /// Prepares the inputs of all jobs, on the pool. num_chunks(job) says into how many chunks of
  /// columns a job is cut: what a single chunk reads it may as well prepare itself. Memory grows to
  /// the largest call and is kept.
  template <class NumChunks>
  void prepare(const KernelTable& table, ThreadPool& pool, const MatmulArgs* jobs,
               std::size_t num_jobs, NumChunks num_chunks) noexcept {
    if (!begin(num_jobs)) return;
    for (std::size_t job = 0; job < num_jobs; ++job) {
      add(table, jobs, job, num_chunks(jobs[job]));
    }
    run(table, pool, jobs);
  }

  /// What the last prepare() made of a job's x; nullptr if it made nothing.
  [[nodiscard]] const void* of(std::size_t job) const noexcept;

 private:
  /// Memory that never shrinks. reserve() loses what was there.
  class Buffer {
   public:
    [[nodiscard]] bool reserve(std::size_t bytes) noexcept;
    [[nodiscard]] std::byte* data() const noexcept { return data_.get(); }

   private:
    struct Free {
      void operator()(std::byte* data) const noexcept { std::free(data); }
    };
    std::unique_ptr<std::byte, Free> data_;
    std::size_t bytes_ = 0;
  };

  /// An x, or a job that refers to an earlier one's.
  struct Entry {
    std::size_t source;  // the first job with this x
    std::size_t num_chunks;
    std::size_t bytes;  // 0: is not prepared
    std::size_t at;     // in memory_
  };

  [[nodiscard]] bool begin(std::size_t num_jobs) noexcept;
  void add(const KernelTable& table, const MatmulArgs* jobs, std::size_t job,
           std::size_t num_chunks) noexcept;
  void run(const KernelTable& table, ThreadPool& pool, const MatmulArgs* jobs) noexcept;
  [[nodiscard]] Entry* entries() const noexcept {
    return reinterpret_cast<Entry*>(entries_.data());
  }

  Buffer entries_;  // [num_jobs_]
  Buffer memory_;
  std::size_t num_jobs_ = 0;
};

}  // namespace ponder::kernels
