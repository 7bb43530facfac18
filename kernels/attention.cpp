#include "kernels/attention.h"

#include <sys/mman.h>

#include <algorithm>
#include <cstdlib>
#include <new>

namespace ponder::kernels {
namespace {

constexpr std::size_t kAlignment = 64;
constexpr std::size_t kHugePageBytes = std::size_t{2} << 20;
constexpr std::size_t kPartSlotsMultiple = 128;  // whole blocks, for every table
// Parts leave heads * kv_lora_rank floats each: of a wide model few of them, so that combining
// stays small. Those of a small one are cut for the other threads' sake.
constexpr std::size_t kWideOutput = 4 * 1024;
constexpr std::size_t kPartSlotsWide = 512;
constexpr std::size_t kPartSlotsNarrow = 128;
// What the parts of the rows in flight may leave altogether.
constexpr std::size_t kPartFloatsMax = std::size_t{4} << 20;

constexpr std::size_t divide_up(std::size_t a, std::size_t b) { return (a + b - 1) / b; }
constexpr std::size_t round_up(std::size_t a, std::size_t b) { return divide_up(a, b) * b; }

// Rows from this one on that make an AttentionSpan, at most `most`. Their slots end within one
// multiple of `most`, so that all are cut in the same way and see some slots of every block.
std::size_t rows_alike(const AttentionArgs& args, std::size_t row, std::size_t most) noexcept {
  const AttentionRow& first = args.rows[row];
  if (first.slots != nullptr || first.num_slots == 0) return 1;
  const std::size_t left = std::min(args.num_rows - row, most - (first.num_slots - 1) % most);
  std::size_t n = 1;
  while (n < left && args.rows[row + n].slots == nullptr &&
         args.rows[row + n].pages == first.pages &&
         args.rows[row + n].num_slots == first.num_slots + n) {
    ++n;
  }
  return n;
}
static_assert(kPartSlotsMultiple % kAttentionRowsTogetherMax == 0);

}  // namespace

std::size_t attention_part_slots(const AttentionArgs& args, std::size_t num_slots) noexcept {
  const bool is_wide = args.heads * args.kv_lora_rank >= kWideOutput;
  const std::size_t least = is_wide ? kPartSlotsWide : kPartSlotsNarrow;
  const std::size_t even = divide_up(num_slots, kAttentionPartsMax);
  return round_up(std::max(even, least), kPartSlotsMultiple);
}

void Attention::FreeBytes::operator()(std::byte* bytes) const noexcept { std::free(bytes); }

void Attention::run(const Executor& executor, const AttentionArgs& args) {
  const AttentionSizes sizes = executor.table->attention_sizes(args);
  for (std::size_t begin = 0; begin < args.num_rows;) {
    const std::size_t end = start_wave(args, sizes, begin);
    lay_out(args, sizes, end - begin, executor.pool->num_threads());
    run_wave(executor, args, begin, end);
    begin = end;
  }
}

// Cuts rows from row_begin on into items, as many as fit, and returns where it stopped.
std::size_t Attention::start_wave(const AttentionArgs& args, const AttentionSizes& sizes,
                                  std::size_t row_begin) {
  const std::size_t parts_most = kAttentionPartsMax * sizes.rows_together;
  const std::size_t parts_max =
      std::max(parts_most, kPartFloatsMax / (args.heads * args.kv_lora_rank));
  items_.clear();
  first_parts_.assign(1, 0);
  std::size_t row = row_begin;
  while (row < args.num_rows && first_parts_.back() + parts_most <= parts_max) {
    const std::size_t num_rows = rows_alike(args, row, sizes.rows_together);
    add_items(args, row, num_rows);
    row += num_rows;
  }
  return row;
}

void Attention::add_items(const AttentionArgs& args, std::size_t row, std::size_t num_rows) {
  const std::size_t num_slots = args.rows[row + num_rows - 1].num_slots;
  const std::size_t step = attention_part_slots(args, num_slots);
  const std::size_t num_parts = divide_up(num_slots, step);
  for (std::size_t p = 0; p < num_parts; ++p) {
    const std::size_t slot = p * step;
    items_.push_back({.span = {row, num_rows, slot, std::min(num_slots, slot + step)},
                      .first_part = first_parts_.back() + p,
                      .parts_stride = num_parts});
  }
  for (std::size_t r = 0; r < num_rows; ++r) {
    first_parts_.push_back(first_parts_.back() + num_parts);
  }
}

void Attention::lay_out(const AttentionArgs& args, const AttentionSizes& sizes,
                        std::size_t num_rows, std::size_t num_workers) {
  query_bytes_ = round_up(sizes.packed_query_bytes, kAlignment);
  scratch_bytes_ = round_up(sizes.scratch_bytes, kAlignment);
  const std::size_t out_bytes =
      round_up(args.heads * args.kv_lora_rank * sizeof(float), kAlignment);
  const std::size_t head_bytes = round_up(args.heads * sizeof(float), kAlignment);
  const std::size_t part_bytes = out_bytes + 2 * head_bytes;
  const std::size_t needed =
      num_rows * query_bytes_ + num_workers * scratch_bytes_ + first_parts_.back() * part_bytes;
  if (needed > memory_bytes_) {
    const std::size_t bytes = round_up(needed, kHugePageBytes);
    memory_bytes_ = 0;  // until there is a new block
    memory_.reset(static_cast<std::byte*>(std::aligned_alloc(kHugePageBytes, bytes)));
    if (memory_ == nullptr) throw std::bad_alloc();
    memory_bytes_ = bytes;
    madvise(memory_.get(), memory_bytes_, MADV_HUGEPAGE);  // only faster: no matter if refused
  }
  queries_ = memory_.get();
  scratch_ = queries_ + num_rows * query_bytes_;
  std::byte* next = scratch_ + num_workers * scratch_bytes_;
  parts_.clear();
  for (std::size_t i = 0; i < first_parts_.back(); ++i, next += part_bytes) {
    parts_.push_back({reinterpret_cast<float*>(next), reinterpret_cast<float*>(next + out_bytes),
                      reinterpret_cast<float*>(next + out_bytes + head_bytes)});
  }
}

void Attention::run_wave(const Executor& executor, const AttentionArgs& args, std::size_t row_begin,
                         std::size_t row_end) noexcept {
  const KernelTable& table = *executor.table;
  const std::size_t head_blocks = divide_up(args.heads, kAttentionHeadBlock);
  const auto for_each_head_block = [&](auto visit) {
    executor.pool->parallel_for(
        (row_end - row_begin) * head_blocks, 1, [&](std::size_t i, std::size_t) {
          const std::size_t head = i % head_blocks * kAttentionHeadBlock;
          visit(i / head_blocks, head, std::min(args.heads, head + kAttentionHeadBlock));
        });
  };
  if (query_bytes_ != 0) {
    for_each_head_block([&](std::size_t r, std::size_t head_begin, std::size_t head_end) {
      table.attention_pack(args, row_begin + r, head_begin, head_end, queries_ + r * query_bytes_);
    });
  }
  executor.pool->for_each_with_worker(
      items_.size(), executor.pool->num_threads(), [&](std::size_t worker, std::size_t i) {
        const Item& item = items_[i];
        table.attention_part(args, item.span, queries_ + (item.span.row - row_begin) * query_bytes_,
                             &parts_[item.first_part], item.parts_stride,
                             scratch_ + worker * scratch_bytes_);
      });
  for_each_head_block([&](std::size_t r, std::size_t head_begin, std::size_t head_end) {
    table.attention_combine(args, row_begin + r, parts_.data() + first_parts_[r],
                            first_parts_[r + 1] - first_parts_[r], head_begin, head_end);
  });
}

}  // namespace ponder::kernels
