#pragma once

// Attention of a batch of rows. A row's slots are cut into parts, and a part is the unit of work:
// all heads share the cache rows that it reads, and so do neighbouring tokens of a prompt while
// they attend to everything before them. How a row is cut depends on its number of slots and on the
// model's shape alone, and parts are combined in order, so neither the batch nor the number of
// threads changes bits.

#include <cstddef>
#include <memory>
#include <vector>

#include "kernels/ops.h"

namespace ponder::kernels {

/// Keeps the memory that attention works in; it grows to what the largest call needed, which is
/// bounded by the model's shape. Thread: none; one call at a time.
class Attention {
 public:
  void run(const Executor& executor, const AttentionArgs& args);

 private:
  // The same part of the slots of one or several rows of the wave.
  struct Item {
    AttentionSpan span;
    std::size_t first_part;    // in parts_, of the first row
    std::size_t parts_stride;  // from row to row
  };
  struct FreeBytes {
    void operator()(std::byte* bytes) const noexcept;
  };

  std::size_t start_wave(const AttentionArgs& args, const AttentionSizes& sizes,
                         std::size_t row_begin);
  void add_items(const AttentionArgs& args, std::size_t row, std::size_t num_rows);
  void lay_out(const AttentionArgs& args, const AttentionSizes& sizes, std::size_t num_rows,
               std::size_t num_workers);
  void run_wave(const Executor& executor, const AttentionArgs& args, std::size_t row_begin,
                std::size_t row_end) noexcept;

  // The wave: rows whose parts are in memory at once.
  std::vector<Item> items_;
  std::vector<std::size_t> first_parts_;  // [rows + 1] of each row
  std::vector<AttentionPart> parts_;

  std::unique_ptr<std::byte, FreeBytes> memory_;
  std::size_t memory_bytes_ = 0;
  std::byte* queries_ = nullptr;  // [rows, query_bytes_]
  std::byte* scratch_ = nullptr;  // [workers, scratch_bytes_]
  std::size_t query_bytes_ = 0;
  std::size_t scratch_bytes_ = 0;
};

/// The slots of each part of a row with so many slots, but for the last, which may have fewer.
[[nodiscard]] std::size_t attention_part_slots(const AttentionArgs& args,
                                               std::size_t num_slots) noexcept;

}  // namespace ponder::kernels
