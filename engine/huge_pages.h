#pragma once

#include <cstddef>
#include <vector>

#include "base/result.h"

namespace ponder::engine {

/// A range of zeroed memory for what is streamed often (weights, caches), on 2 MiB pages where the
/// system grants them: with 4 KiB pages a decode step loses a third of its speed to page walks.
/// The addresses are taken at once, memory as it is first written. Move-only.
class HugePages {
 public:
  HugePages() = default;
  /// Fails (exhausted) when there is no such address range. Requires: bytes > 0.
  static Result<HugePages> reserve(std::size_t bytes);
  HugePages(HugePages&& other) noexcept;
  HugePages& operator=(HugePages&& other) noexcept;
  ~HugePages();

  std::byte* data() const { return data_; }  // aligned to 2 MiB
  std::size_t size() const { return size_; }

 private:
  std::byte* data_ = nullptr;
  std::size_t size_ = 0;
  void* mapping_ = nullptr;
  std::size_t mapping_bytes_ = 0;
};

/// Hands out pieces of huge pages, 64-byte aligned, which live as long as the arena.
class Arena {
 public:
  /// Fails when the system has no memory to give.
  Result<std::byte*> allocate(std::size_t bytes);
  /// Of all pieces together. The memory they take ends on whole pages.
  std::size_t bytes() const { return bytes_; }

 private:
  std::vector<HugePages> chunks_;
  std::size_t bytes_ = 0;
  std::size_t used_ = 0;  // of the last chunk
};

}  // namespace ponder::engine
