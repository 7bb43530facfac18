#pragma once

// What the machine can do at this moment, measured beside a kernel: the bounds that its time is a
// share of.

#include <cstddef>

#include "kernels/kernel_table.h"
#include "kernels/thread_pool.h"

namespace ponder::kernels::bench {

/// Rates of one thread, per second of its processor time.
struct Peaks {
  double float_flops;  // fp32 multiply-adds in registers; a multiply-add counts as two
  double bf16_flops;   // dot products of bf16 pairs; that of fp32 where there are none
  double int8_ops;     // dot products of int8; 0 where there are none
};

/// Takes some milliseconds.
[[nodiscard]] Peaks measure_peaks();

/// Bytes per second of processor time at which one thread reads memory.
[[nodiscard]] double measure_read(const std::byte* memory, std::size_t bytes);

/// Reads memory on all threads of the pool and does nothing else: what streaming is compared with.
void read_memory(ThreadPool& pool, const std::byte* memory, std::size_t bytes);

/// Processor time of this process so far, of all its threads, in seconds.
[[nodiscard]] double process_seconds();
/// The same of the calling thread.
[[nodiscard]] double thread_seconds();
[[nodiscard]] double wall_seconds();

}  // namespace ponder::kernels::bench
