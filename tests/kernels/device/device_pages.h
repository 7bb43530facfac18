#pragma once

// Sequences in pages that lie in no order, on a device and as the CPU's kernels want them.

#include <algorithm>
#include <numeric>

#include "tests/kernels/device/device_cases.h"

namespace ponder::kernels {

/// Pages of `page_bytes`, of which a block begins at `block_offset`; what no test writes is 0xFF.
class PagedSequences {
 public:
  PagedSequences(const DeviceTable& device, std::size_t page_bytes, std::size_t block_offset,
                 const std::vector<std::size_t>& lengths, std::mt19937_64& rng)
      : page_bytes_(page_bytes), block_offset_(block_offset) {
    std::size_t num_pages = 0;
    for (const std::size_t length : lengths) {
      table_stride_ = std::max(table_stride_, pages_of(length));
      num_pages += pages_of(length);
    }
    std::vector<std::int32_t> order(num_pages);
    std::iota(order.begin(), order.end(), 0);
    std::shuffle(order.begin(), order.end(), rng);
    tables_.resize(lengths.size() * table_stride_, -1);
    for (std::size_t s = 0, next = 0; s < lengths.size(); ++s) {
      for (std::size_t i = 0; i < pages_of(lengths[s]); ++i) {
        tables_[s * table_stride_ + i] = order[next++];
      }
    }
    bytes_.resize(num_pages * page_bytes, std::byte{0xFF});
    device_tables_ = std::make_unique<DeviceArray<std::int32_t>>(device, tables_);
    device_pages_ = std::make_unique<DeviceArray<std::byte>>(device, bytes_);
  }

  std::int32_t slot(std::size_t sequence, std::size_t position) const {
    return tables_[sequence * table_stride_ + position / kPageSize] * static_cast<int>(kPageSize) +
           static_cast<std::int32_t>(position % kPageSize);
  }
  /// The block of each page of a sequence, in the host's copy.
  std::vector<const void*> blocks(std::size_t sequence) {
    std::vector<const void*> blocks;
    for (std::size_t i = 0; i < table_stride_; ++i) {
      const std::int32_t page = tables_[sequence * table_stride_ + i];
      if (page >= 0) blocks.push_back(block(static_cast<std::size_t>(page)));
    }
    return blocks;
  }
  std::byte* block(std::size_t page) { return bytes_.data() + page * page_bytes_ + block_offset_; }
  std::size_t num_pages() const { return bytes_.size() / page_bytes_; }
  /// Of all pages.
  std::vector<std::byte> host_bytes() const { return bytes_; }
  std::vector<std::byte> device_bytes() const { return device_pages_->download(); }
  void upload(const DeviceTable& device) {
    EXPECT_EQ(device.upload(device_pages_->data(), bytes_.data(), bytes_.size()), 0);
  }

  DevicePages pages(DType dtype, std::size_t row_stride) const {
    return {device_pages_->data(), page_bytes_, block_offset_, row_stride, dtype};
  }
  DeviceSequences sequences(const DeviceArray<std::int32_t>& row_sequences) const {
    return {device_tables_->data(), table_stride_, row_sequences.data()};
  }

 private:
  static std::size_t pages_of(std::size_t length) { return (length + kPageSize - 1) / kPageSize; }
  std::size_t page_bytes_;
  std::size_t block_offset_;
  std::size_t table_stride_ = 0;
  std::vector<std::int32_t> tables_;
  std::vector<std::byte> bytes_;
  std::unique_ptr<DeviceArray<std::int32_t>> device_tables_;
  std::unique_ptr<DeviceArray<std::byte>> device_pages_;
};

}  // namespace ponder::kernels
